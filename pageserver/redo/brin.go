package redo

import (
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/brinrec"
)

// brin is the manager of BRIN.
var brin = manager{apply: applyBrin, mask: maskBrin}

var (
	errBrinPage  = errors.New("the page is not of the type the record changes")
	errBrinTuple = errors.New("the tuple is not that of the range the record names")
	errBrinRange = errors.New("the range is not one that lies on this page of the range map")
)

// applyBrin is brin_redo for one block.
func applyBrin(page pg.Page, rec *wal.Record, blk *wal.BlockRef, _ Env) (Result, error) {
	switch rec.Op() {
	case brinrec.OpCreateIndex:
		return brinCreateIndex(page, rec, blk)
	case brinrec.OpInsert, brinrec.OpInsert | brinrec.InitPage:
		r, err := brinrec.DecodeInsert(rec.Main)
		if err != nil {
			return Skipped, corrupt(rec, blk, err.Error())
		}
		return brinInsertUpdate(page, rec, blk, r)
	case brinrec.OpUpdate, brinrec.OpUpdate | brinrec.InitPage:
		return brinUpdate(page, rec, blk)
	case brinrec.OpSamepageUpdate:
		return brinSamepageUpdate(page, rec, blk)
	case brinrec.OpRevmapExtend:
		return brinRevmapExtend(page, rec, blk)
	case brinrec.OpDesummarize:
		return brinDesummarize(page, rec, blk)
	}
	return Skipped, noBlock(rec, blk)
}

// maskBrin is brin_mask: a page of the range map has no unused space, and a metapage made before 11 does not know its own.
func maskBrin(page pg.Page, _ pg.BlockNumber) bool {
	maskHeader(page)
	maskHints(page)
	t, ok := brinrec.Type(page)
	if !ok {
		return false
	}
	if t == brinrec.RegularPage || t == brinrec.MetaPage && page.Lower() > pg.PageHeaderSize {
		if !maskUnused(page) {
			return false
		}
	}
	brinrec.SetSpecialFlags(page, brinrec.SpecialFlags(page)&^brinrec.EvacuatePage)
	return true
}

// changeBrin brings a page of that type that was there before the record past it.
func changeBrin(page pg.Page, rec *wal.Record, blk *wal.BlockRef, want brinrec.PageType, redo func() error) (Result, error) {
	return change(page, rec, blk, func() error {
		if t, ok := brinrec.Type(page); !ok || t != want {
			return errBrinPage
		}
		return redo()
	})
}

// brinCreateIndex is brin_xlog_createidx.
func brinCreateIndex(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	r, err := brinrec.DecodeCreateIndex(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	brinrec.InitMeta(page, r)
	return stamp(page, rec, blk, nil)
}

// brinInsertUpdate is brin_xlog_insert_update: block 0 takes the tuple, block 1, of the range map, its place.
func brinInsertUpdate(page pg.Page, rec *wal.Record, blk *wal.BlockRef, r brinrec.Insert) (Result, error) {
	switch blk.ID {
	case 0:
		if rec.Info&brinrec.InitPage != 0 {
			brinrec.Init(page, brinrec.RegularPage)
		}
		return changeBrin(page, rec, blk, brinrec.RegularPage, func() error {
			if heap, ok := brinrec.TupleRange(blk.Data); !ok || heap != r.HeapBlock {
				return errBrinTuple
			}
			return atLine(overwriteUnused(page, blk.Data, r.Offset), r.Offset)
		})
	case 1:
		home := rec.Block(0)
		if home == nil || r.Offset == 0 {
			return Skipped, corrupt(rec, blk, errBrinTuple.Error())
		}
		return brinSetPlace(page, rec, blk, r.Range, pg.TID{Block: home.Block, Offset: r.Offset})
	}
	return Skipped, noBlock(rec, blk)
}

// brinSetPlace notes on a page of the range map where the range's tuple is, or with the zero TID that it has none.
func brinSetPlace(page pg.Page, rec *wal.Record, blk *wal.BlockRef, r brinrec.Range, at pg.TID) (Result, error) {
	return changeBrin(page, rec, blk, brinrec.RevmapPage, func() error {
		if r.PagesPerRange == 0 {
			return errBrinRange
		}
		home, index := r.Place()
		if home != blk.Block {
			return errBrinRange
		}
		brinrec.SetTID(page, index, at)
		return nil
	})
}

// brinUpdate is brin_xlog_update: an insertion, and block 2 loses the tuple.
func brinUpdate(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := brinrec.DecodeUpdate(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	if blk.ID != 2 {
		return brinInsertUpdate(page, rec, blk, r.Insert)
	}
	return brinRemove(page, rec, blk, r.OldOffset)
}

// brinRemove takes a tuple off its page; the others keep their numbers, which the range map has.
func brinRemove(page pg.Page, rec *wal.Record, blk *wal.BlockRef, off pg.OffsetNumber) (Result, error) {
	return changeBrin(page, rec, blk, brinrec.RegularPage, func() error {
		return atLine(deleteItemKeepingNumbers(page, off), off)
	})
}

// brinSamepageUpdate is brin_xlog_samepage_update.
func brinSamepageUpdate(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	return changeBrin(page, rec, blk, brinrec.RegularPage, func() error {
		r, err := brinrec.DecodeSamepageUpdate(rec.Main)
		if err != nil {
			return err
		}
		return atLine(replaceItem(page, r.Offset, blk.Data), r.Offset)
	})
}

// brinRevmapExtend is brin_xlog_revmap_extend: block 0 is the metapage, block 1 becomes the last page of the range map.
func brinRevmapExtend(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := brinrec.DecodeRevmapExtend(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	target := rec.Block(1)
	switch {
	case blk.ID > 1:
		return Skipped, noBlock(rec, blk)
	case target == nil || target.Block != r.Target:
		return Skipped, corrupt(rec, blk, "the new page is not the one the record names")
	case blk.ID == 1:
		brinrec.Init(page, brinrec.RevmapPage)
		return stamp(page, rec, blk, nil)
	}
	return changeBrin(page, rec, blk, brinrec.MetaPage, func() error {
		if page.Upper() < brinrec.MetaEnd {
			return errPointers
		}
		if last := brinrec.LastRevmapPage(page); last+1 != r.Target {
			return fmt.Errorf("the range map's last page is %d, not the one before %d", last, r.Target)
		}
		brinrec.SetLastRevmapPage(page, r.Target)
		return nil
	})
}

// brinDesummarize is brin_xlog_desummarize_page: block 0 is the range map's, block 1 loses the tuple.
func brinDesummarize(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := brinrec.DecodeDesummarize(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	switch blk.ID {
	case 0:
		return brinSetPlace(page, rec, blk, r.Range, pg.TID{})
	case 1:
		return brinRemove(page, rec, blk, r.Offset)
	}
	return Skipped, noBlock(rec, blk)
}
