package redo

import (
	"errors"
	"slices"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/gistrec"
)

// gistTuple is an index tuple of 16 bytes.
func gistTuple(value byte) []byte {
	return []byte{0, 0, 0, 0, value, 0, 16, 0, value, value, value, value, value, value, value, value}
}

// gistPage has that many tuples, LSN 0/1000 and NSN 0/500.
func gistPage(t *testing.T, flags uint16, tuples int) pg.Page {
	t.Helper()
	p := newPage()
	o := gistrec.InitPage(p, flags)
	for i := range tuples {
		if err := insertItem(p, gistTuple(byte(i+1)), pg.OffsetNumber(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	o.SetNSN(0x500)
	o.SetRightLink(99)
	p.SetLSN(0x1000)
	return p
}

// values lists the last byte of each item of a page.
func values(t *testing.T, p pg.Page) (list []byte) {
	t.Helper()
	for off := pg.OffsetNumber(1); int(off) <= p.NumItems(); off++ {
		b, err := item(p, off)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b[len(b)-1])
	}
	return list
}

func gistOpaqueOf(t *testing.T, p pg.Page) gistrec.Opaque {
	t.Helper()
	o, ok := gistrec.PageOpaque(p)
	if !ok {
		t.Fatal("no GiST page")
	}
	return o
}

// gistSplit is a PAGE_SPLIT of a leaf into blocks, references 1 on, of which each gets one tuple.
func gistSplit(followRight byte, blocks ...pg.BlockNumber) *wal.Record {
	main := []byte{99, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 0, byte(len(blocks)), 0, followRight, 0, 0, 0}
	rec := record(wal.RMGist, gistrec.OpPageSplit, main, nil)
	rec.Blocks = rec.Blocks[:0]
	for i, blk := range blocks {
		rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: uint8(i + 1), Rel: testRel, Block: blk, WillInit: true, HasData: true,
			Data: append([]byte{1, 0, 0, 0}, gistTuple(byte(i+1))...)})
	}
	return rec
}

// TestGistLeftChild: a split's left half, whose right half has its downlink now, is changed also where the record has an image of it, which
// lacks that. The server's images cannot show it: the mask hides both.
func TestGistLeftChild(t *testing.T) {
	update := record(wal.RMGist, gistrec.OpPageUpdate, []byte{0, 0, 1, 0}, gistTuple(9))
	update.Blocks = append(update.Blocks, wal.BlockRef{ID: 1, Rel: testRel, Block: 8})
	split := gistSplit(1, 20, 21)
	split.Blocks = append(split.Blocks, wal.BlockRef{ID: 0, Rel: testRel, Block: 8})
	for name, c := range map[string]struct {
		rec *wal.Record
		id  uint8
	}{"PAGE_UPDATE": {update, 1}, "PAGE_SPLIT": {split, 0}} {
		for _, image := range []bool{false, true} {
			page := gistPage(t, gistrec.PageLeaf|gistrec.PageFollowRight, 2)
			blk := c.rec.Block(c.id)
			blk.HasImage, blk.ApplyImage = image, image
			if image {
				blk.Image = append(pg.Page(nil), page...)
				page = newPage()
			}
			if r := mustApply(t, page, c.rec, c.id, Env{}); r != Changed || page.LSN() != c.rec.End {
				t.Errorf("%s, image %t: %v, LSN %s", name, image, r, page.LSN())
			}
			if o := gistOpaqueOf(t, page); o.NSN() != c.rec.End || o.Flags() != gistrec.PageLeaf || o.RightLink() != 99 || page.NumItems() != 2 {
				t.Errorf("%s, image %t: NSN %s, flags %#x", name, image, o.NSN(), o.Flags())
			}
			if r := mustApply(t, page, c.rec, c.id, Env{}); !image && r != Skipped {
				t.Errorf("%s once more: %v", name, r)
			}
		}
	}
	other := append(pg.Page(nil), newPage()...)
	other.Init(0)
	update.Block(1).Image = other
	if _, err := Apply(newPage(), update, update.Block(1), Env{}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("an image that is no GiST page: %v", err)
	}
}

// TestGistPageSplit: right neighbours, NSN and flags of the pages, which come from nowhere but the record.
func TestGistPageSplit(t *testing.T) {
	const leaf, follow = gistrec.PageLeaf, gistrec.PageFollowRight
	for name, c := range map[string]struct {
		rec    *wal.Record
		rights []pg.BlockNumber
		flags  []uint16
	}{
		"three pages":       {gistSplit(1, 5, 20, 21), []pg.BlockNumber{20, 21, 99}, []uint16{leaf | follow, leaf | follow, leaf}},
		"while it is built": {gistSplit(0, 5, 20), []pg.BlockNumber{20, 99}, []uint16{leaf, leaf}},
		"the root":          {gistSplit(1, 0, 20, 21), []pg.BlockNumber{pg.InvalidBlock, 21, 99}, []uint16{0, leaf, leaf}},
	} {
		for i := range c.rights {
			page := newPage()
			if i == 0 {
				page = gistPage(t, leaf, 50)
				page.SetLSN(0x9000) // it is built whatever it held
			}
			if r := mustApply(t, page, c.rec, uint8(i+1), Env{}); r != Changed || page.LSN() != c.rec.End {
				t.Errorf("%s %d: %v", name, i, r)
			}
			o := gistOpaqueOf(t, page)
			if o.RightLink() != c.rights[i] || o.Flags() != c.flags[i] || o.NSN() != 0x500 || !slices.Equal(values(t, page), []byte{byte(i + 1)}) {
				t.Errorf("%s %d: right %d, flags %#x, NSN %s", name, i, o.RightLink(), o.Flags(), o.NSN())
			}
		}
	}
}

// TestGistPageUpdate: one for one keeps its number; otherwise the new ones go behind the rest.
func TestGistPageUpdate(t *testing.T) {
	for name, c := range map[string]struct {
		main, data []byte
		flags      uint16
		want       []byte
		deleted    bool
	}{
		"add":                {[]byte{0, 0, 1, 0}, gistTuple(9), gistrec.PageLeaf, []byte{1, 2, 3, 4, 5, 9}, false},
		"replace":            {[]byte{1, 0, 1, 0}, append([]byte{2, 0}, gistTuple(9)...), 0, []byte{1, 9, 3, 4, 5}, false},
		"one for two":        {[]byte{1, 0, 2, 0}, slices.Concat([]byte{2, 0}, gistTuple(8), gistTuple(9)), 0, []byte{1, 3, 4, 5, 8, 9}, false},
		"take from a leaf":   {[]byte{3, 0, 0, 0}, []byte{1, 0, 3, 0, 5, 0}, gistrec.PageLeaf, []byte{2, 4}, true},
		"take from no leaf":  {[]byte{1, 0, 0, 0}, []byte{5, 0}, 0, []byte{1, 2, 3, 4}, false},
		"replace on a leaf":  {[]byte{1, 0, 1, 0}, append([]byte{5, 0}, gistTuple(9)...), gistrec.PageLeaf, []byte{1, 2, 3, 4, 9}, false},
		"all go, one is new": {[]byte{5, 0, 1, 0}, append([]byte{1, 0, 2, 0, 3, 0, 4, 0, 5, 0}, gistTuple(9)...), gistrec.PageLeaf, []byte{9}, true},
	} {
		page := gistPage(t, c.flags, 5)
		if r := mustApply(t, page, record(wal.RMGist, gistrec.OpPageUpdate, c.main, c.data), 0, Env{}); r != Changed || page.LSN() != 0x1040 {
			t.Errorf("%s: %v", name, r)
		}
		o := gistOpaqueOf(t, page)
		if got := values(t, page); !slices.Equal(got, c.want) || o.Flags()&gistrec.PageTuplesDeleted != 0 != c.deleted || o.NSN() != 0x500 {
			t.Errorf("%s: %v, flags %#x, NSN %s", name, got, o.Flags(), o.NSN())
		}
	}
}

// TestGistDelete: 15's record and the later ones; the flag that tuples were deleted stays as it is on the primary.
func TestGistDelete(t *testing.T) {
	for major, main := range map[pg.Major][]byte{
		pg.PG15: {1, 3, 0, 0, 2, 0, 2, 0, 4, 0}, pg.PG16: {1, 3, 0, 0, 2, 0, 0, 0, 2, 0, 4, 0},
	} {
		rec := record(wal.RMGist, gistrec.OpDelete, main, nil)
		rec.Major = major
		page := gistPage(t, gistrec.PageLeaf|gistrec.PageHasGarbage, 5)
		mustApply(t, page, rec, 0, Env{})
		if got := values(t, page); !slices.Equal(got, []byte{1, 3, 5}) || gistOpaqueOf(t, page).Flags() != gistrec.PageLeaf {
			t.Errorf("%d: %v, flags %#x", major, got, gistOpaqueOf(t, page).Flags())
		}
	}
}

func TestGistPageDelete(t *testing.T) {
	rec := record(wal.RMGist, gistrec.OpPageDelete, []byte{1, 2, 3, 4, 5, 6, 7, 8, 3, 0}, nil)
	rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: 1, Rel: testRel, Block: 8})
	leaf, parent := gistPage(t, gistrec.PageLeaf, 0), gistPage(t, 0, 4)
	mustApply(t, leaf, rec, 0, Env{})
	mustApply(t, parent, rec, 1, Env{})
	if leaf.Lower() != gistrec.DeletedSize || leaf[pg.PageHeaderSize+7] != 8 || gistOpaqueOf(t, leaf).Flags() != gistrec.PageLeaf|gistrec.PageDeleted {
		t.Errorf("leaf: lower %d, flags %#x", leaf.Lower(), gistOpaqueOf(t, leaf).Flags())
	}
	if got := values(t, parent); !slices.Equal(got, []byte{1, 2, 4}) {
		t.Errorf("parent: %v", got)
	}
}

// TestGistRefusals: records and pages that do not go together.
func TestGistRefusals(t *testing.T) {
	noRight := gistSplit(1, 5, 20, 21)
	noRight.Blocks = slices.Delete(noRight.Blocks, 1, 2)
	tooMany := gistSplit(1, 5, 20)
	tooMany.Blocks = append(tooMany.Blocks, wal.BlockRef{ID: 3, Rel: testRel, Block: 30})
	reuse := record(wal.RMGist, gistrec.OpPageReuse, make([]byte, 24), nil)
	deleted := record(wal.RMGist, gistrec.OpPageDelete, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 0}, nil)
	deleted.Blocks = append(deleted.Blocks, wal.BlockRef{ID: 1, Rel: testRel, Block: 8}, wal.BlockRef{ID: 2, Rel: testRel, Block: 9})
	heap := newPage()
	heap.Init(0)
	for name, c := range map[string]struct {
		page pg.Page
		rec  *wal.Record
		id   uint8
	}{
		"no right neighbour":              {newPage(), noRight, 1},
		"more pages than the record says": {newPage(), tooMany, 3},
		"a root that is not the first":    {newPage(), gistSplit(1, 5, 0), 2},
		"a page for a record without any": {gistPage(t, 0, 1), reuse, 0},
		"a leaf to delete with tuples":    {gistPage(t, gistrec.PageLeaf, 1), deleted, 0},
		"a downlink that is not there":    {gistPage(t, 0, 4), deleted, 1},
		"a third page to delete":          {gistPage(t, 0, 4), deleted, 2},
		"a page of another kind":          {heap, record(wal.RMGist, gistrec.OpPageUpdate, []byte{0, 0, 1, 0}, gistTuple(1)), 0},
		"tuples to take in disorder":      {gistPage(t, 0, 5), record(wal.RMGist, gistrec.OpPageUpdate, []byte{3, 0, 0, 0}, []byte{3, 0, 2, 0, 1, 0}), 0},
		"a tuple that does not fit":       {gistPage(t, 0, 400), record(wal.RMGist, gistrec.OpPageUpdate, []byte{0, 0, 8, 0}, slices.Repeat(gistTuple(1), 8)), 0},
	} {
		wantRefused(t, name, c.page, c.rec, c.id)
	}
}
