// Package catalog makes publications visible: it writes the Iceberg metadata of every changed table and then one log
// entry that moves the whole lake to the next LSN. All of its state is in the object store.
//
//	                      ┌ lake/<db>/<rel>-<incarnation>/metadata/…   manifests, lists, metadata.json (table), signposts
//	lake.Publication ──▶ ─┤
//	                      └ catalog/log/<seq>                          the commit point (journal)
//
// Branches have lakes of their own, made once from the tables of a publication: see BeginBranch.
//
// One process writes at a time: Begin writes an epoch entry, after which no older writer can add another. Any number of
// processes may read: Open, then Refresh.
//
// Invariant: what the head names is durable before the entry that makes it the head.
// Invariant: a metadata.json stays readable, with everything it names, for the grace time after it was superseded.
// Invariant: what the lake of a branch names stays for as long as it is there, and for the grace time after.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/catalog/table"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Options configure a catalog. Only Store is required.
type Options struct {
	Store  objstore.Store
	Logger *slog.Logger
	// Grace is how long superseded publications, and the files only they need, can still be read. Default 1 h.
	Grace time.Duration
	// SnapshotsMax bounds the snapshots a table's metadata lists, whatever the grace: metadata.json is written whole by
	// every commit. Older publications of the grace time stay readable as database@LSN. Default 128.
	SnapshotsMax int
	// CheckpointEvery is the number of log entries between checkpoints. Default 256.
	CheckpointEvery int
	// EngineVersion goes into snapshot summaries. Default "dev".
	EngineVersion string
	// Workers bounds tables prepared, and objects put, at once. Default 16.
	Workers int
	// Retries are the waits between attempts when the store fails a write. Default 10 ms, 50 ms, 200 ms, 1 s; an empty
	// slice that is not nil means one attempt.
	Retries []time.Duration
	// MaintainEvery is the pause between rounds of checkpoints and removals while writing. Default 10 s; negative means
	// only when Maintain is called.
	MaintainEvery time.Duration
	// CacheBytes bounds the metadata.json kept in memory for readers. Default 64 MiB.
	CacheBytes int64
	// VersionHint says which tables can be read by their folder alone, without a catalog: two more puts after each of their
	// publications. nil: none.
	VersionHint func(lake.TableName) bool
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o *Options) setDefaults() error {
	if o.Store == nil {
		return errors.New("catalog: no store given")
	}
	if o.Grace < 0 || o.SnapshotsMax < 0 || o.CheckpointEvery < 0 || o.Workers < 0 || o.CacheBytes < 0 {
		return errors.New("catalog: negative option")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Retries == nil {
		o.Retries = []time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond, time.Second}
	}
	setDefault(&o.Grace, time.Hour)
	setDefault(&o.SnapshotsMax, 128)
	setDefault(&o.CheckpointEvery, 256)
	setDefault(&o.EngineVersion, "dev")
	setDefault(&o.Workers, 16)
	setDefault(&o.MaintainEvery, 10*time.Second)
	setDefault(&o.CacheBytes, 64<<20)
	return nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Catalog reads and, after Begin, writes. It implements lake.Publisher.
type Catalog struct {
	opts     Options
	log      *journal.Log
	metadata *metadataCache

	mu      sync.RWMutex // guards state and reached
	state   *state
	reached pg.LSN // the head's tables are those of this LSN too; see Reached

	writeMu sync.Mutex // guards writer; held through Begin and Publish
	writer  *writer

	branches  branchLakes
	garbage   garbage
	upkeep    upkeep
	signposts signposts

	maintainMu sync.Mutex // one round at a time
	background struct {
		start  sync.Once
		cancel context.CancelFunc
		wake   chan struct{}
		done   sync.WaitGroup
	}
}

var _ lake.Publisher = (*Catalog)(nil)

// Open reads the newest checkpoint, its history and the entries after it. It writes nothing.
func Open(ctx context.Context, opts Options) (*Catalog, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	c := &Catalog{opts: opts, log: journal.New(opts.Store, opts.Retries), metadata: newMetadataCache(opts.Store, opts.CacheBytes)}
	c.background.wake = make(chan struct{}, 1)
	err := c.reload(ctx)
	if err == nil {
		err = c.loadBranches(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	return c, nil
}

// View reads what is published.
func (c *Catalog) View() View { return View{c} }

// Reached says that nothing has changed between the head's LSN and lsn: a reader that asks for any LSN up to there gets the
// head. It is not written down; who publishes says it again after a restart.
func (c *Catalog) Reached(lsn pg.LSN) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reached = lsn
}

// Close stops background work and waits for it. Nothing needs flushing, every publication is durable already; signposts
// that are due are given a moment.
func (c *Catalog) Close() error {
	c.background.start.Do(func() {}) // none may start any more
	if c.background.cancel != nil {
		c.background.cancel()
	}
	c.background.done.Wait()
	c.signposts.close()
	return nil
}

// reload replaces the state by what the store has.
func (c *Catalog) reload(ctx context.Context) error {
	cp, entries, err := c.log.Load(ctx)
	if err != nil {
		return err
	}
	history, err := c.log.ReadSegments(ctx, cp.Segments)
	if err != nil {
		return err
	}
	s, err := restore(cp, history, entries)
	if err != nil {
		return err
	}
	s.trim(c.opts.Now().Add(-c.opts.Grace), true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = s
	return nil
}

// Refresh reads the entries that other processes have added. A node that only reads calls it at its leisure.
func (c *Catalog) Refresh(ctx context.Context) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	return c.refresh(ctx)
}

func (c *Catalog) refresh(ctx context.Context) error {
	for {
		c.mu.RLock()
		next := c.state.seq + 1
		c.mu.RUnlock()
		e, err := c.log.Read(ctx, next)
		missing := errors.Is(err, objstore.ErrNotFound)
		if err != nil && !missing {
			return err
		}
		removed, err := c.log.Removed(ctx, next)
		switch {
		case err != nil:
			return err
		case removed:
			return c.reload(ctx)
		case missing:
			return nil
		}
		c.mu.Lock()
		err = c.state.apply(&e)
		c.state.trim(c.opts.Now().Add(-c.opts.Grace), false)
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// writer is what a process has between Begin and being fenced.
type writer struct {
	epoch   uint64
	begun   time.Time // by Options.Now
	epochAt time.Time // by the store's clock
	tables  map[lake.TableID]*table.Table
	// entries since the newest checkpoint, for the next segment; segments are those of the newest checkpoint.
	entries  []journal.Entry
	segments []journal.SegmentRef
	swept    bool // orphans of older epochs are gone
}
