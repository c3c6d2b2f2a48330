package catalog

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/materialize/lake"
	"golang.org/x/sync/errgroup"
)

// Signposts are for readers that are given a table's folder and no catalog (Iceberg's HadoopTables, DuckDB's iceberg_scan,
// PyIceberg's StaticTable): two objects beside a table's metadata, for tables that Options.VersionHint names.
//
//	<root>/metadata/v<N>.metadata.json   a copy of the metadata.json with version N
//	<root>/metadata/version-hint.text    N in decimal digits, nothing else
//
// They are written after the commit, by a goroutine of their own; a table that changes meanwhile gets one for its newest
// version only. Nothing of tarn reads them. One that is lost or late is put right by the table's next publication, and by
// the next Begin.
//
// Invariant: v<N> is put only once a log entry names version N: a reader that looks for N+1, as Iceberg's does, sees nothing
// that was not published. Versions of one table are never given twice, so no two writers put different bytes there.
// Invariant: version-hint.text names a v<N> that is durable; that object stays for the grace time after another took its place.
type signposts struct {
	mu      sync.Mutex
	pending map[lake.TableID]journal.Metadata
	at      map[lake.TableID]journal.Metadata // what was put last by this process

	start  sync.Once
	cancel context.CancelFunc
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}
}

// signpostDrain is how long Close lets the last signposts take.
const signpostDrain = 5 * time.Second

func hintKey(id lake.TableID) string { return id.Root() + "/metadata/version-hint.text" }

func versionKey(id lake.TableID, version uint32) string {
	return id.Root() + "/metadata/v" + strconv.FormatUint(uint64(version), 10) + ".metadata.json"
}

// point asks for a table's signpost, if it is to have one.
func (c *Catalog) point(rec *journal.Table) {
	if c.opts.VersionHint == nil || rec.Dropped || rec.Metadata.Version == 0 || !c.opts.VersionHint(rec.TableName()) {
		return
	}
	s := &c.signposts
	s.mu.Lock()
	if s.pending == nil {
		s.pending, s.at = map[lake.TableID]journal.Metadata{}, map[lake.TableID]journal.Metadata{}
	}
	s.pending[rec.ID()] = rec.Metadata
	s.mu.Unlock()
	s.start.Do(func() {
		s.wake, s.stop, s.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
		ctx, cancel := context.WithCancel(context.Background())
		s.cancel = cancel
		go c.runSignposts(ctx)
	})
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pointAll asks for those of all live tables: an earlier process may have ended between a commit and its signposts.
func (c *Catalog) pointAll() {
	c.mu.RLock()
	recs := make([]journal.Table, 0, len(c.state.names))
	for _, t := range c.state.names {
		recs = append(recs, t.rec)
	}
	c.mu.RUnlock()
	for i := range recs {
		c.point(&recs[i])
	}
}

func (c *Catalog) runSignposts(ctx context.Context) {
	s := &c.signposts
	defer close(s.done)
	for {
		select {
		case <-s.wake:
			c.putSignposts(ctx)
		case <-s.stop:
			c.putSignposts(ctx)
			return
		}
	}
}

func (s *signposts) close() {
	s.start.Do(func() {}) // none may start any more
	if s.stop == nil {
		return
	}
	late := time.AfterFunc(signpostDrain, s.cancel)
	close(s.stop)
	<-s.done
	late.Stop()
	s.cancel()
	s.stop = nil // closed once
}

// putSignposts puts what is asked for now.
func (c *Catalog) putSignposts(ctx context.Context) {
	s := &c.signposts
	s.mu.Lock()
	round := maps.Clone(s.pending)
	clear(s.pending)
	s.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(max(4, c.opts.Workers/4))
	for id, meta := range round {
		g.Go(func() error {
			if err := c.putSignpost(ctx, id, meta); err != nil {
				c.opts.Logger.Warn("a table's version hint was not written; its next publication writes it", "table", id.Root(), "error", err)
			}
			return nil
		})
	}
	_ = g.Wait() // each has said what went wrong
}

func (c *Catalog) putSignpost(ctx context.Context, id lake.TableID, meta journal.Metadata) error {
	s := &c.signposts
	s.mu.Lock()
	last := s.at[id]
	s.mu.Unlock()
	c.mu.RLock()
	t := c.state.tables[id]
	current := t != nil && !t.rec.Dropped && t.rec.Metadata == meta
	c.mu.RUnlock()
	if !current || last == meta {
		return nil
	}
	b, err := c.metadata.get(ctx, meta.Key(id))
	if err != nil {
		return err
	}
	if err := c.put(ctx, versionKey(id, meta.Version), b); err != nil {
		return err
	}
	if err := c.put(ctx, hintKey(id), strconv.AppendUint(nil, uint64(meta.Version), 10)); err != nil {
		return err
	}
	s.mu.Lock()
	s.at[id] = meta
	s.mu.Unlock()
	if last.Version != 0 {
		c.garbage.add(c.opts.Now(), []string{versionKey(id, last.Version)}, nil)
	}
	return nil
}
