package redo

import (
	"errors"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/btreerec"
)

// btreeSplitLeft is btree_xlog_split for the page that is split and keeps the left half of its tuples. They are laid out anew, in
// the order of their line pointers, as the server does it.
func btreeSplitLeft(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	r, err := btreerec.DecodeSplit(rec.Main)
	if err != nil {
		return err
	}
	right, newOnLeft := rec.Block(1), rec.Op() == btreerec.OpSplitL
	if right == nil {
		return errReference
	}
	newItem, highKey, err := r.DecodeSplitLeft(blk.Data, newOnLeft)
	if err != nil {
		return err
	}
	var held [pg.BlockSize]byte
	old := pg.Page(held[:])
	copy(old, page)
	h := leftHalf{page: page, old: old, r: r}
	if newOnLeft {
		h.newItem = newItem
	}
	if r.PostingOff != 0 {
		if err := h.splitPosting(newItem); err != nil {
			return err
		}
	}
	emptyPage(page)
	if err := h.fill(highKey); err != nil {
		return err
	}
	o := btreerec.OpaqueOf(page)
	flags := uint16(btreerec.FlagIncompleteSplit)
	if r.Level == 0 {
		flags |= btreerec.FlagLeaf
	}
	o.SetFlags(flags)
	o.SetNext(right.Block)
	o.SetCycleID(0)
	return nil
}

// emptyPage takes all from a page but its special space (PageGetTempPageCopySpecial and PageRestoreTempPage).
func emptyPage(page pg.Page) {
	var special [btreerec.OpaqueSize]byte
	copy(special[:], btreerec.OpaqueOf(page))
	page.Init(btreerec.OpaqueSize)
	copy(btreerec.OpaqueOf(page), special[:])
}

// leftHalf is the left half of a split in the making.
type leftHalf struct {
	page, old pg.Page // old is a copy of the page before the split
	r         btreerec.Split
	newItem   btreerec.Tuple // nil: it goes to the right half
	swapped   bool           // newItem gets lastTID
	lastTID   heapTID
}

// splitPosting lets the new tuple swap TIDs with the posting list before it, which is the last of the left half if the new one
// goes to the right.
func (h *leftHalf) splitPosting(newItem btreerec.Tuple) error {
	posting, err := indexTuple(h.old, h.r.NewItem-1)
	if err != nil {
		return err
	}
	if h.newItem == nil && h.r.NewItem != h.r.FirstRight {
		return errors.New("the posting list to split is not on the left page")
	}
	h.swapped = true
	h.lastTID, err = swapPosting(posting, newItem, h.r.PostingOff)
	return err
}

// fill puts the high key, the tuples up to the first of the right half and the new one among them on the page.
func (h *leftHalf) fill(highKey btreerec.Tuple) error {
	if err := appendItem(h.page, highKey); err != nil {
		return err
	}
	off := btreerec.OpaqueOf(h.old).FirstDataKey()
	if h.newItem != nil && (h.r.NewItem < off || h.r.NewItem > h.r.FirstRight) {
		return errors.New("the new tuple is not on the left page")
	}
	for ; off < h.r.FirstRight; off++ {
		if err := h.putNewAt(off); err != nil {
			return err
		}
		t, err := item(h.old, off)
		if err != nil {
			return err
		}
		if err := appendItem(h.page, t); err != nil {
			return err
		}
	}
	return h.putNewAt(off)
}

// putNewAt puts the new tuple on the page if this is its place.
func (h *leftHalf) putNewAt(off pg.OffsetNumber) error {
	switch {
	case h.newItem == nil || off != h.r.NewItem:
		return nil
	case h.swapped:
		return insertWithTID(h.page, h.newItem, pg.OffsetNumber(h.page.NumItems()+1), h.lastTID)
	}
	return appendItem(h.page, h.newItem)
}

// btreeSplitRight is btree_xlog_split for the new page with the right half, which is all in the record.
func btreeSplitRight(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	r, err := btreerec.DecodeSplit(rec.Main)
	if err != nil {
		return err
	}
	left, next := rec.Block(0), btreerec.None
	if left == nil {
		return errReference
	}
	if b := rec.Block(2); b != nil {
		next = b.Block
	}
	o := btreerec.OpaqueOf(page)
	o.SetLinks(left.Block, next)
	o.SetLevel(r.Level)
	if r.Level == 0 {
		o.SetFlags(btreerec.FlagLeaf)
	}
	return restoreTuples(page, blk.Data)
}

// btreeSplitNext is btree_xlog_split for the page to the right of both halves.
func btreeSplitNext(page pg.Page, rec *wal.Record, _ *wal.BlockRef) error {
	right := rec.Block(1)
	if right == nil {
		return errReference
	}
	btreerec.OpaqueOf(page).SetPrev(right.Block)
	return nil
}

// btreeSplitChild is btree_xlog_split for a child whose own split made this one necessary. A leaf has no child.
func btreeSplitChild(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	if r, err := btreerec.DecodeSplit(rec.Main); err != nil || r.Level == 0 {
		return errReference
	}
	return btreeChildComplete(page, rec, blk)
}

// restoreTuples fills an empty page with tuples that lie in data as they lay between pd_upper and pd_special: the last one comes
// first, each MAXALIGNed (_bt_restore_page).
func restoreTuples(page pg.Page, data []byte) error {
	n := 0
	for rest := data; len(rest) > 0; n++ {
		var err error
		if _, rest, err = btreerec.NextTuple(rest); err != nil {
			return err
		}
	}
	lower, upper := pg.PageHeaderSize+4*n, int(page.Special())-len(data)
	if lower > upper {
		return errNoRoom
	}
	page.SetLower(uint16(lower))
	page.SetUpper(uint16(upper))
	copy(page[upper:], data)
	for at, rest := upper, data; n > 0; n-- {
		t, next, _ := btreerec.NextTuple(rest)
		page.SetItem(pg.OffsetNumber(n), pg.MakeItemID(at, pg.LPNormal, len(t)))
		at, rest = at+len(t), next
	}
	return nil
}
