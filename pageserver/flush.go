package pageserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/delta"
	"github.com/tarn-db/tarn/pageserver/key"
)

const (
	// recordRoom is how many pages must be to be had before a record is applied besides those it names: visibility maps,
	// copies on write, the last pages of forks that are cut.
	recordRoom = 256
	// flushPause is the wait before redo begins a flush by itself after one has failed.
	flushPause = 2 * time.Second
	// flushPauseMax bounds the wait between attempts when memory is full and the store fails.
	flushPauseMax = 5 * time.Second
	// removeGrace is how long an object that the index no longer names stays: a read may still be at it.
	removeGrace = 10 * time.Minute
	// orphanAge is the age from which an object that no index names is taken for a dead process's.
	orphanAge = time.Hour
)

// flusher is the background half of a timeline.
type flusher struct {
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	log     *slog.Logger
	now     func() time.Time // for the times of points

	mu        sync.Mutex // held while the index is replaced; guards what follows
	authority authority
	leases    leases
	removable []removable // objects the index no longer names
	swept     bool

	merging   atomic.Bool
	lastError atomic.Pointer[error] // of the last flush or merge; nil after a success
}

type removable struct {
	name  string
	after time.Time
}

func (f *flusher) init(o Options) {
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.log, f.now = o.Logger, time.Now
	f.leases.length, f.leases.opened, f.leases.until = o.LeaseTime, f.now(), map[pg.LSN]time.Time{}
	f.authority = authority{store: o.Store, object: o.prefix() + indexName}
}

func (f *flusher) stop() {
	f.cancel()
	f.running.Wait()
	f.mu.Lock() // whoever replaces the index is through with it: another process, or this one, may open the timeline now
	defer f.mu.Unlock()
}

// flushEntry is one value to write: a frame's page, or value if id is 0.
type flushEntry struct {
	key   key.Key
	id    frameID
	value []byte
}

// flushJob makes one barrier's state durable.
type flushJob struct {
	lsn     pg.LSN
	haste   bool         // redo would otherwise wait for it: its layer is compressed fast, and well when it is merged
	entries []flushEntry // in key order
	state   *savedState
	deltas  *delta.Log     // what leads from the flush before to lsn; nil if no history is kept
	clones  []*layerObject // layers that are in the store and not yet in the index
	alive   directory      // what a merge after this flush may keep

	sizes   []*fork // what was queued, to be queued again if it fails
	rels    []*relation
	small   []key.Key
	dropped []pg.RelFileLocator

	written atomic.Uint32 // entries whose frames need not be kept as they are
	done    chan struct{}
	err     error // once done is closed
}

// passed says that the flush does not need the frame at that position any more.
func (j *flushJob) passed(pos uint32) bool { return j.written.Load() > pos }

// roomy says that makeRoom has nothing to do.
func (t *Timeline) roomy(need int) bool {
	return !t.wantsFlush() && t.arena.available() >= need && !t.deltasFull()
}

// wantsFlush says that it is time for a flush.
func (t *Timeline) wantsFlush() bool {
	return t.arena.dirty > t.arena.limit*2/5 || t.deltas != nil && t.deltas.Bytes() > t.opts.deltaBytes()
}

// makeRoom sees to it that a record's pages can be brought in, flushing early and waiting for it at last.
func (t *Timeline) makeRoom(ctx context.Context, need int) error {
	t.integrate()
	if need > t.arena.limit {
		return fmt.Errorf("a record needs %d pages at once and memory is for %d: give it more", need, t.arena.limit)
	}
	if t.flush == nil && t.wantsFlush() && time.Now().After(t.flushRetry) {
		t.startFlush(true)
	}
	pause := 50 * time.Millisecond
	for t.arena.available() < need || t.deltasFull() {
		if t.flush == nil {
			t.startFlush(true)
		}
		t.stats.stalls++
		err := t.waitFlush(ctx)
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case t.flusher.ctx.Err() != nil || errors.Is(err, ErrFenced):
			return err
		}
		t.flusher.log.Warn("page memory is full and the store cannot be written; redo waits", "error", err)
		select {
		case <-time.After(pause):
			pause = min(2*pause, flushPauseMax)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// waitFlush waits for the flush under way and takes its result in.
func (t *Timeline) waitFlush(ctx context.Context) error {
	job := t.flush
	select {
	case <-job.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	t.integrate()
	return job.err
}

// StartFlush begins to make everything up to RedoLSN durable, at a barrier, and returns a function that waits for it.
// Redo may go on meanwhile. When wait returns nil, ResumeLSN is at least what RedoLSN was. If a flush is under way it is
// waited for first.
func (t *Timeline) StartFlush(ctx context.Context) (wait func() error) {
	if err := t.Barrier(); err != nil {
		return func() error { return err }
	}
	t.settle()
	for t.flush != nil {
		if err := t.waitFlush(ctx); ctx.Err() != nil {
			return func() error { return err }
		}
	}
	if t.ResumeLSN() == t.redoLSN {
		return func() error { return nil }
	}
	job := t.startFlush(false)
	return func() error {
		select {
		case <-job.done:
			return job.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Flushing says that a flush is under way.
func (t *Timeline) Flushing() bool {
	t.integrate()
	return t.flush != nil
}

// startFlush collects what has changed since the last flush began and writes it in the background; in haste if redo is short of memory.
func (t *Timeline) startFlush(haste bool) *flushJob {
	j := &flushJob{lsn: t.redoLSN, haste: haste, state: t.snapshot(), alive: t.directory(), done: make(chan struct{})}
	t.collectFrames(j)
	t.collectValues(j)
	j.deltas = t.deltas
	t.beginDeltas()
	slices.SortFunc(j.entries, func(a, b flushEntry) int { return a.key.Compare(b.key) })
	for i := range j.entries {
		if id := j.entries[i].id; id != 0 {
			t.arena.frames[id].flushPos = uint32(i)
		}
	}
	t.layerMu.Lock()
	j.clones = slices.Clone(t.pending)
	t.layerMu.Unlock()
	t.flush = j
	t.flusher.running.Go(func() {
		j.err = t.write(t.flusher.ctx, j)
		t.flusher.note(j.err)
		close(j.done)
	})
	return j
}

func (f *flusher) note(err error) {
	if err != nil {
		f.lastError.Store(&err)
	} else {
		f.lastError.Store(nil)
	}
}

func (t *Timeline) collectFrames(j *flushJob) {
	for _, id := range t.dirtyFrames {
		fr := &t.arena.frames[id]
		if fr.state&frameDirty == 0 {
			continue // taken away, or listed twice
		}
		fr.state = fr.state&^frameDirty | frameFlushing
		fr.noted, fr.chain = 0, 0
		t.arena.dirty--
		t.arena.busy++
		j.entries = append(j.entries, flushEntry{key: fr.fork.key(fr.blk), id: id})
	}
	t.dirtyFrames = t.dirtyFrames[:0]
}

// collectValues encodes what is not pages. A value may be newer than a former one in a lower layer, never the other way
// round, so writing one that has not changed is harmless.
func (t *Timeline) collectValues(j *flushJob) {
	for _, f := range t.changedSizes {
		f.queued = false
		if !f.rel.gone {
			j.sizes = append(j.sizes, f)
			j.entries = append(j.entries, flushEntry{key: f.key(key.SizeBlock), value: binary.LittleEndian.AppendUint32(nil, uint32(f.size))})
		}
	}
	for _, rel := range t.changedRels {
		rel.queued = false
		if !rel.gone {
			j.rels = append(j.rels, rel)
			entry := rel.entry()
			j.entries = append(j.entries, flushEntry{key: key.OfRelation(rel.loc), value: entry.encode()})
		}
	}
	for loc := range t.dropped {
		j.dropped = append(j.dropped, loc)
		if t.rels[loc] == nil {
			j.entries = append(j.entries, flushEntry{key: key.OfRelation(loc)})
		}
	}
	for k := range t.changedSmall {
		j.small = append(j.small, k)
		if t.small[k] != nil {
			t.storedSmall[k] = true
		} else {
			delete(t.storedSmall, k)
		}
		j.entries = append(j.entries, flushEntry{key: k, value: t.small[k]})
	}
	t.changedSizes, t.changedRels = t.changedSizes[:0], t.changedRels[:0]
	clear(t.dropped)
	clear(t.changedSmall)
}

// integrate takes in the result of a flush that has ended.
func (t *Timeline) integrate() {
	j := t.flush
	if j == nil {
		return
	}
	select {
	case <-j.done:
	default:
		return
	}
	t.flush = nil
	for i := range j.entries {
		id := j.entries[i].id
		if id == 0 {
			continue
		}
		fr := &t.arena.frames[id]
		fr.state &^= frameFlushing
		t.arena.busy--
		if fr.fork == nil {
			t.arena.free = append(t.arena.free, id)
		} else if j.err != nil {
			t.markDirty(id)
		}
	}
	if j.err == nil {
		t.stats.flushes++
		return
	}
	for _, f := range j.sizes {
		if !f.rel.gone {
			t.queueSize(f)
		}
	}
	for _, rel := range j.rels {
		if !rel.gone {
			t.queueRelation(rel)
		}
	}
	for _, loc := range j.dropped {
		t.dropped[loc] = true
	}
	for _, k := range j.small {
		t.changedSmall[k] = true
	}
	t.returnDeltas(j.deltas)
	t.flushRetry = time.Now().Add(flushPause)
	t.flusher.log.Warn("pages could not be made durable; trying again with the next flush", "lsn", j.lsn, "error", j.err)
}
