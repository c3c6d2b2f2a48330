package materialize

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/visible"
)

// historyWork is a cut's part of a table's history.
type historyWork struct {
	w      *tableWork
	fresh  bool // it begins, with every row of the table: what was in the lake is not known, or nobody wrote it down
	schema lake.Schema
	modes  map[pg.OID]copyMode // of copied leaves

	// Guarded by tableWork.mu while ranges run.
	files   []lake.File
	removed []removal
}

// copyMode is what the history is told of a leaf that is encoded whole.
type copyMode uint8

const (
	copyInserts  copyMode = iota // each row is inserted, by the transaction that did
	copyRestated                 // what was there is deleted and what is there inserted, by no transaction
	copyCompared                 // what differs, as if the leaf had been kept
	copySilent                   // nothing: the rows are those that were there
)

// removal is a row that left the lake and whose values are in the lake only.
type removal struct {
	file *liveFile
	pos  uint32
	by   attribution
}

// beginHistory decides what the history is told of leaves that are copied.
func (w *tableWork) beginHistory(ctx context.Context) error {
	if !w.plan.history.wanted {
		return nil
	}
	h := &historyWork{w: w, schema: historySchema(w.plan.cols.schema), modes: map[pg.OID]copyMode{}}
	w.history = h
	h.fresh = w.old == nil || w.c.historyBegins(w.old)
	if h.fresh {
		return nil
	}
	restated := w.rewrite && w.revalued()
	for i := range w.copied {
		lp := &w.copied[i]
		l := w.old.leaves[lp.Rel]
		switch {
		case l == nil:
		case restated || !l.state.sameAttrs(&lp.leafState, w.old.state.Columns, w.plan.cols.states):
			h.modes[lp.Rel] = copyRestated
		case l.state.leafFile == lp.leafFile:
			h.modes[lp.Rel] = copyCompared
		default:
			same, err := w.samePages(ctx, lp, l)
			if err != nil {
				return err
			}
			if h.modes[lp.Rel] = copyRestated; same {
				h.modes[lp.Rel] = copySilent
			}
		}
	}
	return nil
}

// historyBegins says whether a table's history begins, or begins anew: nobody knows what it lacks, or it has changes that the source
// has taken back.
func (c *cut) historyBegins(t *table) bool {
	return t.history == nil || t.history.damaged || t.unknown || c.at.Rewind && t.history.lsn > c.at.LSN
}

// revalued says whether rows that stay may have other values than they had: the lake's, not Postgres's.
func (w *tableWork) revalued() bool {
	st := &w.old.state
	if st.Encoders != encodersVersion || w.plan.policy != st.Policy && len(st.OutOfRange) > 0 {
		return true
	}
	had := map[int16]*columnState{}
	for i := range st.Columns {
		had[st.Columns[i].Num] = &st.Columns[i]
	}
	left := published{left: st.LeftOut}
	return slices.ContainsFunc(w.plan.cols.states, func(c columnState) bool {
		p := had[c.Num]
		return compare(p, &c, len(had) > 0) == reencode || p == nil && left.leftOut(c.Num)
	})
}

// samePages says whether the rows of a leaf's new file are those that the lake has of the former one (see xminSum).
func (w *tableWork) samePages(ctx context.Context, lp *leafPlan, l *leaf) (bool, error) {
	had, err := l.in.xmins(ctx)
	if err != nil {
		return false, err
	}
	n, _, err := w.e.pages.NBlocks(ctx, lp.File, pg.MainFork)
	if err != nil {
		return false, pageError(err)
	}
	var have xminSum
	xacts := cachedTransactions{Transactions: w.e.pages}
	err = w.e.pages.Scan(ctx, lp.File, pg.MainFork, 0, n, func(_ pg.BlockNumber, page pg.Page) error {
		items, err := page.HeapItems()
		for off := pg.OffsetNumber(1); err == nil && int(off) <= items; off++ {
			var t pg.HeapTuple
			var ok bool
			if t, ok, err = page.HeapTuple(off); ok && err == nil {
				if ok, err = visible.Tuple(t, &xacts); ok && err == nil {
					have.add(t.Xmin())
				}
			}
		}
		return err
	})
	return had.equal(have), pageError(err)
}

// compareCopied finds what changed in copied leaves whose rows are compared.
func (w *tableWork) compareCopied(ctx context.Context, run func(func(context.Context) error)) error {
	for i := range w.copied {
		lp := &w.copied[i]
		if w.history == nil || w.history.fresh || w.history.modes[lp.Rel] != copyCompared {
			continue
		}
		n, _, err := w.e.pages.NBlocks(ctx, lp.File, pg.MainFork)
		if err != nil {
			return pageError(err)
		}
		for f := range w.old.leaves[lp.Rel].in.files {
			n = max(n, f.hi+1)
		}
		for from := pg.BlockNumber(0); from < n; from += copyBlocks {
			blocks := make([]uint32, min(n-from, copyBlocks))
			for i := range blocks {
				blocks[i] = uint32(from) + uint32(i)
			}
			run(func(ctx context.Context) error { return w.diffRange(ctx, lp, blocks, true) })
		}
	}
	return nil
}

// finishHistory adds what left the lake and whose values are in the lake only.
func (w *tableWork) finishHistory(ctx context.Context) error {
	h := w.history
	if h == nil || h.fresh {
		return nil
	}
	select {
	case w.e.slots <- struct{}{}: // it takes the memory of a range
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-w.e.slots }()
	x := &historyEncoder{h: h}
	err := x.allRemovals(ctx)
	if errors.Is(err, datafile.ErrShape) && len(w.keep) == 0 {
		h.fresh = true // every row there is has been told as inserted: it begins anew with these
		return nil
	}
	if err != nil {
		return err
	}
	if err := x.seal(ctx); err != nil {
		return err
	}
	h.files = append(h.files, x.sealed...)
	return nil
}

// allRemovals adds what ranges have found, and the rows of leaves that are no more.
func (x *historyEncoder) allRemovals(ctx context.Context) error {
	h := x.h
	slices.SortFunc(h.removed, func(a, b removal) int { return cmp.Or(cmp.Compare(a.file.key, b.file.key), cmp.Compare(a.pos, b.pos)) })
	for rows := h.removed; len(rows) > 0; {
		n := slices.IndexFunc(rows, func(r removal) bool { return r.file != rows[0].file })
		if n < 0 {
			n = len(rows)
		}
		positions := make([]uint32, n)
		for i := range positions {
			positions[i] = rows[i].pos
		}
		if err := x.removals(ctx, rows[0].file, positions, func(i int) attribution { return rows[i].by }); err != nil {
			return err
		}
		rows = rows[n:]
	}
	for _, l := range h.w.gone {
		if mode, copied := h.modes[l.state.Rel]; copied && (mode == copyCompared || mode == copySilent) {
			continue
		}
		for f := range l.in.files {
			live := roaring.New()
			live.AddRange(0, uint64(f.rows))
			live.AndNot(f.deleted)
			if err := x.removals(ctx, f, live.ToArray(), func(int) attribution { return h.w.c.unattributed() }); err != nil {
				return err
			}
		}
	}
	return nil
}

// removals adds rows of one data file. Those of a file are in one file, which is then not much larger.
func (x *historyEncoder) removals(ctx context.Context, f *liveFile, positions []uint32, by func(i int) attribution) error {
	if len(positions) == 0 {
		return nil
	}
	r, err := x.h.w.e.openRows(ctx, f.key, f.bytes)
	if err != nil {
		return err
	}
	cols, err := x.columns()
	if err != nil {
		return err
	}
	if err := r.Copy(positions, cols, historyShift, func(i int) error { return x.end(opDelete, by(i)) }); err != nil {
		return pageError(err)
	}
	return x.sealFull(ctx)
}

// historyResult is what a cut does to the history, nil if nothing, and the history as it is then.
func (w *tableWork) historyResult() (*lake.TableChange, *history) {
	var old *history
	if w.old != nil {
		old = w.old.history
	}
	h := w.history
	if h == nil {
		if w.plan.history.err != "" {
			return nil, old
		}
		return old.dropped(), nil
	}
	now := &history{id: w.id.History(), uuid: newUUID(), name: w.plan.history.name, schema: h.schema, lsn: w.c.at.LSN}
	ch := &lake.TableChange{
		ID: now.id, Name: now.name, Create: old == nil, ReplaceAll: old != nil && h.fresh, Schema: h.schema, Format: lake.FormatV2, AddData: h.files, State: historyState(),
	}
	if old != nil {
		if now.uuid = old.uuid; !h.fresh {
			now.files = slices.Clone(old.files)
			if len(h.files) == 0 && old.name == now.name && old.schema.Equal(h.schema) {
				return nil, old
			}
		}
	}
	ch.UUID = now.uuid
	for _, f := range h.files {
		now.files = append(now.files, historyFile{key: f.Key, rows: f.Rows, bytes: f.Bytes})
	}
	return ch, now
}
