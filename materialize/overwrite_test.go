package materialize

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// noDeletes says which table has deletes beside its data files.
func (p *published0) noDeletes() error {
	for _, t := range p.tables {
		if len(t.Deletes)+len(t.Vectors) > 0 {
			return fmt.Errorf("table %s has %d delete files and %d deletion vectors", t.Name, len(t.Deletes), len(t.Vectors))
		}
	}
	return nil
}

// TestOverwrite: in copy-on-write mode a file that loses rows is written again without them, and nothing else is; row ids stay.
func TestOverwrite(t *testing.T) {
	for _, format := range []int{lake.FormatV2, lake.FormatV3} {
		for _, planted := range []bool{false, true} {
			r := rigOf(t)
			r.format, r.copyOnWrite = format, true
			r.start()
			r.eng.faults.carryDeleted = planted
			var a *table0
			wrong := false
			for file := range 3 {
				r.srv.do(func(x pg.XID) {
					if a == nil {
						a = r.srv.create(x, "a")
					}
					for i := range 300 {
						r.srv.insert(x, a, 1000*file+i, "toast of some length")
					}
				})
				r.cut()
			}
			before := r.rowIDs()
			r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[310]); r.srv.insert(x, a, 9999, "new") })
			r.cut()
			wrong = r.differs() != ""
			ch := r.lake.last.Tables[0]
			if len(ch.RemoveData) != 1 || len(ch.AddData) != 2 || ch.RowsDeleted != 1 || ch.SameRows || ch.Properties[lake.DeleteMode] != "copy-on-write" {
				t.Errorf("one row of three files was deleted and one came: %+v", ch)
			}
			if err := before.kept(r.rowIDs()); err != nil {
				t.Error(err)
			}
			if u := r.eng.Upkeep(); u.OverwrittenFiles != 1 || u.CarriedRows != 299 && !planted || u.Compactions != 0 {
				t.Errorf("%+v", u)
			}
			r.srv.do(func(x pg.XID) {
				for _, v := range a.rows[:300] {
					r.srv.delete(x, v)
				}
			})
			r.cut()
			if ch := r.lake.last.Tables[0]; !planted && (len(ch.RemoveData) != 1 || len(ch.AddData) != 0 || ch.RowsDeleted != 300) {
				t.Errorf("all rows of a file were deleted: %+v", ch)
			}
			if err := r.lake.noDeletes(); err != nil {
				t.Error(err)
			}
			if wrong = wrong || r.differs() != ""; wrong != planted {
				t.Errorf("planted %v, and rows differ: %v", planted, wrong)
			}
		}
	}
}

// TestWriteModeSwitched: the publication that says copy-on-write writes deletes of before into the data files, without a change of
// rows; the way back changes no file.
func TestWriteModeSwitched(t *testing.T) {
	for _, format := range []int{lake.FormatV2, lake.FormatV3} {
		r := rigOf(t)
		r.format = format
		r.start()
		var a *table0
		r.srv.do(func(x pg.XID) {
			a = r.srv.create(x, "a")
			for i := range 300 {
				r.srv.insert(x, a, i, "row")
			}
		})
		r.cut()
		for i := range 3 {
			r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[i]); r.srv.insert(x, a, 1000+i, "new") })
			r.cut()
		}
		if r.lake.noDeletes() == nil {
			t.Fatal("nothing was deleted")
		}
		before := r.rowIDs()
		r.copyOnWrite = true
		r.start()
		r.cut()
		r.equal()
		ch := r.lake.last.Tables[0]
		if err := r.lake.noDeletes(); err != nil || !ch.SameRows || len(ch.RemoveData) != 1 || len(ch.AddData) != 1 {
			t.Errorf("%v, %+v", err, ch)
		}
		if err := before.kept(r.rowIDs()); err != nil {
			t.Error(err)
		}
		if res := r.cut(); res.Published {
			t.Error("switched twice")
		}
		r.copyOnWrite = false
		r.start()
		r.cut()
		ch = r.lake.last.Tables[0]
		if len(ch.RemoveData)+len(ch.AddData) != 0 || ch.Properties[lake.MergeMode] != "merge-on-read" {
			t.Errorf("back: %+v", ch)
		}
		r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[100]) })
		r.cut()
		r.equal()
		if ch := r.lake.last.Tables[0]; len(ch.AddData) != 0 || len(ch.AddDeletes)+len(ch.AddVectors) != 1 {
			t.Errorf("a delete afterwards: %+v", ch)
		}
	}
}

// oneSchema says which data file has other columns than its table.
func (p *published0) oneSchema(store objstore.Store) error {
	for _, t := range p.tables {
		var want []string
		for _, f := range t.Schema.Fields {
			want = append(want, f.Name)
		}
		for _, f := range t.Data {
			r, err := file.NewParquetReader(bytes.NewReader(p.get(store, f.Key)))
			if err != nil {
				return err
			}
			var have []string
			for i := range r.MetaData().Schema.NumColumns() {
				have = append(have, r.MetaData().Schema.Column(i).Name())
			}
			if !slices.Equal(have, want) {
				return fmt.Errorf("table %s: %s has the columns %q, want %q", t.Name, f.Key, have, want)
			}
		}
	}
	return nil
}

// TestParquetSchema: with parquet every data file has the table's columns: the setting writes files of before again, once, and so does a column
// that comes. The property tells the catalog, until the setting goes.
func TestParquetSchema(t *testing.T) {
	r, a, _ := filled(t, 10)
	r.srv.do(func(x pg.XID) { r.srv.addColumn(x, a, "first", 0); r.srv.insert(x, a, 100, "row") })
	r.cut()
	if r.lake.oneSchema(r.store) == nil {
		t.Fatal("files of before have the new column")
	}
	step := func(what string) {
		t.Helper()
		r.cut()
		if err := errors.Join(r.lake.noDeletes(), r.lake.oneSchema(r.store)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if ch := r.lake.last.Tables[0]; ch.Properties[lake.ParquetProperty] != "true" {
			t.Errorf("%s: properties %v", what, ch.Properties)
		}
		if res := r.cut(); res.Published {
			t.Errorf("%s: published twice", what)
		}
	}
	r.copyOnWrite, r.parquet = true, true
	r.start()
	step("set")
	r.srv.do(func(x pg.XID) { r.srv.addColumn(x, a, "second", 0); r.srv.insert(x, a, 101, "row") })
	step("a column came")
	r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[0]) })
	step("a row went")
	r.parquet = false
	r.start()
	r.cut()
	if ch := r.lake.last.Tables[0]; ch.Properties[lake.ParquetProperty] != "false" || len(ch.AddData)+len(ch.RemoveData) != 0 {
		t.Errorf("unset: %+v", ch)
	}
}
