package redo

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/btreerec"
)

// btreeInsert is btree_xlog_insert for the page the tuple goes to.
func btreeInsert(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	r, err := btreerec.DecodeInsert(rec.Main)
	if err != nil {
		return err
	}
	t, err := btreerec.DecodeNewTuple(blk.Data)
	if err != nil {
		return err
	}
	return insertItem(page, t, r.Offset)
}

// btreeInsertPost is btree_xlog_insert of a tuple whose TID belongs in the middle of the posting list before it: it takes its
// place there, and the tuple is inserted with the list's last TID instead.
func btreeInsertPost(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	r, err := btreerec.DecodeInsert(rec.Main)
	if err != nil {
		return err
	}
	postingOff, t, err := btreerec.DecodePostInsert(blk.Data)
	if err != nil {
		return err
	}
	old, err := indexTuple(page, r.Offset-1)
	if err != nil {
		return err
	}
	last, err := swapPosting(old, t, postingOff)
	if err != nil {
		return err
	}
	return insertWithTID(page, t, r.Offset, last)
}

// insertWithTID inserts a copy of a tuple with another heap TID.
func insertWithTID(page pg.Page, t btreerec.Tuple, off pg.OffsetNumber, tid heapTID) error {
	if err := insertItem(page, t, off); err != nil {
		return err
	}
	copy(page[page.Item(off).Offset():], tid[:])
	return nil
}

// btreeChildComplete is _bt_clear_incomplete_split: the right half of the page's split now has its downlink. A leaf as root has
// no child.
func btreeChildComplete(page pg.Page, rec *wal.Record, _ *wal.BlockRef) error {
	if rec.Op() == btreerec.OpNewRoot {
		if r, err := btreerec.DecodeNewRoot(rec.Main); err != nil || r.Level == 0 {
			return errReference
		}
	}
	o := btreerec.OpaqueOf(page)
	o.SetFlags(o.Flags() &^ btreerec.FlagIncompleteSplit)
	return nil
}

// btreeNewRoot is btree_xlog_newroot for the root.
func btreeNewRoot(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	r, err := btreerec.DecodeNewRoot(rec.Main)
	if err != nil {
		return err
	}
	if r.Root != blk.Block {
		return errReference
	}
	o := btreerec.OpaqueOf(page)
	o.SetLevel(r.Level)
	if r.Level == 0 {
		o.SetFlags(btreerec.FlagRoot | btreerec.FlagLeaf)
		return nil
	}
	o.SetFlags(btreerec.FlagRoot)
	return restoreTuples(page, blk.Data)
}
