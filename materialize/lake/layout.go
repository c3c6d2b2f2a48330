package lake

import (
	"bytes"
	"slices"
)

// PartitionField is one field of a partition spec (Iceberg spec, "Partitioning").
type PartitionField struct {
	SourceID  int    // field id of the column
	FieldID   int    // of the partition field, from 1000: the same source and transform keep it in every spec of a table
	Transform string // as Iceberg writes it: identity, bucket[N], truncate[W], year, month, day, hour
}

// Spec is a partition spec; one without fields says that the table is not partitioned.
type Spec struct {
	ID     int
	Fields []PartitionField
}

// Equal compares the fields: two specs of a table that are equal are one.
func (s Spec) Equal(o Spec) bool { return slices.Equal(s.Fields, o.Fields) }

// PartitionIDMin is the least id of a partition field.
const PartitionIDMin = 1000

// Partition is what all rows of a file have in common: the value of each field of its spec, in order, in Iceberg's single-value
// serialization; nil is null.
type Partition struct {
	SpecID int
	Values [][]byte
}

// Equal compares spec and values.
func (p Partition) Equal(o Partition) bool {
	return p.SpecID == o.SpecID && slices.EqualFunc(p.Values, o.Values, func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) })
}

// Key is the same for two partitions if they are equal.
func (p Partition) Key() string {
	b := []byte{byte(p.SpecID), byte(p.SpecID >> 8), byte(p.SpecID >> 16), byte(p.SpecID >> 24)}
	for _, v := range p.Values {
		b = AppendValue(b, v)
	}
	return string(b)
}

// AppendValue appends a value so that it can be told from what follows: 0 for null, else 1, its length u32 little-endian, its bytes.
func AppendValue(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	n := len(v)
	return append(append(b, 1, byte(n), byte(n>>8), byte(n>>16), byte(n>>24)), v...)
}

// Layout is how a table's files are laid out from now on.
type Layout struct {
	Spec Spec // data files are written under it
}

// CutValue is the inverse of AppendValue: the value that begins b, and what follows it.
func CutValue(b []byte) (v, rest []byte) {
	if b[0] == 0 {
		return nil, b[1:]
	}
	n := int(b[1]) | int(b[2])<<8 | int(b[3])<<16 | int(b[4])<<24
	return b[5 : 5+n : 5+n], b[5+n:]
}

// Field is the top-level field with an id, nil if there is none.
func (s Schema) Field(id int) *Field {
	for i := range s.Fields {
		if s.Fields[i].ID == id {
			return &s.Fields[i]
		}
	}
	return nil
}
