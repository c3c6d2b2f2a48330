package redo

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/hashrec"
)

// hashSplitAllocatePage is hash_xlog_split_allocate_page. Postgres sets the old page's flags also where it restored the page from an
// image; the image has them already, as the primary sets them before it makes the record.
func hashSplitAllocatePage(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := hashrec.DecodeSplitAllocatePage(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	switch blk.ID {
	case 0:
		return changeHash(page, rec, blk, func(o hashOpaque) error {
			o.setFlag(r.OldFlag)
			o.setPrev(pg.BlockNumber(r.NewBucket))
			return hashrec.None(blk.Data)
		})
	case 1:
		initHashPage(page, pg.BlockNumber(r.NewBucket), r.NewBucket, r.NewFlag)
		return stamp(page, rec, blk, hashrec.None(blk.Data))
	case 2:
		return changeHashMeta(page, rec, blk, func(m hashMeta) error { return hashSplitMeta(m, &r, blk.Data) })
	}
	return Skipped, noBlock(rec, blk)
}

// hashSplitMeta notes a new bucket on the metapage.
func hashSplitMeta(m hashMeta, r *hashrec.SplitAllocatePage, data []byte) error {
	change, err := r.DecodeMeta(data)
	if err != nil {
		return err
	}
	m.setU32(metaMaxBucket, r.NewBucket)
	if change.HasMasks {
		m.setU32(metaLowMask, change.LowMask)
		m.setU32(metaHighMask, change.HighMask)
	}
	if change.HasSplitPoint {
		at, err := sparesAt(change.SplitPoint)
		if err != nil {
			return err
		}
		m.setU32(at, change.Spares)
		m.setU32(metaSplitPoint, change.SplitPoint)
	}
	return nil
}

// hashSplitPage is hash_xlog_split_page: the record is an image and nothing else, and Apply has restored images before it comes here.
func hashSplitPage(rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	return Skipped, corrupt(rec, blk, "a split record without its image")
}

// hashSplitComplete is hash_xlog_split_complete. Of images see hashSplitAllocatePage.
func hashSplitComplete(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := hashrec.DecodeSplitComplete(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	flag := r.OldFlag
	switch blk.ID {
	case 0:
	case 1:
		flag = r.NewFlag
	default:
		return Skipped, noBlock(rec, blk)
	}
	return changeHash(page, rec, blk, func(o hashOpaque) error {
		o.setFlag(flag)
		return hashrec.None(blk.Data)
	})
}

// hashSplitCleanup is hash_xlog_split_cleanup.
func hashSplitCleanup(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	return changeHash(page, rec, blk, func(o hashOpaque) error {
		o.setFlag(o.flag() &^ hashNeedsSplitCleanup)
		return hashrec.None(rec.Main)
	})
}
