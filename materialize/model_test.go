package materialize

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestAnyOrder runs transactions, vacuums, rewrites, renames and drops in any order, with cuts, failed publications of
// known and unknown outcome, restarts and resyncs between them, and compares every table after every cut that went well.
func TestAnyOrder(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		folder := fmt.Sprintf("%s/%d", dir, n)
		r := newRig(t, folder)
		defer func() {
			r.close()
			_ = os.RemoveAll(folder)
		}()
		r.fileBytes = rapid.SampledFrom([]int64{0, 1}).Draw(rt, "file bytes")
		r.history = rapid.Bool().Draw(rt, "history")
		r.format = rapid.SampledFrom([]int{0, lake.FormatV3}).Draw(rt, "format")
		r.copyOnWrite = rapid.Bool().Draw(rt, "copy-on-write")
		r.start()
		w := &walker{rt: rt, r: r}
		rt.Repeat(map[string]func(*rapid.T){
			"begin":    w.begin,
			"create":   w.create,
			"insert":   w.insert,
			"delete":   w.delete,
			"commit":   w.commit,
			"abort":    w.abort,
			"vacuum":   w.vacuum,
			"table":    w.changeTable,
			"cut":      w.cut,
			"failure":  w.failure,
			"restart":  func(*rapid.T) { r.start() },
			"shared":   func(*rapid.T) { r.shared = !r.shared },
			"upgrade":  func(*rapid.T) { r.format = lake.FormatV3 },
			"mode":     func(*rapid.T) { r.copyOnWrite = !r.copyOnWrite; r.start() },
			"resync":   w.resync,
			"examined": w.examined,
		})
		w.cut(rt)
	})
}

type walker struct {
	rt     *rapid.T
	r      *rig
	open   []pg.XID
	names  int
	locked map[*table0]pg.XID // by a transaction that changes the table itself
	ids    rowIDs             // after the last cut that went well
}

func (w *walker) begin(*rapid.T) {
	if len(w.open) < 4 {
		w.open = append(w.open, w.r.srv.begin())
	}
}

func (w *walker) xid(rt *rapid.T) pg.XID {
	if len(w.open) == 0 {
		rt.Skip("no transaction is open")
	}
	return rapid.SampledFrom(w.open).Draw(rt, "xid")
}

// table picks one that x sees and may work on.
func (w *walker) table(rt *rapid.T, x pg.XID) *table0 {
	var l []*table0
	for _, t := range w.r.srv.tables {
		gone := slices.ContainsFunc(t.gone, func(g pg.XID) bool { return g == x || w.r.srv.fate[g] == 'c' })
		if owner, held := w.locked[t]; !gone && last(w.r.srv, t.name, x) != "" && (!held || owner == x) {
			l = append(l, t)
		}
	}
	if len(l) == 0 {
		rt.Skip("no table")
	}
	return rapid.SampledFrom(l).Draw(rt, "table")
}

func (w *walker) create(rt *rapid.T) {
	x := w.xid(rt)
	w.names++
	t := w.r.srv.create(x, fmt.Sprintf("t%d", w.names))
	w.lock(t, x)
}

func (w *walker) lock(t *table0, x pg.XID) {
	if w.locked == nil {
		w.locked = map[*table0]pg.XID{}
	}
	w.locked[t] = x
}

func (w *walker) insert(rt *rapid.T) {
	x := w.xid(rt)
	t := w.table(rt, x)
	text := rapid.SampledFrom([]string{"x", "toast of some length", "a longer value that lies in the row itself"}).Draw(rt, "text")
	for i := range rapid.IntRange(1, 150).Draw(rt, "rows") {
		w.r.srv.insert(x, t, i, text)
	}
}

func (w *walker) delete(rt *rapid.T) {
	x := w.xid(rt)
	t := w.table(rt, x)
	file := last(w.r.srv, t.file, x)
	every := rapid.IntRange(1, 5).Draw(rt, "every")
	for i, v := range t.rows {
		free := v.xmax == 0 || w.r.srv.fate[v.xmax] == 'a'
		if i%every == 0 && v.file == file && free && w.r.srv.visible(v.xmin, 0, x) {
			w.r.srv.delete(x, v)
		}
	}
}

func (w *walker) finish(rt *rapid.T, end func(...pg.XID)) {
	x := w.xid(rt)
	w.open = slices.DeleteFunc(w.open, func(o pg.XID) bool { return o == x })
	end(x)
	for t, owner := range w.locked {
		if owner == x {
			delete(w.locked, t)
		}
	}
}

func (w *walker) commit(rt *rapid.T) { w.finish(rt, w.r.srv.commit) }
func (w *walker) abort(rt *rapid.T)  { w.finish(rt, w.r.srv.abort) }

func (w *walker) vacuum(rt *rapid.T) {
	for _, t := range w.r.srv.tables {
		if _, held := w.locked[t]; !held {
			w.r.srv.vacuum(t)
		}
	}
}

// changeTable rewrites, truncates, renames or drops a table that no other transaction has written to.
func (w *walker) changeTable(rt *rapid.T) {
	x := w.xid(rt)
	t := w.table(rt, x)
	busy := func(o pg.XID) bool { return o != x && o != 0 && w.r.srv.fate[o] == 0 }
	if slices.ContainsFunc(t.rows, func(v *version) bool { return busy(v.xmin) || busy(v.xmax) }) {
		rt.Skip("in use")
	}
	w.lock(t, x)
	switch rapid.IntRange(0, 3).Draw(rt, "change") {
	case 0:
		w.r.srv.rewrite(x, t, true)
	case 1:
		w.r.srv.rewrite(x, t, false)
	case 2:
		w.names++
		w.r.srv.rename(x, t, fmt.Sprintf("t%d", w.names))
	case 3:
		w.r.srv.drop(x, t)
	}
}

func (w *walker) cut(rt *rapid.T) {
	w.r.store.Clear()
	if _, err := w.r.tryCut(); err != nil {
		rt.Fatal(err)
	}
	if d := w.r.differs(); d != "" {
		rt.Fatal(d)
	}
	if err := w.r.lake.noDeletes(); w.r.copyOnWrite && err != nil {
		rt.Fatal(err)
	}
	if d := w.r.historyDiffers(); d != "" {
		rt.Fatal(d)
	}
	ids, err := w.r.lake.rowIDs(w.r.store)
	if err != nil {
		rt.Fatal(err)
	}
	if err := w.ids.kept(ids); err != nil {
		rt.Fatal(err)
	}
	w.ids = ids
	for _, s := range w.r.eng.Status() {
		if s.HistoryOf != "" {
			continue
		}
		if s.State != "live" || s.Rows != int64(len(w.r.srv.want()[s.Name])) {
			rt.Fatalf("%+v", s)
		}
	}
}

// failure is a cut that may fail at the store or at the publication, which may have taken effect.
func (w *walker) failure(rt *rapid.T) {
	w.r.store.Clear()
	switch rapid.IntRange(0, 3).Draw(rt, "failure") {
	case 0:
		w.r.lake.fail, w.r.lake.lose = errPublish, false
	case 1:
		w.r.lake.fail, w.r.lake.lose = errPublish, true
	case 2:
		w.r.store.Inject(objstore.Fault{Op: objstore.OpAnyPut, Skip: rapid.IntRange(0, 3).Draw(rt, "skip"), Times: 1, Err: objstore.ErrInjected})
	case 3:
		w.r.store.Inject(objstore.Fault{Op: objstore.OpGet, Skip: rapid.IntRange(0, 3).Draw(rt, "skip"), Times: 1, Err: objstore.ErrInjected})
	}
	_, err := w.r.tryCut()
	w.r.store.Clear()
	w.r.lake.fail = nil
	if err != nil {
		return
	}
	if d := w.r.differs(); d != "" {
		rt.Fatal(d)
	}
	if d := w.r.historyDiffers(); d != "" {
		rt.Fatal(d)
	}
}

func (w *walker) resync(rt *rapid.T) {
	if err := w.r.eng.Resync("", true); err != nil {
		rt.Fatal(err)
	}
	w.ids = nil // what is read anew is known by new ids
}

// examined marks blocks that have not changed: to look at one too often is never wrong.
func (w *walker) examined(rt *rapid.T) {
	for loc, f := range w.r.srv.files {
		w.r.srv.dirtyOf(loc).AddRange(0, uint64(len(f.pages)+1))
	}
}
