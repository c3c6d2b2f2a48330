package table

import (
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/tarn-db/tarn/materialize/lake"
)

// nestingMax bounds how deep a schema read from the store may nest.
const nestingMax = 64

// IcebergSchema is s in Iceberg's own types, under a schema id. Field ids are kept.
func IcebergSchema(id int, s lake.Schema) (*iceberg.Schema, error) {
	fields, err := icebergFields(s.Fields, 0)
	if err != nil {
		return nil, err
	}
	return iceberg.NewSchema(id, fields...), nil
}

func icebergFields(fields []lake.Field, depth int) ([]iceberg.NestedField, error) {
	out := make([]iceberg.NestedField, len(fields))
	for i, f := range fields {
		t, err := icebergType(f.Type, depth)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Name, err)
		}
		out[i] = iceberg.NestedField{ID: f.ID, Name: f.Name, Type: t, Doc: f.Doc}
	}
	return out, nil
}

func icebergType(t lake.Type, depth int) (iceberg.Type, error) {
	if depth > nestingMax {
		return nil, fmt.Errorf("nested deeper than %d", nestingMax)
	}
	switch t.Kind {
	case lake.Bool:
		return iceberg.PrimitiveTypes.Bool, nil
	case lake.Int:
		return iceberg.PrimitiveTypes.Int32, nil
	case lake.Long:
		return iceberg.PrimitiveTypes.Int64, nil
	case lake.Float:
		return iceberg.PrimitiveTypes.Float32, nil
	case lake.Double:
		return iceberg.PrimitiveTypes.Float64, nil
	case lake.Decimal:
		if t.Precision < 1 || t.Precision > 38 || t.Scale < 0 || t.Scale > t.Precision {
			return nil, fmt.Errorf("decimal(%d,%d) is not an Iceberg type", t.Precision, t.Scale)
		}
		return iceberg.DecimalTypeOf(t.Precision, t.Scale), nil
	case lake.Date:
		return iceberg.PrimitiveTypes.Date, nil
	case lake.Time:
		return iceberg.PrimitiveTypes.Time, nil
	case lake.Timestamp:
		return iceberg.PrimitiveTypes.Timestamp, nil
	case lake.TimestampTZ:
		return iceberg.PrimitiveTypes.TimestampTz, nil
	case lake.String:
		return iceberg.PrimitiveTypes.String, nil
	case lake.UUID:
		return iceberg.PrimitiveTypes.UUID, nil
	case lake.Binary:
		return iceberg.PrimitiveTypes.Binary, nil
	case lake.List:
		if t.Elem == nil {
			return nil, fmt.Errorf("a list without an element type")
		}
		elem, err := icebergType(t.Elem.Type, depth+1)
		if err != nil {
			return nil, err
		}
		return &iceberg.ListType{ElementID: t.Elem.ID, Element: elem}, nil
	case lake.Map:
		if t.Key == nil || t.Elem == nil {
			return nil, fmt.Errorf("a map without a key or value type")
		}
		key, err := icebergType(t.Key.Type, depth+1)
		if err != nil {
			return nil, err
		}
		value, err := icebergType(t.Elem.Type, depth+1)
		if err != nil {
			return nil, err
		}
		return &iceberg.MapType{KeyID: t.Key.ID, KeyType: key, ValueID: t.Elem.ID, ValueType: value}, nil
	case lake.Struct:
		fields, err := icebergFields(t.Fields, depth+1)
		if err != nil {
			return nil, err
		}
		return &iceberg.StructType{FieldList: fields}, nil
	}
	return nil, fmt.Errorf("unknown kind %d", t.Kind)
}

// LakeSchema is the inverse of IcebergSchema.
func LakeSchema(s *iceberg.Schema, lastColumnID int) (lake.Schema, error) {
	fields, err := lakeFields(s.Fields(), 0)
	return lake.Schema{Fields: fields, LastColumnID: lastColumnID}, err
}

func lakeFields(fields []iceberg.NestedField, depth int) ([]lake.Field, error) {
	var out []lake.Field
	for _, f := range fields {
		t, err := lakeType(f.Type, depth)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Name, err)
		}
		out = append(out, lake.Field{ID: f.ID, Name: f.Name, Type: t, Doc: f.Doc})
	}
	return out, nil
}

func lakeType(t iceberg.Type, depth int) (lake.Type, error) {
	if depth > nestingMax {
		return lake.Type{}, fmt.Errorf("nested deeper than %d", nestingMax)
	}
	switch t := t.(type) {
	case iceberg.BooleanType:
		return lake.Type{Kind: lake.Bool}, nil
	case iceberg.Int32Type:
		return lake.Type{Kind: lake.Int}, nil
	case iceberg.Int64Type:
		return lake.Type{Kind: lake.Long}, nil
	case iceberg.Float32Type:
		return lake.Type{Kind: lake.Float}, nil
	case iceberg.Float64Type:
		return lake.Type{Kind: lake.Double}, nil
	case iceberg.DecimalType:
		return lake.Type{Kind: lake.Decimal, Precision: t.Precision(), Scale: t.Scale()}, nil
	case iceberg.DateType:
		return lake.Type{Kind: lake.Date}, nil
	case iceberg.TimeType:
		return lake.Type{Kind: lake.Time}, nil
	case iceberg.TimestampType:
		return lake.Type{Kind: lake.Timestamp}, nil
	case iceberg.TimestampTzType:
		return lake.Type{Kind: lake.TimestampTZ}, nil
	case iceberg.StringType:
		return lake.Type{Kind: lake.String}, nil
	case iceberg.UUIDType:
		return lake.Type{Kind: lake.UUID}, nil
	case iceberg.BinaryType:
		return lake.Type{Kind: lake.Binary}, nil
	case *iceberg.ListType:
		elem, err := lakeType(t.Element, depth+1)
		return lake.Type{Kind: lake.List, Elem: &lake.Field{ID: t.ElementID, Name: "element", Type: elem}}, err
	case *iceberg.MapType:
		key, err := lakeType(t.KeyType, depth+1)
		if err != nil {
			return lake.Type{}, err
		}
		value, err := lakeType(t.ValueType, depth+1)
		return lake.Type{
			Kind: lake.Map, Key: &lake.Field{ID: t.KeyID, Name: "key", Type: key}, Elem: &lake.Field{ID: t.ValueID, Name: "value", Type: value},
		}, err
	case *iceberg.StructType:
		fields, err := lakeFields(t.FieldList, depth+1)
		return lake.Type{Kind: lake.Struct, Fields: fields}, err
	}
	return lake.Type{}, fmt.Errorf("type %s is not one tarn writes", t)
}

// checkSchema refuses a schema that Iceberg readers could not take: field ids must be unique and none above the last.
func checkSchema(s lake.Schema) error {
	seen := map[int]bool{}
	var walk func(fields []lake.Field, depth int) error
	walk = func(fields []lake.Field, depth int) error {
		if depth > nestingMax {
			return fmt.Errorf("nested deeper than %d", nestingMax)
		}
		names := map[string]bool{}
		for _, f := range fields {
			if f.ID <= 0 || f.ID > s.LastColumnID || seen[f.ID] {
				return fmt.Errorf("field %q has id %d, which is taken or not in 1..%d", f.Name, f.ID, s.LastColumnID)
			}
			if names[f.Name] {
				return fmt.Errorf("two fields are named %q", f.Name)
			}
			seen[f.ID], names[f.Name] = true, true
			if err := walk(f.Type.Members(), depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(s.Fields, 0)
}
