package materialize

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// change0 is a row of a history.
type change0 struct {
	op  string
	lsn pg.LSN
	xid pg.FullXID // 0: null
	row string
}

// changes reads the history of a table.
func (r *rig) changes(id lake.TableID) (out []change0) {
	r.t.Helper()
	h := r.lake.tables[id.History()]
	if h == nil {
		return nil
	}
	for _, f := range h.Data {
		for _, line := range r.lake.read(r.store.Store, f.Key, h.Schema) {
			p := strings.SplitN(line, "|", 5)
			lsn, err := strconv.ParseInt(p[1], 10, 64)
			if err != nil {
				r.t.Fatal(err)
			}
			c := change0{op: p[0], lsn: pg.LSN(lsn), row: p[4]}
			if p[3] != "(null)" {
				xid, err := strconv.ParseInt(p[3], 10, 64)
				if err != nil {
					r.t.Fatal(err)
				}
				c.xid = pg.FullXID(xid)
			}
			out = append(out, c)
		}
	}
	return out
}

// replay applies the changes with an LSN in (from, to] to rows.
func replay(rows []string, changes []change0, from, to pg.LSN) ([]string, error) {
	n := map[string]int{}
	for _, r := range rows {
		n[r]++
	}
	for _, c := range changes {
		switch {
		case c.lsn <= from || c.lsn > to:
		case c.op == opInsert:
			n[c.row]++
		case c.op == opDelete:
			n[c.row]--
		default:
			return nil, fmt.Errorf("%+v", c)
		}
	}
	out := []string{}
	for row, k := range n {
		if k < 0 {
			return nil, fmt.Errorf("row %s is deleted %d times more than it is inserted", row, -k)
		}
		for range k {
			out = append(out, row)
		}
	}
	slices.Sort(out)
	return out, nil
}

// historyDiffers compares what histories say with the tables: from their beginning, and since the last time this was asked; empty
// when they are right. Transactions they name must be those that did it.
func (r *rig) historyDiffers() string {
	if !r.history {
		return ""
	}
	rows := r.lake.rows(r.store.Store)
	before := r.seen
	r.seen = map[lake.TableID][]string{}
	for id, t := range r.lake.tables {
		if id.IsHistory() {
			continue
		}
		want := rows[t.Name.String()]
		r.seen[id] = want
		if r.lake.tables[id.History()] == nil {
			return fmt.Sprintf("%s has no history", t.Name)
		}
		changes := r.changes(id)
		if got, err := replay(nil, changes, 0, r.lake.head.LSN); err != nil || !slices.Equal(got, want) {
			return fmt.Sprintf("%s: %v; the history comes to %q, the rows are %q", t.Name, err, got, want)
		}
		if had, ok := before[id]; ok {
			if got, err := replay(had, changes, r.seenAt, r.lake.head.LSN); err != nil || !slices.Equal(got, want) {
				return fmt.Sprintf("%s after %s: %v; the history leads from %q to %q, the rows are %q", t.Name, r.seenAt, err, had, got, want)
			}
		}
		if d := r.wronglyAttributed(id, changes); d != "" {
			return d
		}
	}
	for id, t := range r.lake.tables {
		if _, ok := r.lake.tables[lake.TableID{DB: id.DB, Rel: id.Rel, Incarnation: id.Incarnation &^ 1}]; id.IsHistory() && !ok {
			return fmt.Sprintf("%s is a history of nothing", t.Name)
		}
	}
	r.seenAt = r.lake.head.LSN
	return ""
}

// wronglyAttributed looks for changes by transactions that did no such thing.
func (r *rig) wronglyAttributed(id lake.TableID, changes []change0) string {
	var t *table0
	for _, c := range r.srv.tables {
		if c.oid == id.Rel {
			t = c
		}
	}
	for _, c := range changes {
		if c.xid == 0 {
			continue
		}
		did := slices.ContainsFunc(slices.Concat(t.rows, t.buried), func(v *version) bool {
			x := v.xmin
			if c.op == opDelete {
				x = v.xmax
			}
			return r.srv.ended[x].XID == c.xid && r.srv.ended[x].LSN == c.lsn && strings.HasPrefix(c.row, fmt.Sprintf("%d|%s", v.id, v.text))
		})
		if !did {
			return fmt.Sprintf("%+v: no such thing was done", c)
		}
	}
	return ""
}

func historyRig(t *testing.T) *rig {
	r := rigOf(t)
	r.history = true
	r.start()
	return r
}

// TestHistory has every change by the transaction that made it, whatever became of the page since.
func TestHistory(t *testing.T) {
	r := historyRig(t)
	s := r.srv
	var a *table0
	s.do(func(x pg.XID) { a = s.create(x, "a") })
	r.cut()
	var rows []*version
	s.do(func(x pg.XID) {
		for i := range 10 {
			rows = append(rows, s.insert(x, a, i, []string{"in line", "toast out of line"}[i%2]))
		}
	})
	r.cut()
	// By a subtransaction, pruned before the cut; by one that is aborted first; begun before a publication and committed after.
	top, sub, aborted, long := s.begin(), s.begin(), s.begin(), s.begin()
	s.delete(sub, rows[0])
	s.delete(aborted, rows[1])
	s.abort(aborted)
	s.delete(long, rows[2])
	s.delete(long, rows[3])
	s.commit(top, sub)
	s.vacuum(a)
	other := s.begin()
	s.delete(other, rows[1])
	r.cut()
	s.commit(other)
	s.commit(long)
	s.vacuum(a)
	var tenant *version
	s.do(func(x pg.XID) { tenant = s.insert(x, a, 20, "there now, where another was") })
	r.cut()
	// After a restart it is known again who deleted what lay there before.
	r.start()
	if tenant.tid != rows[0].tid {
		t.Fatalf("at %s, not %s", tenant.tid, rows[0].tid)
	}
	last := s.begin()
	s.delete(last, tenant)
	s.commit(last)
	s.vacuum(a)
	r.cut()
	if d := r.historyDiffers(); d != "" {
		t.Error(d)
	}
	var id lake.TableID
	for k := range r.lake.tables {
		if !k.IsHistory() {
			id = k
		}
	}
	deletes := map[string]pg.FullXID{}
	for _, c := range r.changes(id) {
		if c.xid == 0 {
			t.Errorf("%+v: by nobody", c)
		}
		if c.op == opDelete {
			deletes[c.row] = c.xid
		}
	}
	full := func(x pg.XID) pg.FullXID { return 1<<32 + pg.FullXID(x) }
	want := map[string]pg.FullXID{"0|in line": full(top), "1|toast out of line": full(other), "2|in line": full(long), "3|toast out of line": full(long), "20|there now, where another was": full(last)}
	if !maps.Equal(deletes, want) {
		t.Errorf("deletes by %v, want %v", deletes, want)
	}
}

// TestHistoryFiles has the small files of a history written again as few, in publications that change nothing else.
func TestHistoryFiles(t *testing.T) {
	r := historyRig(t)
	s := r.srv
	var a *table0
	s.do(func(x pg.XID) { a = s.create(x, "a") })
	r.cut()
	most := 0
	for i := range 3 * smallFilesMax {
		s.do(func(x pg.XID) { s.insert(x, a, i, "x") })
		r.cut()
		most = max(most, r.status("a"+HistorySuffix).DataFiles)
		if i%20 == 19 {
			r.start()
		}
	}
	if n := r.status("a" + HistorySuffix); most >= smallFilesMax || n.Rows != 3*smallFilesMax || n.DataFiles > smallFilesMax {
		t.Errorf("up to %d files, and now %+v", most, n)
	}
	if d := r.historyDiffers(); d != "" {
		t.Error(d)
	}
}

// only gives the one table that is no history.
func (r *rig) only() (id lake.TableID) {
	for k := range r.lake.tables {
		if !k.IsHistory() {
			id = k
		}
	}
	return id
}

// told counts what the history of the only table says: by a transaction, and by none.
func (r *rig) told() (inserts, deletes, unknown int) {
	for _, c := range r.changes(r.only()) {
		switch {
		case c.xid == 0:
			unknown++
		case c.op == opInsert:
			inserts++
		default:
			deletes++
		}
	}
	return inserts, deletes, unknown
}

// TestHistoryOfRewrites has what is written again in the lake told as what it is to the table: nothing, or as little as is sure.
func TestHistoryOfRewrites(t *testing.T) {
	r := historyRig(t)
	s := r.srv
	var a *table0
	var rows []*version
	s.do(func(x pg.XID) { a = s.create(x, "a") })
	r.cut()
	s.do(func(x pg.XID) {
		for i := range 10 {
			rows = append(rows, s.insert(x, a, i, []string{"in line", "toast out of line"}[i%2]))
		}
	})
	step := func(what string, inserts, deletes, unknown int) {
		t.Helper()
		r.cut()
		if d := r.historyDiffers(); d != "" {
			t.Errorf("%s: %s", what, d)
		}
		if i, d, u := r.told(); i != inserts || d != deletes || u != unknown {
			t.Errorf("%s: %d inserts, %d deletes and %d by nobody; want %d, %d, %d", what, i, d, u, inserts, deletes, unknown)
		}
	}
	step("rows", 10, 0, 0)
	s.do(func(x pg.XID) { s.rewrite(x, a, true) })
	step("VACUUM FULL", 10, 0, 0)
	if err := r.eng.Resync("app.public.a", false); err != nil {
		t.Fatal(err)
	}
	s.do(func(x pg.XID) { s.delete(x, a.rows[len(a.rows)-1]) })
	step("a resync, and a row that goes meanwhile", 10, 1, 0)
	s.do(func(x pg.XID) { s.delete(x, a.rows[len(a.rows)-2]) })
	s.do(func(x pg.XID) { s.rewrite(x, a, true) })
	step("a row that goes, then VACUUM FULL", 10, 1, 9+8)
	s.do(func(x pg.XID) { s.rewrite(x, a, false) })
	step("TRUNCATE", 10, 1, 9+8+8)
	s.do(func(x pg.XID) { s.addColumn(x, a, "n", 7) })
	s.do(func(x pg.XID) { s.insert(x, a, 1, "x") })
	step("a column with a default, which is written anew", 10, 1, 9+8+8+1)
}

// TestHistoryNames: a history goes by its table's name and lives as long, and is in nobody's way.
func TestHistoryNames(t *testing.T) {
	r := historyRig(t)
	s := r.srv
	var a, b *table0
	s.do(func(x pg.XID) { a = s.create(x, "a"); s.insert(x, a, 1, "x") })
	s.do(func(x pg.XID) { b = s.create(x, "A__History"); s.insert(x, b, 2, "y") })
	r.cut()
	names := func() (l []string) {
		for _, h := range r.lake.tables {
			l = append(l, h.Name.Name)
		}
		slices.Sort(l)
		return l
	}
	want := func(what string, names []string, want ...string) {
		t.Helper()
		if !slices.Equal(names, want) {
			t.Errorf("%s: %q, want %q", what, names, want)
		}
	}
	want("the name is taken", names(), "A__History", "A__History__history", "a")
	if n := r.status("a"); n.State != "live" || !strings.Contains(n.NoHistory, "cannot be named app.public.a__history") {
		t.Errorf("%+v", n)
	}
	if err := r.eng.Resync("app.public.A__History__history", false); err == nil {
		t.Error("a history is resynced")
	}
	s.do(func(x pg.XID) { s.rename(x, b, "b") })
	r.cut()
	want("the name is free", names(), "a", "a__history", "b", "b__history")
	s.do(func(x pg.XID) { s.rename(x, b, "a__history") })
	r.cut()
	if n := r.status("a__history"); n.State != "live" || n.HistoryOf != "app.public.a" {
		t.Errorf("%+v", n)
	}
	want("a table takes the name of a history", names(), "a", "a__history")
	s.do(func(x pg.XID) { s.rename(x, a, "c") })
	r.cut()
	want("the history goes with its table", names(), "a__history", "a__history__history", "c", "c__history")
	if d := r.historyDiffers(); d != "" {
		t.Error(d)
	}
	s.do(func(x pg.XID) { s.drop(x, b) })
	r.cut()
	want("DROP", names(), "c", "c__history")
	r.history = false
	r.start()
	s.do(func(x pg.XID) { s.insert(x, a, 3, "z") })
	r.cut()
	want("the rule is gone", names(), "c")
	r.history, r.seen = true, nil
	r.start()
	s.do(func(x pg.XID) { s.insert(x, a, 4, "z") })
	r.cut()
	want("the rule is back", names(), "c", "c__history")
	if d := r.historyDiffers(); d != "" {
		t.Error(d)
	}
}
