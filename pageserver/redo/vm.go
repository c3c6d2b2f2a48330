package redo

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/heaprec"
)

// HeapBlocksPerVMPage is how many heap blocks one page of the visibility map covers (HEAPBLOCKS_PER_PAGE): two bits
// each after the page header.
const HeapBlocksPerVMPage = (pg.BlockSize - pg.PageHeaderSize) * 4

// VMBlock is the visibility map's block that holds a heap block's bits (HEAPBLK_TO_MAPBLOCK).
func VMBlock(heap pg.BlockNumber) pg.BlockNumber { return heap / HeapBlocksPerVMPage }

// vmBits is where a heap block's two bits lie on its map page (HEAPBLK_TO_MAPBYTE, HEAPBLK_TO_OFFSET).
func vmBits(heap pg.BlockNumber) (byteAt int, shift uint) {
	i := heap % HeapBlocksPerVMPage
	return pg.PageHeaderSize + int(i/4), uint(i%4) * 2
}

// VMChange is a change to the visibility map that a heap record implies without naming the map's block.
type VMChange struct {
	Rel       pg.RelFileLocator
	HeapBlock pg.BlockNumber // the map's block is VMBlock(HeapBlock)
	Clear     uint8          // heaprec.VMAllVisible, heaprec.VMAllFrozen
}

// ImplicitVM appends the visibility map bits that rec clears on map blocks it does not name. Which minors name them is not
// asked (15.18, 16.10 and 17.6 name none, 18.6 all): where a record names a heap block's map block, Apply on that
// reference does it.
// A record that cannot be decoded appends nothing: Apply refuses it. An UPDATE appends up to two changes, which may be to
// one map page.
func ImplicitVM(rec *wal.Record, dst []VMChange) []VMChange {
	if !mayClearVM(rec) {
		return dst
	}
	changes, n := vmChanges(rec)
	for _, c := range changes[:n] {
		if !namesVMBlock(rec, c) {
			dst = append(dst, c)
		}
	}
	return dst
}

// mayClearVM is a quick look at a heap record's flags: false says that it clears no bits.
func mayClearVM(rec *wal.Record) bool {
	at, bits := 0, uint8(0)
	switch op := rec.Info & heaprec.OpMask; {
	case rec.RMID == wal.RMHeap && op == heaprec.OpInsert:
		at, bits = heaprec.InsertFlagsAt, heaprec.InsertAllVisibleCleared
	case rec.RMID == wal.RMHeap && op == heaprec.OpDelete:
		at, bits = heaprec.DeleteFlagsAt, heaprec.DeleteAllVisibleCleared
	case rec.RMID == wal.RMHeap && (op == heaprec.OpUpdate || op == heaprec.OpHotUpdate):
		at, bits = heaprec.UpdateFlagsAt, heaprec.UpdateOldAllVisibleCleared|heaprec.UpdateNewAllVisibleCleared
	case rec.RMID == wal.RMHeap && op == heaprec.OpLock, rec.RMID == wal.RMHeap2 && op == heaprec.Op2LockUpdated:
		at, bits = heaprec.LockFlagsAt, heaprec.LockAllFrozenCleared
	case rec.RMID == wal.RMHeap2 && op == heaprec.Op2MultiInsert:
		at, bits = heaprec.MultiInsertFlagsAt, heaprec.InsertAllVisibleCleared
	}
	return at < len(rec.Main) && rec.Main[at]&bits != 0
}

// namesVMBlock says whether rec has a reference to the map block of c.
func namesVMBlock(rec *wal.Record, c VMChange) bool {
	for i := range rec.Blocks {
		b := &rec.Blocks[i]
		if b.Fork == pg.VMFork && b.Rel == c.Rel && b.Block == VMBlock(c.HeapBlock) {
			return true
		}
	}
	return false
}

// vmChanges lists the bits a heap record clears, at most those of an UPDATE's two pages.
func vmChanges(rec *wal.Record) (changes [2]VMChange, n int) {
	add := func(id, clear uint8) {
		if b := rec.Block(id); b != nil && b.Fork == pg.MainFork {
			changes[n] = VMChange{Rel: b.Rel, HeapBlock: b.Block, Clear: clear}
			n++
		}
	}
	switch op := rec.Info & heaprec.OpMask; {
	case rec.RMID == wal.RMHeap && op == heaprec.OpInsert:
		if r, err := heaprec.DecodeInsert(rec.Main); err == nil && r.Flags&heaprec.InsertAllVisibleCleared != 0 {
			add(0, heaprec.VMValidBits)
		}
	case rec.RMID == wal.RMHeap && op == heaprec.OpDelete:
		if r, err := heaprec.DecodeDelete(rec.Main); err == nil && r.Flags&heaprec.DeleteAllVisibleCleared != 0 {
			add(0, heaprec.VMValidBits)
		}
	case rec.RMID == wal.RMHeap && (op == heaprec.OpUpdate || op == heaprec.OpHotUpdate):
		r, err := heaprec.DecodeUpdate(rec.Main)
		if err != nil {
			return changes, 0
		}
		old := uint8(1)
		if rec.Block(1) == nil {
			old = 0
		}
		if r.Flags&heaprec.UpdateOldAllVisibleCleared != 0 {
			add(old, heaprec.VMValidBits)
		}
		if r.Flags&heaprec.UpdateNewAllVisibleCleared != 0 {
			add(0, heaprec.VMValidBits)
		}
	case rec.RMID == wal.RMHeap && op == heaprec.OpLock, rec.RMID == wal.RMHeap2 && op == heaprec.Op2LockUpdated:
		if r, err := heaprec.DecodeLock(rec.Main); err == nil && r.Flags&heaprec.LockAllFrozenCleared != 0 {
			add(0, heaprec.VMAllFrozen)
		}
	case rec.RMID == wal.RMHeap2 && op == heaprec.Op2MultiInsert:
		r, err := heaprec.DecodeMultiInsert(rec.Main, rec.Info)
		if err == nil && r.Flags&heaprec.InsertAllVisibleCleared != 0 {
			add(0, heaprec.VMValidBits)
		}
	}
	return changes, n
}

// ApplyVM clears c's bits on its map page and stamps the page, and says whether the page changed. lsn is the record's
// end. A page that was never initialised has no bits to clear and stays as it is.
//
// Postgres clears without looking at or setting the page's LSN. Here a page that is already past the record is left alone:
// the primary clears the bit before it inserts the record, so such a page has the clear, and a bit set since must stay.
// A page at the record itself is not past it: both pages of an UPDATE can have their bits on one map page.
func ApplyVM(page pg.Page, c VMChange, lsn pg.LSN) bool {
	if page.IsNew() || lsn < page.LSN() {
		return false
	}
	at, shift := vmBits(c.HeapBlock)
	page[at] &^= (c.Clear & heaprec.VMValidBits) << shift
	page.SetLSN(lsn)
	return true
}

// TruncateVM cuts the last map page that is left when a heap shrinks to heapBlocks blocks: the bits of blocks cut off
// go, so that they do not come back when the heap grows again (visibilitymap_prepare_truncate). The map is
// then VMBlock(heapBlocks)+1 blocks long, or one less if heapBlocks is a multiple of HeapBlocksPerVMPage; then no page needs
// to be cut and TruncateVM does nothing.
func TruncateVM(page pg.Page, heapBlocks pg.BlockNumber, lsn pg.LSN) bool {
	if page.IsNew() || heapBlocks%HeapBlocksPerVMPage == 0 || lsn < page.LSN() {
		return false
	}
	at, shift := vmBits(heapBlocks)
	page[at] &= 1<<shift - 1
	clear(page[at+1:])
	page.SetLSN(lsn)
	return true
}

// clearVMBlock is heap_xlog_vm_clear: a map block the record names, for every bit the record clears on it.
func clearVMBlock(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if page.IsNew() {
		page.Init(0)
	}
	if rec.End <= page.LSN() {
		return Skipped, nil
	}
	changes, n := vmChanges(rec)
	for _, c := range changes[:n] {
		if c.Rel == blk.Rel && VMBlock(c.HeapBlock) == blk.Block {
			at, shift := vmBits(c.HeapBlock)
			page[at] &^= c.Clear << shift
		}
	}
	page.SetLSN(rec.End)
	return Changed, nil
}

// applyVisible is heap_xlog_visible: block 0 is the map's page, block 1 the heap's.
func applyVisible(page pg.Page, rec *wal.Record, blk *wal.BlockRef, env Env) (Result, error) {
	r, err := heaprec.DecodeVisible(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	heap := rec.Block(1)
	switch {
	case heap == nil || blk.ID > 1 || (blk.ID == 0) != (blk.Fork == pg.VMFork):
		return Skipped, noBlock(rec, blk)
	case blk.ID == 1:
		res, ok := needsRedo(page, rec)
		if !ok {
			return res, nil
		}
		setFlag(page, pg.PageAllVisible, true)
		if env.HintsLogged {
			page.SetLSN(rec.End)
		}
		return Changed, nil
	case VMBlock(heap.Block) != blk.Block:
		return Skipped, corrupt(rec, blk, "the map block is not that of the heap block")
	}
	if page.IsNew() {
		page.Init(0)
	}
	if rec.End <= page.LSN() {
		return Skipped, nil
	}
	at, shift := vmBits(heap.Block)
	page[at] |= (r.Flags & heaprec.VMValidBits) << shift
	page.SetLSN(rec.End)
	return Changed, nil
}
