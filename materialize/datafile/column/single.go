package column

import (
	"encoding/binary"
	"math"

	"github.com/tarn-db/tarn/materialize/lake"
)

// Single is the only value of a primitive builder that no list holds, in Iceberg's single-value serialization (spec, "Appendix D"); nil
// is null. It aliases the builder.
func (b *Builder) Single() []byte {
	l := b.Leaf
	if l == nil || len(l.Def) != 1 {
		panic("BUG: column " + b.Field.Name + " does not hold one primitive value")
	}
	if l.Def[0] < l.MaxDef {
		return nil
	}
	t := b.Field.Type
	switch t.Kind {
	case lake.Bool:
		if l.Bools[0] {
			return []byte{1}
		}
		return []byte{0}
	case lake.Int, lake.Date:
		return binary.LittleEndian.AppendUint32(nil, uint32(l.Int32s[0]))
	case lake.Float:
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(l.Float[0]))
	case lake.Double:
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(l.Double[0]))
	case lake.Long, lake.Time, lake.Timestamp, lake.TimestampTZ:
		return binary.LittleEndian.AppendUint64(nil, uint64(l.Int64s[0]))
	case lake.Decimal:
		switch {
		case t.Precision <= 9:
			return Shortest(binary.BigEndian.AppendUint64(nil, uint64(int64(l.Int32s[0]))))
		case t.Precision <= 18:
			return Shortest(binary.BigEndian.AppendUint64(nil, uint64(l.Int64s[0])))
		}
		return Shortest(l.Data)
	}
	if len(l.Data) == 0 {
		return []byte{} // a value that is empty is not null
	}
	return l.Data
}

// Shortest drops leading bytes that two's complement, the highest byte first, does not need.
func Shortest(v []byte) []byte {
	for len(v) > 1 && (v[0] == 0 && v[1] < 0x80 || v[0] == 0xFF && v[1] >= 0x80) {
		v = v[1:]
	}
	return v
}
