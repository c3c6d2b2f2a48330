package datafile

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// boundChars is how many code points (of Binary: bytes) a bound keeps, Iceberg's default truncate(16).
const boundChars = 16

// boundBytes is enough of a value to truncate it: whatever is as long has more than boundChars code points.
const boundBytes = boundChars*utf8.UTFMax + 1

// leafStats gathers a column's statistics over the batches of a file.
type leafStats struct {
	values, nulls, nans int64
	bounded             bool // lower and upper are kept: not inside lists, whose bounds no reader uses, nor for UUIDs
	some                bool // there was a value
	lowInt, highInt     int64
	lowFloat, highFloat float64
	low, high           []byte // of bytes, at most boundBytes; of fixed decimals, whole
}

// misread says of which types the statistics of row groups mislead engines, which skip what holds rows that are asked for.
// Java's order of UUIDs is signed (Iceberg's spec says unsigned), Spark's reader applies it to row groups too. Parquet's statistics of
// floats leave NaN out, and to Spark, DuckDB and Postgres it is the greatest value.
func misread(kind lake.Kind) bool {
	return kind == lake.UUID || kind == lake.Float || kind == lake.Double
}

// init decides what is kept. UUIDs have no bounds, for misread's reason.
func (s *leafStats) init(b *column.Builder) {
	s.bounded = b.MaxRep == 0 && b.Field.Type.Kind != lake.UUID
}

// update takes in a batch.
func (s *leafStats) update(b *column.Builder) {
	l := b.Leaf
	s.values += int64(len(l.Def))
	for _, d := range l.Def {
		if d < l.MaxDef {
			s.nulls++
		}
	}
	for _, v := range l.Float {
		s.addFloat(float64(v))
	}
	for _, v := range l.Double {
		s.addFloat(v)
	}
	if !s.bounded {
		return
	}
	for _, v := range l.Bools {
		if v {
			s.addInts(1, 1)
		} else {
			s.addInts(0, 0)
		}
	}
	if len(l.Int32s) > 0 {
		s.addInts(int64(slices.Min(l.Int32s)), int64(slices.Max(l.Int32s)))
	}
	if len(l.Int64s) > 0 {
		s.addInts(slices.Min(l.Int64s), slices.Max(l.Int64s))
	}
	if len(l.Ends) > 0 {
		s.addBytes(l)
	} else if len(l.Data) > 0 {
		s.addFixed(l.Data, fixedWidth(b.Field.Type))
	}
}

func (s *leafStats) addInts(low, high int64) {
	if !s.some {
		s.lowInt, s.highInt, s.some = low, high, true
	}
	s.lowInt, s.highInt = min(s.lowInt, low), max(s.highInt, high)
}

// addFloat counts NaNs and leaves them out of the bounds. Zeros are bounded by -0.0 and +0.0, which are equal.
func (s *leafStats) addFloat(v float64) {
	if v != v {
		s.nans++
		return
	}
	if !s.some {
		s.lowFloat, s.highFloat, s.some = v, v, true
	}
	s.lowFloat, s.highFloat = min(s.lowFloat, v), max(s.highFloat, v)
}

func (s *leafStats) addBytes(l *column.Leaf) {
	low, high := s.low, s.high
	start := 0
	for i, end := range l.Ends {
		v := l.Data[start:min(end, start+boundBytes)]
		start = end
		switch {
		case !s.some && i == 0:
			low, high = v, v
		case bytes.Compare(v, low) < 0:
			low = v
		case bytes.Compare(v, high) > 0:
			high = v
		}
	}
	s.some = true
	s.low, s.high = append([]byte{}, low...), append([]byte{}, high...) // not nil: an empty string is a bound
}

// addFixed compares two's complement numbers, the highest byte first.
func (s *leafStats) addFixed(data []byte, width int) {
	low, high := s.low, s.high
	for at := 0; at < len(data); at += width {
		v := data[at : at+width]
		switch {
		case low == nil:
			low, high = v, v
		case signedLess(v, low):
			low = v
		case signedLess(high, v):
			high = v
		}
	}
	s.some = true
	s.low, s.high = bytes.Clone(low), bytes.Clone(high)
}

func signedLess(a, b []byte) bool {
	if a[0]^0x80 != b[0]^0x80 {
		return a[0]^0x80 < b[0]^0x80
	}
	return bytes.Compare(a[1:], b[1:]) < 0
}

// result gives the bounds in Iceberg's single-value serialization (spec, "Appendix D").
func (s *leafStats) result(b *column.Builder) lake.ColumnStats {
	c := lake.ColumnStats{FieldID: b.Field.ID, Values: s.values, Nulls: s.nulls, NaNs: s.nans}
	// Where there is a NaN the other values do not bound the column, see misread. The count of NaNs is no help: engines skip
	// files by bounds alone.
	if !s.bounded || !s.some || s.nans > 0 {
		return c
	}
	switch t := b.Field.Type; t.Kind {
	case lake.Bool:
		c.Lower, c.Upper = []byte{byte(s.lowInt)}, []byte{byte(s.highInt)}
	case lake.Int, lake.Date:
		c.Lower, c.Upper = le32(uint32(s.lowInt)), le32(uint32(s.highInt))
	case lake.Long, lake.Time, lake.Timestamp, lake.TimestampTZ:
		c.Lower, c.Upper = le64(uint64(s.lowInt)), le64(uint64(s.highInt))
	case lake.Float:
		low, high := s.floatBounds()
		c.Lower, c.Upper = le32(math.Float32bits(float32(low))), le32(math.Float32bits(float32(high)))
	case lake.Double:
		low, high := s.floatBounds()
		c.Lower, c.Upper = le64(math.Float64bits(low)), le64(math.Float64bits(high))
	case lake.Decimal:
		if t.Precision <= 18 {
			s.low, s.high = be64(s.lowInt), be64(s.highInt)
		}
		c.Lower, c.Upper = column.Shortest(s.low), column.Shortest(s.high)
	case lake.String:
		c.Lower, c.Upper = s.low[:prefix(s.low)], stringAbove(s.high)
	case lake.Binary:
		c.Lower, c.Upper = s.low[:min(len(s.low), boundChars)], bytesAbove(s.high)
	}
	return c
}

// floatBounds makes zero bounds hold both zeros.
func (s *leafStats) floatBounds() (low, high float64) {
	low, high = s.lowFloat, s.highFloat
	if low == 0 {
		low = math.Copysign(0, -1)
	}
	if high == 0 {
		high = 0
	}
	return low, high
}

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func le64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
func be64(v int64) []byte  { return binary.BigEndian.AppendUint64(nil, uint64(v)) }

// prefix is the length in bytes of the first boundChars code points.
func prefix(v []byte) int {
	at := 0
	for n := 0; n < boundChars && at < len(v); n++ {
		_, size := utf8.DecodeRune(v[at:])
		at += size
	}
	return at
}

// stringAbove is v, or the least string of boundChars code points above every string that begins as v does; nil if
// there is none.
func stringAbove(v []byte) []byte {
	n := prefix(v)
	if n == len(v) {
		return v
	}
	for v = v[:n]; len(v) > 0; {
		r, size := utf8.DecodeLastRune(v)
		v = v[:len(v)-size]
		switch {
		case r == utf8.MaxRune:
			continue
		case r == 0xD7FF: // surrogates are no characters
			r = 0xE000
		default:
			r++
		}
		return utf8.AppendRune(slices.Clip(v), r)
	}
	return nil
}

// bytesAbove is as stringAbove, for bytes.
func bytesAbove(v []byte) []byte {
	if len(v) <= boundChars {
		return v
	}
	for v = v[:boundChars]; len(v) > 0; v = v[:len(v)-1] {
		if last := len(v) - 1; v[last] != 0xFF {
			v = bytes.Clone(v)
			v[last]++
			return v
		}
	}
	return nil
}
