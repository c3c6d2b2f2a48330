package redo

import (
	"encoding/binary"
	"errors"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/spgistrec"
)

var (
	errNotRedirect  = errors.New("the tuple to be forgotten is no redirection")
	errTrailingLive = errors.New("the tuples to be cut off the end are not all placeholders")
)

// spgVacuum redoes what VACUUM does to a page, which is all that its records name.
func spgVacuum(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	if blk.ID != 0 {
		return Skipped, errNoBlock
	}
	res, err := spgStart(page, rec, blk, false, 0)
	if res != Changed || err != nil {
		return res, err
	}
	switch rec.Op() {
	case spgistrec.OpVacuumLeaf:
		err = spgVacuumLeaf(page, rec)
	case spgistrec.OpVacuumRoot:
		err = spgVacuumRoot(page, rec)
	case spgistrec.OpVacuumRedirect:
		err = spgVacuumRedirect(page, rec)
	}
	return Changed, err
}

// spgVacuumLeaf is spgRedoVacuumLeaf.
func spgVacuumLeaf(page pg.Page, rec *wal.Record) error {
	r, err := spgistrec.DecodeVacuumLeaf(rec.Main)
	if err != nil {
		return err
	}
	dead, placeholder := spgistrec.MakeDead(spgistrec.Dead), spgistrec.MakeDead(spgistrec.Placeholder)
	if err := spgPutDead(page, r.Dead, &dead, &dead); err != nil {
		return err
	}
	if err := spgPutDead(page, r.Placeholder, &placeholder, &placeholder); err != nil {
		return err
	}
	// A move exchanges the line pointers: no tuple has to find room.
	for i := range r.MoveSrc.Len() {
		src, dest := r.MoveSrc.At(i), r.MoveDest.At(i)
		if n := page.NumItems(); src < 1 || int(src) > n || dest < 1 || int(dest) > n {
			return errItem
		}
		was := page.Item(src)
		page.SetItem(src, page.Item(dest))
		page.SetItem(dest, was)
	}
	if err := spgPutDead(page, r.MoveSrc, &placeholder, &placeholder); err != nil {
		return err
	}
	for i := range r.ChainSrc.Len() {
		if err := spgChain(page, r.ChainSrc.At(i), r.ChainDest.At(i)); err != nil {
			return err
		}
	}
	return nil
}

// spgVacuumRoot is spgRedoVacuumRoot.
func spgVacuumRoot(page pg.Page, rec *wal.Record) error {
	r, err := spgistrec.DecodeVacuumRoot(rec.Main)
	if err != nil {
		return err
	}
	return deleteItems(page, r.Delete)
}

// spgVacuumRedirect is spgRedoVacuumRedirect.
func spgVacuumRedirect(page pg.Page, rec *wal.Record) error {
	r, err := spgistrec.DecodeVacuumRedirect(rec.Major, rec.Main)
	if err != nil {
		return err
	}
	o, ok := spgistrec.PageOpaque(page)
	if !ok {
		return errNotOurs
	}
	for i := range r.ToPlaceholder.Len() {
		t, err := item(page, r.ToPlaceholder.At(i))
		if err != nil {
			return err
		}
		if !spgistrec.ForgetRedirect(t) {
			return errNotRedirect
		}
	}
	o.AddRedirections(-r.ToPlaceholder.Len())
	o.AddPlaceholders(r.ToPlaceholder.Len())
	if r.FirstPlaceholder == 0 {
		return nil
	}
	return spgCutPlaceholders(page, o, r.FirstPlaceholder)
}

// spgCutPlaceholders takes the placeholders at the end of the page away, of which first is the first.
func spgCutPlaceholders(page pg.Page, o spgistrec.Opaque, first pg.OffsetNumber) error {
	n := page.NumItems()
	if int(first) > n || n > maxIndexTuplesPerPage {
		return errItem
	}
	var gone [2 * maxIndexTuplesPerPage]byte
	size := 0
	for off := int(first); off <= n; off++ {
		t, err := item(page, pg.OffsetNumber(off))
		if err != nil {
			return err
		}
		if spgistrec.StateOf(t) != spgistrec.Placeholder {
			return errTrailingLive
		}
		binary.LittleEndian.PutUint16(gone[size:], uint16(off))
		size += 2
	}
	o.AddPlaceholders(-size / 2)
	return deleteItems(page, pg.Offsets(gone[:size]))
}
