package redo

import (
	"errors"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/spgistrec"
)

// spgist is the manager of SP-GiST.
var spgist = manager{apply: applySpgist, mask: maskSpgist}

// errNoBlock says that a record type has no such block reference, or not with these flags.
var errNoBlock = errors.New("the block reference is not part of the record")

// applySpgist is spg_redo for one block.
func applySpgist(page pg.Page, rec *wal.Record, blk *wal.BlockRef, _ Env) (Result, error) {
	var res Result
	var err error
	switch rec.Op() {
	case spgistrec.OpAddLeaf:
		res, err = spgAddLeaf(page, rec, blk)
	case spgistrec.OpMoveLeafs:
		res, err = spgMoveLeafs(page, rec, blk)
	case spgistrec.OpAddNode:
		res, err = spgAddNode(page, rec, blk)
	case spgistrec.OpSplitTuple:
		res, err = spgSplitTuple(page, rec, blk)
	case spgistrec.OpPickSplit:
		res, err = spgPickSplit(page, rec, blk)
	case spgistrec.OpVacuumLeaf, spgistrec.OpVacuumRoot, spgistrec.OpVacuumRedirect:
		res, err = spgVacuum(page, rec, blk)
	default:
		err = errNoBlock
	}
	switch {
	case errors.Is(err, errNoBlock):
		return Skipped, noBlock(rec, blk)
	case err != nil || res == Changed:
		return stamp(page, rec, blk, err)
	}
	return res, nil
}

// maskSpgist is spg_mask.
func maskSpgist(page pg.Page, _ pg.BlockNumber) bool {
	maskHeader(page)
	maskHints(page)
	return page.Lower() < pg.PageHeaderSize || maskUnused(page)
}

// spgStart readies a block's page: built anew if the record says so (XLogInitBufferForRedo and SpGistInitBuffer), else looked at
// for whether it needs the record. Only Changed goes on.
func spgStart(page pg.Page, rec *wal.Record, blk *wal.BlockRef, init bool, flags uint16) (Result, error) {
	if init != blk.WillInit {
		return Skipped, errWillInit
	}
	if init {
		spgistrec.InitPage(page, flags)
		return Changed, nil
	}
	res, _ := needsRedo(page, rec)
	return res, nil
}

// spgLeafFlags are a leaf page's.
func spgLeafFlags(nulls bool) uint16 { return spgistrec.PageLeaf | spgInnerFlags(nulls) }

// spgInnerFlags are an inner page's.
func spgInnerFlags(nulls bool) uint16 {
	if nulls {
		return spgistrec.PageNulls
	}
	return 0
}

// spgAddLeaf is spgRedoAddLeaf.
func spgAddLeaf(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := spgistrec.DecodeAddLeaf(rec.Main)
	if err != nil {
		return Skipped, err
	}
	leaf := rec.Block(0)
	if leaf == nil || (rec.Block(1) != nil) != (r.Parent.Offset != 0) {
		return Skipped, errNoBlock
	}
	switch blk.ID {
	case 0:
		res, err := spgStart(page, rec, blk, r.NewPage, spgLeafFlags(r.StoresNulls))
		if res != Changed || err != nil {
			return res, err
		}
		return Changed, spgPutLeaf(page, &r)
	case 1:
		return spgDownlink(page, rec, blk, r.Parent, pg.TID{Block: leaf.Block, Offset: r.Offset})
	}
	return Skipped, errNoBlock
}

// spgPutLeaf adds a leaf tuple to its page and to its chain.
func spgPutLeaf(page pg.Page, r *spgistrec.AddLeaf) error {
	if r.Offset == r.Head { // it replaces a DEAD tuple
		return spgReplace(page, r.Offset, r.Tuple)
	}
	if err := spgAdd(page, r.Offset, r.Tuple); err != nil || r.Head == 0 {
		return err
	}
	return spgChain(page, r.Head, r.Offset)
}

// spgMoveLeafs is spgRedoMoveLeafs.
func spgMoveLeafs(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := spgistrec.DecodeMoveLeafs(rec.Main)
	if err != nil {
		return Skipped, err
	}
	dest := rec.Block(1)
	if dest == nil {
		return Skipped, errNoBlock
	}
	head := pg.TID{Block: dest.Block, Offset: r.Head()}
	switch blk.ID {
	case 0:
		res, err := spgStart(page, rec, blk, false, 0)
		if res != Changed || err != nil {
			return res, err
		}
		return Changed, spgLeave(page, r.Delete, r.State, head)
	case 1:
		res, err := spgStart(page, rec, blk, r.NewPage, spgLeafFlags(r.StoresNulls))
		if res != Changed || err != nil {
			return res, err
		}
		for i := 0; err == nil; i++ {
			t, ok := r.Tuples.Next()
			if !ok {
				break
			}
			err = spgAdd(page, r.Insert.At(i), t)
		}
		return Changed, err
	case 2:
		return spgDownlink(page, rec, blk, r.Parent, head)
	}
	return Skipped, errNoBlock
}

// spgAddNode is spgRedoAddNode.
func spgAddNode(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := spgistrec.DecodeAddNode(rec.Main)
	if err != nil {
		return Skipped, err
	}
	dest := rec.Block(1)
	if (dest == nil) != (r.ParentID == -1) || (rec.Block(2) != nil) != (r.ParentID == 2) || dest == nil && r.NewPage {
		return Skipped, errNoBlock
	}
	if blk.ID > 2 {
		return Skipped, errNoBlock
	}
	res, err := spgStart(page, rec, blk, blk.ID == 1 && r.NewPage, spgInnerFlags(false))
	if res != Changed || err != nil {
		return res, err
	}
	if dest == nil {
		return Changed, spgReplace(page, r.Offset, r.Tuple)
	}
	to := pg.TID{Block: dest.Block, Offset: r.NewOffset}
	switch blk.ID {
	case 0:
		err = spgLeaveOne(page, r.Offset, r.State, to)
	case 1:
		err = spgAdd(page, r.NewOffset, r.Tuple)
	}
	if err == nil && int(r.ParentID) == int(blk.ID) {
		err = spgSetLink(page, r.Parent, to)
	}
	return Changed, err
}

// spgSplitTuple is spgRedoSplitTuple.
func spgSplitTuple(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := spgistrec.DecodeSplitTuple(rec.Main)
	if err != nil {
		return Skipped, err
	}
	if blk.ID > 1 || (rec.Block(1) == nil) != r.SamePage || r.SamePage && r.NewPage {
		return Skipped, errNoBlock
	}
	res, err := spgStart(page, rec, blk, blk.ID == 1 && r.NewPage, spgInnerFlags(false))
	if res != Changed || err != nil {
		return res, err
	}
	if blk.ID == 1 {
		return Changed, spgAdd(page, r.PostfixOffset, r.Postfix)
	}
	if err := spgReplace(page, r.PrefixOffset, r.Prefix); err != nil || !r.SamePage {
		return Changed, err
	}
	return Changed, spgAdd(page, r.PostfixOffset, r.Postfix)
}
