package materialize

import (
	"context"
	"errors"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
)

// encode runs all ranges of the table.
func (w *tableWork) encode(ctx context.Context) error {
	run, wait := w.sideBySide(ctx)
	sizes := make([]pg.BlockNumber, len(w.copied))
	var total int64
	for i := range w.copied {
		n, _, err := w.e.pages.NBlocks(ctx, w.copied[i].File, pg.MainFork)
		if err != nil {
			return pageError(err)
		}
		sizes[i], total = n, total+int64(n)
	}
	for i, n := range sizes {
		lp := &w.copied[i]
		toasted, err := w.toasted(ctx, lp)
		if err != nil {
			return errors.Join(err, wait())
		}
		step := pg.BlockNumber(w.spread(int(n), int(toasted), w.copyBlocks()))
		for from := pg.BlockNumber(0); from < n; from += step {
			to := min(n, from+step)
			run(func(ctx context.Context) error {
				if err := w.copyRange(ctx, lp, from, to); err != nil {
					return err
				}
				w.progress(int64(to-from), total)
				return nil
			})
		}
	}
	if err := w.compareCopied(ctx, run); err != nil {
		return errors.Join(err, wait())
	}
	for i := range w.keep {
		lp := &w.keep[i]
		blocks, err := w.changedBlocks(ctx, lp)
		if err != nil {
			return errors.Join(err, wait())
		}
		for part := range slices.Chunk(blocks, w.rangeBlocks(lp, len(blocks), w.compact)) {
			run(func(ctx context.Context) error { return w.diffRange(ctx, lp, part, false) })
		}
	}
	return wait()
}

// sideBySide runs ranges of the table side by side, as many at once over all tables as there are slots.
func (w *tableWork) sideBySide(ctx context.Context) (run func(func(context.Context) error), wait func() error) {
	g, gctx := errgroup.WithContext(ctx)
	run = func(fn func(context.Context) error) {
		g.Go(func() error {
			select {
			case w.e.slots <- struct{}{}:
			case <-gctx.Done():
				return gctx.Err()
			}
			defer func() { <-w.e.slots }()
			return fn(gctx)
		})
	}
	return run, g.Wait
}

func (w *tableWork) progress(blocks, total int64) {
	w.mu.Lock()
	w.done += blocks
	done := w.done
	w.mu.Unlock()
	if w.e.opts.Copying != nil {
		w.e.opts.Copying(w.plan.name, done, total)
	}
}

// changedBlocks are the blocks of a kept leaf to examine: dirty ones, and those with rows in files being compacted.
func (w *tableWork) changedBlocks(ctx context.Context, lp *leafPlan) ([]uint32, error) {
	blocks, err := w.blocksOf(ctx, lp, w.compact)
	if d := w.c.dirty[lp.File]; d != nil && err == nil {
		b := roaring.BitmapOf(blocks...)
		b.Or(d)
		blocks = b.ToArray()
	}
	return blocks, err
}

// blocksOf are the blocks, ascending, of a kept leaf that have rows in some of its files.
func (w *tableWork) blocksOf(ctx context.Context, lp *leafPlan, files map[*liveFile]bool) ([]uint32, error) {
	b := roaring.New()
	for f := range w.old.leaves[lp.Rel].in.files {
		if !files[f] {
			continue
		}
		set, err := w.e.sets.get(ctx, f.key)
		if err != nil {
			return nil, err
		}
		set.EachBlock(func(blk pg.BlockNumber) bool { b.Add(uint32(blk)); return true })
	}
	return b.ToArray(), nil
}

// copyRange encodes every visible row of a block range.
func (w *tableWork) copyRange(ctx context.Context, lp *leafPlan, from, to pg.BlockNumber) error {
	enc, err := w.newEncoder(ctx, lp)
	if err != nil {
		return err
	}
	defer enc.close()
	enc.history = w.newHistoryEncoder(lp, false)
	err = w.e.pages.Scan(ctx, lp.File, pg.MainFork, from, to, func(blk pg.BlockNumber, page pg.Page) error {
		return enc.page(ctx, blk, page, nil)
	})
	if err != nil {
		return pageError(err)
	}
	return w.finish(ctx, enc, int64(to-from))
}

// diffRange compares changed blocks with what the lake holds. changesOnly has the rows found for the history, and left alone.
func (w *tableWork) diffRange(ctx context.Context, lp *leafPlan, blocks []uint32, changesOnly bool) error {
	enc, err := w.newEncoder(ctx, lp)
	if err != nil {
		return err
	}
	defer enc.close()
	enc.history, enc.changesOnly = w.newHistoryEncoder(lp, changesOnly), changesOnly
	in := w.old.leaves[lp.Rel].in
	var held []member
	for _, b := range blocks {
		blk := pg.BlockNumber(b)
		if held, err = in.block(ctx, blk, held[:0]); err != nil {
			return err
		}
		page, err := w.e.pages.Page(ctx, lp.File, pg.MainFork, blk)
		if err != nil {
			return pageError(err)
		}
		if err := enc.page(ctx, blk, page, held); err != nil {
			return pageError(err)
		}
	}
	return w.finish(ctx, enc, int64(len(blocks)))
}

// finish makes an encoder's files durable and adds what it found to the table's.
func (w *tableWork) finish(ctx context.Context, enc *encoder, blocks int64) error {
	if err := enc.drain(ctx); err != nil {
		return err
	}
	if err := enc.seal(ctx); err != nil {
		return err
	}
	if err := enc.history.seal(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := enc.history; h != nil {
		w.history.files, w.history.removed = append(w.history.files, h.sealed...), append(w.history.removed, h.removed...)
	}
	if enc.changesOnly {
		return nil
	}
	w.blocks += blocks
	w.rowsIn -= enc.moved
	w.moved += enc.moved
	w.rowsOut += enc.gone
	for i, n := range enc.outOfRange {
		w.beyond[i] += n
	}
	if enc.xmins != nil {
		w.xmins[enc.lp.Rel] = w.xmins[enc.lp.Rel].plus(*enc.xmins)
	}
	for _, s := range enc.sealed {
		w.added[enc.lp.Rel] = append(w.added[enc.lp.Rel], s.live)
		w.files = append(w.files, s.file)
		w.rowsIn += s.live.rows
	}
	for lf, pos := range enc.deleted {
		w.rowsOut += int64(pos.GetCardinality())
		if d := w.deletes[lf]; d != nil {
			d.Or(pos)
		} else {
			w.deletes[lf] = pos
		}
	}
	return nil
}

// pageError marks an error of reading one relation's pages as the table's own, unless the store or the context failed.
func pageError(err error) error {
	var t *tableErr
	if errors.As(err, &t) || !errors.Is(err, pg.ErrCorrupt) && !errors.Is(err, pageserver.ErrOpaque) {
		return err
	}
	return &tableErr{err}
}
