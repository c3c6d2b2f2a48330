package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/catalog/rest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/materialize/lake"
)

// python is an interpreter that has PyIceberg and DuckDB: TARN_PYTHON or the module's .cache/venv.
func python(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("TARN_PYTHON"); p != "" {
		return p
	}
	p, err := filepath.Abs("../../.cache/venv/bin/python")
	if err == nil {
		_, err = os.Stat(p)
	}
	if err != nil {
		pgtest.Missing(t, "no Python with pyiceberg and duckdb: set TARN_PYTHON")
	}
	return p
}

// seen is what one engine read of one table.
type seen struct {
	Columns []string         `json:"columns"`
	Rows    []map[string]any `json:"rows"`
	History []int            `json:"history"` // rows at each snapshot
	LSN     string           `json:"lsn"`     // PyIceberg only
}

// lakeFixture publishes to a directory store and remembers what each LSN must show.
type lakeFixture struct {
	t    *testing.T
	c    *catalog.Catalog
	url  string
	want map[pg.LSN]map[string]seen // by namespace 0x1F table
	lsn  pg.LSN

	tables  []*laketest.Table
	history map[lake.TableID][]int
	at      map[lake.TableID]pg.LSN
}

func newFixture(t *testing.T) *lakeFixture {
	t.Helper()
	store, err := objstore.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Open(t.Context(), catalog.Options{Store: store, MaintainEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	allow := func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer engines-token-0123456789" }
	h, err := rest.New(rest.Options{View: c.View(), Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &lakeFixture{t: t, c: c, url: srv.URL, want: map[pg.LSN]map[string]seen{}, history: map[lake.TableID][]int{}, at: map[lake.TableID]pg.LSN{}}
}

// publish applies changes and records what every table must show from now on.
func (f *lakeFixture) publish(changes ...lake.TableChange) {
	f.t.Helper()
	f.lsn += 0x10000A0
	p := lake.Publication{LSN: f.lsn, Timeline: 1, SystemID: 42, CommitTime: time.Now(), Tables: changes}
	if err := f.c.Publish(context.Background(), p); err != nil {
		f.t.Fatal(err)
	}
	f.want[f.lsn] = map[string]seen{}
	for _, tbl := range f.tables {
		for _, ch := range changes {
			if ch.ID == tbl.ID && (ch.Create || len(ch.AddData)+len(ch.AddDeletes)+len(ch.RemoveData) > 0 || ch.ReplaceAll) {
				f.history[tbl.ID] = append(slices.Clone(f.history[tbl.ID]), len(tbl.Rows()))
				f.at[tbl.ID] = f.lsn
			}
		}
		s := seen{History: f.history[tbl.ID], LSN: f.at[tbl.ID].String(), Rows: []map[string]any{}}
		for _, fld := range tbl.Schema.Fields {
			s.Columns = append(s.Columns, fld.Name)
		}
		for key := range tbl.Files {
			s.Rows = append(s.Rows, f.rows(tbl, key)...)
		}
		f.want[f.lsn][tbl.Name.Namespace+"\x1f"+tbl.Name.Name] = s
	}
}

// had says which fields a data file was written with.
var had = map[string]map[int]bool{}

func (f *lakeFixture) rows(tbl *laketest.Table, key string) (rows []map[string]any) {
	file := tbl.Files[key]
	for i, id := range file.IDs {
		if file.Deleted.Contains(uint32(i)) {
			continue
		}
		row := map[string]any{}
		for _, fld := range tbl.Schema.Fields {
			switch {
			case !had[key][fld.ID]:
				row[fld.Name] = nil
			case fld.Type.Kind == lake.Long:
				row[fld.Name] = float64(id)
			default:
				row[fld.Name] = laketest.Text(fld.ID, id)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func (f *lakeFixture) insert(tbl *laketest.Table, ids ...int64) []lake.File {
	f.t.Helper()
	file, err := tbl.Insert(f.t.Context(), ids...)
	if err != nil {
		f.t.Fatal(err)
	}
	had[file.Key] = map[int]bool{}
	for _, fld := range tbl.Schema.Fields {
		had[file.Key][fld.ID] = true
	}
	return []lake.File{file}
}

func (f *lakeFixture) delete(tbl *laketest.Table, ids ...int64) []lake.PositionDeletes {
	f.t.Helper()
	d, err := tbl.Delete(f.t.Context(), ids...)
	if err != nil {
		f.t.Fatal(err)
	}
	return []lake.PositionDeletes{d}
}

func (f *lakeFixture) table(namespace, name string) *laketest.Table {
	tbl := laketest.New(f.c.View().Store(), pg.OID(100+len(f.history)+len(f.tables)*7), lake.TableName{Database: "app", Namespace: namespace, Name: name})
	f.tables = append(f.tables, tbl)
	return tbl
}

func created(tbl *laketest.Table) lake.TableChange {
	ch := tbl.Change()
	ch.Create = true
	return ch
}

func everyType() lake.Schema {
	s := lake.Schema{}
	add := func(name string, t lake.Type) {
		s.LastColumnID++
		f := lake.Field{ID: s.LastColumnID, Name: name, Type: t, Doc: "of " + name}
		if t.Elem != nil {
			s.LastColumnID++
			elem := *t.Elem
			elem.ID, f.Type.Elem = s.LastColumnID, &elem
		}
		for i := range t.Fields {
			s.LastColumnID++
			t.Fields[i].ID = s.LastColumnID
		}
		s.Fields = append(s.Fields, f)
	}
	for kind := lake.Bool; kind <= lake.Binary; kind++ {
		t := lake.Type{Kind: kind}
		if kind == lake.Decimal {
			t.Precision, t.Scale = 38, 10
		}
		add(fmt.Sprintf("k%d", kind), t)
	}
	add("list", lake.Type{Kind: lake.List, Elem: &lake.Field{Name: "element", Type: lake.Type{Kind: lake.String}}})
	add("struct", lake.Type{Kind: lake.Struct, Fields: []lake.Field{
		{Name: "months", Type: lake.Type{Kind: lake.Int}}, {Name: "microseconds", Type: lake.Type{Kind: lake.Long}},
	}})
	return s
}

// TestEngines reads every publication of an eventful history with PyIceberg and DuckDB, pinned by LSN and as the newest.
func TestEngines(t *testing.T) {
	py := python(t)
	f := newFixture(t)
	a := f.table("public", "accounts")
	empty := f.table("public", "Empty Täble.π")
	typed := f.table("public", "every type")
	typed.Schema = everyType()
	odd := f.table("My Schema/1", "we'ird \"%2F\" name.v1")
	ch := created(a)
	ch.AddData = f.insert(a, 1, 2, 3, 4)
	odds := created(odd)
	odds.AddData = f.insert(odd, 7)
	f.publish(ch, created(empty), odds, created(typed))

	ch = a.Change()
	ch.AddData, ch.AddDeletes = f.insert(a, 5, 6), f.delete(a, 2, 6) // also of a file of the same publication
	f.publish(ch)

	// ADD COLUMN, rename, and rows with it; the old ones read NULL.
	a.Schema.Fields = append(slices.Clone(a.Schema.Fields), lake.Field{ID: 3, Name: "Extra", Type: lake.Type{Kind: lake.String}})
	a.Schema.Fields[1].Name = "full name"
	a.Schema.LastColumnID = 3
	ch = a.Change()
	ch.AddData = f.insert(a, 10, 11)
	f.publish(ch)

	// DROP COLUMN and ADD under the same name: a new field id.
	a.Schema.Fields = append(slices.Clone(a.Schema.Fields[:1:1]), a.Schema.Fields[2], lake.Field{ID: 4, Name: "full name", Type: lake.Type{Kind: lake.String}})
	a.Schema.LastColumnID = 4
	f.publish(a.Change()) // no files: a schema change alone

	// Rename a table, drop another, delete from the odd one.
	a.Name.Name = "Konten"
	ch, drop, odds := a.Change(), empty.Change(), odd.Change()
	drop.Drop = true
	ch.AddData, ch.AddDeletes = f.insert(a, 20), f.delete(a, 1, 10)
	odds.AddDeletes = f.delete(odd, 7)
	f.tables = slices.DeleteFunc(f.tables, func(x *laketest.Table) bool { return x == empty })
	f.publish(ch, drop, odds)

	// Rewrite whole.
	a.Clear()
	ch = a.Change()
	ch.ReplaceAll, ch.AddData = true, f.insert(a, 30, 31)
	f.publish(ch)

	warehouses := map[string]pg.LSN{"app": f.lsn}
	args := []string{"testdata/read.py", f.url, "app"}
	for lsn := range f.want {
		w := "app@" + lsn.String()
		warehouses[w] = lsn
		args = append(args, w)
	}
	cmd := exec.CommandContext(t.Context(), py, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]map[string]seen
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	for w, lsn := range warehouses {
		for _, engine := range []string{"pyiceberg", "duckdb"} {
			compare(t, w+" by "+engine, got[w][engine], f.want[lsn], engine == "pyiceberg")
		}
	}
}

func compare(t *testing.T, what string, got, want map[string]seen, lsn bool) {
	t.Helper()
	for name, w := range want {
		g, ok := got[name]
		if !ok {
			t.Errorf("%s: table %q is not there", what, name)
			continue
		}
		if !lsn {
			g.LSN, w.LSN = "", ""
		}
		sortRows(g.Rows)
		sortRows(w.Rows)
		if !reflect.DeepEqual(g, w) {
			t.Errorf("%s: %q:\n got %+v\nwant %+v", what, name, g, w)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: table %q is there", what, name)
		}
	}
}

func sortRows(rows []map[string]any) {
	slices.SortFunc(rows, func(a, b map[string]any) int { return int(a["id"].(float64) - b["id"].(float64)) })
}
