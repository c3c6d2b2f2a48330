package server

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/materialize"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/types"
)

// readLake makes an engine from what is published, and of this process the lake's writer.
func (s *Server) readLake(ctx context.Context) error {
	eng, err := materialize.New(ctx, s.lakeOptions())
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.eng, s.lakeOpen = eng, true
	s.mu.Unlock()
	return nil
}

// lakeOptions is what the configuration wants of the lake.
func (s *Server) lakeOptions() materialize.Options {
	return materialize.Options{
		Store: s.store, Publisher: s.cat, Exclude: func(n lake.TableName) bool { return s.cfg.Tables.For(n.Database, n.Namespace, n.Name).Exclude },
		Types: func(n lake.TableName) types.Options {
			return typeOptions(s.cfg.Tables.For(n.Database, n.Namespace, n.Name))
		},
		Format: func(n lake.TableName) materialize.TableFormat {
			r := s.cfg.Tables.For(n.Database, n.Namespace, n.Name)
			return materialize.TableFormat{Version: r.Format(), SharedVectors: r.SharedVectors(), CopyOnWrite: r.CopyOnWrite, Parquet: r.Parquet}
		},
		Layout: func(n lake.TableName) materialize.TableLayout {
			return layoutOf(s.cfg.Tables.For(n.Database, n.Namespace, n.Name))
		},
		SortDir:  filepath.Join(s.cfg.DataDir, "sort"),
		History:  s.histories(),
		ByLeaf:   func(n lake.TableName) bool { return s.cfg.Tables.For(n.Database, n.Namespace, n.Name).ByLeaf },
		ToastDir: filepath.Join(s.cfg.DataDir, "toast"), Fatal: s.fatal, MemoryBytes: s.lakeMemory(), Archive: s.archive, Copying: s.copying(), Logger: s.log,
	}
}

// histories says which tables have a history; nil if no rule asks for one.
func (s *Server) histories() func(lake.TableName) bool {
	if !slices.ContainsFunc(s.cfg.Tables, func(r config.Rule) bool { return r.History }) {
		return nil
	}
	return func(n lake.TableName) bool { return s.cfg.Tables.For(n.Database, n.Namespace, n.Name).History }
}

// typeOptions is what a rule wants of a table's values.
func typeOptions(r config.Rule) types.Options {
	o := types.Options{Bare: r.Parquet, Numeric: types.Numeric(r.Numeric), Columns: map[string]types.Numeric{}}
	switch r.OutOfRange {
	case "clamp":
		o.OutOfRange = types.Clamp
	case "error":
		o.OutOfRange = types.Refuse
	}
	for name, n := range r.Columns {
		o.Columns[name] = types.Numeric(n)
	}
	return o
}

// layoutOf is how a rule wants a table's files laid out.
func layoutOf(r config.Rule) materialize.TableLayout {
	l := materialize.TableLayout{FileBytes: int64(r.TargetFile)}
	for _, f := range r.PartitionBy {
		l.PartitionBy = append(l.PartitionBy, materialize.PartitionBy(f))
	}
	return l
}

// closeLake lets go of the engine's local files. What it knows of the tables is shown on.
func (s *Server) closeLake() error {
	s.mu.Lock()
	eng, open := s.eng, s.lakeOpen
	s.lakeOpen = false
	s.mu.Unlock()
	if !open {
		return nil
	}
	return eng.Close()
}

// rereadLake forgets whatever the engine knows beyond what is published. It is tried until it succeeds: a store that fails
// now was there a moment ago.
func (s *Server) rereadLake(ctx context.Context) error {
	if err := s.closeLake(); err != nil {
		s.log.Warn("the index of large values was not closed properly; it is made anew", "error", err)
	}
	for pause := resyncPauseMin; ; pause = min(2*pause, resyncPauseMax) {
		err := s.readLake(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		s.retrying(err, pause)
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}
