package materialize

import (
	"context"
	"errors"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tidset"
	"github.com/tarn-db/tarn/materialize/toast"
	"github.com/tarn-db/tarn/materialize/tuple"
	"github.com/tarn-db/tarn/materialize/types"
	"github.com/tarn-db/tarn/materialize/visible"
)

// encoder compares blocks of one relation with what the lake holds of them and gathers what is new in data files, in TID
// order. It is used by one goroutine.
type encoder struct {
	w      *tableWork
	lp     *leafPlan
	desc   *tuple.Desc
	values []tuple.Datum
	cols   []encoderColumn
	env    types.Env

	out     *datafile.Writer // nil until the first row of a file
	buf     chunks
	tids    *tidset.Builder
	xacts   cachedTransactions
	xmins   *xminSum // of rows written; nil if nobody asks
	deleted map[*liveFile]*roaring.Bitmap
	moved   int64 // rows of compacted files that were written again
	gone    int64 // rows of compacted files that are no more
	sealed  []sealedFile
	// outOfRange counts, by column, new values that the lake's type cannot hold.
	outOfRange []int64

	order     *ordering      // rows are put in order before they are written; nil if they are written as they come
	partition lake.Partition // of the file under way

	history     *historyEncoder // nil if nothing is to be told
	changesOnly bool            // the rows are in other files already: only the history is told of them

	keeps   bool // rows that are moved have row ids, which they keep
	origins map[*liveFile]*origin
}

// errRefused is a value under the policy types.Refuse.
var errRefused = &types.ValueError{Reason: "the lake's type cannot hold the value, and out_of_range of the table's rule is error: change one of them and resync the table"}

// sealedFile is a data file that is durable and in no publication yet.
type sealedFile struct {
	live *liveFile
	file lake.File
}

// encoderColumn is a lake column: where its value lies in the leaf's tuples, and how it is read.
type encoderColumn struct {
	attr    int // index in the tuple, -1 if the leaf has no such column
	codec   types.Codec
	builder *column.Builder
}

func (w *tableWork) newEncoder(ctx context.Context, lp *leafPlan) (*encoder, error) {
	attrs := make([]tuple.Attr, len(lp.rel.Columns))
	byName := map[string]int{}
	for i := range lp.rel.Columns {
		c := &lp.rel.Columns[i]
		attrs[i] = c.Attr()
		if !c.Dropped {
			byName[c.Name] = i
		}
	}
	enc := &encoder{
		w: w, lp: lp, desc: tuple.NewDesc(attrs), values: make([]tuple.Datum, len(attrs)),
		deleted: map[*liveFile]*roaring.Bitmap{}, xacts: cachedTransactions{Transactions: w.e.pages},
	}
	enc.outOfRange = make([]int64, len(w.plan.cols.states))
	enc.keeps, enc.origins = w.keepsRowIDs(), map[*liveFile]*origin{}
	if w.movedFrom(lp) != nil {
		enc.xmins = &xminSum{}
	}
	enc.env.Toast, enc.env.Most = &detoaster{ctx: ctx, w: w, lp: lp}, int(w.e.opts.ValueBytes)
	for i := range w.plan.cols.states {
		name := w.plan.cols.states[i].Field.Name
		attr, ok := byName[name]
		if !ok {
			return nil, &tableErr{fmt.Errorf("partition %q has no column %q", lp.rel.Name, name)}
		}
		enc.cols = append(enc.cols, encoderColumn{attr: attr, codec: w.plan.cols.codecs[i]})
	}
	enc.order = w.newOrdering(enc)
	return enc, nil
}

// page finds what became of one block: rows of the lake that are gone, and rows that are not in the lake.
//
//	delete = in the lake AND NOT (visible with the same raw xmin)
//	insert = visible AND NOT in the lake with that raw xmin
//
// held are the lake's rows of the block in offset order; page is nil when the block does not exist. Rows held by a file
// that is being compacted are written again when they are visible still.
func (enc *encoder) page(ctx context.Context, blk pg.BlockNumber, page pg.Page, held []member) error {
	n, err := page.HeapItems()
	if err != nil {
		return &tableErr{fmt.Errorf("block %d of %s: %w", blk, enc.lp.File, err)}
	}
	for off := pg.OffsetNumber(1); int(off) <= n; off++ {
		var have *member
		if len(held) > 0 && held[0].off == off {
			have, held = &held[0], held[1:]
		}
		t, ok, err := page.HeapTuple(off)
		if err != nil {
			return enc.corrupt(blk, off, err)
		}
		if !ok {
			t = nil
		} else if ok, err = visible.Tuple(t, &enc.xacts); err != nil {
			return enc.unknown(blk, off, err)
		}
		same := ok && have != nil && enc.w.same(have, t)
		switch {
		case same && !enc.w.compact[have.file]:
			continue
		case same:
			enc.moved++
		case have != nil:
			enc.remove(have)
			if err := enc.tellDelete(ctx, pg.TID{Block: blk, Offset: off}, t, have); err != nil {
				return enc.corrupt(blk, off, err)
			}
		}
		if ok {
			if !same {
				have = nil
				if err := enc.tellInsert(ctx, t); err != nil {
					return enc.corrupt(blk, off, err)
				}
			}
			if enc.changesOnly {
				continue
			}
			if err := enc.add(ctx, pg.TID{Block: blk, Offset: off}, t, have); err != nil {
				return enc.corrupt(blk, off, err)
			}
		}
	}
	for i := range held { // line pointers, or the whole block, that are no more
		enc.remove(&held[i])
		if err := enc.tellDelete(ctx, pg.TID{Block: blk, Offset: held[i].off}, nil, &held[i]); err != nil {
			return err
		}
	}
	return nil
}

// same says whether a row of the lake is the tuple that lies at its TID now: a line pointer that was freed and given to
// another row is told by the raw xmin, which survives freezing.
func (w *tableWork) same(m *member, t pg.HeapTuple) bool {
	return m.xmin == t.Xmin() || w.e.faults.ignoreXmin
}

func (enc *encoder) remove(m *member) {
	if enc.changesOnly {
		return
	}
	if enc.w.compact[m.file] {
		enc.gone++ // the file leaves whole
		return
	}
	d := enc.deleted[m.file]
	if d == nil {
		d = roaring.New()
		enc.deleted[m.file] = d
	}
	d.Add(m.pos)
}

// add takes one visible tuple: it is written now, or once all that are written before it are known.
func (enc *encoder) add(ctx context.Context, tid pg.TID, t pg.HeapTuple, moved *member) error {
	if enc.order != nil {
		return enc.gather(tid, t, moved)
	}
	return enc.row(ctx, tid, t, moved)
}

// row adds one visible tuple to the data file. moved is what it was in the lake already, nil if it is new.
func (enc *encoder) row(ctx context.Context, tid pg.TID, t pg.HeapTuple, moved *member) error {
	if enc.out == nil {
		if err := enc.start(); err != nil {
			return err
		}
	}
	if err := enc.desc.Deform(t, enc.values); err != nil {
		return err
	}
	for i := range enc.cols {
		c := &enc.cols[i]
		before := c.builder.OutOfRange
		if err := c.codec.Append(&enc.env, enc.values[c.attr], c.builder); err != nil {
			return fmt.Errorf("column %q: %w", enc.w.plan.cols.states[i].Field.Name, err)
		}
		if n := c.builder.OutOfRange - before; n > 0 {
			if enc.w.plan.policy == types.Refuse {
				return fmt.Errorf("column %q: %w", enc.w.plan.cols.states[i].Field.Name, errRefused)
			}
			if moved == nil {
				enc.outOfRange[i] += n
			}
		}
	}
	if err := enc.tids.Add(tid, t.Xmin()); err != nil {
		return err
	}
	if enc.keeps {
		if err := enc.keep(ctx, moved); err != nil {
			return err
		}
	}
	if enc.xmins != nil {
		enc.xmins.add(t.Xmin())
	}
	if err := enc.out.EndRow(); err != nil {
		return err
	}
	if enc.full() {
		return enc.seal(ctx)
	}
	return nil
}

func (enc *encoder) start() error {
	size := enc.w.plan.fileBytes(enc.w.e)
	out, err := datafile.NewWriter(datafile.Options{
		Schema: enc.w.plan.cols.schema, TargetBytes: size, RowGroupBytes: size / 2, BatchBytes: size / 2, Clamp: enc.w.plan.policy == types.Clamp,
		RowLineage: enc.keeps,
	}, &enc.buf)
	if err != nil {
		return err
	}
	enc.out = out
	enc.tids = tidset.NewBuilder(tidset.Source{Rel: enc.lp.File, Incarnation: enc.lp.Created})
	for i := range enc.cols {
		enc.cols[i].builder = out.Columns()[i]
	}
	return nil
}

// corrupt says where a row could not be read; it stops the table and nothing else.
func (enc *encoder) corrupt(blk pg.BlockNumber, off pg.OffsetNumber, err error) error {
	var store *storeErr
	var table *tableErr
	if errors.As(err, &store) || errors.As(err, &table) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &tableErr{fmt.Errorf("row (%d,%d) of %s: %w", blk, off, enc.lp.File, err)}
}

// unknown is an error of looking up what became of a tuple's transactions. Only damage is the table's own: the commit log
// may have to be read from the store.
func (enc *encoder) unknown(blk pg.BlockNumber, off pg.OffsetNumber, err error) error {
	if !errors.Is(err, pg.ErrCorrupt) {
		return fmt.Errorf("row (%d,%d) of %s: state of its transactions: %w", blk, off, enc.lp.File, err)
	}
	return enc.corrupt(blk, off, err)
}

// seal ends the data file under way, if there is one, and has it and its TID set put.
//
// Durability: both are durable once the cut's uploads are, for which the publication waits. Either may come first: what a
// failed cut leaves is named by nothing.
func (enc *encoder) seal(ctx context.Context) error {
	if enc.out == nil {
		return nil
	}
	file, err := enc.out.Close()
	if err != nil {
		return &tableErr{fmt.Errorf("rows of %s: %w", enc.lp.File, err)} // the sink is memory: what failed is of the values
	}
	enc.out = nil
	file.Partition = enc.partition
	file.Key = enc.w.dataKey(enc.partition)
	set := enc.tids.Finish()
	if err := enc.w.c.uploads.put(ctx, tidsKey(file.Key), set.Encode(nil)); err != nil {
		return &storeErr{err}
	}
	if err := enc.w.c.uploads.put(ctx, file.Key, enc.buf.take()); err != nil {
		return &storeErr{err}
	}
	enc.w.e.sets.cache.Set(file.Key, set)
	enc.sealed = append(enc.sealed, sealedFile{
		live: &liveFile{
			key: file.Key, rows: file.Rows, bytes: file.Bytes, lo: set.MinBlock(), hi: set.MaxBlock(), blocks: set.Blocks(), deleted: roaring.New(), partition: enc.partition,
		},
		file: file,
	})
	return nil
}

// detoaster fetches a leaf's out-of-line values at the cut.
type detoaster struct {
	ctx context.Context
	w   *tableWork
	lp  *leafPlan
}

// Fetch implements tuple.Detoaster.
func (d *detoaster) Fetch(rel, value pg.OID, size int, dst []byte) ([]byte, error) {
	r := d.lp.toast
	if rel != d.lp.toastOID {
		// A rewrite by swapping files leaves pointers that name the table's other TOAST relation; the catalogs know it.
		t := d.w.plan.cat.Relations[rel]
		if t == nil {
			return nil, &pg.CorruptError{Rel: d.lp.File, What: fmt.Sprintf("a value points to TOAST relation %d, which does not exist", rel)}
		}
		created, _ := d.w.e.pages.RelationCreated(t.File)
		r = toast.Relation{File: t.File, Created: created}
	}
	out, err := d.w.e.toast.Fetch(d.ctx, d.w.e.pages, r, value, size, dst[:0])
	if err != nil && !errors.Is(err, pg.ErrCorrupt) {
		return out, &storeErr{err}
	}
	return out, err
}

// storeErr is a failure of the store or the machine, not of a table.
type storeErr struct{ err error }

func (e *storeErr) Error() string { return e.err.Error() }
func (e *storeErr) Unwrap() error { return e.err }

// cachedTransactions remembers the last transaction asked for: neighbours on a page tend to be of one.
type cachedTransactions struct {
	visible.Transactions
	xid       pg.XID
	committed bool
}

// Committed implements visible.Transactions.
func (c *cachedTransactions) Committed(xid pg.XID) (bool, error) {
	if xid == c.xid && xid != 0 {
		return c.committed, nil
	}
	ok, err := c.Transactions.Committed(xid)
	if err == nil {
		c.xid, c.committed = xid, ok
	}
	return ok, err
}
