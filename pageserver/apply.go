package pageserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/cluster"
	"github.com/tarn-db/tarn/pageserver/redo"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// applyState is scratch for the record being applied.
type applyState struct {
	touched []touch
	vm      []redo.VMChange
	made    []*relation // relations the record has brought into being

	next    cluster.State // what the record makes of Timeline.live
	sets    slru.Sets     // and of Timeline.slruSets
	changes []slru.Change // of SLRU pages
	slru    []frameID     // their pages, pinned
}

// touch is a block the record works on.
type touch struct {
	id     frameID
	fork   *fork
	blk    pg.BlockNumber
	fresh  bool           // the frame was brought in for this record
	ref    *wal.BlockRef  // what the record does to it: redo of this reference,
	vm     *redo.VMChange // or this change of a visibility map
	result redo.Result
}

// Apply brings the timeline over one record. Records come in order, from ResumeLSN after Open. After an error RedoLSN
// still says where the last good record ended:
//   - a *pg.CorruptError, ErrWALMinimal: the record cannot be applied, now or later. If it had begun to change pages the
//     timeline is over: every later call says so, and nothing more is made durable;
//   - ErrTornCopy: the base backup cannot be made good, and the timeline is over likewise;
//   - anything else: the store could not be read or written; nothing has changed, and the same record may be applied again.
//
// Apply waits when all page memory holds changes that a flush has yet to make durable.
func (t *Timeline) Apply(ctx context.Context, rec *wal.Record) error {
	if t.failed != nil {
		return t.failed
	}
	if rec.LSN < t.redoLSN {
		return &pg.CorruptError{LSN: rec.LSN, What: fmt.Sprintf("record applied again: the timeline is at %s", t.redoLSN)}
	}
	t.settle()
	if t.memo.Load() != nil {
		t.memo.Store(nil)
	}
	follows := cluster.Follows(rec)
	if follows {
		if err := t.follow(rec); err != nil {
			return t.refuse(rec, err)
		}
	}
	if err := t.makeRoom(ctx, recordRoom+2*len(rec.Blocks)+t.slruRoom()); err != nil {
		return err
	}
	if !t.inherited.empty() && t.reached() {
		if err := t.findInherited(ctx); err != nil {
			return err
		}
		t.memo.Store(nil) // it has read the commit log
	}
	if !t.reached() {
		if err := t.noteCopies(rec); err != nil {
			return t.at(rec, &pg.CorruptError{What: err.Error()})
		}
	}
	err := t.touchSLRUs(ctx)
	if err == nil {
		err = t.applyOther(ctx, rec)
	}
	if err == nil && len(rec.Blocks) > 0 {
		err = t.applyBlocks(ctx, rec)
	}
	if err != nil {
		t.rollbackSLRUs()
		return t.refuse(rec, err)
	}
	if follows {
		t.finishSLRUs()
		t.live = t.apply.next
		t.updateEnv()
	} else {
		t.live.NoteXID(rec.XID)
	}
	t.redoLSN = rec.End
	t.stats.record(rec)
	if len(t.invalid)+len(t.copies) > 0 && t.reached() {
		return t.endBackup(rec)
	}
	return nil
}

// follow computes what the record makes of the cluster's state and SLRUs. Nothing changes yet.
func (t *Timeline) follow(rec *wal.Record) (err error) {
	s := &t.apply
	s.next = t.live
	s.changes, err = s.next.Follow(rec, &t.slruSets, s.changes[:0])
	return err
}

// refuse is Apply's error for a record that cannot be applied. Of a torn copy, what goes wrong comes of that.
func (t *Timeline) refuse(rec *wal.Record, err error) error {
	t.apply.changes = t.apply.changes[:0]
	if errors.Is(err, pg.ErrCorrupt) {
		if torn := t.torn(); torn != nil {
			return torn
		}
	}
	return t.at(rec, err)
}

// at adds the record to an error.
func (t *Timeline) at(rec *wal.Record, err error) error {
	var c *pg.CorruptError
	if errors.As(err, &c) && c.LSN == 0 {
		c.LSN = rec.LSN
	}
	return fmt.Errorf("apply %s at %s: %w", recordName(rec), rec.LSN, err)
}

// applyOther follows the managers whose records are not about the blocks they name, most of which name none, as far as
// follow does not. Every manager is in one of the two or has its pages redone.
func (t *Timeline) applyOther(ctx context.Context, rec *wal.Record) error {
	switch rec.RMID {
	case wal.RMXLog:
		t.applyXLog(rec)
	case wal.RMXact:
		return t.applyXact(rec)
	case wal.RMSmgr:
		return t.applySmgr(ctx, rec)
	case wal.RMRelMap:
		return t.applyRelMap(rec)
	case wal.RMDbase:
		return t.applyDbase(ctx, rec)
	case wal.RMStandby:
		return t.applyStandby(rec)
	}
	return nil
}

// applyBlocks redoes a record's blocks: first it brings in every page, which the store may refuse and which changes
// nothing, then it changes them.
//
// Keeping what pages were, to take a bad record back, would cost a copy of each page for each record. A record that turns
// out bad when a page may have changed ends the timeline instead; its pages are never flushed, so a restart finds it
// as it was.
func (t *Timeline) applyBlocks(ctx context.Context, rec *wal.Record) error {
	s := &t.apply
	s.touched, s.made, s.vm = s.touched[:0], s.made[:0], s.vm[:0]
	if err := t.touchAll(ctx, rec); err != nil {
		t.rollback()
		return err
	}
	if err := t.redoAll(rec); err != nil {
		t.failed = t.at(rec, err)
		return err
	}
	t.finishBlocks(rec)
	return nil
}

// touchAll brings in the pages a record names, and the visibility map pages it means without naming them.
func (t *Timeline) touchAll(ctx context.Context, rec *wal.Record) error {
	s := &t.apply
	for i := range rec.Blocks {
		if err := t.touchBlock(ctx, rec, &rec.Blocks[i]); err != nil {
			return err
		}
	}
	if rec.RMID == wal.RMHeap || rec.RMID == wal.RMHeap2 {
		s.vm = redo.ImplicitVM(rec, s.vm)
		for i := range s.vm {
			if err := t.touchVM(ctx, &s.vm[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Timeline) touchBlock(ctx context.Context, rec *wal.Record, b *wal.BlockRef) error {
	if b.Fork == pg.FSMFork && !(b.HasImage && b.ApplyImage) {
		return nil // a free space map is in the WAL as images only
	}
	if b.Fork > pg.InitFork || b.Block == pg.InvalidBlock {
		return &pg.CorruptError{LSN: rec.LSN, Rel: b.Rel, Fork: b.Fork, Block: b.Block, What: "no such block can be"}
	}
	rel := t.relation(b.Rel)
	if rel == nil {
		rel = t.makeRelation(b.Rel, rec.End)
		t.apply.made = append(t.apply.made, rel)
	}
	if rel.opaque {
		return nil
	}
	f, err := t.fork(ctx, rel, b.Fork)
	if err != nil {
		return err
	}
	tc, err := t.touch(ctx, f, b.Block, !(b.HasImage && b.ApplyImage))
	if err == nil && tc.ref == nil {
		tc.ref = b
	} else if err == nil { // one block named twice
		t.apply.touched = append(t.apply.touched, touch{id: tc.id, fork: f, blk: b.Block, ref: b})
	}
	return err
}

// touchVM brings in a visibility map page. Without such a page there is nothing set that could be cleared.
func (t *Timeline) touchVM(ctx context.Context, c *redo.VMChange) error {
	rel := t.relation(c.Rel)
	if rel == nil || rel.opaque {
		return nil
	}
	f, err := t.fork(ctx, rel, pg.VMFork)
	if err != nil {
		return err
	}
	blk := redo.VMBlock(c.HeapBlock)
	if blk >= f.size {
		return nil
	}
	tc, err := t.touch(ctx, f, blk, true)
	if err == nil && tc.ref == nil && tc.vm == nil {
		tc.vm = c
	} else if err == nil { // two changes on one page of the map
		t.apply.touched = append(t.apply.touched, touch{id: tc.id, fork: f, blk: blk, vm: c})
	}
	return err
}

// redoAll changes the pages touched.
func (t *Timeline) redoAll(rec *wal.Record) error {
	for i := range t.apply.touched {
		tc := &t.apply.touched[i]
		page := t.arena.page(tc.id)
		if tc.vm != nil {
			if redo.ApplyVM(page, *tc.vm, rec.End) {
				tc.result = redo.Changed
			}
			continue
		}
		var err error
		if tc.result, err = redo.Apply(page, rec, tc.ref, t.env); err != nil {
			return err
		}
		if tc.result == redo.Missing && t.reached() {
			return &pg.CorruptError{LSN: rec.LSN, Rel: tc.ref.Rel, Fork: tc.ref.Fork, Block: tc.ref.Block, What: "the record changes a block that is not there"}
		}
		if tc.ref.HasImage && tc.ref.ApplyImage {
			t.stats.images++
		}
	}
	return nil
}

// touch makes a block's page resident and private to redo. Without load an image will fill the page: what it holds
// does not matter. A block that does not exist gets a page of zeros.
func (t *Timeline) touch(ctx context.Context, f *fork, blk pg.BlockNumber, load bool) (*touch, error) {
	s := &t.apply
	tc := touch{fork: f, blk: blk, result: redo.Skipped}
	if tc.id = f.frame(blk); tc.id == 0 {
		tc.fresh = true
		tc.id = t.arena.alloc(f, blk)
		s.touched = append(s.touched, tc) // so that rollback finds it
		page := t.arena.page(tc.id)
		if load && blk < f.size {
			if err := t.loadPage(ctx, f, blk, page); err != nil {
				return nil, err
			}
		} else if load {
			clear(page)
		}
		return &s.touched[len(s.touched)-1], nil
	}
	tc.id = t.own(tc.id)
	n := len(s.touched)
	for i := range s.touched {
		if s.touched[i].id == tc.id {
			return &s.touched[i], nil // one block named twice
		}
	}
	t.arena.frames[tc.id].state |= frameUsed | framePinned
	s.touched = append(s.touched, tc)
	return &s.touched[n], nil
}

// own gives redo a frame it may write to: itself, or a copy if the flush under way has yet to read it.
func (t *Timeline) own(id frameID) frameID {
	a := t.arena
	fr := &a.frames[id]
	if fr.state&frameFlushing == 0 || t.flush.passed(fr.flushPos) {
		return id
	}
	old := *fr
	fr.fork = nil // an orphan from here on; not evicted, for it is flushing
	if fr.state&frameDirty != 0 {
		panic("BUG: a frame the flush has yet to read was written to")
	}
	fresh := a.alloc(old.fork, old.blk)
	a.frames[fresh].lastXID, a.frames[fresh].gen = old.lastXID, old.gen
	copy(a.page(fresh), a.page(id))
	// Its content is in no layer until the flush has succeeded.
	t.markDirty(fresh)
	return fresh
}

func (t *Timeline) markDirty(id frameID) {
	fr := &t.arena.frames[id]
	if fr.state&frameDirty == 0 {
		fr.state |= frameDirty
		t.arena.dirty++
		t.dirtyFrames = append(t.dirtyFrames, id)
	}
}

// rollback lets go of what was brought in for a record that could not be begun.
func (t *Timeline) rollback() {
	s := &t.apply
	for i := range s.touched {
		tc := &s.touched[i]
		if tc.fresh {
			t.arena.unlink(tc.id)
			continue
		}
		t.arena.frames[tc.id].state &^= framePinned
	}
	for _, rel := range s.made {
		t.removeRelation(rel)
	}
}

// finishBlocks keeps the books of a record that has been redone.
func (t *Timeline) finishBlocks(rec *wal.Record) {
	rows := changesRows(rec)
	for i := range t.apply.touched {
		tc := &t.apply.touched[i]
		fr := &t.arena.frames[tc.id]
		fr.state &^= framePinned
		if tc.result != redo.Changed {
			t.finishUnchanged(rec, tc)
			continue
		}
		t.stats.pages++
		f := tc.fork
		if tc.blk >= f.size {
			f.size = tc.blk + 1
			t.resized(f)
		}
		t.markDirty(tc.id)
		if rows && f.num == pg.MainFork && (rec.RMID != wal.RMXLog || isHeap(t.arena.page(tc.id))) {
			t.noteRows(fr, rec.XID)
		}
	}
	for _, rel := range t.apply.made {
		t.relationChanged(rel)
	}
	// Last: it takes frames away, the others of this record among them.
	for i := range t.apply.touched {
		if tc := &t.apply.touched[i]; tc.result == redo.NotRedone && !tc.fork.rel.opaque {
			t.makeOpaque(tc.fork.rel)
		}
	}
}

func (t *Timeline) finishUnchanged(rec *wal.Record, tc *touch) {
	if tc.result == redo.Missing {
		if k := tc.fork.key(tc.blk); t.invalid[k] == 0 {
			t.invalid[k] = rec.LSN
		}
	}
	// A page that does not exist has no frame.
	if tc.fresh && tc.blk >= tc.fork.size {
		t.arena.unlink(tc.id)
	}
}
