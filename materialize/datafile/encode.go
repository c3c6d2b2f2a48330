package datafile

import (
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// scratch is memory for encoding that all columns share.
type scratch struct {
	byteArrays []parquet.ByteArray
	fixed      []parquet.FixedLenByteArray
	seen       map[uint64]struct{}
}

var seed = maphash.MakeSeed()

// write encodes a leaf's batch.
func (s *scratch) write(cw file.ColumnChunkWriter, b *column.Builder) error {
	l := b.Leaf
	rep := l.Rep
	if l.MaxRep == 0 {
		rep = nil
	}
	var err error
	switch cw := cw.(type) {
	case *file.BooleanColumnChunkWriter:
		_, err = cw.WriteBatch(l.Bools, l.Def, rep)
	case *file.Int32ColumnChunkWriter:
		_, err = cw.WriteBatch(l.Int32s, l.Def, rep)
	case *file.Int64ColumnChunkWriter:
		_, err = cw.WriteBatch(l.Int64s, l.Def, rep)
	case *file.Float32ColumnChunkWriter:
		_, err = cw.WriteBatch(l.Float, l.Def, rep)
	case *file.Float64ColumnChunkWriter:
		_, err = cw.WriteBatch(l.Double, l.Def, rep)
	case *file.ByteArrayColumnChunkWriter:
		s.byteArrays = s.byteArrays[:0]
		start := 0
		for _, end := range l.Ends {
			s.byteArrays = append(s.byteArrays, l.Data[start:end:end])
			start = end
		}
		err = s.writePages(cw, l, rep)
	case *file.FixedLenByteArrayColumnChunkWriter:
		s.fixed = s.fixed[:0]
		for w, at := fixedWidth(b.Field.Type), 0; at < len(l.Data); at += w {
			s.fixed = append(s.fixed, l.Data[at:at+w:at+w])
		}
		_, err = cw.WriteBatch(s.fixed, l.Def, rep)
	default:
		panic(fmt.Sprintf("BUG: column writer %T", cw))
	}
	return err
}

// writePages hands a leaf's byteArrays over in parts of about a page, each of whole rows: the library ends a page between two calls only, and of
// long values the whole batch would become one page, for which it grows a buffer again and again.
func (s *scratch) writePages(cw *file.ByteArrayColumnChunkWriter, l *column.Leaf, rep []int16) error {
	values, from, first, bytes := s.byteArrays, 0, 0, 0 // of the part: levels from, values first
	next := 0                                           // value of the level at i
	for i, def := range l.Def {
		if bytes >= pageBytesMax && (rep == nil || rep[i] == 0) {
			if _, err := cw.WriteBatch(values[first:next], l.Def[from:i], part(rep, from, i)); err != nil {
				return err
			}
			from, first, bytes = i, next, 0
		}
		if def == l.MaxDef {
			bytes += len(values[next])
			next++
		}
	}
	_, err := cw.WriteBatch(values[first:], l.Def[from:], part(rep, from, len(l.Def)))
	return err
}

// part is levels from to to; a column outside of lists has none.
func part(levels []int16, from, to int) []int16 {
	if levels == nil {
		return nil
	}
	return levels[from:to]
}

// fixedWidth is the bytes of one value of a type that column.Leaf keeps in Data without Ends.
func fixedWidth(t lake.Type) int {
	if t.Kind == lake.UUID {
		return 16
	}
	return column.DecimalBytes(t.Precision)
}

// dictionaryPays guesses from a batch whether a dictionary makes a row group of that many rows smaller.
func (s *scratch) dictionaryPays(b *column.Builder, rows int64) bool {
	l := b.Leaf
	n := len(l.Int32s) + len(l.Int64s) + len(l.Float) + len(l.Double) + len(l.Ends) // all but one are empty
	fixed := n == 0 && len(l.Data) > 0
	var width float64 // mean bytes of a value as PLAIN has it
	switch {
	case fixed:
		width = float64(fixedWidth(b.Field.Type))
		n = len(l.Data) / int(width)
	case n == 0:
		return false // booleans, or nothing but nulls
	case len(l.Ends) > 0:
		width = 4 + float64(len(l.Data))/float64(n)
	case len(l.Int32s)+len(l.Float) > 0:
		width = 4
	default:
		width = 8
	}
	distinct := s.distinct(l, fixed, int(width))
	total := max(float64(rows)*float64(n)/float64(max(len(l.Def), 1)), float64(n)) // values in the row group
	d := distinctIn(total, float64(n), float64(distinct))
	index := math.Ceil(math.Log2(max(d, 2))) / 8
	return d*width < dictionaryMax*3/4 && d*width+total*index < 0.75*total*width
}

// distinctIn estimates the distinct values among total from a sample of n with seen distinct ones, as if values were
// drawn evenly from d: a sample has d*(1-exp(-n/d)) of them.
func distinctIn(total, n, seen float64) float64 {
	if total <= n {
		return seen
	}
	if seen >= n-1 {
		return total
	}
	lo, hi := seen, total
	for range 40 {
		if d := (lo + hi) / 2; d*(1-math.Exp(-n/d)) < seen {
			lo = d
		} else {
			hi = d
		}
	}
	return lo * (1 - math.Exp(-total/lo))
}

// distinct counts the different values of a batch.
func (s *scratch) distinct(l *column.Leaf, fixed bool, width int) int {
	if s.seen == nil { // grown as needed: most publications are of a few rows
		s.seen = map[uint64]struct{}{}
	}
	clear(s.seen)
	add := func(h uint64) { s.seen[h] = struct{}{} }
	for _, v := range l.Int32s {
		add(uint64(uint32(v)))
	}
	for _, v := range l.Int64s {
		add(uint64(v))
	}
	for _, v := range l.Float {
		add(uint64(math.Float32bits(v)))
	}
	for _, v := range l.Double {
		add(bits.RotateLeft64(math.Float64bits(v), 17))
	}
	for i := range l.Ends {
		add(maphash.Bytes(seed, l.Value(i)))
	}
	if fixed {
		for at := 0; at < len(l.Data); at += width {
			add(maphash.Bytes(seed, l.Data[at:at+width]))
		}
	}
	return len(s.seen)
}
