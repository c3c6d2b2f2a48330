package materialize

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

func rigOf(t *testing.T) *rig {
	r := newRig(t, t.TempDir())
	t.Cleanup(r.close)
	return r
}

// filled is a rig with tables a and b of n rows each, published.
func filled(t *testing.T, n int) (r *rig, a, b *table0) {
	r = rigOf(t)
	r.srv.do(func(x pg.XID) {
		a, b = r.srv.create(x, "a"), r.srv.create(x, "b")
		for i := range n {
			r.srv.insert(x, a, i, fmt.Sprintf("a%d", i))
			r.srv.insert(x, b, i, fmt.Sprintf("toast b%d", i))
		}
	})
	r.cut()
	r.equal()
	return r, a, b
}

func TestTransactions(t *testing.T) {
	r, a, _ := filled(t, 10)
	x, sub := r.srv.begin(), r.srv.begin()
	r.srv.insert(x, a, 100, "kept")
	r.srv.insert(sub, a, 101, "rolled back to a savepoint")
	r.srv.delete(sub, a.rows[0])
	r.srv.delete(x, a.rows[1])
	if res := r.cut(); res.Published {
		t.Error("an open transaction was published")
	}
	r.srv.abort(sub)
	r.cut()
	r.equal()
	r.srv.commit(x)
	r.cut()
	r.equal()
	if res := r.cut(); res.Published {
		t.Errorf("nothing changed, yet %+v", res)
	}
}

// TestReusedLinePointer: a row whose line pointer was freed and given to another between two cuts.
func TestReusedLinePointer(t *testing.T) {
	r, a, _ := filled(t, 3)
	reuse := func() {
		r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[0]) })
		tid := a.rows[0].tid
		r.srv.vacuum(a)
		r.srv.do(func(x pg.XID) {
			if v := r.srv.insert(x, a, 200, "tenant"); v.tid != tid {
				t.Fatalf("row went to %s, not to the freed %s", v.tid, tid)
			}
		})
	}
	reuse()
	r.cut()
	r.equal()
	r.eng.faults.ignoreXmin = true // planted
	reuse()
	r.cut()
	if r.differs() == "" {
		t.Error("an engine that ignores raw xmin passes")
	}
}

// TestUnknownOutcome: a publication that failed may have happened; either way the next cut goes on from what is there.
func TestUnknownOutcome(t *testing.T) {
	for _, lost := range []bool{false, true} {
		r, a, b := filled(t, 20)
		for i := range 4 {
			r.srv.do(func(x pg.XID) {
				r.srv.delete(x, a.rows[i])
				r.srv.insert(x, a, 100+i, "again")
				r.srv.insert(x, b, 100+i, "toast again")
				if i == 2 {
					r.srv.create(x, "c")
				}
			})
			r.lake.fail, r.lake.lose = errPublish, lost
			if _, err := r.tryCut(); !errors.Is(err, errPublish) {
				t.Fatal(err)
			}
			r.cut()
			r.equal()
		}
	}
}

func TestRewrites(t *testing.T) {
	r, a, b := filled(t, 30)
	x := r.srv.begin()
	r.srv.rewrite(x, a, true)
	r.srv.insert(x, a, 500, "into the new file")
	if res := r.cut(); res.Published {
		t.Error("a rewrite was published before it was committed")
	}
	r.equal()
	r.srv.commit(x)
	r.cut()
	r.equal()
	x = r.srv.begin()
	r.srv.rewrite(x, b, false)
	r.cut()
	r.srv.abort(x)
	r.cut()
	r.equal()
	r.srv.do(func(x pg.XID) { r.srv.rewrite(x, b, false); r.srv.insert(x, b, 1, "after") })
	r.cut()
	r.equal()
	r.start()
	if res := r.cut(); res.Published {
		t.Errorf("nothing changed over the restart, yet %+v", res)
	}
	r.equal()
}

// TestRowsMove: readers of increments are told that no row changed when a rewrite keeps all of them, and only then.
func TestRowsMove(t *testing.T) {
	r, a, b := filled(t, 30)
	r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[3]) })
	r.cut()
	for _, c := range []struct {
		name string
		do   func(x pg.XID)
		want bool
	}{
		{"rewritten", func(x pg.XID) { r.srv.rewrite(x, a, true) }, true},
		{"rewritten and renamed", func(x pg.XID) { r.srv.rewrite(x, b, true); r.srv.rename(x, b, "c") }, true},
		{"rewritten after a row was replaced", func(x pg.XID) {
			v := a.rows[len(a.rows)-1]
			r.srv.delete(x, v)
			r.srv.insert(x, a, 7, "other")
			r.srv.rewrite(x, a, true)
		}, false},
		{"rewritten after a row went", func(x pg.XID) { r.srv.delete(x, b.rows[len(b.rows)-1]); r.srv.rewrite(x, b, true) }, false},
		{"truncated", func(x pg.XID) { r.srv.rewrite(x, a, false) }, false},
		{"rewritten while empty", func(x pg.XID) { r.srv.rewrite(x, a, true) }, true},
	} {
		r.srv.do(c.do)
		res := r.cut()
		r.equal()
		ch := r.lake.last.Tables[0]
		if ch.SameRows != c.want || c.want && (res.RowsIn != 0 || res.RowsOut != 0) {
			t.Errorf("%s: same rows %v; %+v", c.name, ch.SameRows, res)
		}
	}
	if err := r.eng.Resync("", true); err != nil {
		t.Fatal(err)
	}
	r.cut()
	if r.lake.last.Tables[0].SameRows {
		t.Error("a resync, which may mend what was wrong, says that no row changed")
	}
}

// TestEncodersChanged: what an older version wrote is written again, once.
func TestEncodersChanged(t *testing.T) {
	r, _, _ := filled(t, 3)
	for _, h := range r.lake.tables {
		h.State = bytes.Replace(h.State, []byte(`"encoders":1`), []byte(`"encoders":0`), 1)
	}
	r.start()
	r.cut()
	for _, ch := range r.lake.last.Tables {
		if !ch.ReplaceAll || len(ch.AddData) != 1 {
			t.Errorf("%s: %+v", ch.Name, ch)
		}
	}
	r.equal()
	r.start()
	if res := r.cut(); res.Published {
		t.Errorf("written again: %+v", res)
	}
}

// TestColumns: columns that come, with a default or without, and those that could not be published at first.
func TestColumns(t *testing.T) {
	r, a, _ := filled(t, 3)
	rows := func() string { return fmt.Sprint(r.lake.rows(r.store)["app.public.a"]) }
	r.srv.do(func(x pg.XID) { r.srv.addColumn(x, a, "n", 0) })
	r.cut()
	if got := rows(); got != "[0|a0|(null) 1|a1|(null) 2|a2|(null)]" {
		t.Error(got)
	}
	r.srv.do(func(x pg.XID) { r.srv.addColumn(x, a, "d", 7) })
	r.cut()
	if got := rows(); got != "[0|a0|(null)|7 1|a1|(null)|7 2|a2|(null)|7]" {
		t.Error(got)
	}
	// A column of a type that is not known becomes text without a rewrite, as from citext.
	var c *table0
	r.srv.do(func(x pg.XID) {
		c = r.srv.create(x, "c")
		r.srv.insert(x, c, 1, "was there all the time")
	})
	att := catalogFile(1249)
	blk := pg.BlockNumber(len(r.srv.files[att].pages) - 1)
	tid := pg.TID{Block: blk, Offset: pg.OffsetNumber(r.srv.files[att].pages[blk].NumItems())} // of c.t
	unknown := map[string]any{"atttypid": 20000, "attlen": 0xFFFF, "attbyval": 0}
	r.srv.do(func(x pg.XID) { r.srv.kill(att, tid, x); r.srv.attribute(x, c, 2, "t", unknown) })
	r.cut()
	if got := fmt.Sprint(r.lake.rows(r.store)["app.public.c"]); got != "[1]" {
		t.Error(got)
	}
	blk = pg.BlockNumber(len(r.srv.files[att].pages) - 1)
	tid = pg.TID{Block: blk, Offset: pg.OffsetNumber(r.srv.files[att].pages[blk].NumItems())}
	r.srv.do(func(x pg.XID) { r.srv.kill(att, tid, x); r.srv.attribute(x, c, 2, "t", textColumn) })
	r.cut()
	if got := fmt.Sprint(r.lake.rows(r.store)["app.public.c"]); got != "[1|was there all the time]" {
		t.Error(got)
	}
}

// TestMoney: money is in the lake while the source's locale is known, also when the source cannot be asked at a restart.
func TestMoney(t *testing.T) {
	r := rigOf(t)
	var a *table0
	r.srv.do(func(x pg.XID) {
		a = r.srv.create(x, "a")
		r.srv.attribute(x, a, 3, "m", map[string]any{"atttypid": 790, "attlen": 8, "attalign": int('d')})
	})
	columns := func() (n int) {
		r.srv.do(func(x pg.XID) { r.srv.insert(x, a, 1, "x") })
		r.cut()
		for _, h := range r.lake.tables {
			n = len(h.Schema.Fields)
		}
		return n
	}
	if n := columns(); n != 3 {
		t.Errorf("%d columns", n)
	}
	restart := func(locale string) int {
		_ = r.eng.Close()
		r.srv.ReturnDirty()
		var err error
		if r.eng, err = New(t.Context(), Options{Store: r.store, Publisher: r.lake, ToastDir: r.dir}); err != nil {
			t.Fatal(err)
		}
		r.eng.SetLCMonetary(locale)
		r.eng.Attach(r.pages)
		return columns()
	}
	if n := restart(""); n != 3 {
		t.Errorf("source not asked: %d columns", n)
	}
	if n := restart("de_DE.UTF-8"); n != 2 {
		t.Errorf("unknown locale: %d columns", n)
	}
	if n := restart("en_US.UTF-8"); n != 3 {
		t.Errorf("known again: %d columns", n)
	}
	if !r.lake.last.Tables[0].ReplaceAll {
		t.Error("rows written without money were not written again")
	}
}
