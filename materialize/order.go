package materialize

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/sorter"
	"github.com/tarn-db/tarn/materialize/types"
)

// ordering puts the rows of a range in the order in which they are written: partition by partition, so that one file at a time is open.
// It holds tuples as they lie on the page, and the values of a row are made when it is written.
type ordering struct {
	sorter *sorter.Sorter
	batch  column.Batch
	fields []orderField
	files  []*liveFile // that moved rows come from
	number map[*liveFile]uint32
	key    []byte
	value  []byte
}

// orderField is a partition field and where its column's value is put to be looked at.
type orderField struct {
	partitionPlan
	builder *column.Builder
}

// newOrdering is nil if rows are written as they come.
func (w *tableWork) newOrdering(enc *encoder) *ordering {
	if len(w.plan.layout.fields) == 0 {
		enc.partition = lake.Partition{SpecID: w.plan.layout.Spec.ID}
		return nil
	}
	o := &ordering{sorter: sorter.New(w.e.opts.SortDir, w.e.fileBytes/2), number: map[*liveFile]uint32{}}
	o.batch.Clamp = w.plan.policy == types.Clamp
	for _, f := range w.plan.layout.fields {
		o.fields = append(o.fields, orderField{f, column.New(w.plan.cols.states[f.column].Field, &o.batch)})
	}
	return o
}

// gather takes a visible tuple, to be written by drain.
//
//	key    each partition value (lake.AppendValue), block u32, offset u16, the highest byte first
//	value  xmin is the tuple's; file it moves from + 1 u32, 0: none, position there u32, little-endian; the tuple
func (enc *encoder) gather(tid pg.TID, t pg.HeapTuple, moved *member) error {
	o := enc.order
	if err := enc.desc.Deform(t, enc.values); err != nil {
		return err
	}
	o.key = o.key[:0]
	for _, f := range o.fields {
		f.builder.Reset()
		c := &enc.cols[f.column]
		if err := c.codec.Append(&enc.env, enc.values[c.attr], f.builder); err != nil {
			return fmt.Errorf("column %q: %w", f.builder.Field.Name, err)
		}
		o.key = lake.AppendValue(o.key, f.transform.Apply(f.source, f.builder.Single()))
	}
	o.key = binary.BigEndian.AppendUint32(o.key, uint32(tid.Block))
	o.key = binary.BigEndian.AppendUint16(o.key, uint16(tid.Offset))
	o.value = o.value[:0]
	if moved == nil {
		o.value = append(o.value, make([]byte, 8)...)
	} else {
		o.value = binary.LittleEndian.AppendUint32(o.value, o.numberOf(moved.file))
		o.value = binary.LittleEndian.AppendUint32(o.value, moved.pos)
	}
	o.value = append(o.value, t...)
	if err := o.sorter.Add(o.key, o.value); err != nil {
		return &storeErr{err}
	}
	return nil
}

func (o *ordering) numberOf(f *liveFile) uint32 {
	n, ok := o.number[f]
	if !ok {
		o.files = append(o.files, f)
		n = uint32(len(o.files))
		o.number[f] = n
	}
	return n
}

// drain writes the rows gathered, a file or more for each partition.
func (enc *encoder) drain(ctx context.Context) error {
	o := enc.order
	if o == nil {
		return nil
	}
	var prefix []byte
	return o.sorter.Each(func(key, value []byte) error {
		at := len(key) - 6
		if enc.out != nil && !bytes.Equal(prefix, key[:at]) {
			if err := enc.seal(ctx); err != nil {
				return err
			}
		}
		if enc.out == nil {
			prefix = append(prefix[:0], key[:at]...)
			enc.partition = o.partition(enc.w.plan.layout.Spec.ID, prefix)
		}
		tid := pg.TID{Block: pg.BlockNumber(binary.BigEndian.Uint32(key[at:])), Offset: pg.OffsetNumber(binary.BigEndian.Uint16(key[at+4:]))}
		var moved *member
		if n := binary.LittleEndian.Uint32(value); n > 0 {
			moved = &member{off: tid.Offset, file: o.files[n-1], pos: binary.LittleEndian.Uint32(value[4:])}
		}
		if err := enc.row(ctx, tid, pg.HeapTuple(value[8:]), moved); err != nil {
			return enc.corrupt(tid.Block, tid.Offset, err)
		}
		return nil
	})
}

// partition reads the values that gather put into a key.
func (o *ordering) partition(spec int, key []byte) lake.Partition {
	p := lake.Partition{SpecID: spec}
	for range o.fields {
		var v []byte
		v, key = lake.CutValue(key)
		p.Values = append(p.Values, bytes.Clone(v))
	}
	return p
}

// close lets go of rows that were not written.
func (enc *encoder) close() {
	if enc.order != nil {
		_ = enc.order.sorter.Close() // of files that have no name
	}
}
