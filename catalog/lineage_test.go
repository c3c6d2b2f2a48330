package catalog_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/lake"
)

// lineages are the row ids that data files were given, as the catalog told the materializer.
type lineages map[string]givenIDs // by key

type givenIDs struct {
	table lake.TableID
	lake.Lineage
}

// assigned is a change's callback: no file gets row ids twice.
func (l lineages) assigned(t *testing.T, id lake.TableID) func(string, lake.Lineage) {
	return func(key string, got lake.Lineage) {
		if had, ok := l[key]; ok {
			t.Errorf("%s has the row ids from %d on, and gets those from %d on", key, had.FirstRowID, got.FirstRowID)
		}
		l[key] = givenIDs{id, got}
	}
}

// check compares what iceberg-go reads of a table with it, and that no two files ever had one id.
func (l lineages) check(t *testing.T, store objstore.Store, v catalog.View, tv catalog.TableVersion) {
	t.Helper()
	for _, task := range plan(t, store, v, tv) {
		key, _ := store.Key(task.File.FilePath())
		got := task.File.FirstRowID()
		if given, ok := l[key]; got != nil && (!ok || *got != given.FirstRowID) {
			t.Errorf("%s of %s: the row ids from %d on, given were %+v", key, tv.Name, *got, given)
		}
		for other, o := range l {
			rows := task.File.Count()
			if given := l[key]; got != nil && other != key && o.table == given.table && o.FirstRowID > given.FirstRowID && o.FirstRowID < given.FirstRowID+rows {
				t.Errorf("%s and %s share row ids from %d on", key, other, o.FirstRowID)
			}
			if given := l[key]; got != nil && other != key && o.table == given.table && o.FirstRowID == given.FirstRowID {
				t.Errorf("%s and %s both have the row ids from %d on", key, other, o.FirstRowID)
			}
		}
	}
}

// TestRowIDsOverRestarts: what a process gave out, the next one does not give again, and it knows what each file has.
func TestRowIDsOverRestarts(t *testing.T) {
	ctx, store, given := t.Context(), objstore.NewMem(), lineages{}
	a := laketest.New(store, 100, name("a"))
	a.Format = lake.FormatV3
	id := int64(0)
	for round := range 6 {
		c := open(t, store, nil)
		h := begin(t, c)
		for _, th := range h.Tables {
			for _, f := range th.Data {
				if f.Lineage == nil || *f.Lineage != given[f.Key].Lineage {
					t.Fatalf("%s: %+v, given was %+v", f.Key, f.Lineage, given[f.Key])
				}
			}
		}
		for k := range 3 {
			ch := a.Change()
			ch.Create, ch.Assigned = round+k == 0, given.assigned(t, a.ID)
			for range 2 {
				id += 2
				ch.AddData = append(ch.AddData, must(a.Insert(ctx, id, id+1))(t))
			}
			vectors, _, err := a.DeleteVectors(ctx, id-3, id+1)
			ch.AddVectors = must(vectors, err)(t)
			publish(t, c, publication(pgLSN(uint64(100*round+k+1)), ch))
			tv := newest(t, c, "a")
			given.check(t, store, c.View(), tv)
			if got := readRows(t, store, c.View(), tv, a.Files); fmt.Sprint(got) != fmt.Sprint(a.Rows()) {
				t.Fatalf("%v, want %v", got, a.Rows())
			}
		}
	}
	if len(given) != 36 {
		t.Errorf("%d files have row ids", len(given))
	}
}

// TestFormatRefusals: what would make a table that readers of its format version cannot read is not published.
func TestFormatRefusals(t *testing.T) {
	ctx, store := context.Background(), objstore.NewMem()
	a := laketest.New(store, 100, name("a"))
	c := open(t, store, nil)
	begin(t, c)
	ch := a.Change()
	ch.Create = true
	ch.AddData = []lake.File{must(a.Insert(ctx, 1, 2, 3))(t)}
	publish(t, c, publication(1, ch))
	ch = a.Change()
	ch.AddDeletes = []lake.PositionDeletes{must(a.Delete(ctx, 1))(t)}
	publish(t, c, publication(2, ch))
	old := ch.AddDeletes[0].Key
	b := *a
	vectors, _, err := b.DeleteVectors(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	lost := vectors[0]
	lost.Data = "lake/none.parquet"
	for _, refused := range []lake.TableChange{
		{AddVectors: vectors},
		{Format: 4},
		{Format: lake.FormatV3}, // its delete file would stay
		{Format: lake.FormatV3, RemoveDeletes: []string{old}, AddVectors: []lake.Vector{vectors[0], vectors[0]}},
		{Format: lake.FormatV3, RemoveDeletes: []string{old}, AddVectors: []lake.Vector{lost}},
		{Format: lake.FormatV3, RemoveDeletes: []string{old}, AddVectors: vectors, AddDeletes: ch.AddDeletes},
		{Format: lake.FormatV3, RemoveDeletes: []string{old}, RemoveData: []string{vectors[0].Data}, AddVectors: vectors},
	} {
		refused.ID, refused.Name, refused.UUID, refused.Schema = a.ID, a.Name, a.UUID, a.Schema
		if err := c.Publish(ctx, publication(3, refused)); err == nil {
			t.Errorf("accepted: %+v", refused)
		}
	}
	ok := a.Change()
	ok.Format, ok.RemoveDeletes, ok.AddVectors = lake.FormatV3, []string{old}, vectors
	publish(t, c, publication(3, ok))
	if err := c.Publish(ctx, publication(4, lake.TableChange{ID: a.ID, Name: a.Name, UUID: a.UUID, Schema: a.Schema, Format: lake.FormatV2})); err == nil {
		t.Error("a table went back to format version 2")
	}
}
