package datafile

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// parquetSchema is an Iceberg schema as Parquet has it (Iceberg spec, "Appendix A: Parquet"): all fields but the keys
// of maps optional, with Iceberg's field ids on every node but the repeated groups inside lists and maps.
type parquetSchema struct {
	root  *schema.GroupNode
	paths []string // of the leaves, in order
}

// Columns of row lineage (Iceberg spec, "Reserved Field IDs").
const (
	rowIDID    = 2147483540
	sequenceID = 2147483539
)

// withLineage adds the columns of row lineage. Readers go by their ids: a name that the table has already gets another.
func withLineage(fields []lake.Field) []lake.Field {
	out := slices.Clone(fields)
	for _, f := range []lake.Field{{ID: rowIDID, Name: "_row_id"}, {ID: sequenceID, Name: "_last_updated_sequence_number"}} {
		for slices.ContainsFunc(fields, func(g lake.Field) bool { return g.Name == f.Name }) {
			f.Name = "_" + f.Name
		}
		f.Type.Kind = lake.Long
		out = append(out, f)
	}
	return out
}

func newSchema(columns []lake.Field) (*parquetSchema, error) {
	if len(columns) == 0 {
		return nil, fmt.Errorf("data file: the schema has no column")
	}
	fields := make(schema.FieldList, 0, len(columns))
	for _, f := range columns {
		n, err := node(f, parquet.Repetitions.Optional)
		if err != nil {
			return nil, fmt.Errorf("data file: column %q: %w", f.Name, err)
		}
		fields = append(fields, n)
	}
	root, err := schema.NewGroupNode("table", parquet.Repetitions.Required, fields, -1)
	if err != nil {
		return nil, fmt.Errorf("data file: schema: %w", err)
	}
	p := &parquetSchema{root: root}
	ps := schema.NewSchema(root)
	for i := range ps.NumColumns() {
		p.paths = append(p.paths, ps.Column(i).Path())
	}
	return p, nil
}

func node(f lake.Field, repetition parquet.Repetition) (schema.Node, error) {
	id := int32(f.ID)
	var members schema.FieldList
	for i, m := range f.Type.Members() {
		of := parquet.Repetitions.Optional
		if f.Type.Kind == lake.Map && i == 0 {
			of = parquet.Repetitions.Required
		}
		n, err := node(m, of)
		if err != nil {
			return nil, err
		}
		members = append(members, n)
	}
	switch f.Type.Kind {
	case lake.List:
		return schema.ListOfWithName(f.Name, members[0], repetition, id)
	case lake.Map:
		return schema.MapOf(f.Name, members[0], members[1], repetition, id)
	case lake.Struct:
		return schema.NewGroupNode(f.Name, repetition, members, id)
	}
	logical, physical, width, err := primitive(f.Type)
	if err != nil {
		return nil, err
	}
	return schema.NewPrimitiveNodeLogical(f.Name, repetition, logical, physical, width, id)
}

// primitive gives a type's Parquet form; width is of fixed-length byte arrays.
func primitive(t lake.Type) (logical schema.LogicalType, physical parquet.Type, width int, err error) {
	none := schema.NoLogicalType{}
	switch t.Kind {
	case lake.Bool:
		return none, parquet.Types.Boolean, 0, nil
	case lake.Int:
		return none, parquet.Types.Int32, 0, nil
	case lake.Long:
		return none, parquet.Types.Int64, 0, nil
	case lake.Float:
		return none, parquet.Types.Float, 0, nil
	case lake.Double:
		return none, parquet.Types.Double, 0, nil
	case lake.Date:
		return schema.DateLogicalType{}, parquet.Types.Int32, 0, nil
	case lake.Time:
		return schema.NewTimeLogicalType(false, schema.TimeUnitMicros), parquet.Types.Int64, 0, nil
	case lake.Timestamp:
		return schema.NewTimestampLogicalTypeForce(false, schema.TimeUnitMicros), parquet.Types.Int64, 0, nil
	case lake.TimestampTZ:
		return schema.NewTimestampLogicalTypeForce(true, schema.TimeUnitMicros), parquet.Types.Int64, 0, nil
	case lake.String:
		return schema.StringLogicalType{}, parquet.Types.ByteArray, 0, nil
	case lake.Binary:
		return none, parquet.Types.ByteArray, 0, nil
	case lake.UUID:
		return schema.UUIDLogicalType{}, parquet.Types.FixedLenByteArray, 16, nil
	case lake.Decimal:
		if t.Precision < 1 || t.Precision > 38 || t.Scale < 0 || t.Scale > t.Precision {
			return nil, 0, 0, fmt.Errorf("decimal(%d,%d) is not an Iceberg type", t.Precision, t.Scale)
		}
		dec := schema.NewDecimalLogicalType(int32(t.Precision), int32(t.Scale))
		switch {
		case t.Precision <= 9:
			return dec, parquet.Types.Int32, 0, nil
		case t.Precision <= 18:
			return dec, parquet.Types.Int64, 0, nil
		}
		return dec, parquet.Types.FixedLenByteArray, column.DecimalBytes(t.Precision), nil
	}
	return nil, 0, 0, fmt.Errorf("kind %d has no Parquet form", t.Kind)
}
