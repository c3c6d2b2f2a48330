package materialize

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile"
)

// ripe is a table whose next cut compacts: many files of three rows, of some of which one is deleted already.
func ripe(t *testing.T) (r *rig, a *table0) {
	r, a, _ = filled(t, 3)
	for i := range smallFilesMax - 1 {
		r.srv.do(func(x pg.XID) {
			for k := range 3 {
				r.srv.insert(x, a, 1000+3*i+k, "row")
			}
			if i > 0 && i%4 == 0 {
				r.srv.delete(x, a.rows[3*i])
			}
		})
		r.cut()
	}
	if n := r.status("a").DataFiles; n != smallFilesMax {
		t.Fatalf("%d files before the compaction", n)
	}
	return r, a
}

// some deletes every step-th live row from the first on.
func (r *rig) some(a *table0, first, step int) (n int64) {
	r.srv.do(func(x pg.XID) {
		for i := first; i < len(a.rows); i += step {
			if a.rows[i].xmax == 0 {
				r.srv.delete(x, a.rows[i])
				n++
			}
		}
	})
	return n
}

// danglers are positions that live delete files name in data files that are not live.
func (r *rig) danglers() (n int) {
	live := map[string]bool{}
	for _, t := range r.lake.tables {
		for _, f := range t.Data {
			live[r.store.URL(f.Key)] = true
		}
	}
	for _, t := range r.lake.tables {
		for _, key := range t.Deletes {
			m, err := datafile.ReadPositionDeletes(r.lake.get(r.store, key))
			if err != nil {
				r.t.Fatal(err)
			}
			for path := range m {
				if !live[path] {
					n++
				}
			}
		}
	}
	return n
}

// TestDeleteDuringCompaction: rows of the files being compacted are deleted before the cut that compacts, and again when it was cut off at
// any of its operations on the store or at the publication, whose outcome may be unknown, or had just ended well. A compaction is a part of
// a publication like any other, so each delete is either in it, as a row that does not come again, or in the next, as a position in the
// new file.
func TestDeleteDuringCompaction(t *testing.T) {
	compacted, cutOff := 0, 0
	attempt := func(n int, arm func(r *rig) (hits func() int)) (more bool) {
		r, a := ripe(t)
		hits := arm(r)
		before := r.some(a, 1, 7)
		_, err := r.tryCut()
		r.store.Clear()
		if err == nil {
			compacted++
			if ch := r.lake.last.Tables[0]; len(ch.RemoveData) != smallFilesMax || len(ch.AddData) != 1 || ch.RowsDeleted != before || ch.SameRows {
				t.Errorf("operation %d: %d files left, %d came, %d rows were deleted, want %d", n, len(ch.RemoveData), len(ch.AddData), ch.RowsDeleted, before)
			}
			r.equal()
			if d := r.danglers(); d > 0 {
				t.Errorf("operation %d: %d files that left are named by deletes", n, d)
			}
		} else {
			cutOff++
		}
		r.some(a, 2, 5) // what was committed while the cut ran is applied behind it
		r.cut()
		r.equal()
		if err != nil {
			r.some(a, 3, 11)
			r.cut()
			r.equal()
		}
		r.start() // what is published says as much as the engine knows
		r.some(a, 4, 13)
		r.cut()
		r.equal()
		return hits() > 0
	}
	for n := 0; attempt(n, func(r *rig) func() int {
		return r.store.Inject(objstore.Fault{Skip: n, Times: 1, Err: objstore.ErrInjected})
	}); n++ {
	}
	for _, lost := range []bool{false, true} {
		attempt(-1, func(r *rig) func() int {
			r.lake.fail, r.lake.lose = errPublish, lost
			return func() int { return 0 }
		})
	}
	t.Logf("%d compactions, %d cut off", compacted, cutOff)
	if compacted == 0 || cutOff < 3 {
		t.Error("the test has not tested")
	}
}

// guarded notices reads of pages that no cut is waiting for.
type guarded struct {
	*server
	cutting atomic.Bool
	strays  atomic.Int64
}

func (g *guarded) Page(ctx context.Context, rel pg.RelFileLocator, fork pg.ForkNumber, blk pg.BlockNumber) (pg.Page, error) {
	if !g.cutting.Load() {
		g.strays.Add(1)
	}
	return g.server.Page(ctx, rel, fork, blk)
}

func (g *guarded) Scan(ctx context.Context, rel pg.RelFileLocator, fork pg.ForkNumber, from, to pg.BlockNumber, fn func(pg.BlockNumber, pg.Page) error) error {
	if !g.cutting.Load() {
		g.strays.Add(1)
	}
	return g.server.Scan(ctx, rel, fork, from, to, fn)
}

// TestCompactionEndsWithItsCut: all that a compaction reads and writes lies within the call of Cut, during which the caller applies no record:
// that is why no delete can come between a compaction's reading and its publication. A compaction that went on beside the stream would
// read pages, or put objects, outside of it.
func TestCompactionEndsWithItsCut(t *testing.T) {
	r, a := ripe(t)
	g := &guarded{server: r.srv}
	r.pages = g
	r.eng.Attach(g)
	for i := range 3 * smallFilesMax {
		r.srv.do(func(x pg.XID) {
			if a.rows[i].xmax == 0 {
				r.srv.delete(x, a.rows[i])
			}
			r.srv.insert(x, a, 5000+i, "more")
		})
		puts := r.store.Count(objstore.OpPut)
		g.cutting.Store(true)
		_, err := r.tryCut()
		g.cutting.Store(false)
		if err != nil {
			t.Fatal(err)
		}
		done := r.store.Count(objstore.OpPut)
		ch := r.lake.last.Tables[0]
		named := len(ch.AddDeletes) + 2*len(ch.AddData) // a data file has its TID set beside it
		if done-puts != named {
			t.Errorf("cut %d put %d objects, its publication names %d", i, done-puts, named)
		}
		r.equal()
		if now := r.store.Count(objstore.OpPut); now != done {
			t.Errorf("%d objects were put behind cut %d", now-done, i)
		}
	}
	if n := g.strays.Load(); n > 0 {
		t.Errorf("pages were read %d times outside of cuts", n)
	}
	if u := r.status("a").Upkeep; u.Compactions < 3 {
		t.Errorf("only %d compactions", u.Compactions)
	}
}
