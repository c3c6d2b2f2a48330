package materialize

import (
	"context"
	"hash/maphash"

	"github.com/tarn-db/tarn/internal/pg"
)

// VACUUM FULL, CLUSTER and SET TABLESPACE give a relation another file with the rows it had. Nothing in the lake can be
// kept, for every TID may be another's, but readers of increments should see that no row changed.
//
// A row's raw xmin goes with it into the new file, and a transaction that had committed at the last publication inserts
// nothing more: of the rows it inserted, those visible now are some of those visible then. So if for every xmin there are
// as many, they are the same rows. (Every other rewrite of a table inserts its rows anew, under its own xid.) Xids that came
// round could deceive this only where a transaction, within one cut, inserted as many rows as went of the one 2^32 before it.

// xminSum is a sum over the raw xmins of some rows, in whatever order.
type xminSum struct {
	rows int64
	hash [2]uint64 // sums of two keyed hashes of each

	last  pg.XID // of which terms are the hashes: neighbours tend to be of one transaction
	terms [2]uint64
}

var xminSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func (s *xminSum) add(xmin pg.XID) {
	if s.rows == 0 || xmin != s.last {
		s.last, s.terms = xmin, [2]uint64{maphash.Comparable(xminSeeds[0], xmin), maphash.Comparable(xminSeeds[1], xmin)}
	}
	s.rows++
	s.hash[0] += s.terms[0]
	s.hash[1] += s.terms[1]
}

func (s xminSum) plus(t xminSum) xminSum {
	return xminSum{rows: s.rows + t.rows, hash: [2]uint64{s.hash[0] + t.hash[0], s.hash[1] + t.hash[1]}}
}

func (s xminSum) equal(t xminSum) bool { return s.rows == t.rows && s.hash == t.hash }

// xmins sums up the live rows.
func (m *membership) xmins(ctx context.Context) (sum xminSum, err error) {
	for f := range m.files {
		set, err := m.sets.get(ctx, f.key)
		if err != nil {
			return sum, err
		}
		pos := uint32(0)
		set.Each(func(_ pg.TID, xmin pg.XID) bool {
			if !f.deleted.Contains(pos) {
				sum.add(xmin)
			}
			pos++
			return true
		})
	}
	return sum, nil
}

// movedFrom is what the lake has of a leaf that is copied, if its rows may be the same and read the same; else nil.
func (w *tableWork) movedFrom(lp *leafPlan) *leaf {
	if w.old == nil || w.restated {
		return nil
	}
	l := w.old.leaves[lp.Rel]
	if l == nil || !w.rewrite && l.state.leafFile == lp.leafFile || !l.state.sameAttrs(&lp.leafState, w.old.state.Columns, w.plan.cols.states) {
		return nil
	}
	return l
}

// findMoved takes rows that only changed files out of the count of those that came and went.
func (w *tableWork) findMoved(ctx context.Context) error {
	for i := range w.copied {
		lp := &w.copied[i]
		l := w.movedFrom(lp)
		if l == nil {
			continue
		}
		had, err := l.in.xmins(ctx)
		if err != nil {
			return err
		}
		if had.equal(w.xmins[lp.Rel]) {
			w.rowsIn, w.rowsOut = w.rowsIn-had.rows, w.rowsOut-had.rows
			w.refiled++
		}
	}
	return nil
}

// sameRows says that a change only writes rows again that are in the lake already, or says again which are deleted: no
// row came or went.
func (w *tableWork) sameRows() bool {
	return w.old != nil && !w.restated && w.refiled == len(w.copied) && w.refiled == len(w.gone) && w.rowsIn == 0 && w.rowsOut == 0
}
