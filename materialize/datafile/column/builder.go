// Package column gathers one column's values between Postgres's tuples and Parquet's pages. It knows Iceberg types and
// nothing of either format; it is pure and imports no Parquet library.
package column

import (
	"fmt"

	"github.com/tarn-db/tarn/materialize/lake"
)

// Batch is what the builders of one table share.
type Batch struct {
	Full bool // a builder's variable-length bytes passed the limit: write the batch out at the row's end
	// Clamp has values that Iceberg's types cannot hold added as the nearest ones that they can, where there is one.
	Clamp bool
}

// BytesMax is the size of one column's variable-length values after which Batch.Full is set.
const BytesMax = 8 << 20

// Builder gathers the values of one column, nested members included, as Dremel's levels and values. Nothing is
// allocated per value once the slices have grown.
//
// Each Append method adds exactly one value. A value whose bytes were begun with Buf and not ended with EndBytes was
// not added. The type decides which methods may be called; another one is a bug and panics.
type Builder struct {
	Field lake.Field
	// OutOfRange counts, in the top-level builder, values of the column that Iceberg has no room for, such as infinite
	// dates, nested ones too; they were added as nulls or nearest values. Reset does not reset it.
	OutOfRange int64

	*Leaf                // primitive types
	key       *Builder   // Map
	elem      *Builder   // List, Map
	members   []*Builder // Struct
	leaves    []*Builder // the primitive builders at and below this one, in order
	nullLevel int16      // definition level when this value is null
	level     int16      // definition level when it is there
	listLevel int16      // List, Map: repetition level of its second and later elements
	rep       int16      // repetition level of the next value
	nextRep   int16      // repetition level of the value after that
	repeated  bool       // under a list or map
	batch     *Batch
	root      *Builder // the top-level builder
}

// Leaf is a primitive column as Parquet stores it: levels, and the values that are not null.
type Leaf struct {
	Def, Rep []int16 // Rep stays empty outside of lists
	MaxDef   int16
	MaxRep   int16

	Bools  []bool
	Int32s []int32 // Int, Date, Decimal of up to 9 digits
	Int64s []int64 // Long, Time, Timestamp, TimestampTZ, Decimal of up to 18 digits
	Float  []float32
	Double []float64
	// String, Binary: value i is Data[Ends[i-1]:Ends[i]]. UUID and wider Decimals: Data holds values of Width bytes.
	Data []byte
	Ends []int
}

// New makes the builder of a top-level column.
func New(f lake.Field, batch *Batch) *Builder { return build(f, 0, 0, batch, nil) }

func build(f lake.Field, def, rep int16, batch *Batch, root *Builder) *Builder {
	b := &Builder{Field: f, nullLevel: def, level: def + 1, repeated: rep > 0, nextRep: rep, batch: batch, root: root}
	if root == nil {
		b.root = b
	}
	switch f.Type.Kind {
	case lake.List:
		b.listLevel = rep + 1
		b.elem = build(*f.Type.Elem, def+2, rep+1, batch, b.root) // the repeated group is a level of its own
		b.leaves = b.elem.leaves
	case lake.Map:
		b.listLevel = rep + 1
		b.key = build(*f.Type.Key, def+1, rep+1, batch, b.root) // required: it has no level of its own
		b.elem = build(*f.Type.Elem, def+2, rep+1, batch, b.root)
		b.leaves = append(b.leaves, b.key.leaves...)
		b.leaves = append(b.leaves, b.elem.leaves...)
	case lake.Struct:
		for _, m := range f.Type.Fields {
			mb := build(m, def+1, rep, batch, b.root)
			b.members = append(b.members, mb)
			b.leaves = append(b.leaves, mb.leaves...)
		}
	default:
		b.Leaf = &Leaf{MaxDef: def + 1, MaxRep: rep}
		b.leaves = []*Builder{b}
	}
	return b
}

// Leaves are the primitive builders at and below this one, in the order Parquet wants them.
func (b *Builder) Leaves() []*Builder { return b.leaves }

// Repeated says whether the column is inside a list or map.
func (b *Builder) Repeated() bool { return b.repeated }

// Reset forgets the values of a batch and keeps the memory.
func (b *Builder) Reset() {
	for _, l := range b.leaves {
		f := l.Leaf
		f.Def, f.Rep = f.Def[:0], f.Rep[:0]
		f.Bools, f.Int32s, f.Int64s, f.Float, f.Double = f.Bools[:0], f.Int32s[:0], f.Int64s[:0], f.Float[:0], f.Double[:0]
		f.Ends = f.Ends[:0]
		if cap(f.Data) > 4*BytesMax { // one huge value must not hold its memory for good
			f.Data = nil
		}
		f.Data = f.Data[:0]
	}
}

// AppendNull adds a null.
func (b *Builder) AppendNull() {
	b.absent(b.nullLevel)
	b.rep = b.nextRep
}

// AppendOutOfRange adds a null for a value that Iceberg's type cannot hold, and counts it.
func (b *Builder) AppendOutOfRange() {
	b.root.OutOfRange++
	b.AppendNull()
}

// Clamped counts a value that Iceberg's type cannot hold. If it says true the caller adds the nearest one that it can;
// otherwise a null was added.
func (b *Builder) Clamped() bool {
	if !b.batch.Clamp {
		b.AppendOutOfRange()
		return false
	}
	b.root.OutOfRange++
	return true
}

// absent marks all leaves below as not there, at a definition level.
func (b *Builder) absent(level int16) {
	for _, l := range b.leaves {
		l.Def = append(l.Def, level)
		if b.repeated || l.MaxRep > 0 {
			l.Rep = append(l.Rep, b.rep)
		}
	}
}

// AppendMap adds a map of n entries. The caller appends exactly n values to each of the builders returned, no null to that
// of the keys.
func (b *Builder) AppendMap(n int) (key, value *Builder) {
	if b.key == nil {
		panic(fmt.Sprintf("BUG: map appended to column %q of kind %d", b.Field.Name, b.Field.Type.Kind))
	}
	if n == 0 {
		b.absent(b.level)
	} else {
		b.key.start(b.rep, b.listLevel)
		b.elem.start(b.rep, b.listLevel)
	}
	b.rep = b.nextRep
	return b.key, b.elem
}

// AppendList adds a list of n elements. The caller appends exactly n values to the builder returned.
func (b *Builder) AppendList(n int) *Builder {
	if b.elem == nil || b.key != nil {
		panic(fmt.Sprintf("BUG: list appended to column %q of kind %d", b.Field.Name, b.Field.Type.Kind))
	}
	if n == 0 {
		b.absent(b.level)
	} else {
		b.elem.start(b.rep, b.listLevel)
	}
	b.rep = b.nextRep
	return b.elem
}

// start sets the repetition levels of the next value and of those after it.
func (b *Builder) start(rep, next int16) { b.rep, b.nextRep = rep, next }

// AppendStruct adds a struct that is not null. The caller appends one value to each member returned.
func (b *Builder) AppendStruct() []*Builder {
	if b.members == nil {
		panic(fmt.Sprintf("BUG: struct appended to column %q of kind %d", b.Field.Name, b.Field.Type.Kind))
	}
	for _, m := range b.members {
		m.start(b.rep, b.rep)
	}
	b.rep = b.nextRep
	return b.members
}

// present marks a leaf's value as there.
func (b *Builder) present() {
	b.Def = append(b.Def, b.level)
	if b.repeated {
		b.Rep = append(b.Rep, b.rep)
		b.rep = b.nextRep
	}
}

func (b *Builder) AppendBool(v bool) { b.Bools = append(b.Bools, v); b.present() }

// AppendInt32 adds an Int, a Date (days since 1970) or a Decimal of up to 9 digits (unscaled).
func (b *Builder) AppendInt32(v int32) { b.Int32s = append(b.Int32s, v); b.present() }

// AppendInt64 adds a Long, Time, Timestamp (microseconds) or a Decimal of 10 to 18 digits (unscaled).
func (b *Builder) AppendInt64(v int64) { b.Int64s = append(b.Int64s, v); b.present() }

func (b *Builder) AppendFloat(v float32)  { b.Float = append(b.Float, v); b.present() }
func (b *Builder) AppendDouble(v float64) { b.Double = append(b.Double, v); b.present() }

// AppendBytes adds a String (valid UTF-8) or Binary.
func (b *Builder) AppendBytes(v []byte) { b.EndBytes(append(b.Data, v...)) }

// AppendFixed adds a UUID, or a Decimal of more than 18 digits as DecimalBytes(precision) bytes in two's complement,
// the highest byte first.
func (b *Builder) AppendFixed(v []byte) { b.Data = append(b.Data, v...); b.present(); b.checkFull() }

// Buf is where a String or Binary may be built in place: append the value's bytes to it and give it to EndBytes.
func (b *Builder) Buf() []byte { return b.Data }

// EndBytes adds the value that was appended to Buf.
func (b *Builder) EndBytes(buf []byte) {
	b.Data = buf
	b.Ends = append(b.Ends, len(buf))
	b.present()
	b.checkFull()
}

func (b *Builder) checkFull() {
	if len(b.Data) >= BytesMax {
		b.batch.Full = true
	}
}

// Value is variable-length value i of the batch.
func (l *Leaf) Value(i int) []byte {
	start := 0
	if i > 0 {
		start = l.Ends[i-1]
	}
	return l.Data[start:l.Ends[i]:l.Ends[i]]
}

// decimalDigits[n] is how many decimal digits n bytes of two's complement always hold.
var decimalDigits = [...]int{0, 2, 4, 6, 9, 11, 14, 16, 18, 21, 23, 26, 28, 31, 33, 35, 38}

// DecimalBytes is the least number of bytes that holds every decimal of that precision (Iceberg's and Parquet's
// "minimum number of bytes"): 1 to 16.
func DecimalBytes(precision int) int {
	for n, d := range decimalDigits {
		if d >= precision {
			return n
		}
	}
	return len(decimalDigits) - 1
}
