package catalog

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/catalog/table"
	"github.com/tarn-db/tarn/materialize/lake"
	"golang.org/x/sync/errgroup"
)

// Signposts are for readers that are given a table's folder and no catalog: lists of data files for those of bare Parquet (listing),
// and for Iceberg's (HadoopTables, DuckDB's iceberg_scan, PyIceberg's StaticTable) two objects beside a table's metadata, for
// tables that Options.VersionHint names.
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
	pending map[lake.TableID]signpost
	at      map[lake.TableID]signpost // what was put last by this process

	start  sync.Once
	cancel context.CancelFunc
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}
}

// signpost is what a table is to have for one version.
type signpost struct {
	meta   journal.Metadata
	hint   bool
	list   *listing // nil: none
	schema lake.Schema
}

// signpostDrain is how long Close lets the last signposts take.
const signpostDrain = 5 * time.Second

func hintKey(id lake.TableID) string { return id.Root() + "/metadata/version-hint.text" }

func versionKey(id lake.TableID, version uint32) string {
	return id.Root() + "/metadata/v" + strconv.FormatUint(uint64(version), 10) + ".metadata.json"
}

// point asks for a table's signpost, if it is to have one.
func (c *Catalog) point(rec *journal.Table, t *table.Table) {
	if rec.Dropped || rec.Metadata.Version == 0 {
		return
	}
	want := signpost{meta: rec.Metadata, hint: c.opts.VersionHint != nil && c.opts.VersionHint(rec.TableName()), list: newListing(t, rec.LSN, c.opts.Now())}
	if !want.hint && want.list == nil {
		return
	}
	if want.list != nil {
		want.schema = t.Schema()
	}
	s := &c.signposts
	s.mu.Lock()
	if s.pending == nil {
		s.pending, s.at = map[lake.TableID]signpost{}, map[lake.TableID]signpost{}
	}
	s.pending[rec.ID()] = want
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

// pointAll asks for those of all live tables: an earlier process may have ended between a commit and its signposts. The caller
// holds writeMu.
func (c *Catalog) pointAll() {
	c.mu.RLock()
	recs := make([]journal.Table, 0, len(c.state.names))
	for _, t := range c.state.names {
		recs = append(recs, t.rec)
	}
	c.mu.RUnlock()
	for i := range recs {
		c.point(&recs[i], c.writer.tables[recs[i].ID()])
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
	for id, want := range round {
		g.Go(func() error {
			if err := c.putSignpost(ctx, id, want); err != nil {
				c.opts.Logger.Warn("what readers without the catalog go by was not written; the table's next publication writes it", "table", id.Root(), "error", err)
			}
			return nil
		})
	}
	_ = g.Wait() // each has said what went wrong
}

func (c *Catalog) putSignpost(ctx context.Context, id lake.TableID, want signpost) error {
	s := &c.signposts
	s.mu.Lock()
	last := s.at[id]
	s.mu.Unlock()
	c.mu.RLock()
	t := c.state.tables[id]
	current := t != nil && !t.rec.Dropped && t.rec.Metadata == want.meta
	c.mu.RUnlock()
	if !current || last.meta == want.meta {
		return nil
	}
	if want.hint {
		if err := c.putHint(ctx, id, want.meta); err != nil {
			return err
		}
	}
	var dead []string
	if want.list != nil {
		listed := uint32(0)
		if last.list != nil {
			listed = last.meta.Version
		}
		if err := c.putListing(ctx, id, want.meta.Version, listed, want.schema, want.list); err != nil {
			return err
		}
		want.list.files = nil // not kept
	}
	s.mu.Lock()
	s.at[id] = want
	s.mu.Unlock()
	if last.hint {
		dead = append(dead, versionKey(id, last.meta.Version))
	}
	if last.list != nil && last.list.empty {
		dead = append(dead, noneKey(id, last.meta.Version))
	}
	c.garbage.add(c.opts.Now(), dead, nil)
	return nil
}

func (c *Catalog) putHint(ctx context.Context, id lake.TableID, meta journal.Metadata) error {
	b, err := c.metadata.get(ctx, meta.Key(id))
	if err != nil {
		return err
	}
	if err := c.put(ctx, versionKey(id, meta.Version), b); err != nil {
		return err
	}
	return c.put(ctx, hintKey(id), strconv.AppendUint(nil, uint64(meta.Version), 10))
}
