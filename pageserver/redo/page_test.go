package redo

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

// TestHeapLinePointersMax: a heap page has no more line pointers than MaxHeapTuplesPerPage, an index page may.
func TestHeapLinePointersMax(t *testing.T) {
	page := newPage()
	page.Init(0)
	for off := pg.OffsetNumber(1); off <= pg.MaxHeapTuplesPerPage; off++ {
		if _, err := addItem(page, 16, off); err != nil {
			t.Fatal(off, err)
		}
	}
	const next = pg.MaxHeapTuplesPerPage + 1
	if _, err := addItem(page, 16, next); !errors.Is(err, errOffset) {
		t.Errorf("heap: %v", err)
	}
	if err := overwriteUnused(page, make([]byte, 16), next); err != nil {
		t.Errorf("index: %v", err)
	}
}

// TestPaddingIsZero: what a page from elsewhere has in its free space does not stay behind a tuple.
func TestPaddingIsZero(t *testing.T) {
	dirty := func() pg.Page {
		p := newPage()
		for i := range p {
			p[i] = 0xEE
		}
		header := newPage()
		header.Init(0)
		copy(p, header[:pg.PageHeaderSize])
		return p
	}
	data := bytes.Repeat([]byte{1}, 9)
	for name, put := range map[string]func(p pg.Page) error{
		"a heap tuple": func(p pg.Page) error { b, err := addItem(p, len(data), 1); copy(b, data); return err },
		"inserted":     func(p pg.Page) error { return insertItem(p, data, 1) },
		"at an unused": func(p pg.Page) error { return overwriteUnused(p, data, 1) },
		"in another's place": func(p pg.Page) error {
			if err := insertItem(p, bytes.Repeat([]byte{2}, 32), 1); err != nil {
				return err
			}
			return replaceItem(p, 1, data)
		},
	} {
		p := dirty()
		if err := put(p); err != nil || !bytes.Equal(p[pg.BlockSize-16:], append(bytes.Clone(data), make([]byte, 7)...)) {
			t.Errorf("%s: %x %v", name, p[pg.BlockSize-16:], err)
		}
	}
}

// TestItemsThatDoNotMove: tuples move on no page whose special area, and past no item whose place, is not MAXALIGNed or is not there.
func TestItemsThatDoNotMove(t *testing.T) {
	moves := map[string]func(p pg.Page) error{
		"delete":                  func(p pg.Page) error { return deleteItem(p, 2) },
		"delete, keeping numbers": func(p pg.Page) error { return deleteItemKeepingNumbers(p, 2) },
		"replace":                 func(p pg.Page) error { return replaceItem(p, 2, make([]byte, 24)) },
		"delete several":          func(p pg.Page) error { return deleteItems(p, pg.Offsets{1, 0, 2, 0, 3, 0}) },
	}
	for name, move := range moves {
		page := func(special uint16, second pg.ItemID) pg.Page {
			p := gistPage(t, 0, 4)
			if special != 0 {
				p.SetSpecial(special)
			}
			if second != 0 {
				p.SetItem(2, second)
			}
			return p
		}
		upper := int(gistPage(t, 0, 4).Upper())
		whole := page(0, 0)
		if err := move(whole); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if free := whole[whole.Lower():whole.Upper()]; len(bytes.Trim(free, "\x00")) != 0 {
			t.Errorf("%s: what became free is not zero", name)
		}
		if err := move(page(pg.BlockSize-15, 0)); !errors.Is(err, errPointers) {
			t.Errorf("%s on a page with an odd special area: %v", name, err)
		}
		for what, i := range map[string]pg.ItemID{
			"at an odd place": pg.MakeItemID(upper+4, pg.LPNormal, 16), "of no length": pg.MakeItemID(upper, pg.LPNormal, 0),
			"above the tuples": pg.MakeItemID(upper-8, pg.LPNormal, 8), "below the tuples": pg.MakeItemID(pg.BlockSize-16, pg.LPNormal, 16),
		} {
			if err := move(page(0, i)); !errors.Is(err, errItemIn) {
				t.Errorf("%s of an item %s: %v", name, what, err)
			}
		}
	}
	odd := filledPage(t, 3)
	odd.SetSpecial(pg.BlockSize - 1)
	if err := repack(odd); !errors.Is(err, errPointers) {
		t.Errorf("a heap page with an odd special area: %v", err)
	}
}
