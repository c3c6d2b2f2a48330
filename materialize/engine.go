// Package materialize turns pages into rows of the lake. At a cut, a barrier at a record end in the redo stream, it
// compares what is visible on the blocks that changed with what the lake holds, writes the difference as Parquet and
// position deletes, and hands one publication for all tables of all databases to the catalog.
//
// It never replays a change: a table's rows are a function of its pages and of which transactions have committed.
package materialize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/schema"
	"github.com/tarn-db/tarn/materialize/toast"
	"github.com/tarn-db/tarn/materialize/types"
	"github.com/tarn-db/tarn/pageserver"
)

// Pages is the page store at a cut. Its reads are safe for concurrent use while no record is applied.
type Pages interface {
	schema.Pages
	toast.Pages
	// RelationCreated is the LSN at which a relation file came to be; ok is false when there is none.
	RelationCreated(rel pg.RelFileLocator) (pg.LSN, bool)
	// NoteChanges has noted, from one publication to the next, which transactions commit and who deletes rows of those relations; not
	// on, nothing is. CommitOf and Deleters tell of it; see pageserver.Timeline.
	NoteChanges(on bool, watched []pg.RelFileLocator)
	CommitOf(xid pg.XID) (pageserver.Commit, bool)
	Deleters(rel pg.RelFileLocator, tid pg.TID) []pg.XID
	// TakeDirty gives the main-fork blocks that changed, or whose transactions ended, since it was last called; a
	// relation cut short names the blocks it lost. Published forgets them, ReturnDirty takes them back.
	TakeDirty() map[pg.RelFileLocator]*roaring.Bitmap
	Published()
	ReturnDirty()
}

// Options are fixed at New.
type Options struct {
	Store     objstore.Store
	Publisher lake.Publisher
	// Exclude says which tables the configuration keeps out of the lake; nil keeps none out.
	Exclude func(lake.TableName) bool
	// Types says what the configuration wants of a table's values; nil wants nothing. LCMonetary is not asked of it.
	Types func(lake.TableName) types.Options
	// Format is how the configuration wants a table written; nil is the zero value for all.
	Format func(lake.TableName) TableFormat
	// Layout is how the configuration wants a table's files laid out; nil is the zero value for all.
	Layout func(lake.TableName) TableLayout
	// ByLeaf says of which partitioned tables each partition is a table of its own; nil: of none.
	ByLeaf func(lake.TableName) bool
	// SortDir is a local folder for rows that are being put in order; "" is the system's for temporary files.
	SortDir string
	// History says which tables have a history beside them; nil: none.
	History func(lake.TableName) bool
	// ToastDir is a local folder for the TOAST index, which may vanish between runs.
	ToastDir string
	// Fatal is called when that folder cannot be written any more, as with a full disk: it ends the process. Nothing
	// published is lost. Default: a panic.
	Fatal func(error)
	// MemoryBytes bounds caches and the Parquet being built. Default 512 MiB.
	MemoryBytes int64
	// ValueBytes bounds one value, decompressed. Default: what MemoryBytes has room for, see ValueBytesOf.
	ValueBytes int64
	// Workers encode row ranges side by side. Default: the number of processors.
	Workers int
	// Archive makes the WAL below an LSN durable in the store; a publication waits for it.
	Archive func(context.Context, pg.LSN) error
	// Copying reports progress of whole-table copies: blocks done and blocks planned. Nil is silence.
	Copying func(table lake.TableName, done, total int64)
	Logger  *slog.Logger
}

// Engine keeps what the lake holds and moves it from cut to cut. Cut is called from one goroutine; Status, Resync and
// Published from any.
type Engine struct {
	opts  Options
	pages Pages
	sets  *setCache
	toast *toast.Index
	slots chan struct{} // one per range being encoded

	tables   map[tableKey]*table
	catalogs map[pg.OID]*schema.Catalogs
	plans    map[pg.OID]databasePlan
	failed   map[tableKey]failure // tables that are not in the lake because they could not be copied
	stale    bool                 // a cut failed: the head of the lake may be the old or the new one

	lcMonetary string // see SetLCMonetary

	fileBytes int64 // at which a data file is ended; one being written takes about three times that
	// deletePositions is about how many positions one delete file has at most: it is made in memory, some 7 bytes for each.
	deletePositions uint64
	faults          faults

	mu        sync.Mutex // guards what follows
	lsn       pg.LSN     // of the last publication
	rewinds   int        // how often the lake was taken back
	resync    map[string]bool
	resyncAll bool
	status    []TableStatus
	upkeep    Upkeep
	upkeepOf  map[lake.TableID]Upkeep // of tables there are
}

// faults are wrong turns that tests plant, to see that a check notices.
type faults struct {
	ignoreXmin   bool // take a row of the lake for whatever lies at its TID
	forgetRowIDs bool // a compaction lets its rows have new row ids
	newPositions bool // a deletion vector has only what its own cut deleted
	carryDeleted bool // a file that is overwritten keeps the rows it loses
}

type databasePlan struct {
	tables   []*tablePlan
	excluded []excluded
}

type failure struct {
	name     lake.TableName
	err      string
	at       pg.LSN
	fromPlan bool // the catalogs could not be understood; otherwise its rows
}

// table is a lake table as last published.
type table struct {
	key             tableKey
	id              lake.TableID
	uuid            string
	name            lake.TableName
	schema          lake.Schema
	state           tableState
	leaves          map[pg.OID]*leaf
	format          int             // Iceberg format version
	shared          bool            // it has deletion vectors that share an object
	deletes         map[string]bool // keys of live delete files
	specs           []lake.Spec     // that the catalog tells readers of
	layout          lake.Layout
	lastPartitionID int
	notes           []string // what of the rule for the table could not be followed
	lsn             pg.LSN
	history         *history // nil if it has none
	unknown         bool     // its files could not be read back: what is in the lake of it is not known
}

// drop gives back what the table's memberships hold.
func (t *table) drop() {
	for _, l := range t.leaves {
		l.in.drop()
	}
}

// leaf is one relation's part of a table.
type leaf struct {
	state leafState
	in    *membership
}

// ErrRetry wraps a failure that left the lake as it was: the same cut, or a later one, may succeed.
var ErrRetry = errors.New("publication failed; the lake is unchanged")

// Size at which a data file is ended, bytes: what memory allows, between these.
const (
	fileBytesMin = 4 << 20
	fileBytesMax = 256 << 20
)

// A value passes through about a dozen copies of itself on its way into a Parquet page: fetched, decompressed, gathered,
// encoded, compared with the file's bounds, compressed. One of MemoryBytes/valueShare is what fits.
const (
	valueShare    = 16
	valueBytesMin = 1 << 20
)

// ValueBytesOf is the largest value that an engine with so much memory takes. A table with a larger one stops, and says so; the
// process does not end for lack of memory, which would stop them all.
func ValueBytesOf(memoryBytes int64) int64 { return max(valueBytesMin, memoryBytes/valueShare) }

// New fences older writers, reads the head of the lake and what its tables hold. Pages are attached with Attach before
// the first Cut.
func New(ctx context.Context, opts Options) (*Engine, error) {
	if opts.MemoryBytes <= 0 {
		opts.MemoryBytes = 512 << 20
	}
	if opts.ValueBytes <= 0 {
		opts.ValueBytes = ValueBytesOf(opts.MemoryBytes)
	}
	if opts.Workers <= 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	if opts.Fatal == nil {
		opts.Fatal = func(err error) { panic(err) }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	// A quarter for TID sets, up to another for where scattered files lie, a sixteenth for the TOAST index, and what
	// follows for files being written: encoded pages and a batch of values while they grow, then the whole as one slice.
	building := opts.MemoryBytes * 3 / 8
	opts.Workers = int(max(1, min(int64(opts.Workers), building/(3*fileBytesMin))))
	if opts.SortDir != "" {
		if err := os.MkdirAll(opts.SortDir, 0o700); err != nil {
			return nil, fmt.Errorf("folder for sorting rows: %w", err)
		}
	}
	sets, err := newSetCache(opts.Store, opts.MemoryBytes/4)
	if err != nil {
		return nil, err
	}
	idx, err := toast.Open(opts.ToastDir, opts.MemoryBytes/16, opts.Fatal)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		opts: opts, sets: sets, toast: idx, slots: make(chan struct{}, opts.Workers), resync: map[string]bool{}, upkeepOf: map[lake.TableID]Upkeep{},
		fileBytes: max(fileBytesMin, min(fileBytesMax, building/int64(3*opts.Workers))), deletePositions: 4 << 20,
	}
	if err := e.load(ctx); err != nil {
		return nil, errors.Join(err, idx.Close())
	}
	return e, nil
}

// Attach gives the engine the pages to read; nil while there are none. After a new base backup it is called again with the new page store.
func (e *Engine) Attach(p Pages) {
	e.pages = p
	e.catalogs, e.plans = nil, nil
	e.noteChanges()
}

// SetLCMonetary says how the source prints money; it is called before Attach. Only the locales whose output is known
// (types.Options) let money columns into the lake; whether rows have to be written again follows from which columns were
// left out. Empty, when the source could not be asked, keeps what the lake was last written with.
func (e *Engine) SetLCMonetary(name string) {
	if name != "" {
		e.lcMonetary = name
	}
}

// Close releases the local TOAST index.
func (e *Engine) Close() error { return e.toast.Close() }

// Published is the LSN of the last publication, zero before the first.
func (e *Engine) Published() pg.LSN {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lsn
}

// Rewinds is how often the lake was taken back to a fork of the source's history.
func (e *Engine) Rewinds() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rewinds
}

// Resync makes the next cut rebuild a table ("db.schema.table") from pages, or all.
func (e *Engine) Resync(name string, all bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if all {
		e.resyncAll = true
		return nil
	}
	for i := range e.status {
		switch s := &e.status[i]; {
		case s.Name != name:
		case s.State == "excluded":
			return fmt.Errorf("table %q is not in the lake: %s", name, s.Error)
		case s.HistoryOf != "":
			return fmt.Errorf("table %q is a history: resync %s, which adds to it what it lacks", name, s.HistoryOf)
		default:
			e.resync[name] = true
			return nil
		}
	}
	return fmt.Errorf("table %q is not known: `tarn tables` lists the names", name)
}

// ResyncAsked says whether the next cut has something to rebuild even if no WAL came.
func (e *Engine) ResyncAsked() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.resyncAll || len(e.resync) > 0
}

// CutPoint is where the redo stream stands.
type CutPoint struct {
	LSN        pg.LSN
	Resume     pg.LSN // durable LSN of the page store
	Timeline   pg.TimelineID
	SystemID   uint64
	CommitTime time.Time // of the last commit at or below LSN
	// Rewind takes the lake back to LSN, which lies before what is published: there Timeline forked off from the one that was published.
	// Pages are as of LSN, and dirty are those that changed up to what is published.
	Rewind bool
}

// CutResult says what a cut did.
type CutResult struct {
	Published bool // a publication was made; otherwise nothing had changed
	Tables    int  // changed tables
	RowsIn    int64
	RowsOut   int64
	Blocks    int64 // examined
	Diff      time.Duration
	Commit    time.Duration
}
