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
	next    cluster.State // what the record makes of Timeline.live
	sets    slru.Sets     // and of Timeline.slruSets
	changes []slru.Change // of SLRU pages
	slru    []frameID     // their pages, pinned
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
	if err := t.Barrier(); err != nil {
		return err
	}
	if rec.LSN < t.redoLSN {
		return &pg.CorruptError{LSN: rec.LSN, What: fmt.Sprintf("record applied again: the timeline is at %s", t.redoLSN)}
	}
	t.settle()
	t.applying = rec.End
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
	t.redoLSN, t.lastRecord = rec.End, rec.LSN
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
	t.run.reset()
	if err := t.touchAll(ctx, rec); err != nil {
		t.rollback()
		return err
	}
	if err := t.redoAll(); err != nil {
		t.failed = t.at(rec, err)
		return err
	}
	t.finishBlocks(rec)
	return nil
}

// redoAll changes the pages touched.
func (t *Timeline) redoAll() error {
	for i := range t.run.touched {
		if err := t.redoOne(&t.run.touched[i], t.reached()); err != nil {
			return err
		}
	}
	return nil
}

// redoOne changes one page and nothing else, and reads nothing that changes meanwhile: pages are redone side by side. reached says
// that the base backup is consistent.
func (t *Timeline) redoOne(tc *touch, reached bool) (err error) {
	page := t.arena.page(tc.id)
	if tc.vm != nil {
		if redo.ApplyVM(page, *tc.vm, tc.rec.End) {
			tc.result = redo.Changed
		}
		return nil
	}
	if tc.result, err = redo.Apply(page, tc.rec, tc.ref, t.env); err != nil {
		return err
	}
	if tc.result == redo.Missing && reached {
		return &pg.CorruptError{LSN: tc.rec.LSN, Rel: tc.ref.Rel, Fork: tc.ref.Fork, Block: tc.ref.Block, What: "the record changes a block that is not there"}
	}
	return nil
}

// finishBlocks keeps the books of a record that has been redone.
func (t *Timeline) finishBlocks(rec *wal.Record) {
	rows := changesRows(rec)
	if rows {
		t.noteDeleter(rec)
	}
	for i := range t.run.touched {
		tc := &t.run.touched[i]
		t.arena.frames[tc.id].state &^= framePinned
		if tc.result == redo.Changed {
			t.noteChanged(tc, rec, rows && (rec.RMID != wal.RMXLog || isHeap(t.arena.page(tc.id))))
			t.copyImage(tc)
		} else {
			t.finishUnchanged(rec, tc)
		}
	}
	for _, rel := range t.run.made {
		t.relationChanged(rel)
	}
	// Last: it takes frames away, the others of this record among them.
	for i := range t.run.touched {
		if tc := &t.run.touched[i]; tc.result == redo.NotRedone && !tc.fork.rel.opaque {
			t.makeOpaque(tc.fork.rel)
		}
	}
}

// noteChanged keeps the books of a page that a record changes. rows says that other rows may be visible on it then.
func (t *Timeline) noteChanged(tc *touch, rec *wal.Record, rows bool) {
	t.stats.pages++
	if tc.ref != nil && tc.ref.HasImage && tc.ref.ApplyImage {
		t.stats.images++
	}
	f := tc.fork
	if tc.blk >= f.size {
		f.size = tc.blk + 1
		t.resized(f)
	}
	t.markDirty(tc.id)
	t.noteRedo(tc, rec)
	if rows && f.num == pg.MainFork {
		t.noteRows(&t.arena.frames[tc.id], rec.XID)
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
