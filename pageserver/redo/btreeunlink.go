package redo

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/btreerec"
)

// btreeHalfDead is btree_xlog_mark_page_halfdead for the leaf: it keeps nothing but its siblings and the way to the top of the
// subtree that goes with it.
func btreeHalfDead(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	r, err := btreerec.DecodeHalfDead(rec.Main)
	if err != nil {
		return err
	}
	if r.Leaf != blk.Block {
		return errReference
	}
	return putHalfDead(page, r.Left, r.Right, r.TopParent)
}

func putHalfDead(page pg.Page, left, right, topParent pg.BlockNumber) error {
	o := btreerec.OpaqueOf(page)
	o.SetLinks(left, right)
	o.SetFlags(btreerec.FlagHalfDead | btreerec.FlagLeaf)
	key := btreerec.TopParentKey(topParent)
	return insertItem(page, key[:], 1)
}

// btreeHalfDeadParent is btree_xlog_mark_page_halfdead for the parent: the downlink takes over the next one's child, and the next
// one goes.
func btreeHalfDeadParent(page pg.Page, rec *wal.Record, _ *wal.BlockRef) error {
	r, err := btreerec.DecodeHalfDead(rec.Main)
	if err != nil {
		return err
	}
	next, err := indexTuple(page, r.ParentOffset+1)
	if err != nil {
		return err
	}
	t, err := indexTuple(page, r.ParentOffset)
	if err != nil {
		return err
	}
	t.SetDownLink(next.DownLink())
	return deleteItem(page, r.ParentOffset+1)
}

// btreeUnlink is btree_xlog_unlink_page for the page that leaves the tree.
func btreeUnlink(page pg.Page, rec *wal.Record, _ *wal.BlockRef) error {
	r, err := btreerec.DecodeUnlink(rec.Main)
	if err != nil {
		return err
	}
	o := btreerec.OpaqueOf(page)
	o.SetLinks(r.Left, r.Right)
	o.SetLevel(r.Level)
	btreerec.SetDeleted(page, r.SafeXID)
	if r.Level == 0 {
		o.SetFlags(o.Flags() | btreerec.FlagLeaf)
	}
	return nil
}

// btreeUnlinkLeft is btree_xlog_unlink_page for the left sibling, if there is one.
func btreeUnlinkLeft(page pg.Page, rec *wal.Record, _ *wal.BlockRef) error {
	r, err := btreerec.DecodeUnlink(rec.Main)
	if err != nil {
		return err
	}
	if r.Left == btreerec.None {
		return errReference
	}
	btreerec.OpaqueOf(page).SetNext(r.Right)
	return nil
}

// btreeUnlinkRight is btree_xlog_unlink_page for the right sibling; the rightmost page of a level is never deleted.
func btreeUnlinkRight(page pg.Page, rec *wal.Record, _ *wal.BlockRef) error {
	r, err := btreerec.DecodeUnlink(rec.Main)
	if err != nil {
		return err
	}
	btreerec.OpaqueOf(page).SetPrev(r.Left)
	return nil
}

// btreeUnlinkLeaf is btree_xlog_unlink_page for the half-dead leaf of a subtree that loses one of its inner pages: it points to
// the next one to go.
func btreeUnlinkLeaf(page pg.Page, rec *wal.Record, _ *wal.BlockRef) error {
	r, err := btreerec.DecodeUnlink(rec.Main)
	if err != nil {
		return err
	}
	if r.Level == 0 {
		return errReference
	}
	return putHalfDead(page, r.LeafLeft, r.LeafRight, r.LeafTopParent)
}
