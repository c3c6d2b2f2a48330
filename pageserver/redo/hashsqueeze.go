package redo

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/hashrec"
)

// hashMovePageContents is hash_xlog_move_page_contents.
func hashMovePageContents(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := hashrec.DecodeMovePageContents(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	switch {
	case blk.ID == 0 && !r.PrimaryWritten:
		return leaveHash(page)
	case blk.ID == 1:
		return changeHash(page, rec, blk, func(hashOpaque) error { return hashAddMoved(page, blk.Data, r.Tuples) })
	case blk.ID == 2:
		return changeHash(page, rec, blk, func(hashOpaque) error { return hashDeleteListed(page, blk.Data) })
	}
	return Skipped, noBlock(rec, blk)
}

// hashAddMoved puts a block's tuples on the page, one after the other: each number counts those before it (_hash_pgaddmultitup).
func hashAddMoved(page pg.Page, data []byte, n int) error {
	m, err := hashrec.DecodeMovedTuples(data, n)
	if err != nil {
		return err
	}
	for m.More() {
		off, tuple, err := m.Next()
		if err != nil {
			return err
		}
		if err := insertItem(page, tuple, off); err != nil {
			return atLine(err, off)
		}
	}
	return nil
}

// hashDeleteListed takes the items away whose numbers are a block's data.
func hashDeleteListed(page pg.Page, data []byte) error {
	gone, err := hashrec.Offsets(data)
	if err != nil {
		return err
	}
	return deleteItems(page, gone)
}

// hashSqueezePage is hash_xlog_squeeze_page.
func hashSqueezePage(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := hashrec.DecodeSqueezePage(rec.Major, rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	switch {
	case blk.ID == 0 && !r.PrimaryWritten:
		return leaveHash(page)
	case blk.ID == 1 && !r.WriteStamped:
		return leaveHash(page)
	case blk.ID == 1:
		return changeHash(page, rec, blk, func(o hashOpaque) error {
			if r.PrevWritten {
				o.setNext(r.Next)
			}
			return hashAddMoved(page, blk.Data, r.Tuples)
		})
	case blk.ID == 2:
		return changeHash(page, rec, blk, func(hashOpaque) error {
			initHashPage(page, pg.InvalidBlock, invalidBucket, hashUnusedPage)
			return hashrec.None(blk.Data)
		})
	case blk.ID == 3 && !r.PrevWritten:
		return changeHash(page, rec, blk, func(o hashOpaque) error {
			o.setNext(r.Next)
			return hashrec.None(blk.Data)
		})
	case blk.ID == 4:
		return changeHash(page, rec, blk, func(o hashOpaque) error {
			o.setPrev(r.Prev)
			return hashrec.None(blk.Data)
		})
	case blk.ID == 5:
		return hashSetBit(page, rec, blk, false)
	case blk.ID == 6:
		return changeHashMeta(page, rec, blk, func(m hashMeta) error {
			free, err := hashrec.Uint32(blk.Data)
			m.setU32(metaFirstFree, free)
			return err
		})
	}
	return Skipped, noBlock(rec, blk)
}

// hashDelete is hash_xlog_delete.
func hashDelete(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := hashrec.DecodeDelete(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	switch {
	case blk.ID == 0 && !r.Primary:
		return leaveHash(page)
	case blk.ID == 1:
		return changeHash(page, rec, blk, func(o hashOpaque) error {
			if r.ClearDeadMarking {
				o.setFlag(o.flag() &^ hashHasDeadTuples)
			}
			return hashDeleteListed(page, blk.Data)
		})
	}
	return Skipped, noBlock(rec, blk)
}
