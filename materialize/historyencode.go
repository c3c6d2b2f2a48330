package materialize

import (
	"context"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/types"
	"github.com/tarn-db/tarn/materialize/visible"
)

// What _tarn_op says.
const (
	opInsert = "insert"
	opDelete = "delete"
)

// historyEncoder writes rows of a history. It is used by one goroutine.
type historyEncoder struct {
	h        *historyWork
	restated bool // rows are inserted by no transaction
	out      *datafile.Writer
	buf      chunks
	sealed   []lake.File
	removed  []removal
}

// newHistoryEncoder gives what an encoder of a leaf has beside it; nil if the leaf has nothing to tell.
func (w *tableWork) newHistoryEncoder(lp *leafPlan, changesOnly bool) *historyEncoder {
	h := w.history
	if h == nil {
		return nil
	}
	mode, copied := h.modes[lp.Rel]
	if copied && !changesOnly && (mode == copyCompared || mode == copySilent) {
		return nil
	}
	return &historyEncoder{h: h, restated: copied && mode == copyRestated}
}

// columns are the builders of the table's columns in the file under way.
func (x *historyEncoder) columns() ([]*column.Builder, error) {
	if x.out == nil {
		size := x.h.w.e.fileBytes / 4 // it is written beside a data file
		out, err := datafile.NewWriter(datafile.Options{
			Schema: x.h.schema, TargetBytes: size, RowGroupBytes: size / 2, BatchBytes: size / 2, Clamp: x.h.w.plan.policy == types.Clamp, // as the table has it
		}, &x.buf)
		if err != nil {
			return nil, err
		}
		x.out = out
	}
	return x.out.Columns()[len(historyColumns):], nil
}

// end ends a row whose columns have been appended.
func (x *historyEncoder) end(op string, by attribution) error {
	c := x.out.Columns()
	c[0].AppendBytes([]byte(op))
	c[1].AppendInt64(int64(by.lsn))
	if by.xid == 0 {
		c[2].AppendNull()
		c[3].AppendNull()
	} else {
		c[2].AppendInt64(by.time)
		c[3].AppendInt64(int64(by.xid))
	}
	return x.out.EndRow()
}

// seal ends the file under way, if there is one, and has it put.
func (x *historyEncoder) seal(ctx context.Context) error {
	if x == nil || x.out == nil {
		return nil
	}
	file, err := x.out.Close()
	if err != nil {
		return &tableErr{err} // the sink is memory: what failed is of the values
	}
	x.out = nil
	file.Key = objectKey(x.h.w.id.History(), x.h.w.c.at.LSN, "", "changes", ".parquet")
	if err := x.h.w.c.uploads.put(ctx, file.Key, x.buf.take()); err != nil {
		return &storeErr{err}
	}
	x.sealed = append(x.sealed, file)
	return nil
}

func (x *historyEncoder) sealFull(ctx context.Context) error {
	if x.out.Full() {
		return x.seal(ctx)
	}
	return nil
}

// tell adds a tuple to the history.
func (enc *encoder) tell(ctx context.Context, op string, t pg.HeapTuple, by attribution) error {
	cols, err := enc.history.columns()
	if err != nil {
		return err
	}
	if err := enc.desc.Deform(t, enc.values); err != nil {
		return err
	}
	for i := range enc.cols {
		if err := enc.cols[i].codec.Append(&enc.env, enc.values[enc.cols[i].attr], cols[i]); err != nil {
			return err
		}
	}
	if err := enc.history.end(op, by); err != nil {
		return err
	}
	return enc.history.sealFull(ctx)
}

// tellInsert adds a row that came to be in the lake.
func (enc *encoder) tellInsert(ctx context.Context, t pg.HeapTuple) error {
	if enc.history == nil {
		return nil
	}
	by := enc.w.c.unattributed()
	if !enc.history.restated {
		by = enc.w.c.attributed(t.Xmin())
	}
	return enc.tell(ctx, opInsert, t, by)
}

// tellDelete adds a row that left the lake. t is what lies at its TID, nil if nothing does: where it is the row still, it says who
// deleted it and what it was, unless part of it is elsewhere, from where it may be gone.
func (enc *encoder) tellDelete(ctx context.Context, tid pg.TID, t pg.HeapTuple, m *member) error {
	if enc.history == nil {
		return nil
	}
	by := enc.w.c.unattributed()
	if t == nil || !enc.w.same(m, t) {
		for _, xid := range enc.w.e.pages.Deleters(enc.lp.File, tid) {
			if by = enc.w.c.attributed(xid); by.xid != 0 {
				break // whoever deleted what lay there afterwards did so later
			}
		}
		enc.history.removed = append(enc.history.removed, removal{m.file, m.pos, by})
		return nil
	}
	xid, deleted, err := visible.Deleter(t, &enc.xacts)
	if err != nil {
		return err
	}
	if deleted {
		by = enc.w.c.attributed(xid)
	}
	if t.Infomask()&pg.HeapHasExternal != 0 {
		enc.history.removed = append(enc.history.removed, removal{m.file, m.pos, by})
		return nil
	}
	return enc.tell(ctx, opDelete, t, by)
}
