package redo

import (
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/gistrec"
)

// gist is the manager of GiST.
var gist = manager{apply: applyGist, mask: maskGist, restored: gistRestored}

var errGistEmpty = errors.New("the page to delete is not empty")

// applyGist is gist_redo for one block.
func applyGist(page pg.Page, rec *wal.Record, blk *wal.BlockRef, _ Env) (Result, error) {
	switch rec.Op() {
	case gistrec.OpPageUpdate:
		return gistPageUpdate(page, rec, blk)
	case gistrec.OpDelete:
		return gistDelete(page, rec, blk)
	case gistrec.OpPageSplit:
		return gistPageSplit(page, rec, blk)
	case gistrec.OpPageDelete:
		return gistPageDelete(page, rec, blk)
	}
	return Skipped, noBlock(rec, blk) // PAGE_REUSE, ASSIGN_LSN: name no blocks
}

// maskGist is gist_mask.
func maskGist(page pg.Page, _ pg.BlockNumber) bool {
	maskHeader(page)
	maskHints(page)
	o, ok := gistrec.PageOpaque(page)
	if !ok || !maskUnused(page) {
		return false
	}
	o.SetNSN(0)
	o.SetFlags(o.Flags() &^ (gistrec.PageFollowRight | gistrec.PageHasGarbage))
	if o.Flags()&gistrec.PageLeaf != 0 {
		maskLineStates(page) // gistkillitems changes them without WAL
	}
	return true
}

// changeGist brings a page that was there before the record past it.
func changeGist(page pg.Page, rec *wal.Record, blk *wal.BlockRef, redo func(o gistrec.Opaque) error) (Result, error) {
	return change(page, rec, blk, func() error {
		o, ok := gistrec.PageOpaque(page)
		if !ok {
			return errNotOurs
		}
		return redo(o)
	})
}

// gistLeftChild is the block reference of a split's left half in a record that inserts the downlink of its right one.
func gistLeftChild(rec *wal.Record, blk *wal.BlockRef) bool {
	return rec.Op() == gistrec.OpPageUpdate && blk.ID == 1 || rec.Op() == gistrec.OpPageSplit && blk.ID == 0
}

// gistClearFollowRight is gistRedoClearFollowRight: the page's right neighbour has its downlink now.
func gistClearFollowRight(o gistrec.Opaque, rec *wal.Record) {
	o.SetNSN(rec.End)
	o.SetFlags(o.Flags() &^ gistrec.PageFollowRight)
}

// gistRestored completes the image of a split's left half, which the primary changes after it has made the record. The mask hides both
// changes from comparison.
func gistRestored(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	if !gistLeftChild(rec, blk) {
		return nil
	}
	o, ok := gistrec.PageOpaque(page)
	if !ok {
		return errNotOurs
	}
	gistClearFollowRight(o, rec)
	return nil
}

// gistLeftChildPage redoes a record on the page of a split's left half.
func gistLeftChildPage(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	return changeGist(page, rec, blk, func(o gistrec.Opaque) error {
		gistClearFollowRight(o, rec)
		return nil
	})
}

// gistPageUpdate is gistRedoPageUpdateRecord.
func gistPageUpdate(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	switch {
	case gistLeftChild(rec, blk):
		if err := gistrec.CheckPageUpdate(rec.Main); err != nil {
			return Skipped, corrupt(rec, blk, err.Error())
		}
		return gistLeftChildPage(page, rec, blk)
	case blk.ID != 0:
		return Skipped, noBlock(rec, blk)
	}
	return changeGist(page, rec, blk, func(o gistrec.Opaque) error {
		r, err := gistrec.DecodePageUpdate(rec.Main, blk.Data)
		if err != nil {
			return err
		}
		if r.Replaces {
			return replaceItem(page, r.Gone.At(0), r.New)
		}
		if r.Gone.Len() > 0 {
			if err := deleteItems(page, r.Gone); err != nil {
				return err
			}
			if o.Flags()&gistrec.PageLeaf != 0 {
				o.SetFlags(o.Flags() | gistrec.PageTuplesDeleted)
			}
		}
		return appendTuples(page, r.New)
	})
}

// gistDelete is gistRedoDeleteRecord, but for F_TUPLES_DELETED: redo in Postgres sets it and the primary does not (gistprunepage), so that
// Postgres calls its own page inconsistent (up to 18.6). Nothing reads the flag; here the page is as on the primary.
func gistDelete(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	return changeGist(page, rec, blk, func(o gistrec.Opaque) error {
		r, err := gistrec.DecodeDelete(rec.Major, rec.Main)
		if err != nil {
			return err
		}
		if err := deleteItems(page, r.Gone); err != nil {
			return err
		}
		o.SetFlags(o.Flags() &^ gistrec.PageHasGarbage)
		return nil
	})
}

// gistPageSplit is gistRedoPageSplitRecord. A page's right neighbour is the next that the record names; the last one has the neighbour
// the page had before. The root splits into children: it has no neighbour, and nobody will ask its children for downlinks, which
// it has at once.
func gistPageSplit(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := gistrec.DecodePageSplit(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	switch {
	case gistLeftChild(rec, blk):
		return gistLeftChildPage(page, rec, blk)
	case int(blk.ID) > r.Pages:
		return Skipped, noBlock(rec, blk)
	}
	first, next := rec.Block(1), r.RightLink
	last := int(blk.ID) == r.Pages
	if first == nil || blk.Block == gistrec.RootBlock && blk.ID != 1 {
		return Skipped, corrupt(rec, blk, "the page that is split is not the first")
	}
	if !last {
		b := rec.Block(blk.ID + 1)
		if b == nil {
			return Skipped, corrupt(rec, blk, fmt.Sprintf("there is no block reference %d", blk.ID+1))
		}
		next = b.Block
	}
	tuples, err := gistrec.DecodeSplitTuples(blk.Data)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	flags := uint16(0)
	if blk.Block == gistrec.RootBlock {
		next = pg.InvalidBlock
	} else {
		if r.Leaf {
			flags |= gistrec.PageLeaf
		}
		if r.FollowRight && !last && first.Block != gistrec.RootBlock {
			flags |= gistrec.PageFollowRight
		}
	}
	o := gistrec.InitPage(page, flags)
	o.SetRightLink(next)
	o.SetNSN(r.NSN)
	return stamp(page, rec, blk, appendTuples(page, tuples))
}

// gistPageDelete is gistRedoPageDelete: block 0 is the empty leaf, block 1 its parent.
func gistPageDelete(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID > 1 {
		return Skipped, noBlock(rec, blk)
	}
	return changeGist(page, rec, blk, func(o gistrec.Opaque) error {
		r, err := gistrec.DecodePageDelete(rec.Main)
		if err != nil {
			return err
		}
		if blk.ID == 1 {
			return deleteItem(page, r.Downlink)
		}
		if err := alignedPointers(page); err != nil {
			return err
		}
		if page.NumItems() != 0 || page.Upper() < gistrec.DeletedSize {
			return errGistEmpty
		}
		gistrec.SetDeleted(page, o, r.XID)
		return nil
	})
}
