package materialize

import (
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestCompaction: small files are written again as one without a change of rows, and not again and again.
func TestCompaction(t *testing.T) {
	r, a, _ := filled(t, 3)
	compactions := 0
	for i := range 3 * smallFilesMax {
		r.srv.do(func(x pg.XID) {
			r.srv.insert(x, a, 1000+i, "row")
			if i%3 == 0 {
				r.srv.delete(x, a.rows[i])
			}
		})
		res := r.cut()
		if res.RowsIn != 1 || res.RowsOut != int64((3-i%3)/3) {
			t.Errorf("cut %d: %d rows came, %d went", i, res.RowsIn, res.RowsOut)
		}
		if len(r.lake.last.Tables[0].RemoveData) > smallFilesMax/2 {
			compactions++
		}
		r.equal()
	}
	if compactions < 2 || compactions > 4 {
		t.Errorf("%d compactions", compactions)
	}
	u := r.status("a").Upkeep
	if u.Compactions != int64(compactions) || u.CompactedFiles < int64(compactions*smallFilesMax) || u.WrittenFiles < u.Compactions || u.CompactedRows == 0 || u.MergedDeleteFiles == 0 || u.Took == 0 {
		t.Errorf("%d compactions, and the status says %+v", compactions, u)
	}
	if all := r.eng.Upkeep(); all != u {
		t.Errorf("the sum is %+v, of one table %+v", all, u)
	}
	if s := r.status("a"); s.SmallFiles != s.DataFiles || s.SmallFiles == 0 {
		t.Errorf("%d of %d files are small", s.SmallFiles, s.DataFiles)
	}
	// One that nothing else comes with is known as one that changes no row.
	for r.status("a").DataFiles < smallFilesMax {
		r.srv.do(func(x pg.XID) { r.srv.insert(x, a, 1, "fill") })
		r.cut()
		if ch := r.lake.last.Tables[0]; ch.SameRows {
			t.Error("a change of rows says it is none")
		}
	}
	r.srv.dirtyOf(last(r.srv, a.file, 0)).Add(0)
	r.cut()
	if ch := r.lake.last.Tables[0]; !ch.SameRows || ch.RowsDeleted != 0 || len(ch.AddData) != 1 {
		t.Errorf("%+v", ch)
	}
	r.equal()
}

// TestScatteredCompaction: files whose rows lie one to a block come out of a compaction as few.
func TestScatteredCompaction(t *testing.T) {
	w := &tableWork{e: &Engine{fileBytes: fileBytesMax}, plan: &tablePlan{}, compact: map[*liveFile]bool{}, old: &table{leaves: map[pg.OID]*leaf{}}}
	l := &leaf{in: &membership{files: map[*liveFile]bool{}}}
	w.old.leaves[0] = l
	for range smallFilesMax {
		l.in.files[newTestFile(10_000)] = true
	}
	w.pickSmall(l)
	if len(w.compact) != smallFilesMax {
		t.Fatalf("%d files are compacted", len(w.compact))
	}
	const blocks = 320_000
	per := w.rangeBlocks(&leafPlan{}, blocks, w.compact)
	if files := (blocks + per - 1) / per; files > 2 {
		t.Errorf("%d blocks with one row each are written as %d files", blocks, files)
	}
}

// TestSparseFiles: what is left of a large file that has lost most of its rows is written again, once, and no row changes.
func TestSparseFiles(t *testing.T) {
	r, a, _ := filled(t, 100)
	r.eng.fileBytes = 1 // every file is large
	remove := func(from, to int) lake.TableChange {
		r.srv.do(func(x pg.XID) {
			for _, v := range a.rows[from:to] {
				r.srv.delete(x, v)
			}
		})
		r.cut()
		r.equal()
		return r.lake.last.Tables[0]
	}
	if ch := remove(0, 50); len(ch.AddDeletes) != 1 || len(ch.RemoveData) != 0 {
		t.Errorf("half of the rows deleted: %+v", ch)
	}
	if ch := remove(50, 51); len(ch.AddDeletes) != 1 || len(ch.RemoveData) != 0 {
		t.Errorf("the file is judged by what was deleted before: %+v", ch)
	}
	ch := remove(51, 52)
	if len(ch.AddDeletes) != 0 || len(ch.RemoveData) != 1 || len(ch.RemoveDeletes) != 2 || len(ch.AddData) != 1 || ch.AddData[0].Rows != 48 || ch.RowsDeleted != 1 {
		t.Errorf("most of the rows deleted: %+v", ch)
	}
	r.start()
	r.eng.fileBytes = 1
	if ch := remove(52, 53); len(ch.AddDeletes) != 1 || len(ch.RemoveData) != 0 {
		t.Errorf("after it was written again: %+v", ch)
	}
}

// TestManyDeletes: more positions than one delete file may have go to several, which are merged no sooner for it.
func TestManyDeletes(t *testing.T) {
	r, a, _ := filled(t, 10)
	for i := range 4 {
		r.srv.do(func(x pg.XID) {
			for k := range 10 {
				r.srv.insert(x, a, 100*i+k, "more")
			}
		})
		r.cut()
	}
	r.eng.deletePositions = 2
	r.srv.do(func(x pg.XID) {
		for i := 0; i < len(a.rows); i += 5 {
			r.srv.delete(x, a.rows[i])
		}
	})
	r.cut()
	r.equal()
	if ch := r.lake.last.Tables[0]; len(ch.AddDeletes) != 5 || len(ch.RemoveDeletes) != 0 {
		t.Errorf("%d delete files came, %d went", len(ch.AddDeletes), len(ch.RemoveDeletes))
	}
	merged := 0
	for i := range deleteFilesMax + 4 {
		r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[i+i/4+1]) })
		r.cut()
		r.equal()
		if len(r.lake.last.Tables[0].RemoveDeletes) > 0 {
			merged++
		}
	}
	if merged != 1 {
		t.Errorf("merged %d times", merged)
	}
	r.start()
	r.srv.do(func(x pg.XID) { r.srv.insert(x, a, 1, "x") })
	r.cut()
	r.equal()
}

// TestFilesFollowMemory: a range with more than a file may have is written as several, and the engine reads them back.
func TestFilesFollowMemory(t *testing.T) {
	r := rigOf(t)
	r.eng.fileBytes = 1 << 10
	var a *table0
	r.srv.do(func(x pg.XID) {
		a = r.srv.create(x, "a")
		for i := range 3000 {
			text := "toast "
			for k := range 15 {
				text += fmt.Sprintf("%x", uint64(16*i+k)*0x9E3779B97F4A7C15)
			}
			r.srv.insert(x, a, i, text)
		}
	})
	r.cut()
	r.equal()
	if n := r.status("a").DataFiles; n < 3 {
		t.Errorf("%d files", n)
	}
	r.srv.do(func(x pg.XID) {
		for i := range 1000 {
			r.srv.delete(x, a.rows[3*i])
		}
	})
	r.start()
	r.cut()
	r.equal()
}

// TestTOASTIndexIsBounded: relations that are no more and values that were replaced leave the index.
func TestTOASTIndexIsBounded(t *testing.T) {
	r, a, b := filled(t, 5)
	if n := len(r.eng.toast.Relations()); n != 1 {
		t.Errorf("the index has %d relations", n)
	}
	before := r.eng.toast.Entries()
	for range 20 {
		r.srv.do(func(x pg.XID) {
			v := b.rows[len(b.rows)-1]
			r.srv.delete(x, v)
			r.srv.killTOAST(x, b)
			r.srv.insert(x, b, 1000, "toast replaced")
		})
		r.cut()
	}
	r.equal()
	if now := r.eng.toast.Entries(); now > before+2 {
		t.Errorf("%d entries, %d before", now, before)
	}
	r.start()
	r.srv.do(func(x pg.XID) { r.srv.drop(x, b); r.srv.insert(x, a, 1, "x") })
	r.cut()
	if n := len(r.eng.toast.Relations()); n != 0 || r.eng.toast.Entries() != 0 {
		t.Errorf("the index has %d relations, %d entries", n, r.eng.toast.Entries())
	}
	r.equal()
}

// TestSpread: a relation of few blocks whose values lie out of line is shared out among the workers, as long as each has enough for a file; a
// large one is cut as it was, and nothing is cut when there is little.
func TestSpread(t *testing.T) {
	const file = 1000 // blocks
	w := &tableWork{e: &Engine{slots: make(chan struct{}, 4), fileBytes: file * pg.BlockSize}}
	for _, c := range []struct{ blocks, toasted, want int }{
		{400, 40 * file, 100}, {400, 0, 400}, {3, 40 * file, 1}, {400, 2*file + 1, 200}, {400, 2*file - 1, 400},
		{100_000, 0, diffBlocks}, {100_000, 1_000 * file, diffBlocks}, {0, 0, 1}, {8192, 0, 8192},
	} {
		if got := w.spread(c.blocks, c.toasted, diffBlocks); got != c.want {
			t.Errorf("%d blocks with %d beside them: %d a range, want %d", c.blocks, c.toasted, got, c.want)
		}
	}
}
