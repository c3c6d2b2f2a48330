package materialize

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Copy-on-write: a table that has data files alone, for readers that cannot merge deletes into them. A data file that loses rows is
// written again without them in the same publication. What stays is taken from pages, as in a compaction: their rows have not
// changed since the file was written, or the comparison would have found them.
//
// Invariant: no file of a table in this mode has deleted rows. Those of a table that comes to the mode are written again by the
// publication that says so.

// What ends data files of a table in copy-on-write mode, whichever comes first: a row that changes costs up to so much again.
//
// Invariant: overwriteFileRows is not less than smallFileRows; else files that are whole would be compacted, for ever.
const (
	overwriteFileBytes = 8 << 20
	overwriteFileRows  = 2 * smallFileRows
)

// full says that the data file under way is to be ended.
func (enc *encoder) full() bool {
	return enc.out.Full() || enc.w.plan.format.CopyOnWrite && enc.out.Rows() >= overwriteFileRows
}

// pickDeleted has files with deleted rows written again: those of before the table came to be in copy-on-write mode.
func (w *tableWork) pickDeleted(l *leaf) {
	for f := range l.in.files {
		if !f.deleted.IsEmpty() && !w.compact[f] {
			w.rewriteFile(f)
		}
	}
}

// overwrite writes the files that this cut deleted rows from again, and takes them out.
func (w *tableWork) overwrite(ctx context.Context) error {
	for f, pos := range w.deletes {
		w.removeData = append(w.removeData, f)
		if int64(pos.GetCardinality()) < f.rows {
			w.overwritten[f] = true
		}
	}
	compacted := w.moved
	if len(w.overwritten) > 0 {
		run, wait := w.sideBySide(ctx)
		for i := range w.keep {
			lp := &w.keep[i]
			blocks, err := w.blocksOf(ctx, lp, w.overwritten)
			if err != nil {
				return errors.Join(err, wait())
			}
			for part := range slices.Chunk(blocks, w.rangeBlocks(lp, len(blocks), w.overwritten)) {
				run(func(ctx context.Context) error { return w.carryRange(ctx, lp, part) })
			}
		}
		if err := wait(); err != nil {
			return err
		}
	}
	w.moved, w.carried, w.deletes = compacted, w.moved-compacted, map[*liveFile]*roaring.Bitmap{}
	return nil
}

// carryRange writes the rows of some blocks again that files being overwritten keep.
func (w *tableWork) carryRange(ctx context.Context, lp *leafPlan, blocks []uint32) error {
	enc, err := w.newEncoder(ctx, lp)
	if err != nil {
		return err
	}
	defer enc.close()
	in := w.old.leaves[lp.Rel].in
	var held []member
	for _, b := range blocks {
		blk := pg.BlockNumber(b)
		if held, err = in.block(ctx, blk, held[:0]); err != nil {
			return err
		}
		held = slices.DeleteFunc(held, func(m member) bool {
			return !w.overwritten[m.file] || w.deletes[m.file].Contains(m.pos) && !w.e.faults.carryDeleted
		})
		if len(held) == 0 {
			continue
		}
		page, err := w.e.pages.Page(ctx, lp.File, pg.MainFork, blk)
		if err != nil {
			return pageError(err)
		}
		if err := enc.carry(ctx, blk, page, held); err != nil {
			return pageError(err)
		}
	}
	return w.finish(ctx, enc, 0)
}

// carry writes the rows held of one block again.
func (enc *encoder) carry(ctx context.Context, blk pg.BlockNumber, page pg.Page, held []member) error {
	n, err := page.HeapItems()
	if err != nil {
		return &tableErr{fmt.Errorf("block %d of %s: %w", blk, enc.lp.File, err)}
	}
	for i := range held {
		m := &held[i]
		if int(m.off) > n {
			return enc.corrupt(blk, m.off, errNotCarried)
		}
		t, ok, err := page.HeapTuple(m.off)
		switch {
		case err != nil:
			return enc.corrupt(blk, m.off, err)
		case !ok || !enc.w.same(m, t):
			return enc.corrupt(blk, m.off, errNotCarried)
		}
		enc.moved++
		if err := enc.add(ctx, pg.TID{Block: blk, Offset: m.off}, t, m); err != nil {
			return enc.corrupt(blk, m.off, err)
		}
	}
	return nil
}

// errNotCarried is a row of the lake that went from a block which nothing changed.
var errNotCarried = pg.Corruptf("the lake has a row here that its page no longer has, and nothing in the WAL took it away")

// writeModes are the table properties (Iceberg, "Write properties") that tell engines how the table is written.
func writeModes(copyOnWrite bool) map[string]string {
	mode := "merge-on-read"
	if copyOnWrite {
		mode = "copy-on-write"
	}
	return map[string]string{lake.DeleteMode: mode, lake.UpdateMode: mode, lake.MergeMode: mode}
}
