package redo

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/ginrec"
)

// buildGinMeta makes the metapage from nothing, whatever its LSN: it is as good as an image, and may be torn.
func buildGinMeta(page pg.Page, rec *wal.Record, blk *wal.BlockRef, metadata []byte) (Result, error) {
	if blk.Block != ginrec.MetaBlock {
		return Skipped, corrupt(rec, blk, "the metapage is not block 0")
	}
	ginrec.InitPage(page, ginrec.PageMeta)
	page.SetLower(uint16(ginrec.MetaAt + copy(page[ginrec.MetaAt:], metadata)))
	return stamp(page, rec, blk, nil)
}

// applyGinUpdateMeta is ginRedoUpdateMetapage.
func applyGinUpdateMeta(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := ginrec.DecodeUpdateMeta(rec.Main)
	switch {
	case err != nil:
		return Skipped, corrupt(rec, blk, err.Error())
	case blk.ID == 0:
		return buildGinMeta(page, rec, blk, r.Metadata)
	case blk.ID > 1, r.Count == 0 && r.PrevTail == pg.InvalidBlock:
		return Skipped, noBlock(rec, blk)
	}
	return changeGin(page, rec, blk, func(p pg.Page, o ginrec.Opaque) error {
		if r.Count == 0 {
			o.SetRightLink(r.NewRightLink)
			return nil
		}
		o.SetCount(o.Count() + 1) // the tuples are of one heap tuple
		return addToList(p, blk.Data, r.Count)
	})
}

// addToList puts the tuples a block carries behind those on the page.
func addToList(p pg.Page, data []byte, count int) error {
	tuples, err := pg.DecodeIndexTuples("the pending list", data, count)
	if err != nil {
		return err
	}
	return appendTuples(p, tuples)
}

// applyGinInsertListPage is ginRedoInsertListPage.
func applyGinInsertListPage(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	r, err := ginrec.DecodeInsertListPage(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	o := ginrec.InitPage(page, ginrec.PageList)
	o.SetRightLink(r.RightLink)
	if r.RightLink == pg.InvalidBlock { // the last page of those one heap tuple needs
		o.SetFlags(ginrec.PageList | ginrec.PageListFullRow)
		o.SetCount(1)
	}
	return stamp(page, rec, blk, addToList(page, blk.Data, r.Count))
}

// applyGinDeleteListPages is ginRedoDeleteListPages.
func applyGinDeleteListPages(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := ginrec.DecodeDeleteListPages(rec.Main)
	switch {
	case err != nil:
		return Skipped, corrupt(rec, blk, err.Error())
	case blk.ID == 0:
		return buildGinMeta(page, rec, blk, r.Metadata)
	case int(blk.ID) > r.Count:
		return Skipped, noBlock(rec, blk)
	}
	ginrec.InitPage(page, ginrec.PageDeleted)
	return stamp(page, rec, blk, nil)
}
