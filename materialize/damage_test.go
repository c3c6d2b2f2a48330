package materialize

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestErrorHoldsNobodyUp: a damaged page stops its table, which keeps its rows; names move on; a resync repairs it.
func TestErrorHoldsNobodyUp(t *testing.T) {
	r, a, b := filled(t, 5)
	file := last(r.srv, a.file, 0)
	page := r.srv.files[file].pages[0]
	good := append(pg.Page(nil), page...)
	r.srv.do(func(x pg.XID) { r.srv.insert(x, b, 50, "moves on"); r.srv.insert(x, a, 50, "x") })
	before := r.lake.rows(r.store)["app.public.a"]
	good = append(good[:0], page...)
	page.SetLower(9000)
	r.cut()
	r.equal("app.public.a")
	if s := r.status("a"); s.State != "error" || !strings.Contains(s.Error, "page header") {
		t.Errorf("%+v", s)
	}
	if now := r.lake.rows(r.store)["app.public.a"]; fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("a table in error changed: %q, %q", before, now)
	}
	// Its name is taken by another table while it is in error.
	r.srv.do(func(x pg.XID) { r.srv.rename(x, a, "old"); r.srv.rename(x, b, "a") })
	r.cut()
	r.equal("app.public.old")
	// TOAST chunks that come while a table is in error are found after it is repaired.
	file = last(r.srv, b.file, 0)
	bad := r.srv.files[file].pages[0]
	healthy := append(pg.Page(nil), bad...)
	r.srv.do(func(x pg.XID) { r.srv.insert(x, b, 60, "toast before") })
	healthy = append(healthy[:0], bad...)
	bad.SetLower(9000)
	r.cut()
	copy(bad, healthy)
	r.srv.do(func(x pg.XID) { r.srv.insert(x, b, 61, "toast while in error") })
	r.cut()
	copy(page, good)
	for _, name := range []string{"app.public.old", "app.public.a"} {
		if err := r.eng.Resync(name, false); err != nil {
			t.Fatal(err)
		}
	}
	r.cut()
	r.equal()
}

// TestOutageIsNoDamage: a store that fails while pages or the commit log are read stops no table.
func TestOutageIsNoDamage(t *testing.T) {
	r, a, _ := filled(t, 5)
	m := &failing{server: r.srv}
	r.eng.Attach(m)
	r.srv.do(func(x pg.XID) { r.srv.insert(x, a, 50, "x") })
	for range 3 {
		m.err = errors.New("connection reset")
		if _, err := r.tryCut(); err == nil {
			t.Error("a cut succeeded without the commit log")
		}
	}
	m.err = nil
	r.store.Inject(objstore.Fault{Op: objstore.OpPut, Contains: ".parquet", Times: 1, Err: objstore.ErrInjected})
	if _, err := r.tryCut(); !errors.Is(err, objstore.ErrInjected) {
		t.Error(err)
	}
	r.cut()
	r.equal()
	if s := r.status("a"); s.State != "live" {
		t.Errorf("%+v", s)
	}
}

type failing struct {
	*server
	err error
}

func (f *failing) Committed(x pg.XID) (bool, error) {
	ok, _ := f.server.Committed(x)
	return ok, f.err
}

// TestUnreadableTable: a table whose published objects are lost is in error, the others go on, a resync writes it anew.
func TestUnreadableTable(t *testing.T) {
	for _, lost := range []func(*rig, *lake.TableHead) error{
		func(r *rig, h *lake.TableHead) error { return r.store.Delete(t.Context(), tidsKey(h.Data[0].Key)) },
		func(_ *rig, h *lake.TableHead) error { // as the catalog tells of a table whose manifests are lost
			h.Damaged, h.Data, h.Schema = errors.New("a manifest is lost"), nil, lake.Schema{}
			return nil
		},
	} {
		unreadable(t, lost)
	}
}

func unreadable(t *testing.T, lost func(*rig, *lake.TableHead) error) {
	r, a, b := filled(t, 5)
	for _, h := range r.lake.tables {
		if h.Name.Name == "a" {
			if err := lost(r, h); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.start()
	r.srv.do(func(x pg.XID) { r.srv.insert(x, a, 50, "x"); r.srv.insert(x, b, 50, "x") })
	r.cut()
	r.equal("app.public.a")
	if s := r.status("a"); s.State != "error" || !strings.Contains(s.Error, "tarn resync app.public.a") {
		t.Errorf("%+v", s)
	}
	if err := r.eng.Resync("app.public.a", false); err != nil {
		t.Fatal(err)
	}
	r.cut()
	r.equal()
}

// TestDamagedCatalogs: tables of a database whose catalogs cannot be read stay as they are until they can.
func TestDamagedCatalogs(t *testing.T) {
	r, a, _ := filled(t, 5)
	page := r.srv.files[catalogFile(1259)].pages[0]
	r.srv.do(func(x pg.XID) { r.srv.rename(x, a, "renamed") })
	lower := page.Lower()
	page.SetLower(9000)
	r.cut()
	if s := r.status("a"); s.State != "error" || !strings.Contains(s.Error, `catalogs of database "app"`) {
		t.Errorf("%+v", s)
	}
	page.SetLower(lower)
	r.cut()
	classes := r.srv.files[catalogFile(1259)]
	r.srv.unlink(catalogFile(1259))
	r.srv.do(func(x pg.XID) {
		r.srv.catalog(catalogFile(1249), "pg_attribute", x, map[string]any{"attname": "makes the catalogs be read again"})
	})
	r.cut()
	if s := r.status("renamed"); s.State != "error" || !strings.Contains(s.Error, "no file") || s.Rows == 0 {
		t.Errorf("the file of pg_class is lost: %+v", s)
	}
	r.srv.files[catalogFile(1259)] = classes
	r.srv.do(func(x pg.XID) { r.srv.insert(x, a, 50, "x") })
	r.cut()
	r.equal()
	if s := r.status("renamed"); s.State != "live" {
		t.Errorf("%+v", s)
	}
}
