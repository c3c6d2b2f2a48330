package redo

import (
	"errors"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/ginrec"
)

// gin is the manager of GIN.
var gin = manager{apply: applyGin, mask: maskGin}

var errGinKind = errors.New("the page is not of the kind the record changes")

// applyGin is gin_redo for one block.
func applyGin(page pg.Page, rec *wal.Record, blk *wal.BlockRef, _ Env) (Result, error) {
	switch rec.Op() {
	case ginrec.OpCreatePostingTree:
		return applyGinCreatePostingTree(page, rec, blk)
	case ginrec.OpInsert:
		return applyGinInsert(page, rec, blk)
	case ginrec.OpSplit:
		return applyGinSplit(page, rec, blk)
	case ginrec.OpVacuumPage:
		if blk.ID == 0 {
			return Skipped, corrupt(rec, blk, "no image of the vacuumed page")
		}
	case ginrec.OpVacuumDataLeafPage:
		return applyGinVacuumLeaf(page, rec, blk)
	case ginrec.OpDeletePage:
		return applyGinDeletePage(page, rec, blk)
	case ginrec.OpUpdateMetaPage:
		return applyGinUpdateMeta(page, rec, blk)
	case ginrec.OpInsertListPage:
		return applyGinInsertListPage(page, rec, blk)
	case ginrec.OpDeleteListPages:
		return applyGinDeleteListPages(page, rec, blk)
	}
	return Skipped, noBlock(rec, blk)
}

// changeGin brings a page that was there before the record past it.
func changeGin(page pg.Page, rec *wal.Record, blk *wal.BlockRef, redo func(pg.Page, ginrec.Opaque) error) (Result, error) {
	return change(page, rec, blk, func() error {
		o, ok := ginrec.PageOpaque(page)
		if !ok {
			return errNotOurs
		}
		return redo(page, o)
	})
}

// applyGinCreatePostingTree is ginRedoCreatePTree.
func applyGinCreatePostingTree(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	r, err := ginrec.DecodeCreatePostingTree(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	ginrec.InitPage(page, ginrec.PageData|ginrec.PageLeaf|ginrec.PageCompressed)
	copy(page[ginrec.PostingAt:], r.Segments)
	page.SetLower(uint16(ginrec.PostingAt + len(r.Segments)))
	return stamp(page, rec, blk, nil)
}

// applyGinInsert is ginRedoInsert.
func applyGinInsert(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := ginrec.DecodeInsert(rec.Main)
	switch {
	case err != nil:
		return Skipped, corrupt(rec, blk, err.Error())
	case blk.ID == 1 && !r.Leaf:
		return changeGin(page, rec, blk, clearIncompleteSplit)
	case blk.ID != 0:
		return Skipped, noBlock(rec, blk)
	}
	return changeGin(page, rec, blk, func(p pg.Page, o ginrec.Opaque) error {
		f := o.Flags()
		switch {
		case (f&ginrec.PageData != 0) != r.Data || (f&ginrec.PageLeaf != 0) != r.Leaf:
			return errGinKind
		case !r.Data:
			return insertEntry(p, blk.Data, r)
		case r.Leaf:
			return recompress(p, o, blk.Data)
		}
		return insertPosting(p, o, blk.Data, r.Right)
	})
}

// clearIncompleteSplit is ginRedoClearIncompleteSplit: the parent has its downlink now.
func clearIncompleteSplit(_ pg.Page, o ginrec.Opaque) error {
	o.SetFlags(o.Flags() &^ ginrec.PageIncompleteSplit)
	return nil
}

// insertEntry is ginRedoInsertEntry. Above the leaves the tuple at the new one's place is the left child's: it comes to lead to
// the right child, and the new one to the left.
func insertEntry(p pg.Page, data []byte, r ginrec.Insert) error {
	e, err := ginrec.DecodeInsertEntry(data)
	if err != nil {
		return err
	}
	if r.Right != pg.InvalidBlock {
		t, err := item(p, e.Offset)
		if err != nil {
			return err
		}
		if len(t) < pg.IndexTupleHeaderSize {
			return errItemIn
		}
		ginrec.SetDownlink(t, r.Right)
	}
	if e.Delete {
		if !r.Leaf {
			return errGinKind
		}
		if err := deleteItem(p, e.Offset); err != nil {
			return err
		}
	}
	return insertItem(p, e.Tuple, e.Offset)
}

// applyGinSplit is ginRedoSplit. The pages split and made come as images, which are restored before this.
func applyGinSplit(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := ginrec.DecodeSplit(rec.Main)
	switch {
	case err != nil:
		return Skipped, corrupt(rec, blk, err.Error())
	case blk.ID <= 1, blk.ID == 2 && r.Root:
		return Skipped, corrupt(rec, blk, "no image of a page of the split")
	case blk.ID == 3 && !r.Leaf:
		return changeGin(page, rec, blk, clearIncompleteSplit)
	}
	return Skipped, noBlock(rec, blk)
}

// applyGinVacuumLeaf is ginRedoVacuumDataLeafPage.
func applyGinVacuumLeaf(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	return changeGin(page, rec, blk, func(p pg.Page, o ginrec.Opaque) error {
		if len(rec.Main) != 0 {
			return pg.BadLength("VACUUM_DATA_LEAF_PAGE", len(rec.Main), 0)
		}
		if want := uint16(ginrec.PageData | ginrec.PageLeaf); o.Flags()&want != want {
			return errGinKind
		}
		return recompress(p, o, blk.Data)
	})
}

// applyGinDeletePage is ginRedoDeletePage.
func applyGinDeletePage(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID > 2 {
		return Skipped, noBlock(rec, blk)
	}
	r, err := ginrec.DecodeDeletePage(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	return changeGin(page, rec, blk, func(p pg.Page, o ginrec.Opaque) error {
		if o.Flags()&ginrec.PageData == 0 {
			return errGinKind
		}
		switch blk.ID {
		case 0:
			o.SetFlags(o.Flags() | ginrec.PageDeleted)
			p.SetPruneXID(r.DeleteXID) // GinPageSetDeleteXid
			return nil
		case 1:
			return deletePosting(p, o, r.ParentOffset)
		}
		o.SetRightLink(r.RightLink)
		return nil
	})
}

// maskGin is gin_mask.
func maskGin(page pg.Page, _ pg.BlockNumber) bool {
	o, ok := ginrec.PageOpaque(page)
	if !ok {
		return false
	}
	maskHeader(page)
	maskHints(page)
	switch {
	case o.Flags()&ginrec.PageDeleted != 0:
		maskContent(page)
	case page.Lower() > pg.PageHeaderSize: // else it was never set, before 9.4
		return maskUnused(page)
	}
	return true
}
