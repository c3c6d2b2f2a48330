package datafile

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// ErrShape: a struct, list or map of the file is not made of the fields that it is made of now.
var ErrShape = errors.New("the file has the column in another shape")

// Reader copies rows of a data file that a Writer made into the builders of another. One goroutine uses it.
//
// Memory: the compressed column chunks of one row group, and a page of each.
type Reader struct {
	file   *file.Reader
	src    *source
	leaves map[int]int // column by Iceberg field id
}

// OpenReader reads the footer of an object of that size. Damaged bytes are a pg.CorruptError; src's own errors are passed on.
func OpenReader(src io.ReaderAt, size int64) (r *Reader, err error) {
	s := &source{ReaderAt: src}
	defer s.judge(&err)
	f, err := file.NewParquetReader(io.NewSectionReader(s, 0, size))
	if err != nil {
		return nil, err
	}
	r = &Reader{file: f, src: s, leaves: map[int]int{}}
	for i := range f.MetaData().Schema.NumColumns() {
		r.leaves[int(f.MetaData().Schema.Column(i).SchemaNode().FieldID())] = i
	}
	return r, nil
}

// source remembers that it was the object that could not be read, and not its bytes that are wrong.
type source struct {
	io.ReaderAt
	err error
}

// ReadAt implements io.ReaderAt.
func (s *source) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.ReaderAt.ReadAt(p, off)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// judge tells what is wrong with the bytes, the library's panics included, from what is wrong with the way to them.
func (s *source) judge(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%v", r)
	}
	switch {
	case *err == nil:
	case s.err != nil:
		*err = s.err
	case errors.Is(*err, ErrShape):
	default:
		*err = &pg.CorruptError{What: "data file: " + (*err).Error()}
	}
}

// Copy appends the rows at positions, which ascend, to dst, and calls row after each with its index in positions. A builder's
// field id less shift is the id of the field in the file; a column that the file does not have is null, and types may have
// grown as Iceberg lets them. An error of row is passed on, and ErrShape if not every part of a
// column is there.
func (r *Reader) Copy(positions []uint32, dst []*column.Builder, shift int, row func(i int) error) (err error) {
	s := r.src
	defer s.judge(&err)
	from, done := int64(0), 0
	for g := range r.file.NumRowGroups() {
		rg := r.file.RowGroup(g)
		n := done
		for n < len(positions) && int64(positions[n]) < from+rg.NumRows() {
			n++
		}
		if n > done {
			cols, err := r.cursors(rg, dst, shift)
			if err != nil {
				return err
			}
			for ; done < n; done++ {
				for _, c := range cols {
					if err := c.copyRow(int64(positions[done]) - from); err != nil {
						return err
					}
				}
				if s.err = row(done); s.err != nil {
					return s.err
				}
			}
		}
		from += rg.NumRows()
	}
	if done < len(positions) {
		return fmt.Errorf("position %d of %d rows", positions[done], from)
	}
	return nil
}

// cursors open the columns of a row group that dst wants.
func (r *Reader) cursors(rg *file.RowGroupReader, dst []*column.Builder, shift int) (cols []columnCursor, err error) {
	for _, b := range dst {
		c := columnCursor{dst: b}
		for _, l := range b.Leaves() {
			i, ok := r.leaves[l.Field.ID-shift]
			if !ok {
				continue
			}
			chunk, err := rg.Column(i)
			if err != nil {
				return nil, err
			}
			d := chunk.Descriptor()
			if d.MaxDefinitionLevel() != l.MaxDef || d.MaxRepetitionLevel() != l.MaxRep {
				return nil, fmt.Errorf("column %q: %w", b.Field.Name, ErrShape)
			}
			c.leaves = append(c.leaves, &leafCursor{dst: l, chunk: chunk, width: d.TypeLength()})
		}
		if len(c.leaves) > 0 && len(c.leaves) < len(b.Leaves()) {
			return nil, fmt.Errorf("column %q: %w", b.Field.Name, ErrShape)
		}
		cols = append(cols, c)
	}
	return cols, nil
}

// columnCursor reads one column's rows in order; without leaves they are nulls.
type columnCursor struct {
	dst    *column.Builder
	leaves []*leafCursor
}

func (c columnCursor) copyRow(row int64) error {
	if len(c.leaves) == 0 {
		c.dst.AppendNull()
	}
	for _, l := range c.leaves {
		if err := l.copyRow(row); err != nil {
			return fmt.Errorf("column %q: %w", c.dst.Field.Name, err)
		}
	}
	return nil
}

// cursorBatch is how many levels a cursor holds at most.
const cursorBatch = 1024

// leafCursor reads one primitive column. Byte values lie in the page under way, which is let go of when the next batch is read.
//
// Invariant: levels[i] is the next one to be looked at, values[v] the next value; rows before at have been passed.
type leafCursor struct {
	dst   *column.Builder
	chunk file.ColumnChunkReader
	width int // bytes of a fixed-length value

	at     int64
	i, n   int
	v      int
	def    [cursorBatch]int16
	rep    [cursorBatch]int16
	bools  []bool
	int32s []int32
	int64s []int64
	float  []float32
	double []float64
	bytes  []parquet.ByteArray
	fixed  []parquet.FixedLenByteArray
}

// copyRow adds a row's entries to dst.
func (c *leafCursor) copyRow(row int64) error {
	if err := c.skipTo(row); err != nil {
		return err
	}
	for first := true; ; first = false {
		ok, err := c.more()
		switch {
		case err != nil:
			return err
		case !ok && first:
			return fmt.Errorf("it ends before row %d", row)
		case !ok || !first && c.rep[c.i] == 0:
			c.at++
			return nil
		}
		c.dst.CopyLevels(c.def[c.i], c.rep[c.i])
		if c.def[c.i] == c.dst.MaxDef {
			if err := c.value(); err != nil {
				return err
			}
			c.v++
		}
		if c.i++; c.dst.MaxRep == 0 {
			c.at++
			return nil
		}
	}
}

// skipTo passes the rows before one. Those of a column that is in no list may be passed without being decoded.
func (c *leafCursor) skipTo(row int64) error {
	for c.at < row {
		if left := row - c.at; c.dst.MaxRep == 0 && c.i == c.n && left > cursorBatch {
			s, ok := c.chunk.(interface{ Skip(int64) (int64, error) })
			if !ok {
				panic("BUG: a column chunk reader that does not skip")
			}
			if _, err := s.Skip(left); err != nil {
				return err
			}
			c.at = row
			return nil
		}
		ok, err := c.more()
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("it ends before row %d", row)
		}
		for first := true; ok && (first || c.rep[c.i] > 0); first = false {
			if c.def[c.i] == c.dst.MaxDef {
				c.v++
			}
			c.i++
			if ok = c.dst.MaxRep > 0; ok {
				if ok, err = c.more(); err != nil {
					return err
				}
			}
		}
		c.at++
	}
	return nil
}

// more sees to it that there is a level to look at, unless the column is at its end.
func (c *leafCursor) more() (bool, error) {
	if c.i < c.n {
		return true, nil
	}
	if !c.chunk.HasNext() {
		return false, c.chunk.Err()
	}
	c.i, c.v, c.n = 0, 0, 0
	total, err := c.read(c.def[:], c.rep[:])
	c.n = int(total)
	if c.dst.MaxRep == 0 {
		clear(c.rep[:c.n])
	}
	if err == nil && c.n == 0 {
		err = fmt.Errorf("a page has no values")
	}
	return err == nil, err
}

// read takes a batch, which ends with its page at the latest.
func (c *leafCursor) read(def, rep []int16) (n int64, err error) {
	switch r := c.chunk.(type) {
	case *file.BooleanColumnChunkReader:
		n, _, err = r.ReadBatchInPage(cursorBatch, grow(&c.bools), def, rep)
	case *file.Int32ColumnChunkReader:
		n, _, err = r.ReadBatchInPage(cursorBatch, grow(&c.int32s), def, rep)
	case *file.Int64ColumnChunkReader:
		n, _, err = r.ReadBatchInPage(cursorBatch, grow(&c.int64s), def, rep)
	case *file.Float32ColumnChunkReader:
		n, _, err = r.ReadBatchInPage(cursorBatch, grow(&c.float), def, rep)
	case *file.Float64ColumnChunkReader:
		n, _, err = r.ReadBatchInPage(cursorBatch, grow(&c.double), def, rep)
	case *file.ByteArrayColumnChunkReader:
		n, _, err = r.ReadBatchInPage(cursorBatch, grow(&c.bytes), def, rep)
	case *file.FixedLenByteArrayColumnChunkReader:
		n, _, err = r.ReadBatchInPage(cursorBatch, grow(&c.fixed), def, rep)
	default:
		err = fmt.Errorf("physical type %s", c.chunk.Type())
	}
	return n, err
}

func grow[T any](s *[]T) []T {
	if *s == nil {
		*s = make([]T, cursorBatch)
	}
	return *s
}

// value adds the value under the cursor in the form that dst's type has.
func (c *leafCursor) value() error {
	b := c.dst
	kind := b.Field.Type.Kind
	switch {
	case c.bools != nil && kind == lake.Bool:
		b.Bools = append(b.Bools, c.bools[c.v])
	case c.int32s != nil:
		return c.integer(int64(c.int32s[c.v]))
	case c.int64s != nil:
		return c.integer(c.int64s[c.v])
	case c.float != nil && kind == lake.Float:
		b.Float = append(b.Float, c.float[c.v])
	case c.float != nil && kind == lake.Double:
		b.Double = append(b.Double, float64(c.float[c.v]))
	case c.double != nil && kind == lake.Double:
		b.Double = append(b.Double, c.double[c.v])
	case c.bytes != nil && (kind == lake.String || kind == lake.Binary):
		b.CopyBytes(c.bytes[c.v])
	case c.fixed != nil && kind == lake.UUID:
		b.CopyFixed(c.fixed[c.v])
	case c.fixed != nil && kind == lake.Decimal && b.Field.Type.Precision > 18:
		b.CopyFixed(widened(c.fixed[c.v], column.DecimalBytes(b.Field.Type.Precision)))
	default:
		return fmt.Errorf("its values are of type %s, which kind %d is not read from", c.chunk.Type(), kind)
	}
	return nil
}

// integer adds what the file has as an integer.
func (c *leafCursor) integer(v int64) error {
	b := c.dst
	t := b.Field.Type
	switch {
	case t.Kind == lake.Int, t.Kind == lake.Date, t.Kind == lake.Decimal && t.Precision <= 9:
		if c.int32s == nil {
			return fmt.Errorf("its values are of 64 bits, which kind %d is not read from", t.Kind)
		}
		b.Int32s = append(b.Int32s, int32(v))
	case t.Kind == lake.Long, t.Kind == lake.Time, t.Kind == lake.Timestamp, t.Kind == lake.TimestampTZ, t.Kind == lake.Decimal && t.Precision <= 18:
		b.Int64s = append(b.Int64s, v)
	case t.Kind == lake.Decimal:
		var be [8]byte
		for i := range be {
			be[i] = byte(v >> (56 - 8*i))
		}
		b.CopyFixed(widened(be[:], column.DecimalBytes(t.Precision)))
	default:
		return fmt.Errorf("its values are integers, which kind %d is not read from", t.Kind)
	}
	return nil
}

// widened is a number in two's complement, the highest byte first, in n bytes.
func widened(v []byte, n int) []byte {
	if len(v) >= n {
		return v[len(v)-n:]
	}
	out := make([]byte, n)
	if len(v) > 0 && v[0]&0x80 != 0 {
		for i := range out {
			out[i] = 0xFF
		}
	}
	copy(out[n-len(v):], v)
	return out
}
