package redo

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// MaskHeap sets everything on a heap page that may differ between the primary and redo to zero: LSN and checksum, hint
// bits, free space, command ids, padding (heap_mask). It returns false, with the page half masked, when the page is not
// one that can be masked.
func MaskHeap(page pg.Page, blk pg.BlockNumber) bool {
	if checkPointers(page) != nil {
		return false
	}
	maskHeader(page)
	maskHints(page)
	n := page.NumItems()
	clear(page[page.Lower():page.Upper()])
	for off := pg.OffsetNumber(1); int(off) <= n; off++ {
		lp := page.Item(off)
		end := lp.Offset() + lp.Len()
		if lp.Len() == 0 {
			continue
		}
		if lp.Offset()+pg.MaxAlign(lp.Len()) > pg.BlockSize {
			return false
		}
		if lp.State() == pg.LPNormal {
			t, ok := page.Tuple(off)
			if !ok {
				return false
			}
			maskTuple(t, pg.TID{Block: blk, Offset: off})
		}
		clear(page[end : lp.Offset()+pg.MaxAlign(lp.Len())])
	}
	return true
}

// speculativeToken is SpecTokenOffsetNumber: the t_ctid of an unconfirmed speculative insertion holds a token with it.
const speculativeToken = 0xFFFE

// maskTuple masks one tuple's header: its hint bits unless frozen, its command id, its speculative token.
func maskTuple(t pg.HeapTuple, self pg.TID) {
	if m := t.Infomask(); m&pg.HeapXminFrozen != pg.HeapXminFrozen {
		t.SetInfomask(m &^ pg.HeapXactMask)
	} else {
		t.SetInfomask(m &^ (pg.HeapXmaxInvalid | pg.HeapXmaxCommitted))
	}
	binary.LittleEndian.PutUint32(t[8:], 0)
	if t.Ctid().Offset == speculativeToken {
		t.SetCtid(self)
	}
}

// maskHeader masks what may differ in any page's header: mask_page_lsn_and_checksum.
func maskHeader(page pg.Page) {
	page.SetLSN(0)
	page.SetChecksum(0)
}

// maskHints masks what is a mere hint in a page's header: mask_page_hint_bits.
func maskHints(page pg.Page) {
	page.SetPruneXID(0)
	page.SetFlags(page.Flags() &^ (pg.PageFull | pg.PageHasFreeLines | pg.PageAllVisible))
}

// maskUnused masks the space between line pointers and tuples: mask_unused_space. It returns false if the pointers make no sense.
func maskUnused(page pg.Page) bool {
	if checkPointers(page) != nil {
		return false
	}
	clear(page[page.Lower():page.Upper()])
	return true
}

// maskLineStates masks the states of line pointers in use: mask_lp_flags.
func maskLineStates(page pg.Page) {
	for off := pg.OffsetNumber(1); int(off) <= page.NumItems(); off++ {
		if i := page.Item(off); i.State() != pg.LPUnused {
			page.SetItem(off, pg.MakeItemID(i.Offset(), pg.LPUnused, i.Len()))
		}
	}
}

// maskContent masks all but the header of a deleted page, and its pointers: mask_page_content.
func maskContent(page pg.Page) {
	clear(page[pg.PageHeaderSize:])
	page.SetLower(0)
	page.SetUpper(0)
}
