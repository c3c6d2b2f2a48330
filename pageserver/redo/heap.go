package redo

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/heaprec"
)

const (
	// xmaxBits is HEAP_XMAX_BITS.
	xmaxBits = pg.HeapXmaxCommitted | pg.HeapXmaxInvalid | pg.HeapXmaxIsMulti | pg.HeapLockMask | pg.HeapXmaxLockOnly
	// moved is HEAP_MOVED.
	moved = pg.HeapMovedOff | pg.HeapMovedIn
	// maxTupleSize is MaxHeapTupleSize, bytes.
	maxTupleSize = pg.BlockSize - (pg.PageHeaderSize+4+7)&^7
)

// movedPartitions is the t_ctid of a tuple an UPDATE moved to another partition (HeapTupleHeaderSetMovedPartitions).
var movedPartitions = pg.TID{Block: pg.InvalidBlock, Offset: 0xFFFD}

// applyHeap is heap_redo for one block.
func applyHeap(page pg.Page, rec *wal.Record, blk *wal.BlockRef, _ Env) (Result, error) {
	if blk.Fork == pg.VMFork {
		return clearVMBlock(page, rec, blk)
	}
	op := rec.Info & heaprec.OpMask
	if blk.ID == 1 && op == heaprec.OpUpdate {
		return applyUpdate(page, rec, blk)
	}
	if blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	switch op {
	case heaprec.OpInsert:
		return applyInsert(page, rec, blk)
	case heaprec.OpDelete:
		return applyDelete(page, rec, blk)
	case heaprec.OpUpdate, heaprec.OpHotUpdate:
		return applyUpdate(page, rec, blk)
	case heaprec.OpConfirm:
		return applyConfirm(page, rec, blk)
	case heaprec.OpLock:
		return applyLock(page, rec, blk, true)
	case heaprec.OpInplace:
		return applyInplace(page, rec, blk)
	}
	return Skipped, noBlock(rec, blk) // TRUNCATE: for logical decoding, names no blocks
}

// setFromInfobits is fix_infomask_from_infobits after the bits of the former xmax are gone.
func setFromInfobits(t pg.HeapTuple, infobits uint8) {
	mask := t.Infomask() &^ (xmaxBits | moved)
	mask2 := t.Infomask2() &^ pg.HeapKeysUpdated
	if infobits&heaprec.InfobitXmaxIsMulti != 0 {
		mask |= pg.HeapXmaxIsMulti
	}
	if infobits&heaprec.InfobitXmaxLockOnly != 0 {
		mask |= pg.HeapXmaxLockOnly
	}
	if infobits&heaprec.InfobitXmaxExclLock != 0 {
		mask |= pg.HeapXmaxExclLock
	}
	if infobits&heaprec.InfobitXmaxKeyShr != 0 {
		mask |= pg.HeapXmaxKeyShrLck
	}
	if infobits&heaprec.InfobitKeysUpdated != 0 {
		mask2 |= pg.HeapKeysUpdated
	}
	t.SetInfomask(mask)
	t.SetInfomask2(mask2)
}

// clearCID sets the command id to FirstCommandId and says that it is no combo (HeapTupleHeaderSetCmin, SetCmax).
func clearCID(t pg.HeapTuple) {
	setXvac(t, 0)
	t.SetInfomask(t.Infomask() &^ pg.HeapComboCID)
}

// setXvac stores t_field3, which is t_cid or, in tuples moved by a VACUUM FULL of 8.4 or before, t_xvac.
func setXvac(t pg.HeapTuple, x pg.XID) { binary.LittleEndian.PutUint32(t[8:], uint32(x)) }

func setHotUpdated(t pg.HeapTuple, on bool) {
	if on {
		t.SetInfomask2(t.Infomask2() | pg.HeapHotUpdated)
	} else {
		t.SetInfomask2(t.Infomask2() &^ pg.HeapHotUpdated)
	}
}

// putHeader fills the fixed header of a tuple just added.
func putHeader(t pg.HeapTuple, xmin, xmax pg.XID, h heaprec.TupleHeader, self pg.TID) {
	t.SetXmin(xmin)
	t.SetXmax(xmax)
	setXvac(t, 0)
	t.SetCtid(self)
	t.SetInfomask2(h.Infomask2)
	t.SetInfomask(h.Infomask &^ pg.HeapComboCID)
	t[22] = h.Hoff
}

// applyInsert is heap_xlog_insert.
func applyInsert(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := heaprec.DecodeInsert(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	if rec.Info&heaprec.InitPage != 0 {
		page.Init(0)
	} else if res, ok := needsRedo(page, rec); !ok {
		return res, nil
	}
	h, data, err := heaprec.DecodeTupleHeader(blk.Data)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	if err := addTuple(page, rec.XID, h, data, pg.TID{Block: blk.Block, Offset: r.Offset}); err != nil {
		return Skipped, corrupt(rec, blk, atLine(err, r.Offset).Error())
	}
	markInserted(page, rec, r.Flags)
	return Changed, nil
}

// addTuple puts a new tuple on the page; data begins with the null bitmap.
func addTuple(page pg.Page, xmin pg.XID, h heaprec.TupleHeader, data []byte, self pg.TID) error {
	size := pg.HeapTupleHeaderSize + len(data)
	if size > maxTupleSize || int(h.Hoff) > size || h.Hoff < pg.HeapTupleHeaderSize {
		return errNoRoom
	}
	t, err := addItem(page, size, self.Offset)
	if err != nil {
		return err
	}
	putHeader(t, xmin, pg.InvalidXID, h, self)
	copy(t[pg.HeapTupleHeaderSize:], data)
	return nil
}

// markInserted ends the redo of INSERT and MULTI_INSERT.
func markInserted(page pg.Page, rec *wal.Record, flags uint8) {
	page.SetLSN(rec.End)
	if flags&heaprec.InsertAllVisibleCleared != 0 {
		setFlag(page, pg.PageAllVisible, false)
	}
	if flags&heaprec.InsertAllFrozenSet != 0 {
		setFlag(page, pg.PageAllVisible, true)
	}
}

// applyDelete is heap_xlog_delete.
func applyDelete(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := heaprec.DecodeDelete(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	if res, ok := needsRedo(page, rec); !ok {
		return res, nil
	}
	t, err := tuple(page, r.Offset)
	if err != nil {
		return Skipped, corrupt(rec, blk, atLine(err, r.Offset).Error())
	}
	setFromInfobits(t, r.Infobits)
	setHotUpdated(t, false)
	if r.Flags&heaprec.DeleteIsSuper == 0 {
		t.SetXmax(r.Xmax)
	} else {
		t.SetXmin(pg.InvalidXID)
	}
	clearCID(t)
	setPrunable(page, rec.XID)
	if r.Flags&heaprec.DeleteAllVisibleCleared != 0 {
		setFlag(page, pg.PageAllVisible, false)
	}
	if r.Flags&heaprec.DeleteIsPartitionMove != 0 {
		t.SetCtid(movedPartitions)
	} else {
		t.SetCtid(pg.TID{Block: blk.Block, Offset: r.Offset})
	}
	page.SetLSN(rec.End)
	return Changed, nil
}

// applyConfirm is heap_xlog_confirm.
func applyConfirm(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := heaprec.DecodeConfirm(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	if res, ok := needsRedo(page, rec); !ok {
		return res, nil
	}
	t, err := tuple(page, r.Offset)
	if err != nil {
		return Skipped, corrupt(rec, blk, atLine(err, r.Offset).Error())
	}
	t.SetCtid(pg.TID{Block: blk.Block, Offset: r.Offset})
	page.SetLSN(rec.End)
	return Changed, nil
}

// applyLock is heap_xlog_lock and, with newest false, heap_xlog_lock_updated: a version that has a successor keeps its
// link to it and its command id.
func applyLock(page pg.Page, rec *wal.Record, blk *wal.BlockRef, newest bool) (Result, error) {
	r, err := heaprec.DecodeLock(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	if res, ok := needsRedo(page, rec); !ok {
		return res, nil
	}
	t, err := tuple(page, r.Offset)
	if err != nil {
		return Skipped, corrupt(rec, blk, atLine(err, r.Offset).Error())
	}
	setFromInfobits(t, r.Infobits)
	if newest {
		if lockedOnly(t.Infomask()) {
			setHotUpdated(t, false)
			t.SetCtid(pg.TID{Block: blk.Block, Offset: r.Offset})
		}
		clearCID(t)
	}
	t.SetXmax(r.Xmax)
	page.SetLSN(rec.End)
	return Changed, nil
}

// lockedOnly is HEAP_XMAX_IS_LOCKED_ONLY.
func lockedOnly(infomask uint16) bool {
	return infomask&pg.HeapXmaxLockOnly != 0 ||
		infomask&(pg.HeapXmaxIsMulti|pg.HeapLockMask) == pg.HeapXmaxExclLock
}

// applyInplace is heap_xlog_inplace.
func applyInplace(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := heaprec.DecodeInplace(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	if res, ok := needsRedo(page, rec); !ok {
		return res, nil
	}
	t, err := tuple(page, r.Offset)
	if err != nil {
		return Skipped, corrupt(rec, blk, atLine(err, r.Offset).Error())
	}
	if t.Hoff()+len(blk.Data) != len(t) {
		return Skipped, corrupt(rec, blk, "the new data is not as long as the tuple it overwrites")
	}
	copy(t[t.Hoff():], blk.Data)
	page.SetLSN(rec.End)
	return Changed, nil
}
