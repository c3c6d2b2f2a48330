package pageserver

import (
	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/heaprec"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// openInline is how many blocks a transaction's list holds before it becomes bitmaps.
const openInline = 8

// openXact is the main-fork blocks a transaction or subtransaction that has not ended has touched.
type openXact struct {
	gen    uint32 // generation of the dirty set it began in
	n      int
	inline [openInline]openBlock
	big    map[*relation]*roaring.Bitmap
}

type openBlock struct {
	rel *relation
	blk pg.BlockNumber
}

func (x *openXact) add(rel *relation, blk pg.BlockNumber) {
	b := openBlock{rel, blk}
	if x.big == nil {
		for _, have := range x.inline[:x.n] {
			if have == b {
				return
			}
		}
		if x.n < openInline {
			x.inline[x.n] = b
			x.n++
			return
		}
		x.big = map[*relation]*roaring.Bitmap{}
		for _, have := range x.inline {
			x.bitmap(have.rel).Add(uint32(have.blk))
		}
	}
	x.bitmap(rel).Add(uint32(blk))
}

func (x *openXact) bitmap(rel *relation) *roaring.Bitmap {
	m := x.big[rel]
	if m == nil {
		m = roaring.New()
		x.big[rel] = m
	}
	return m
}

func (x *openXact) addAll(rel *relation, blocks *roaring.Bitmap) {
	for it := blocks.Iterator(); it.HasNext(); {
		x.add(rel, pg.BlockNumber(it.Next()))
	}
}

// all copies the list into bitmaps.
func (x *openXact) all() map[*relation]*roaring.Bitmap {
	m := make(map[*relation]*roaring.Bitmap, max(x.n, len(x.big)))
	for rel, blocks := range x.big {
		m[rel] = blocks.Clone()
	}
	if x.big == nil {
		for _, b := range x.inline[:x.n] {
			if m[b.rel] == nil {
				m[b.rel] = roaring.New()
			}
			m[b.rel].Add(uint32(b.blk))
		}
	}
	return m
}

// openOf finds or begins a transaction's list.
func (t *Timeline) openOf(xid pg.XID) *openXact {
	if t.lastOpen != nil && t.lastOpenXID == xid {
		return t.lastOpen
	}
	x := t.open[xid]
	if x == nil {
		if n := len(t.openFree); n > 0 {
			x = t.openFree[n-1]
			t.openFree = t.openFree[:n-1]
		} else {
			x = &openXact{}
		}
		x.gen = t.gen
		t.open[xid] = x
	}
	t.lastOpen, t.lastOpenXID = x, xid
	return x
}

// endXact forgets a transaction's list. If it committed, its blocks are examined again: rows on them that were written
// long before have become visible just now. Blocks of a transaction that began after the last TakeDirty are in the dirty
// set already.
func (t *Timeline) endXact(xid pg.XID, committed bool) {
	x := t.open[xid]
	if x == nil {
		return
	}
	if committed && x.gen != t.gen {
		for rel, blocks := range x.all() {
			if !rel.gone && !rel.opaque {
				t.dirtyOf(rel).Blocks.Or(blocks)
			}
		}
	}
	delete(t.open, xid)
	t.lastOpen = nil
	if len(t.openFree) < 64 {
		*x = openXact{}
		t.openFree = append(t.openFree, x)
	}
}

// changesRows says whether a record can change which rows of the blocks it names are visible. Setting visibility map
// bits, restoring hint bits, pruning and freezing cannot: they touch only tuples that no one sees, or keep what is seen.
// So a vacuum does not make the lake look at every block of a table again.
//
// Images may be of any relation; the page tells. No other manager has rows.
func changesRows(rec *wal.Record) bool {
	switch rec.RMID {
	case wal.RMHeap:
		return true
	case wal.RMHeap2:
		switch rec.Info & heaprec.OpMask {
		case heaprec.Op2MultiInsert, heaprec.Op2LockUpdated, heaprec.Op2NewCID, heaprec.Op2Rewrite:
			return true
		}
		return false
	case wal.RMXLog:
		return rec.Op() != xlrec.XLogFPIForHint
	}
	return false
}

// noteRows remembers that a record has touched a main-fork block.
func (t *Timeline) noteRows(fr *frame, xid pg.XID) {
	rel := fr.fork.rel
	if fr.gen != t.gen {
		fr.gen = t.gen
		t.dirtyOf(rel).Blocks.Add(uint32(fr.blk))
	}
	if xid != 0 && fr.lastXID != xid {
		fr.lastXID = xid
		t.openOf(xid).add(rel, fr.blk)
	}
}

func (t *Timeline) dirtyOf(rel *relation) *RelDirty {
	if rel.dirty == nil {
		rel.dirty = &RelDirty{Created: rel.created, Blocks: roaring.New()}
		t.dirty[rel.loc] = rel.dirty
	}
	return rel.dirty
}

// TakeDirty hands out the blocks on which rows may have changed, or transactions have ended, since it was last called. At
// a barrier. The caller must not change the set, and says Published or ReturnDirty before it takes the next one; a set of
// which neither was said comes again with the next.
func (t *Timeline) TakeDirty() DirtySet {
	_ = t.Barrier()
	t.settle()
	if t.taken != nil {
		t.outcome.Store(outcomeReturned)
		t.settle()
	}
	t.taken, t.dirty = t.dirty, DirtySet{}
	t.changes.taken = t.redoLSN
	for loc := range t.taken {
		if rel := t.rels[loc]; rel != nil {
			rel.dirty = nil
		}
	}
	t.gen++
	return t.taken
}

// How a set that was taken ended.
const (
	outcomePublished = 1
	outcomeReturned  = 2
)

// Published says that everything taken is in the lake, durably. It may be called from any goroutine.
func (t *Timeline) Published() { t.outcome.Store(outcomePublished) }

// ReturnDirty says that nothing of what was taken is in the lake: the next TakeDirty hands it out again. It may be called
// from any goroutine.
func (t *Timeline) ReturnDirty() { t.outcome.Store(outcomeReturned) }

// settle acts on Published and ReturnDirty in the goroutine that applies records.
func (t *Timeline) settle() {
	if t.outcome.Load() == 0 {
		return
	}
	if t.outcome.Swap(0) == outcomePublished {
		t.settleChanges()
	} else {
		t.MarkDirty(t.taken)
	}
	t.taken = nil
}
