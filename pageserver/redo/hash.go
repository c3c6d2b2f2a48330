package redo

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/hashrec"
)

// hash is the manager of hash indexes.
var hash = manager{apply: applyHash, mask: maskHash}

// applyHash is hash_redo for one block.
func applyHash(page pg.Page, rec *wal.Record, blk *wal.BlockRef, _ Env) (Result, error) {
	switch rec.Op() {
	case hashrec.OpInitMetaPage:
		return hashInitMetaPage(page, rec, blk)
	case hashrec.OpInitBitmapPage:
		return hashInitBitmapPage(page, rec, blk)
	case hashrec.OpInsert:
		return hashInsert(page, rec, blk)
	case hashrec.OpAddOvflPage:
		return hashAddOvflPage(page, rec, blk)
	case hashrec.OpSplitAllocatePage:
		return hashSplitAllocatePage(page, rec, blk)
	case hashrec.OpSplitPage:
		return hashSplitPage(rec, blk)
	case hashrec.OpSplitComplete:
		return hashSplitComplete(page, rec, blk)
	case hashrec.OpMovePageContents:
		return hashMovePageContents(page, rec, blk)
	case hashrec.OpSqueezePage:
		return hashSqueezePage(page, rec, blk)
	case hashrec.OpDelete:
		return hashDelete(page, rec, blk)
	case hashrec.OpSplitCleanup:
		return hashSplitCleanup(page, rec, blk)
	case hashrec.OpUpdateMetaPage:
		return hashUpdateMetaPage(page, rec, blk)
	case hashrec.OpVacuumOnePage:
		return hashVacuumOnePage(page, rec, blk)
	}
	return Skipped, noBlock(rec, blk)
}

// maskHash is hash_mask.
func maskHash(page pg.Page, _ pg.BlockNumber) bool {
	maskHeader(page)
	maskHints(page)
	if !maskUnused(page) {
		return false
	}
	o, err := hashOpaqueOf(page)
	if err != nil {
		return false
	}
	switch o.flag() & hashPageType {
	case hashUnusedPage:
		maskContent(page)
	case hashBucketPage, hashOverflowPage:
		maskLineStates(page) // _hash_kill_items changes them without WAL
	}
	o.setFlag(o.flag() &^ hashHasDeadTuples)
	return true
}

// changeHash brings a page that was there before the record past it.
func changeHash(page pg.Page, rec *wal.Record, blk *wal.BlockRef, redo func(o hashOpaque) error) (Result, error) {
	return change(page, rec, blk, func() error {
		o, err := hashOpaqueOf(page)
		if err != nil {
			return err
		}
		return redo(o)
	})
}

// changeHashMeta is changeHash for the metapage.
func changeHashMeta(page pg.Page, rec *wal.Record, blk *wal.BlockRef, redo func(m hashMeta) error) (Result, error) {
	return changeHash(page, rec, blk, func(hashOpaque) error {
		m, err := hashMetaOf(page)
		if err != nil {
			return err
		}
		return redo(m)
	})
}

// leaveHash is for a page the record names only so that redo in Postgres can lock it against scans.
func leaveHash(page pg.Page) (Result, error) {
	if page.IsNew() {
		return Missing, nil
	}
	return Skipped, nil
}

// hashInitMetaPage is hash_xlog_init_meta_page.
func hashInitMetaPage(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	r, err := hashrec.DecodeInitMetaPage(rec.Main)
	if err == nil {
		err = initHashMeta(page, r)
	}
	return stamp(page, rec, blk, err)
}

// hashInitBitmapPage is hash_xlog_init_bitmap_page. A new index's bitmap page comes after its buckets.
func hashInitBitmapPage(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := hashrec.DecodeInitBitmapPage(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	switch blk.ID {
	case 0:
		return stamp(page, rec, blk, initHashBitmap(page, r.BitmapSize))
	case 1:
		return changeHashMeta(page, rec, blk, func(m hashMeta) error {
			return m.addMap(pg.BlockNumber(m.u32(metaMaxBucket) + 2))
		})
	}
	return Skipped, noBlock(rec, blk)
}

// hashInsert is hash_xlog_insert.
func hashInsert(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := hashrec.DecodeInsert(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	switch blk.ID {
	case 0:
		return changeHash(page, rec, blk, func(hashOpaque) error { return insertItem(page, blk.Data, r.Offset) })
	case 1:
		return changeHashMeta(page, rec, blk, func(m hashMeta) error {
			m.addTuples(1)
			return hashrec.None(blk.Data)
		})
	}
	return Skipped, noBlock(rec, blk)
}

// hashAddOvflPage is hash_xlog_add_ovfl_page.
func hashAddOvflPage(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := hashrec.DecodeAddOvflPage(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	added, left := rec.Block(0), rec.Block(1)
	if added == nil || left == nil {
		return Skipped, corrupt(rec, blk, "no reference to the new page or the one before it")
	}
	switch blk.ID {
	case 0:
		bucket, err := hashrec.Uint32(blk.Data)
		initHashPage(page, left.Block, bucket, hashOverflowPage)
		return stamp(page, rec, blk, err)
	case 1:
		return changeHash(page, rec, blk, func(o hashOpaque) error {
			o.setNext(added.Block)
			return hashrec.None(blk.Data)
		})
	case 2:
		return hashSetBit(page, rec, blk, true)
	case 3:
		return stamp(page, rec, blk, initHashBitmap(page, r.BitmapSize))
	case 4:
		return changeHashMeta(page, rec, blk, func(m hashMeta) error { return hashGrow(m, &r, rec.Block(3), blk.Data) })
	}
	return Skipped, noBlock(rec, blk)
}

// hashGrow notes an overflow page on the metapage, and the bitmap page that may have come with it.
func hashGrow(m hashMeta, r *hashrec.AddOvflPage, bitmap *wal.BlockRef, data []byte) error {
	free, err := hashrec.Uint32(data)
	if err != nil {
		return err
	}
	m.setU32(metaFirstFree, free)
	if r.Recycled {
		return nil
	}
	at, err := sparesAt(m.u32(metaSplitPoint))
	if err != nil {
		return err
	}
	grown := uint32(1)
	if bitmap != nil {
		if err := m.addMap(bitmap.Block); err != nil {
			return err
		}
		grown++
	}
	m.setU32(at, m.u32(at)+grown)
	return nil
}

// hashSetBit changes the bit of one overflow page, which the block's data numbers, on a bitmap page.
func hashSetBit(page pg.Page, rec *wal.Record, blk *wal.BlockRef, on bool) (Result, error) {
	return changeHash(page, rec, blk, func(hashOpaque) error {
		bit, err := hashrec.Uint32(blk.Data)
		if err != nil {
			return err
		}
		m, err := hashBitmapOf(page)
		if err != nil {
			return err
		}
		return m.put(bit, on)
	})
}

// hashUpdateMetaPage is hash_xlog_update_meta_page.
func hashUpdateMetaPage(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	r, err := hashrec.DecodeUpdateMetaPage(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	return changeHashMeta(page, rec, blk, func(m hashMeta) error {
		binary.LittleEndian.PutUint64(m[metaTuples:], r.TuplesBits)
		return nil
	})
}

// hashVacuumOnePage is hash_xlog_vacuum_one_page.
func hashVacuumOnePage(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := hashrec.DecodeVacuumOnePage(rec.Major, rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	switch blk.ID {
	case 0:
		return changeHash(page, rec, blk, func(o hashOpaque) error {
			o.setFlag(o.flag() &^ hashHasDeadTuples)
			return deleteItems(page, r.Offsets)
		})
	case 1:
		return changeHashMeta(page, rec, blk, func(m hashMeta) error {
			m.addTuples(-float64(r.Offsets.Len()))
			return nil
		})
	}
	return Skipped, noBlock(rec, blk)
}
