package redo

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/heaprec"
)

// applyHeap2 is heap2_redo for one block.
func applyHeap2(page pg.Page, rec *wal.Record, blk *wal.BlockRef, env Env) (Result, error) {
	op := rec.Info & heaprec.OpMask
	switch {
	case op == heaprec.Op2Visible:
		return applyVisible(page, rec, blk, env)
	case blk.Fork == pg.VMFork:
		return clearVMBlock(page, rec, blk)
	case blk.ID != 0:
		return Skipped, noBlock(rec, blk)
	}
	switch op {
	case heaprec.Op2Prune, heaprec.Op2Vacuum, heaprec.Op2Freeze:
		return applyPrune(page, rec, blk)
	case heaprec.Op2MultiInsert:
		return applyMultiInsert(page, rec, blk)
	case heaprec.Op2LockUpdated:
		return applyLock(page, rec, blk, false)
	}
	return Skipped, noBlock(rec, blk) // REWRITE and NEW_CID: for logical decoding, name no blocks
}

// applyPrune is heap_xlog_prune_freeze, and before 17 heap_xlog_prune, heap_xlog_vacuum and heap_xlog_freeze_page.
func applyPrune(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if res, ok := needsRedo(page, rec); !ok {
		return res, nil
	}
	r, err := heaprec.DecodePrune(rec.Major, rec.Main, blk.Data, rec.Info)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	if r.Redirected.Len()+r.Dead.Len()+r.Unused.Len() > 0 {
		if err := pruneLines(page, &r); err != nil {
			return Skipped, corrupt(rec, blk, err.Error())
		}
	}
	for off, plan, ok := r.Freeze.Next(); ok; off, plan, ok = r.Freeze.Next() {
		t, err := tuple(page, off)
		if err != nil {
			return Skipped, corrupt(rec, blk, atLine(err, off).Error())
		}
		freeze(t, plan)
	}
	page.SetLSN(rec.End)
	return Changed, nil
}

// pruneLines is heap_page_prune_execute.
func pruneLines(page pg.Page, r *heaprec.Prune) error {
	n := pg.OffsetNumber(page.NumItems())
	for i := 0; i+1 < r.Redirected.Len(); i += 2 {
		from, to := r.Redirected.At(i), r.Redirected.At(i+1)
		if from < 1 || from > n || to < 1 || to > n {
			return atLine(errOffset, from)
		}
		page.SetItem(from, pg.MakeItemID(int(to), pg.LPRedirect, 0))
	}
	for i := range r.Dead.Len() {
		off := r.Dead.At(i)
		if off < 1 || off > n {
			return atLine(errOffset, off)
		}
		page.SetItem(off, pg.MakeItemID(0, pg.LPDead, 0))
	}
	for i := range r.Unused.Len() {
		off := r.Unused.At(i)
		if off < 1 || off > n {
			return atLine(errOffset, off)
		}
		page.SetItem(off, 0)
	}
	if r.Repack {
		return repack(page)
	}
	return truncateLines(page)
}

// freeze is heap_execute_freeze_tuple.
func freeze(t pg.HeapTuple, p heaprec.FreezePlan) {
	t.SetXmax(p.Xmax)
	if p.Flags&heaprec.FreezeXvac != 0 {
		setXvac(t, pg.FrozenXID)
	}
	if p.Flags&heaprec.InvalidXvac != 0 {
		setXvac(t, pg.InvalidXID)
	}
	t.SetInfomask(p.Infomask)
	t.SetInfomask2(p.Infomask2)
}

// applyMultiInsert is heap_xlog_multi_insert.
func applyMultiInsert(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := heaprec.DecodeMultiInsert(rec.Main, rec.Info)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	if rec.Info&heaprec.InitPage != 0 {
		page.Init(0)
	} else if res, ok := needsRedo(page, rec); !ok {
		return res, nil
	}
	pos := 0
	for i := range r.N {
		var t heaprec.MultiTuple
		if t, pos, err = heaprec.DecodeMultiTuple(blk.Data, pos); err != nil {
			return Skipped, corrupt(rec, blk, err.Error())
		}
		off := r.Offset(i)
		if err := addTuple(page, rec.XID, t.Header, t.Data, pg.TID{Block: blk.Block, Offset: off}); err != nil {
			return Skipped, corrupt(rec, blk, atLine(err, off).Error())
		}
	}
	if pos != len(blk.Data) {
		return Skipped, corrupt(rec, blk, "the tuples do not use up the block's data")
	}
	markInserted(page, rec, r.Flags)
	return Changed, nil
}
