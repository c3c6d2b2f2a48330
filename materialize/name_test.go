package materialize

import (
	"math"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestNamesEnginesConfuse: of two tables that differ in case one is in the lake, the one that was there first, also over
// a restart; a name that is no text is in it at no time.
func TestNamesEnginesConfuse(t *testing.T) {
	r := rigOf(t)
	var older, newer *table0
	r.srv.do(func(x pg.XID) {
		older, newer = r.srv.create(x, "zzz"), r.srv.create(x, "a")
		r.srv.insert(x, older, 1, "older")
		r.srv.insert(x, newer, 2, "newer")
		r.srv.create(x, "\xffname")
	})
	r.cut()
	r.equal("app.public.\xffname")
	r.srv.do(func(x pg.XID) { r.srv.rename(x, older, "A") })
	r.cut()
	r.equal("app.public.A", "app.public.\xffname")
	if s := r.status("A"); s.State != "excluded" || !strings.Contains(s.Error, "app.public.a") {
		t.Errorf("%+v", s)
	}
	if s := r.status("\uFFFDname"); s.State != "excluded" || s.Error != "its name is not valid UTF-8" {
		t.Errorf("%+v", s)
	}
	r.start()
	r.srv.do(func(x pg.XID) { r.srv.insert(x, newer, 3, "after the restart") })
	r.cut()
	r.equal("app.public.A", "app.public.\xffname")
	r.srv.do(func(x pg.XID) { r.srv.drop(x, newer) })
	r.cut()
	r.equal("app.public.\xffname")
}

// TestColumnNames: a column engines cannot tell from another is left out, and so is one whose name is no text.
func TestColumnNames(t *testing.T) {
	r, a, _ := filled(t, 1)
	r.srv.do(func(x pg.XID) {
		r.srv.addColumn(x, a, "ID", 0)
		r.srv.addColumn(x, a, "\xff", 0)
		r.srv.insert(x, a, 10, "both")
	})
	r.cut()
	for i := range 2 {
		if s := r.status("a"); len(s.LeftOut) != 2 || s.LeftOut[0].Name != "ID" || s.LeftOut[1].Name != "\uFFFD" {
			t.Errorf("left out: %+v", s.LeftOut)
		}
		if i == 0 {
			r.start()
			if res := r.cut(); res.Published {
				t.Error("a name that is no text changed over the restart")
			}
		}
	}
	n := names{}
	list := lake.Type{Kind: lake.List, Elem: &lake.Field{Name: "element"}}
	for _, c := range []struct {
		field lake.Field
		taken bool
	}{
		{lake.Field{Name: "L", Type: list}, false}, {lake.Field{Name: "m.n"}, false}, {lake.Field{Name: "l.ELEMENT"}, true},
		{lake.Field{Name: "M", Type: lake.Type{Kind: lake.Struct, Fields: []lake.Field{{Name: "n"}}}}, true}, {lake.Field{Name: "m"}, false},
	} {
		if err := n.take(c.field); (err != nil) != c.taken {
			t.Errorf("%q: %v", c.field.Name, err)
		}
	}
}

// TestOutOfRangeIsCounted: values that become null are said to, by column, until the table is written whole again.
func TestOutOfRangeIsCounted(t *testing.T) {
	r, a, _ := filled(t, 2)
	r.srv.do(func(x pg.XID) {
		a.columns = append(a.columns, "day")
		r.srv.attribute(x, a, 3, "day", map[string]any{"atttypid": 1082})
	})
	infinite := func() { r.srv.do(func(x pg.XID) { r.srv.insert(x, a, math.MaxInt32, "infinity") }) }
	infinite()
	r.cut()
	infinite()
	r.cut()
	check := func(want int64) {
		t.Helper()
		if s := r.status("a").OutOfRange; len(s) != 1 || s[0] != (OutOfRange{"day", want}) {
			t.Errorf("%+v, want %d", s, want)
		}
	}
	check(2)
	r.start()
	check(2)
	r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[len(a.rows)-1]) })
	if err := r.eng.Resync("app.public.a", false); err != nil {
		t.Fatal(err)
	}
	r.cut()
	check(1)
}
