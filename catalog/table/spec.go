package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
	"github.com/tarn-db/tarn/materialize/lake"
)

// specRecord is a partition spec in metadata.json (Iceberg spec, "Partition Specs").
type specRecord struct {
	ID     int           `json:"spec-id"`
	Fields []fieldRecord `json:"fields"`
}

type fieldRecord struct {
	SourceID  int    `json:"source-id"`
	FieldID   int    `json:"field-id"`
	Name      string `json:"name"`
	Transform string `json:"transform"`
}

func newSpecRecord(s lake.Spec) specRecord {
	r := specRecord{ID: s.ID, Fields: []fieldRecord{}}
	for _, f := range s.Fields {
		r.Fields = append(r.Fields, fieldRecord{SourceID: f.SourceID, FieldID: f.FieldID, Transform: f.Transform})
	}
	return r
}

func (r specRecord) spec() lake.Spec {
	s := lake.Spec{ID: r.ID}
	for _, f := range r.Fields {
		s.Fields = append(s.Fields, lake.PartitionField{SourceID: f.SourceID, FieldID: f.FieldID, Transform: f.Transform})
	}
	return s
}

// iceberg is the spec as iceberg-go has it.
func (r specRecord) iceberg() (iceberg.PartitionSpec, error) {
	var s iceberg.PartitionSpec
	b, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		err = fmt.Errorf("partition spec %d: %w", r.ID, err)
	}
	return s, err
}

// specOf is a spec by its id, nil if there is none.
func (m *metadata) specOf(id int) *specRecord {
	i := slices.IndexFunc(m.PartitionSpecs, func(r specRecord) bool { return r.ID == id })
	if i < 0 {
		return nil
	}
	return &m.PartitionSpecs[i]
}

// setLayout takes in a change's layout. had is the schema before the change, which evolve has made the current one already.
//
// Invariant: every spec of the metadata can be read with its current schema.
func (c *Commit) setLayout(ch *lake.TableChange, had lake.Schema) error {
	m := &c.meta
	c.renewed = slices.ContainsFunc(m.PartitionSpecs, func(r specRecord) bool { return r.unreadable(had, ch.Schema) })
	if c.renewed && (!ch.ReplaceAll || ch.Layout == nil) {
		return errors.New("a column that the table is partitioned by is gone or of another type, and files stay")
	}
	if l := ch.Layout; l != nil {
		if ch.Create || c.renewed {
			m.PartitionSpecs = nil
		}
		switch known := m.specOf(l.Spec.ID); {
		case known == nil:
			m.PartitionSpecs = append(m.PartitionSpecs, newSpecRecord(l.Spec))
			c.Changed = true
		case !known.spec().Equal(l.Spec):
			return fmt.Errorf("partition spec %d is another one already", l.Spec.ID)
		}
		if m.DefaultSpecID != l.Spec.ID {
			m.DefaultSpecID, c.Changed = l.Spec.ID, true
		}
		for _, f := range l.Spec.Fields {
			m.LastPartitionID = max(m.LastPartitionID, f.FieldID)
		}
	}
	return m.nameFields(ch.Schema)
}

// unreadable says whether a field's column is gone, or has another type than it had.
func (r specRecord) unreadable(had, now lake.Schema) bool {
	return slices.ContainsFunc(r.Fields, func(f fieldRecord) bool {
		before, after := had.Field(f.SourceID), now.Field(f.SourceID)
		return after == nil || before != nil && !before.Type.Equal(after.Type)
	})
}

// avroName is what Avro, which manifests are, takes as the name of a field.
var avroName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// nameFields gives each partition field a name as Spark would: the column's, and the transform's short name. A name stays, unless a column
// has it now: Iceberg's Java library then refuses the table. A field has the same name in every spec.
func (m *metadata) nameFields(s lake.Schema) error {
	names := map[int]string{}
	for _, r := range m.PartitionSpecs {
		for _, f := range r.Fields {
			if f.Name != "" {
				names[f.FieldID] = f.Name
			}
		}
	}
	for i := range m.PartitionSpecs {
		r := &m.PartitionSpecs[i]
		r.Fields = slices.Clone(r.Fields)
		for j := range r.Fields {
			f := &r.Fields[j]
			source := s.Field(f.SourceID)
			if source == nil {
				return fmt.Errorf("partition field %d: the table has no column with the field id %d", f.FieldID, f.SourceID)
			}
			f.Name = names[f.FieldID]
			if f.Name == "" {
				f.Name = baseName(source.Name, f.Transform)
			}
			if !avroName.MatchString(f.Name) {
				f.Name = fmt.Sprintf("partition_%d", f.FieldID)
			}
			for m.taken(s, f, names) {
				f.Name = fmt.Sprintf("%s_%d", f.Name, f.FieldID)
			}
			names[f.FieldID] = f.Name
		}
	}
	return nil
}

// taken says whether a column, but the source of an identity, or another partition field has the name, in any case of letters.
func (m *metadata) taken(s lake.Schema, f *fieldRecord, names map[int]string) bool {
	for id, name := range names {
		if id != f.FieldID && strings.EqualFold(name, f.Name) {
			return true
		}
	}
	return slices.ContainsFunc(s.Fields, func(c lake.Field) bool {
		return strings.EqualFold(c.Name, f.Name) && (f.Transform != "identity" || c.ID != f.SourceID)
	})
}

func baseName(column, transform string) string {
	switch kind, _, _ := strings.Cut(transform, "["); kind {
	case "identity":
		return column
	case "truncate":
		return column + "_trunc"
	default:
		return column + "_" + kind
	}
}

// values are a partition's as iceberg-go wants them, by field id.
func (r specRecord) values(p lake.Partition, schema *iceberg.Schema) (iceberg.PartitionSpec, map[int]any, error) {
	spec, err := r.iceberg()
	if err != nil {
		return spec, nil, err
	}
	if len(p.Values) != len(r.Fields) {
		return spec, nil, fmt.Errorf("partition spec %d has %d fields, a file has %d values", r.ID, len(r.Fields), len(p.Values))
	}
	out := map[int]any{}
	for i, f := range spec.PartitionType(schema).FieldList {
		if p.Values[i] == nil {
			out[f.ID] = nil
			continue
		}
		v, err := iceberg.LiteralFromBytes(f.Type, p.Values[i])
		if err != nil {
			return spec, nil, fmt.Errorf("partition field %q: %w", f.Name, err)
		}
		if out[f.ID] = v.Any(); f.Type.Equals(iceberg.PrimitiveTypes.Binary) {
			out[f.ID] = p.Values[i]
		}
	}
	return spec, out, nil
}

// partition finds a partition's spec and gives its values.
func (m *metadata) partition(p lake.Partition, schema *iceberg.Schema) (iceberg.PartitionSpec, map[int]any, error) {
	r := m.specOf(p.SpecID)
	if r == nil {
		return iceberg.PartitionSpec{}, nil, fmt.Errorf("there is no partition spec %d", p.SpecID)
	}
	return r.values(p, schema)
}

// partitionOf is the inverse of values, of a file in a manifest of the spec.
func (r specRecord) partitionOf(file iceberg.DataFile) (lake.Partition, error) {
	p := lake.Partition{SpecID: r.ID}
	if len(r.Fields) == 0 {
		return p, nil
	}
	values := file.Partition()
	for _, f := range r.Fields {
		v, err := singleValue(values[f.FieldID])
		if err != nil {
			return p, fmt.Errorf("partition field %q: %w", f.Name, err)
		}
		p.Values = append(p.Values, v)
	}
	return p, nil
}

// singleValue is a value as iceberg-go reads it from a manifest, in Iceberg's single-value serialization; nil is null.
func singleValue(v any) ([]byte, error) {
	var l iceberg.Literal
	switch v := v.(type) {
	case nil:
		return nil, nil
	case iceberg.Literal:
		l = v
	case bool:
		l = iceberg.NewLiteral(v)
	case int32:
		l = iceberg.NewLiteral(v)
	case int64:
		l = iceberg.NewLiteral(v)
	case string:
		l = iceberg.NewLiteral(v)
	case []byte:
		l = iceberg.NewLiteral(v)
	case uuid.UUID:
		l = iceberg.NewLiteral(v)
	case iceberg.Date:
		l = iceberg.NewLiteral(v)
	case iceberg.Time:
		l = iceberg.NewLiteral(v)
	case iceberg.Timestamp:
		l = iceberg.NewLiteral(v)
	case iceberg.Decimal:
		l = iceberg.NewLiteral(v)
	default:
		return nil, fmt.Errorf("a value of type %T", v)
	}
	b, err := l.MarshalBinary()
	if b == nil {
		b = []byte{} // of text without a character
	}
	return b, err
}

// Specs are the partition specs that readers are told of.
func (t *Table) Specs() (out []lake.Spec) {
	for _, r := range t.meta.PartitionSpecs {
		out = append(out, r.spec())
	}
	return out
}

// Layout is that of the newest files, and LastPartitionID the highest id of a partition field ever given.
func (t *Table) Layout() (l lake.Layout, lastPartitionID int) {
	if r := t.meta.specOf(t.meta.DefaultSpecID); r != nil {
		l.Spec = r.spec()
	}
	return l, t.meta.LastPartitionID
}
