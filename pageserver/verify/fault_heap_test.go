package verify

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

// touched returns the tuples of after that are not as in before.
func touched(before, after pg.Page) (tuples []pg.HeapTuple) {
	for off := pg.OffsetNumber(1); int(off) <= after.NumItems(); off++ {
		t, ok := after.Tuple(off)
		if !ok {
			continue
		}
		if b, ok := before.Tuple(off); !ok || string(b) != string(t) {
			tuples = append(tuples, t)
		}
	}
	return tuples
}

// onTuple alters the last tuple the record has touched, mostly the new one.
func onTuple(f func(t pg.HeapTuple)) func(before, after pg.Page, blk *wal.BlockRef) bool {
	return func(before, after pg.Page, blk *wal.BlockRef) bool {
		tuples := touched(before, after)
		if blk.Fork != pg.MainFork || len(tuples) == 0 {
			return false
		}
		f(tuples[len(tuples)-1])
		return true
	}
}

// onItem alters the first line pointer the record put into that state.
func onItem(state int, f func(pg.ItemID) pg.ItemID) func(before, after pg.Page, blk *wal.BlockRef) bool {
	return func(before, after pg.Page, _ *wal.BlockRef) bool {
		for off := pg.OffsetNumber(1); int(off) <= min(before.NumItems(), after.NumItems()); off++ {
			if i := after.Item(off); i.State() == state && i != before.Item(off) {
				after.SetItem(off, f(i))
				return true
			}
		}
		return false
	}
}

var (
	inserting = []string{"INSERT", "INSERT+INIT", "MULTI_INSERT", "MULTI_INSERT+INIT", "UPDATE", "UPDATE+INIT", "HOT_UPDATE"}
	ending    = []string{"DELETE", "UPDATE", "HOT_UPDATE", "LOCK", "LOCK_UPDATED"}
	pruning   = []string{"PRUNE", "PRUNE_ON_ACCESS", "PRUNE_VACUUM_SCAN"}
	vacuuming = []string{"VACUUM", "PRUNE_VACUUM_CLEANUP"}
	freezing  = []string{"FREEZE_PAGE", "PRUNE_VACUUM_SCAN"}
)

var heapFaults = []fault{
	{"wrong xmin", inserting, onTuple(func(t pg.HeapTuple) { t.SetXmin(t.Xmin() + 1) })},
	{"wrong column count", inserting, onTuple(func(t pg.HeapTuple) { t.SetInfomask2(t.Infomask2() ^ 1) })},
	{"wrong header size", inserting, onTuple(func(t pg.HeapTuple) { t[22] += 8 })},
	{"wrong last byte", inserting, onTuple(func(t pg.HeapTuple) { t[len(t)-1] ^= 1 })},
	{"wrong first data byte", inserting, onTuple(func(t pg.HeapTuple) { t[t.Hoff()] ^= 1 })},
	{"null bitmap flag lost", inserting, onTuple(func(t pg.HeapTuple) { t.SetInfomask(t.Infomask() ^ pg.HeapHasNull) })},
	{"wrong xmax", ending, onTuple(func(t pg.HeapTuple) { t.SetXmax(t.Xmax() + 1) })},
	{"keys updated", ending, onTuple(func(t pg.HeapTuple) { t.SetInfomask2(t.Infomask2() ^ pg.HeapKeysUpdated) })},
	{"hot updated", ending, onTuple(func(t pg.HeapTuple) { t.SetInfomask2(t.Infomask2() ^ pg.HeapHotUpdated) })},
	{"heap only", inserting, onTuple(func(t pg.HeapTuple) { t.SetInfomask2(t.Infomask2() ^ pg.HeapOnlyTuple) })},
	{"link to another tuple", append(append([]string{"HEAP_CONFIRM"}, inserting...), ending...), func(before, after pg.Page, blk *wal.BlockRef) bool {
		// CONFIRM leaves the page as INSERT made it: take any tuple there.
		tuples := touched(before, after)
		for off := after.NumItems(); len(tuples) == 0 && off > 0; off-- {
			if t, ok := after.Tuple(pg.OffsetNumber(off)); ok {
				tuples = append(tuples, t)
			}
		}
		if blk.Fork != pg.MainFork || len(tuples) == 0 {
			return false
		}
		t := tuples[len(tuples)-1]
		c := t.Ctid()
		t.SetCtid(pg.TID{Block: c.Block, Offset: c.Offset + 1})
		return true
	}},
	{"tuple at another place", inserting, func(_, after pg.Page, blk *wal.BlockRef) bool {
		if blk.Fork != pg.MainFork || after.NumItems() == 0 {
			return false
		}
		after.SetUpper(after.Upper() - 8)
		return true
	}},
	{"wrong data", []string{"INPLACE"}, onTuple(func(t pg.HeapTuple) { t[len(t)-1] ^= 1 })},
	{"redirected elsewhere", pruning, onItem(pg.LPRedirect, func(i pg.ItemID) pg.ItemID { return pg.MakeItemID(i.Offset()+1, pg.LPRedirect, 0) })},
	{"dead made unused", pruning, onItem(pg.LPDead, func(pg.ItemID) pg.ItemID { return 0 })},
	{"tuples not moved", pruning, func(before, after pg.Page, _ *wal.BlockRef) bool {
		if before.Upper() == after.Upper() {
			return false
		}
		n, lower, lsn := after.NumItems(), after.Lower(), after.LSN()
		var items [pg.MaxHeapTuplesPerPage]pg.ItemID
		for i := range n {
			items[i] = after.Item(pg.OffsetNumber(i + 1))
		}
		copy(after, before)
		after.SetLower(lower)
		after.SetLSN(lsn)
		for i := range n {
			if items[i].State() != pg.LPNormal {
				after.SetItem(pg.OffsetNumber(i+1), items[i])
			}
		}
		return true
	}},
	{"tuples in another order", pruning, func(_, after pg.Page, _ *wal.BlockRef) bool { return swapTuples(after) }},
	{"line pointers kept", vacuuming, func(before, after pg.Page, _ *wal.BlockRef) bool {
		if before.Lower() == after.Lower() {
			return false
		}
		after.SetLower(before.Lower())
		return true
	}},
	{"dead kept", vacuuming, func(before, after pg.Page, _ *wal.BlockRef) bool {
		return onItem(pg.LPUnused, func(pg.ItemID) pg.ItemID { return pg.MakeItemID(0, pg.LPDead, 0) })(before, after, nil)
	}},
	{"not frozen", freezing, onTuple(func(t pg.HeapTuple) { t.SetInfomask(t.Infomask() &^ pg.HeapXminFrozen) })},
	{"map bit not set", []string{"VISIBLE"}, func(before, after pg.Page, blk *wal.BlockRef) bool {
		if blk.Fork != pg.VMFork || string(before[pg.PageHeaderSize:]) == string(after[pg.PageHeaderSize:]) {
			return false
		}
		copy(after[pg.PageHeaderSize:], before[pg.PageHeaderSize:])
		return true
	}},
}

// swapTuples exchanges the places of two tuples of one size.
func swapTuples(p pg.Page) bool {
	for i := pg.OffsetNumber(1); int(i) <= p.NumItems(); i++ {
		for j := i + 1; int(j) <= p.NumItems(); j++ {
			a, b := p.Item(i), p.Item(j)
			x, ok1 := p.Tuple(i)
			y, ok2 := p.Tuple(j)
			if !ok1 || !ok2 || a.Len() != b.Len() {
				continue
			}
			for k := range x {
				x[k], y[k] = y[k], x[k]
			}
			p.SetItem(i, b)
			p.SetItem(j, a)
			return true
		}
	}
	return false
}
