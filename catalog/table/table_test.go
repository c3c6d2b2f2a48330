package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

var testID = lake.TableID{DB: 5, Rel: 16384, Incarnation: 0x16B3740}

func testSchema() lake.Schema {
	return lake.Schema{LastColumnID: 6, Fields: []lake.Field{
		{ID: 1, Name: "id", Type: lake.Type{Kind: lake.Long}, Doc: "the key"},
		{ID: 2, Name: "amount", Type: lake.Type{Kind: lake.Decimal, Precision: 10, Scale: 2}},
		{ID: 3, Name: "tags", Type: lake.Type{Kind: lake.List, Elem: &lake.Field{ID: 4, Name: "element", Type: lake.Type{Kind: lake.UUID}}}},
		{ID: 5, Name: "pair", Type: lake.Type{Kind: lake.Struct, Fields: []lake.Field{{ID: 6, Name: "a", Type: lake.Type{Kind: lake.TimestampTZ}}}}},
	}}
}

func testFile(n int) lake.File {
	return lake.File{Key: fmt.Sprintf("%s/data/%05d.parquet", testID.Root(), n), Rows: int64(n + 1), Bytes: 100, SplitOffsets: []int64{4},
		Columns: []lake.ColumnStats{{FieldID: 1, Bytes: 9, Values: int64(n + 1), Lower: make([]byte, 8), Upper: []byte{byte(n), 0, 0, 0, 0, 0, 0, 0}}}}
}

// committer puts and adopts commits one by one.
type committer struct {
	t     *testing.T
	store *objstore.Mem
	tbl   *Table
	n     int
	most  int

	assigned func(string, lake.Lineage) // told of row ids, if not nil
}

func newCommitter(t *testing.T) *committer {
	store := objstore.NewMem()
	tbl, err := New(store, testID, uuid.NewString())
	if err != nil {
		t.Fatal(err)
	}
	return &committer{t: t, store: store, tbl: tbl, most: 100}
}

func (c *committer) commit(ch lake.TableChange) Garbage {
	c.t.Helper()
	c.n++
	ch.ID = testID
	if ch.Schema.Fields == nil {
		ch.Schema = testSchema()
	}
	st := Stamp{Nonce: uuid.New(), Time: time.UnixMilli(int64(1_700_000_000_000 + c.n)), LSN: pg.LSN(c.n), Grace: time.Hour, SnapshotsMax: c.most}
	k, err := c.tbl.Prepare(c.t.Context(), &ch, st)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, o := range k.Objects {
		if _, err := c.store.Put(c.t.Context(), o.Key, o.Data); err != nil {
			c.t.Fatal(err)
		}
	}
	g := k.Adopt()
	if c.assigned != nil {
		k.EachAssigned(c.assigned)
	}
	return g
}

// same checks that the table in memory is what a new process would read.
func (c *committer) same() *Table {
	c.t.Helper()
	read, err := Load(c.t.Context(), c.store, testID, c.tbl.Name())
	if err != nil {
		c.t.Fatal(err)
	}
	if read.Totals() != c.tbl.Totals() || !reflect.DeepEqual(read.Data(), c.tbl.Data()) || !reflect.DeepEqual(read.Deletes(), c.tbl.Deletes()) ||
		!reflect.DeepEqual(read.Schema(), c.tbl.Schema()) || len(read.index) != len(c.tbl.index) {
		c.t.Fatalf("in memory %+v, in the store %+v", c.tbl.Totals(), read.Totals())
	}
	for key, m := range c.tbl.index {
		other := read.index[key]
		if other == nil || other.key != m.key {
			c.t.Fatalf("%s lies in %s, in the store it does not", key, m.key)
		}
		for i := range m.entries {
			a, b := m.entries[i], other.entries[i]
			if a.sequence != b.sequence || a.snapshotID != b.snapshotID || a.rows != b.rows {
				c.t.Fatalf("%s: in memory %+v, in the store %+v", key, a, b)
			}
		}
	}
	return read
}

// TestSealedManifests: entries keep their statistics, sequence numbers and snapshot ids however often the manifests they
// lie in are written again, also those whose statistics are no longer in memory.
func TestSealedManifests(t *testing.T) {
	c := newCommitter(t)
	var files []lake.File
	for i := range 450 {
		files = append(files, testFile(i))
	}
	c.commit(lake.TableChange{Create: true, AddData: files[:200]})
	first := c.tbl.meta.CurrentSnapshotID
	c.commit(lake.TableChange{AddData: files[200:440]})
	for _, f := range files[440:] {
		c.commit(lake.TableChange{AddData: []lake.File{f}})
	}
	c.same()
	if len(c.tbl.manifests) != 3 || c.tbl.manifests[0].loaded() || !c.tbl.manifests[2].loaded() {
		t.Fatalf("%d manifests", len(c.tbl.manifests))
	}
	var gone []string
	for i := 0; i < 190; i++ {
		gone = append(gone, files[i].Key)
	}
	c.commit(lake.TableChange{RemoveData: gone})
	read := c.same()
	if n := read.Totals().DataFiles; n != 260 {
		t.Fatalf("%d data files, want 260", n)
	}
	m := read.index[files[195].Key]
	for _, e := range m.entries {
		if e.key != files[195].Key {
			continue
		}
		if e.sequence != 1 || e.snapshotID != first || e.file.UpperBoundValues()[1][0] != 195 || e.file.ValueCounts()[1] != 196 || len(e.file.SplitOffsets()) != 1 {
			t.Errorf("entry lost something: %+v %v", e, e.file.UpperBoundValues())
		}
	}
	c.commit(lake.TableChange{AddData: []lake.File{testFile(999)}})
	c.same()
	if live := len(c.tbl.manifests); live > 3 {
		t.Errorf("%d manifests for 261 files", live)
	}
}

// TestGarbage: what commits call superfluous is what the newest metadata no longer names, all of it and nothing else.
func TestGarbage(t *testing.T) {
	for _, restart := range []bool{false, true} {
		c := newCommitter(t)
		c.most = 3
		dead := map[string]bool{}
		c.commit(lake.TableChange{Create: true, AddData: []lake.File{testFile(0)}})
		for i := 1; i < 12; i++ {
			if restart {
				c.tbl = c.same()
			}
			ch := lake.TableChange{AddData: []lake.File{testFile(i)}, RemoveData: []string{testFile(i - 1).Key}}
			g := c.commit(ch)
			keys := g.Keys
			if g.Later != nil {
				more, err := g.Later(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, more...)
			}
			for _, k := range keys {
				if dead[k] {
					t.Errorf("%s is garbage twice", k)
				}
				dead[k] = true
			}
		}
		refs, err := c.same().References().Resolve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			if key := testFile(i).Key; refs[key] == dead[key] {
				t.Errorf("restart %v: data file %d: referenced %v, garbage %v", restart, i, refs[key], dead[key])
			}
		}
		err = c.store.List(t.Context(), "lake/", func(o objstore.ObjectInfo) error {
			if refs[o.Key] == dead[o.Key] {
				t.Errorf("restart %v: %s: referenced %v, garbage %v", restart, o.Key, refs[o.Key], dead[o.Key])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestExpire(t *testing.T) {
	for _, test := range []struct {
		older int64
		most  int
		left  []int64
	}{
		{0, 100, []int64{1, 2, 3, 4}},
		{0, 2, []int64{3, 4}},
		{25, 100, []int64{2, 3, 4}}, // 2 was superseded at 30
		{1000, 100, []int64{4}},
		{1000, 0, []int64{4}},
	} {
		m := newMetadata("", "")
		m.CurrentSchemaID = 4
		for id := int64(1); id <= 4; id++ {
			m.Snapshots = append(m.Snapshots, snapshot{ID: id, TimestampMS: id * 10, SchemaID: int(id)})
			m.SnapshotLog = append(m.SnapshotLog, logEntry{id * 10, id})
			m.Schemas = append(m.Schemas, schemaRecord{id: int(id)})
		}
		gone, _ := m.expire(test.older, test.most)
		var left []int64
		for _, s := range m.Snapshots {
			left = append(left, s.ID)
		}
		if !reflect.DeepEqual(left, test.left) || len(gone)+len(left) != 4 || len(m.SnapshotLog) != len(left) || len(m.Schemas) != len(left) {
			t.Errorf("%+v: left %v, %d in the log, %d schemas", test, left, len(m.SnapshotLog), len(m.Schemas))
		}
	}
}

func TestSchemaRoundTrip(t *testing.T) {
	want := testSchema()
	for kind := lake.Bool; kind <= lake.Binary; kind++ {
		typ := lake.Type{Kind: kind}
		if kind == lake.Decimal {
			typ.Precision = 38
		}
		want.LastColumnID++
		want.Fields = append(want.Fields, lake.Field{ID: want.LastColumnID, Name: fmt.Sprint(kind), Type: typ})
	}
	ice, err := IcebergSchema(3, want)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(ice)
	if err != nil {
		t.Fatal(err)
	}
	read := new(iceberg.Schema)
	if err := json.Unmarshal(b, read); err != nil {
		t.Fatal(err)
	}
	got, err := LakeSchema(read, want.LastColumnID)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%v\n got %+v\nwant %+v", err, got, want)
	}
}

// TestDamage: whatever byte of a metadata object is wrong, loading ends with an error or a table, never with a panic.
func TestDamage(t *testing.T) {
	c := newCommitter(t)
	c.commit(lake.TableChange{Create: true, AddData: []lake.File{testFile(0), testFile(1)}})
	c.commit(lake.TableChange{AddDeletes: []lake.PositionDeletes{{File: testFile(2)}}})
	var keys []string
	_ = c.store.List(t.Context(), "lake/", func(o objstore.ObjectInfo) error {
		keys = append(keys, o.Key)
		return nil
	})
	refused := 0
	for _, key := range keys {
		good, _, err := c.store.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(good); i += 7 {
			for _, bad := range [][]byte{good[:i], flipped(good, i)} {
				_, _ = c.store.Put(t.Context(), key, bad)
				if _, err := Load(t.Context(), c.store, testID, c.tbl.Name()); err != nil {
					refused++
				}
			}
		}
		_, _ = c.store.Put(t.Context(), key, good)
	}
	c.same()
	if refused == 0 {
		t.Error("no damage was noticed")
	}
}

func flipped(b []byte, i int) []byte {
	b = append([]byte(nil), b...)
	b[i] ^= 0x81
	return b
}

// TestFormatVersion: metadata of another Iceberg format version is refused by name.
func TestFormatVersion(t *testing.T) {
	_, err := parseMetadata("k", []byte(`{"format-version":4,"current-snapshot-id":-1}`))
	if err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("format version 4: %v", err)
	}
	if _, err := parseMetadata("k", []byte(`{"format-version":3,"current-snapshot-id":-1}`)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("format version 3 without a next-row-id: %v", err)
	}
}
