package pageserver

import (
	"context"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// touch is a block the record works on.
type touch struct {
	id     frameID
	fork   *fork
	blk    pg.BlockNumber
	fresh  bool // the frame was brought in for this record
	again  bool // the record has another touch of the page before this one
	rec    *wal.Record
	ref    *wal.BlockRef  // what the record does to it: redo of this reference,
	vm     *redo.VMChange // or this change of a visibility map
	result redo.Result
	image  *[pg.BlockSize]byte // where what the page is then is copied, nil: nowhere
}

// touchAll brings in the pages a record names, and the visibility map pages it means without naming them.
func (t *Timeline) touchAll(ctx context.Context, rec *wal.Record) error {
	s := t.run
	for i := range rec.Blocks {
		if err := t.touchBlock(ctx, rec, &rec.Blocks[i]); err != nil {
			return err
		}
	}
	if rec.RMID == wal.RMHeap || rec.RMID == wal.RMHeap2 {
		n := len(s.vm)
		s.vm = redo.ImplicitVM(rec, s.vm)
		for i := n; i < len(s.vm); i++ {
			if err := t.touchVM(ctx, rec, &s.vm[i]); err != nil {
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
		t.run.made = append(t.run.made, rel)
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
		tc.rec, tc.ref = rec, b
	} else if err == nil { // one block named twice
		t.run.touched = append(t.run.touched, touch{id: tc.id, fork: f, blk: b.Block, again: true, rec: rec, ref: b})
	}
	return err
}

// touchVM brings in a visibility map page. Without such a page there is nothing set that could be cleared.
func (t *Timeline) touchVM(ctx context.Context, rec *wal.Record, c *redo.VMChange) error {
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
		tc.rec, tc.vm = rec, c
	} else if err == nil { // two changes on one page of the map
		t.run.touched = append(t.run.touched, touch{id: tc.id, fork: f, blk: blk, again: true, rec: rec, vm: c})
	}
	return err
}

// touch makes a block's page resident and private to redo. Without load an image will fill the page: what it holds
// does not matter. A block that does not exist gets a page of zeros.
func (t *Timeline) touch(ctx context.Context, f *fork, blk pg.BlockNumber, load bool) (*touch, error) {
	s := t.run
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
	for i := s.from; i < n; i++ {
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
	s := t.run
	for _, tc := range s.touched[s.from:] {
		if tc.fresh {
			t.arena.unlink(tc.id)
		} else {
			t.arena.frames[tc.id].state &^= framePinned
		}
	}
	s.touched = s.touched[:s.from]
	for _, rel := range s.made {
		t.removeRelation(rel)
	}
}
