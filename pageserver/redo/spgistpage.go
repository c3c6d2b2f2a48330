package redo

import (
	"encoding/binary"
	"errors"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/spgistrec"
)

var (
	errNotPlaceholder = errors.New("the tuple to be replaced is not a placeholder")
	errNoNode         = errors.New("the inner tuple has no such node")
	errNoLeaf         = errors.New("there is no leaf tuple at the line pointer")
	errTwice          = errors.New("a line pointer is to be deleted twice")
)

// spgAdd adds a tuple behind the last, or in the place of a placeholder (addOrReplaceTuple).
func spgAdd(page pg.Page, off pg.OffsetNumber, tuple []byte) error {
	if int(off) > page.NumItems() {
		return insertItem(page, tuple, off)
	}
	old, err := item(page, off)
	if err != nil {
		return err
	}
	if spgistrec.StateOf(old) != spgistrec.Placeholder {
		return errNotPlaceholder
	}
	o, ok := spgistrec.PageOpaque(page)
	if !ok {
		return errNotOurs
	}
	o.AddPlaceholders(-1)
	return spgReplace(page, off, tuple)
}

// spgReplace puts a tuple in the place of another. As in Postgres the old one goes first, so that the new one lies in front of all
// others on the page.
func spgReplace(page pg.Page, off pg.OffsetNumber, tuple []byte) error {
	if err := deleteItem(page, off); err != nil {
		return err
	}
	return insertItem(page, tuple, off)
}

// spgChain lets a leaf tuple lead to the next one of its chain.
func spgChain(page pg.Page, off, next pg.OffsetNumber) error {
	t, err := item(page, off)
	if err != nil {
		return err
	}
	if !spgistrec.LeafTuple(t).SetNext(next) {
		return errNoLeaf
	}
	return nil
}

// spgDownlink redoes a record on the page of the parent, where it changes a downlink and no more.
func spgDownlink(page pg.Page, rec *wal.Record, blk *wal.BlockRef, link spgistrec.Downlink, to pg.TID) (Result, error) {
	res, err := spgStart(page, rec, blk, false, 0)
	if res != Changed || err != nil {
		return res, err
	}
	return Changed, spgSetLink(page, link, to)
}

// spgSetLink changes a downlink.
func spgSetLink(page pg.Page, link spgistrec.Downlink, to pg.TID) error {
	t, err := item(page, link.Offset)
	if err != nil {
		return err
	}
	if !spgistrec.InnerTuple(t).SetLink(link.Node, to) {
		return errNoNode
	}
	return nil
}

// spgLeave replaces tuples that have gone elsewhere by placeholders, and the first of them by a redirection, which an index build
// does without.
func spgLeave(page pg.Page, gone pg.Offsets, s spgistrec.State, to pg.TID) error {
	rest := spgistrec.MakeDead(spgistrec.Placeholder)
	first := rest
	if !s.IsBuild {
		first = spgistrec.MakeRedirect(to, s.RedirectXID)
	}
	return spgPutDead(page, gone, &first, &rest)
}

// spgLeaveOne is spgLeave for an inner tuple: ADD_NODE deletes it alone whatever else lies on the page.
func spgLeaveOne(page pg.Page, off pg.OffsetNumber, s spgistrec.State, to pg.TID) error {
	var one [2]byte
	binary.LittleEndian.PutUint16(one[:], uint16(off))
	return spgLeave(page, one[:], s, to)
}

// spgPutDead replaces tuples by dead ones: the first named by one, the others by another (spgPageIndexMultiDelete). They need
// not be named in the order of their line pointers.
func spgPutDead(page pg.Page, gone pg.Offsets, first, rest *spgistrec.DeadTuple) error {
	if gone.Len() == 0 {
		return nil
	}
	o, ok := spgistrec.PageOpaque(page)
	if !ok {
		return errNotOurs
	}
	var buf [2 * maxIndexTuplesPerPage]byte
	sorted, err := sortOffsets(gone, &buf)
	if err != nil {
		return err
	}
	if err := deleteItems(page, sorted); err != nil {
		return err
	}
	for i := range sorted.Len() {
		off, t := sorted.At(i), rest
		if off == gone.At(0) {
			t = first
		}
		if err := insertItem(page, t[:], off); err != nil {
			return err
		}
		switch spgistrec.StateOf(t[:]) {
		case spgistrec.Redirect:
			o.AddRedirections(1)
		case spgistrec.Placeholder:
			o.AddPlaceholders(1)
		}
	}
	return nil
}

// sortOffsets writes line pointer numbers to buf so that they rise; that there are such line pointers is for deleteItems to see.
func sortOffsets(offs pg.Offsets, buf *[2 * maxIndexTuplesPerPage]byte) (pg.Offsets, error) {
	var named [maxIndexTuplesPerPage + 1]bool
	for i := range offs.Len() {
		off := int(offs.At(i))
		if off >= len(named) {
			return nil, errItem
		}
		if named[off] {
			return nil, errTwice
		}
		named[off] = true
	}
	n := 0
	for off, is := range named {
		if is {
			binary.LittleEndian.PutUint16(buf[n:], uint16(off))
			n += 2
		}
	}
	return buf[:n], nil
}
