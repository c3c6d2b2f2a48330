package materialize

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/pg"
)

// clone is a standby that has all there is. No transaction is open.
func (s *server) clone() *server {
	c := *s
	c.files, c.fate, c.dirty, c.tables = map[pg.RelFileLocator]*heapFile{}, maps.Clone(s.fate), map[pg.RelFileLocator]*roaring.Bitmap{}, nil
	c.ends, c.open = map[pg.XID][]func(bool){}, map[pg.XID]map[pg.RelFileLocator]*roaring.Bitmap{}
	for loc, f := range s.files {
		file := &heapFile{created: f.created}
		for _, p := range f.pages {
			file.pages = append(file.pages, slices.Clone(p))
		}
		c.files[loc] = file
	}
	for _, t := range s.tables {
		table := *t
		table.name, table.file, table.gone, table.columns = slices.Clone(t.name), slices.Clone(t.file), slices.Clone(t.gone), slices.Clone(t.columns)
		table.rows = nil
		for _, v := range t.rows {
			row := *v
			table.rows = append(table.rows, &row)
		}
		c.tables = append(c.tables, &table)
	}
	return &c
}

// failOver makes a standby the server. Blocks of the former server count as changed.
func (r *rig) failOver(standby *server) {
	for loc, f := range standby.files {
		if was := r.srv.files[loc]; was != nil && was.created == f.created {
			standby.dirtyOf(loc).AddRange(0, uint64(max(len(f.pages), len(was.pages))))
		}
	}
	r.srv, r.pages = standby, standby
	r.start()
}

// rewind takes the lake back to where the server is.
func (r *rig) rewind() CutResult {
	r.t.Helper()
	res, err := r.eng.Cut(context.Background(), CutPoint{LSN: r.srv.lsn, Resume: 1, Timeline: 2, SystemID: 1, Rewind: true})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.lake.head.LSN != r.srv.lsn || r.eng.Published() != r.srv.lsn {
		r.t.Errorf("the lake is at %s, the fork at %s", r.lake.head.LSN, r.srv.lsn)
	}
	return res
}

// TestRewind: rows that were published behind a fork are gone, those that went are back, and the newer history uses the same transaction
// ids and line pointers for others. A lake that is not taken to the fork first takes them for those it has.
func TestRewind(t *testing.T) {
	for _, planted := range []bool{false, true} {
		r, _, b := filled(t, 10)
		standby := r.srv.clone()
		change := func(what string) {
			r.srv.do(func(x pg.XID) {
				a := r.srv.tables[0]
				for i := range 5 {
					r.srv.insert(x, a, 100+i, what)
				}
				r.srv.delete(x, a.rows[2])
			})
		}
		change("lost")
		r.srv.do(func(x pg.XID) {
			r.srv.drop(x, b)
			r.srv.insert(x, r.srv.create(x, "c"), 1, "lost")
		})
		r.cut()
		if !planted { // in another file it would be copied whole
			r.srv.do(func(x pg.XID) { r.srv.rewrite(x, r.srv.tables[0], false) })
			r.srv.do(func(x pg.XID) { r.srv.insert(x, r.srv.tables[0], 7, "toast lost") })
			r.cut()
		}
		r.equal()
		r.failOver(standby)
		if !planted {
			r.rewind()
			r.equal()
		}
		change("new!")
		for range 100 {
			r.srv.do(func(pg.XID) {}) // past the former history's LSNs
		}
		r.cut()
		if d := r.differs(); (d != "") != planted {
			t.Errorf("planted %v: %s", planted, d)
		}
	}
}

// TestRewindSameRows: the lake goes back though its rows are those of the fork, and says how often it did, after a restart as well.
func TestRewindSameRows(t *testing.T) {
	r, a, _ := filled(t, 3)
	standby := r.srv.clone()
	r.srv.do(func(x pg.XID) { r.srv.insert(x, a, 9, "lost") })
	r.cut()
	r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[3]) })
	r.cut()
	r.failOver(standby)
	for n := 1; n < 3; n++ {
		if res := r.rewind(); !res.Published || res.Tables != 0 || r.eng.Rewinds() != n {
			t.Errorf("%+v, %d rewinds", res, r.eng.Rewinds())
		}
		r.start()
		if r.eng.Rewinds() != n {
			t.Errorf("%d rewinds after a start", r.eng.Rewinds())
		}
	}
	r.srv.do(func(x pg.XID) { r.srv.insert(x, r.srv.tables[0], 10, "new") })
	r.cut()
	r.equal()
	if r.eng.Rewinds() != 2 {
		t.Errorf("%d rewinds after a cut", r.eng.Rewinds())
	}
}

// TestRewindDropped: a table that came to be at the LSN of the fork and was dropped behind it comes back as another table.
func TestRewindDropped(t *testing.T) {
	r, a, _ := filled(t, 3)
	was, standby := r.eng.tables[tableKey{testDB, a.oid}].id, r.srv.clone()
	if was.Incarnation != r.srv.lsn {
		t.Fatal(fmt.Sprint(was, r.srv.lsn))
	}
	r.srv.do(func(x pg.XID) { r.srv.drop(x, a) })
	r.cut()
	r.failOver(standby)
	r.rewind()
	r.equal()
	if is := r.eng.tables[tableKey{testDB, a.oid}].id; is.Incarnation == was.Incarnation {
		t.Errorf("it came back as %v, which it was", is)
	}
}

// TestRewindColumns: a column that was dropped behind the fork comes back with the values of rows that nobody changed.
func TestRewindColumns(t *testing.T) {
	r, a, _ := filled(t, 3)
	var c pg.TID
	r.srv.do(func(x pg.XID) { c = r.srv.addColumn(x, a, "c", 0) })
	r.srv.do(func(x pg.XID) { r.srv.insert(x, a, 10, "with c") })
	r.cut()
	rows := func() []string { return r.lake.rows(r.store)["app.public.a"] }
	was, standby := rows(), r.srv.clone()
	r.srv.do(func(x pg.XID) { r.srv.dropColumn(x, a, c) })
	r.cut()
	if slices.Contains(rows(), "10|with c|10") {
		t.Fatal("the column is there still")
	}
	r.failOver(standby)
	r.rewind()
	if is := rows(); !slices.Equal(is, was) || !slices.Contains(is, "10|with c|10") {
		t.Errorf("%q, was %q", is, was)
	}
}
