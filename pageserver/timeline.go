// Package pageserver keeps the pages of a cluster at one LSN: it applies WAL records to them, makes them durable as image
// layers in the object store, and hands them out at a barrier between two records.
package pageserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/cluster"
	"github.com/tarn-db/tarn/pageserver/delta"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/redo"
	"github.com/tarn-db/tarn/pageserver/slru"
)

var (
	// ErrNotConsistent: pages are those of a base backup whose WAL has not been redone to its end. They may be torn.
	ErrNotConsistent = errors.New("the base backup is not consistent yet")
	// ErrOpaque: a record whose redo is not built changed the relation; its pages are not known.
	ErrOpaque = fault.New(fault.PagesUnknown, "the relation's pages are not known: a record of a kind that is not redone changed it")
	// ErrWALMinimal: the primary has written WAL that does not hold every change.
	ErrWALMinimal = cluster.ErrWALMinimal
)

// Options are fixed at Open.
type Options struct {
	Store       objstore.Store
	Branch      string // default "main"
	MemoryBytes int64  // for pages and what is cached of layers; default 512 MiB, at least 32 MiB
	History     History
	Workers     int // goroutines that redo the pages of a batch beside the caller of ApplyBatch; default 0, the caller does it
	Logger      *slog.Logger
	WAL         WAL // where records are read again, for snapshots; nil: there are none
	// ImageEvery is how many records a page gathers before a delta layer gets an image of it: what a read of it redoes at most, besides
	// the first record that makes it from nothing. Default 64.
	ImageEvery int
	// LeaseTime is how long a lease on an LSN lasts (LeaseLSN); nothing leaves history before it has passed since Open. 0: there are none.
	LeaseTime time.Duration
}

const (
	memoryDefault = 512 << 20
	memoryMin     = 32 << 20
)

var branchName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func (o *Options) check() error {
	if o.Store == nil {
		return errors.New("page store needs an object store")
	}
	if o.Branch == "" {
		o.Branch = MainBranch
	}
	if !branchName.MatchString(o.Branch) {
		return fmt.Errorf("branch %q: want lower-case letters, digits, - and _", o.Branch)
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = memoryDefault
	}
	o.MemoryBytes = max(o.MemoryBytes, memoryMin)
	if o.Workers < 0 {
		return fmt.Errorf("%d workers for redo: want 0 or more", o.Workers)
	}
	if o.ImageEvery == 0 {
		o.ImageEvery = imageEvery
	}
	if o.ImageEvery < 0 || o.ImageEvery > imageEveryMax {
		return fmt.Errorf("an image every %d records: want 1 to %d", o.ImageEvery, imageEveryMax)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (o *Options) prefix() string { return "timelines/" + o.Branch + "/" }

// Timeline is the pages of one cluster at RedoLSN.
//
// One goroutine at a time calls Apply, ApplyBatch, Barrier, TakeDirty, StartFlush, Flushing and Close; the moments between those calls
// are barriers, but for those after ApplyBatch, which leaves pages to its workers, and after a Flushing that follows it: a barrier comes
// with the next of the others. At a barrier any number of goroutines may read: Page, Scan, NBlocks, Relation, RelMap, Stats, the
// transaction states. What they were given is valid until the next Apply or ApplyBatch. Published, ReturnDirty and ResumeLSN may be
// called at any time.
//
// Invariant: resumeLSN <= redoLSN; the store's index describes the timeline at resumeLSN.
type Timeline struct {
	opts   Options
	reader *reader
	wal    *walReader // nil without Options.WAL
	arena  *arena
	env    redo.Env

	major      pg.Major
	systemID   uint64
	consistent pg.LSN
	redoLSN    pg.LSN
	lastRecord pg.LSN // start of the record that ends at redoLSN; 0: not known
	resumeLSN  atomic.Uint64
	oldest     atomic.Pointer[point] // where history begins
	branches   atomic.Pointer[[]Branch]
	failed     error // nothing can be applied any more

	checksums     bool
	live          cluster.State // counters, settings, origins as they are at redoLSN
	oldestRunning pg.XID        // an older id that has not committed has ended
	prepared      map[pg.XID][]pg.XID
	inherited     inherited
	commitLSN     pg.LSN
	commitTime    time.Time
	onCommit      func(pg.LSN, time.Time)

	rels        map[pg.RelFileLocator]*relation
	recentRels  [recentRels]*relation // by file number, modulo: what relation found last
	slrus       [slru.Kinds]*relation
	slruSets    slru.Sets          // which of their pages exist
	storedSmall map[key.Key]bool   // of small: some layer has it
	small       map[key.Key][]byte // values that are not pages: relation maps, prepared transactions, pg_control
	relMaps     map[pg.OID]map[pg.OID]pg.OID
	loadMu      sync.Mutex // looking a fork's size up
	memo        atomic.Pointer[slruMemo]

	// invalid are blocks that a record changed and that were not there, by the LSN of the first such record. A drop or
	// truncation must explain each of them before the base backup is consistent (log_invalid_page).
	invalid map[key.Key]pg.LSN
	copies  []copiedDatabase // empty once the base backup is consistent

	dirty       DirtySet
	taken       DirtySet // handed out; published when Published says so
	gen         uint32   // counts TakeDirty
	outcome     atomic.Int32
	open        map[pg.XID]*openXact
	openFree    []*openXact
	lastOpen    *openXact
	lastOpenXID pg.XID
	changes     changes

	// What the next flush writes besides frames that are dirty.
	dirtyFrames  []frameID // may name frames that are not dirty any more
	changedSizes []*fork
	changedRels  []*relation
	dropped      map[pg.RelFileLocator]bool
	changedSmall map[key.Key]bool

	layers     atomic.Pointer[layerSet]
	layerMu    sync.Mutex // guards pending and the replacement of layers
	pending    []*layerObject
	flusher    flusher
	flush      *flushJob // under way, or done and not integrated
	flushRetry time.Time // no flush by itself before: one has failed

	// What leads from the last flush to here, to be written by the next one; nil if no history is kept.
	deltas   *delta.Log
	applying pg.LSN // where the record being applied ends
	scratch  []byte // a value

	apply   applyState
	runs    [2]run
	run     *run // whose records are being applied: one of runs
	flight  *run // whose pages workers redo: nil, or the other one
	workers workers
	stats   counters
}

func newTimeline(o Options) *Timeline {
	deltas := int64(0)
	if o.History.Window > 0 {
		deltas = 2 * o.deltaBytes()
	}
	t := &Timeline{
		opts:   o,
		reader: &reader{store: o.Store, prefix: o.prefix(), cache: newCache(o.MemoryBytes / 4)},
		arena:  newArena(o.MemoryBytes*3/4 - deltas),
		rels:   map[pg.RelFileLocator]*relation{}, small: map[key.Key][]byte{}, storedSmall: map[key.Key]bool{}, relMaps: map[pg.OID]map[pg.OID]pg.OID{},
		invalid: map[key.Key]pg.LSN{}, prepared: map[pg.XID][]pg.XID{},
		dirty: DirtySet{}, gen: 1, open: map[pg.XID]*openXact{},
		dropped: map[pg.RelFileLocator]bool{}, changedSmall: map[key.Key]bool{},
	}
	for i := range t.slrus {
		t.slrus[i] = &relation{loc: pg.RelFileLocator{Spc: pg.OID(i)}, kind: key.SLRU}
		t.slrus[i].forks[pg.MainFork].Store(&fork{rel: t.slrus[i], exists: true})
	}
	if o.WAL != nil {
		t.wal = newWALReader(o.WAL, t.reader.cache, t.Major, t.ResumeLSN)
	}
	t.run = &t.runs[0]
	t.layers.Store(newLayerSet(nil))
	t.flusher.init(o)
	return t
}

// Open reads a timeline from the store, as of ResumeLSN. It returns ErrNoTimeline if there is none.
func Open(ctx context.Context, o Options) (*Timeline, error) { return open(ctx, o, (*authority).load) }

// open reads a timeline as the authority has it after it has been loaded.
func open(ctx context.Context, o Options, load func(*authority, context.Context) error) (*Timeline, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	t := newTimeline(o)
	if err := t.load(ctx, load); err != nil {
		return nil, fmt.Errorf("open timeline %s: %w", o.Branch, err)
	}
	return t, nil
}

// updateEnv follows settings of the primary that redo depends on (XLogHintBitIsNeeded).
func (t *Timeline) updateEnv() {
	if hints := t.checksums || t.live.Settings.WALLogHints; hints != t.env.HintsLogged {
		t.env.HintsLogged = hints
		t.noteSettings()
	}
}

// RedoLSN is the end of the last record applied.
func (t *Timeline) RedoLSN() pg.LSN { return t.redoLSN }

// LastRecord is the start of the last record applied, 0 if none has been since the base backup began.
func (t *Timeline) LastRecord() pg.LSN { return t.lastRecord }

// ResumeLSN is where WAL must be read from after the timeline is opened again. It advances with each flush; WAL before it
// is not needed any more.
func (t *Timeline) ResumeLSN() pg.LSN { return pg.LSN(t.resumeLSN.Load()) }

// ConsistentLSN is the end of the base backup. Until RedoLSN has reached it reads are refused with ErrNotConsistent.
func (t *Timeline) ConsistentLSN() pg.LSN { return t.consistent }

// Major is the cluster's version.
func (t *Timeline) Major() pg.Major { return t.major }

// SystemID is the cluster's system identifier.
func (t *Timeline) SystemID() uint64 { return t.systemID }

// WALTimeline is the WAL timeline of the last record applied.
func (t *Timeline) WALTimeline() pg.TimelineID { return t.live.Timeline }

// CheckPoint is the last checkpoint with its counters as they are at RedoLSN.
func (t *Timeline) CheckPoint() xlrec.CheckPoint { return t.live.CheckPoint }

// Cluster is what the WAL says of the cluster apart from pages, as of RedoLSN.
func (t *Timeline) Cluster() cluster.State { return t.live }

// OnCommit has fn called for each commit that is applied, in order, in the goroutine that applies it, with what LastCommit says then.
func (t *Timeline) OnCommit(fn func(lsn pg.LSN, at time.Time)) { t.onCommit = fn }

// LastCommit is the end of the last commit record applied and the time it names, as the primary's clock had it.
func (t *Timeline) LastCommit() (pg.LSN, time.Time) { return t.commitLSN, t.commitTime }

// OpenXIDs is how many transactions and subtransactions that have touched pages have not ended.
func (t *Timeline) OpenXIDs() int { return len(t.open) }

// Close stops background work and waits for it. What has not been flushed is redone from the WAL after the next Open.
func (t *Timeline) Close() error {
	_ = t.Barrier()
	t.workers.stop()
	t.flusher.stop()
	return nil
}

// reached says that the base backup is consistent.
func (t *Timeline) reached() bool { return t.redoLSN >= t.consistent }

// relation finds a relation of the directory, or nil.
func (t *Timeline) relation(loc pg.RelFileLocator) *relation {
	recent := &t.recentRels[loc.Rel%recentRels]
	if *recent != nil && (*recent).loc == loc {
		return *recent
	}
	rel := t.rels[loc]
	if rel != nil {
		*recent = rel
	}
	return rel
}

// recentRels is how many relations are found without asking the directory, which hashes.
const recentRels = 64

// removeRelation takes a relation out of the directory.
func (t *Timeline) removeRelation(rel *relation) {
	rel.gone = true
	delete(t.rels, rel.loc)
	if recent := &t.recentRels[rel.loc.Rel%recentRels]; *recent == rel {
		*recent = nil
	}
}

// recordName is for messages.
func recordName(rec *wal.Record) string {
	return fmt.Sprintf("%s record %#02x", rec.RMID, rec.Info)
}
