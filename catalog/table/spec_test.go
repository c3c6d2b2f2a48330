package table

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// partitionValues are, by kind, values as single-value serialization has them: ordinary ones and the ends of what Postgres gives.
var partitionValues = map[lake.Kind][][]byte{
	lake.Bool: {{0}, {1}}, lake.Int: {le32(0), le32(-1), le32(math.MinInt32), le32(math.MaxInt32)},
	lake.Long: {le64(0), le64(-1), le64(math.MinInt64), le64(math.MaxInt64)}, lake.Date: {le32(0), le32(-1), le32(-2440588), le32(2932896), le32(-719893)},
	lake.Time: {le64(0), le64(86_399_999_999)}, lake.Timestamp: {le64(0), le64(-1), le64(-62_135_596_800_000_000), le64(253_402_300_799_999_999)}, lake.TimestampTZ: {le64(1), le64(-1)},
	lake.String: {{}, []byte("é𝄞"), []byte("a/b=c%d")}, lake.Binary: {{}, {0}, {0xFF, 0, 1}},
	lake.Decimal: {{0}, {1}, {0xFF}, {0x7F}, {0x80}, {0, 0x80}, {0xFF, 0x7F}, []byte("\x4b\x3b\x4c\xa8\x5a\x86\xc4\x7a\x09\x8a\x22\x3f\xff\xff\xff\xff")},
}

func le32(v int32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }
func le64(v int64) []byte { return append(le32(int32(v)), le32(int32(v>>32))...) }

func partitionSchema(kind lake.Kind) lake.Schema {
	typ := lake.Type{Kind: kind}
	if kind == lake.Decimal {
		typ.Precision, typ.Scale = 38, 4
	}
	return lake.Schema{LastColumnID: 2, Fields: []lake.Field{{ID: 1, Name: "id", Type: lake.Type{Kind: lake.Long}}, {ID: 2, Name: "v", Type: typ}}}
}

func layout(id int, fields ...lake.PartitionField) *lake.Layout {
	return &lake.Layout{Spec: lake.Spec{ID: id, Fields: fields}}
}

func inPartition(n, spec int, values ...[]byte) lake.File {
	f := testFile(n)
	f.Partition = lake.Partition{SpecID: spec, Values: values}
	return f
}

// Partition values of every kind come back bit for bit, also from a manifest that was read and written again.
func TestPartitionValues(t *testing.T) {
	for kind, values := range partitionValues {
		c := newCommitter(t)
		by := layout(0, lake.PartitionField{SourceID: 2, FieldID: 1000, Transform: "identity"})
		ch := lake.TableChange{Create: true, Schema: partitionSchema(kind), Layout: by}
		want := map[string]lake.Partition{}
		for i, v := range append(values, nil) {
			f := inPartition(i, 0, v)
			ch.AddData = append(ch.AddData, f)
			want[f.Key] = f.Partition
		}
		c.commit(ch)
		for i := range 3 {
			c.tbl = c.same()
			f := inPartition(100+i, 0, values[0])
			want[f.Key] = f.Partition
			c.commit(lake.TableChange{Schema: partitionSchema(kind), Layout: by, AddData: []lake.File{f}})
		}
		files := c.same().Data()
		for _, f := range files {
			if !f.Partition.Equal(want[f.Key]) {
				t.Errorf("kind %d: %x came back as %x", kind, want[f.Key].Values, f.Partition.Values)
			}
		}
		if len(files) != len(want) {
			t.Errorf("kind %d: %d files of %d", kind, len(files), len(want))
		}
	}
}

// Files of each spec are in manifests of their own, which say what is in them, and older files stay under theirs.
func TestSpecs(t *testing.T) {
	c := newCommitter(t)
	schema := partitionSchema(lake.Int)
	day := lake.PartitionField{SourceID: 2, FieldID: 1000, Transform: "identity"}
	bucket := lake.PartitionField{SourceID: 1, FieldID: 1001, Transform: "bucket[4]"}
	c.commit(lake.TableChange{Create: true, Schema: schema, AddData: []lake.File{testFile(0)}})
	c.commit(lake.TableChange{Schema: schema, Layout: layout(1, day), AddData: []lake.File{inPartition(1, 1, le32(7)), inPartition(2, 1, le32(-9))}})
	c.commit(lake.TableChange{Schema: schema, Layout: layout(2, day, bucket), AddData: []lake.File{inPartition(3, 2, le32(7), le32(3))},
		AddDeletes: []lake.PositionDeletes{{File: inPartition(4, 1, le32(7))}}, RemoveData: []string{testFile(2).Key}})
	tbl := c.same()
	if got := fmt.Sprint(tbl.Specs()); got != "[{0 []} {1 [{2 1000 identity}]} {2 [{2 1000 identity} {1 1001 bucket[4]}]}]" {
		t.Errorf("specs %s", got)
	}
	if l, last := tbl.Layout(); l.Spec.ID != 2 || last != 1001 {
		t.Errorf("the default spec is %d, the last field %d", l.Spec.ID, last)
	}
	bySpec := map[int]int{}
	for _, m := range tbl.manifests {
		bySpec[m.specID()]++
		for _, e := range m.entries {
			if e.partition.SpecID != m.specID() {
				t.Errorf("%s of spec %d is in a manifest of spec %d", e.key, e.partition.SpecID, m.specID())
			}
		}
		if len(m.file.Partitions()) != len(tbl.meta.specOf(m.specID()).Fields) {
			t.Errorf("a manifest of spec %d sums up %d fields", m.specID(), len(m.file.Partitions()))
		}
		for _, p := range m.file.Partitions()[:min(1, len(m.file.Partitions()))] {
			if m.specID() == 2 && (string(*p.LowerBound) != string(le32(7)) || string(*p.UpperBound) != string(le32(7)) || p.ContainsNull) {
				t.Errorf("summary % x to % x, nulls %v", *p.LowerBound, *p.UpperBound, p.ContainsNull)
			}
		}
	}
	if bySpec[0] != 1 || bySpec[1] != 2 || bySpec[2] != 1 {
		t.Errorf("manifests by spec: %v", bySpec)
	}
	bad := lake.TableChange{ID: testID, Schema: schema, Layout: layout(2, bucket)}
	if _, err := tbl.Prepare(t.Context(), &bad, Stamp{Nonce: uuid.New(), Time: time.Now(), SnapshotsMax: 10}); err == nil || !strings.Contains(err.Error(), "another one already") {
		t.Errorf("spec 2 with other fields: %v", err)
	}
}

// A name of a column that a partition field has takes it from the field, whatever the case of its letters.
func TestFieldNames(t *testing.T) {
	c := newCommitter(t)
	schema := partitionSchema(lake.Timestamp)
	schema.Fields = append(schema.Fields, lake.Field{ID: 3, Name: "a (b)", Type: lake.Type{Kind: lake.Int}})
	schema.LastColumnID = 3
	by := layout(0, lake.PartitionField{SourceID: 2, FieldID: 1000, Transform: "day"}, lake.PartitionField{SourceID: 1, FieldID: 1001, Transform: "identity"}, lake.PartitionField{SourceID: 3, FieldID: 1002, Transform: "truncate[4]"})
	names := func() (out []string) {
		for _, f := range c.same().meta.PartitionSpecs[0].Fields {
			out = append(out, f.Name)
		}
		return out
	}
	c.commit(lake.TableChange{Create: true, Schema: schema, Layout: by})
	if got := names(); !slices.Equal(got, []string{"v_day", "id", "partition_1002"}) {
		t.Errorf("names %v", got)
	}
	schema.Fields = slices.Clone(schema.Fields)
	schema.Fields[0].Name = "key"
	schema.Fields = append(schema.Fields, lake.Field{ID: 4, Name: "ID", Type: lake.Type{Kind: lake.Int}}, lake.Field{ID: 5, Name: "V_Day", Type: lake.Type{Kind: lake.Int}})
	schema.LastColumnID = 5
	c.commit(lake.TableChange{Schema: schema, Layout: by})
	if got := names(); !slices.Equal(got, []string{"v_day_1000", "id_1001", "partition_1002"}) {
		t.Errorf("names beside columns of the same %v", got)
	}
}

// Where a column that a spec is about goes, the spec goes and all that came before, or the change is refused.
func TestSpecsRenewed(t *testing.T) {
	c := newCommitter(t)
	schema := partitionSchema(lake.String)
	c.commit(lake.TableChange{Create: true, Schema: schema, Layout: layout(0, lake.PartitionField{SourceID: 2, FieldID: 1000, Transform: "identity"}), AddData: []lake.File{inPartition(0, 0, []byte("x"))}})
	c.commit(lake.TableChange{Schema: schema, AddData: []lake.File{inPartition(1, 0, nil)}})
	schema.Fields = schema.Fields[:1]
	gone := lake.TableChange{ID: testID, Schema: schema, Layout: layout(1), AddData: []lake.File{inPartition(2, 1)}}
	if _, err := c.tbl.Prepare(t.Context(), &gone, Stamp{Nonce: uuid.New(), Time: time.Now(), LSN: pg.LSN(9), SnapshotsMax: 10}); err == nil {
		t.Error("files of a spec without its column stay")
	}
	gone.ReplaceAll = true
	g := c.commit(gone)
	tbl := c.same()
	if specs, data := tbl.Specs(), tbl.Data(); len(specs) != 1 || specs[0].ID != 1 || len(data) != 1 || len(tbl.meta.Snapshots) != 1 {
		t.Errorf("specs %v, %d files, %d snapshots", specs, len(data), len(tbl.meta.Snapshots))
	}
	for n := range 2 {
		if !slices.Contains(g.Keys, testFile(n).Key) {
			t.Errorf("nobody is to delete %s", testFile(n).Key)
		}
	}
	if _, last := tbl.Layout(); last != 1000 {
		t.Errorf("the last partition field is %d: its id would be given again", last)
	}
}
