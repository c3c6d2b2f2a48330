package redo

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/ginrec"
	"github.com/tarn-db/tarn/internal/rectest"
)

var unhex = rectest.Hex

func ginRecord(t testing.TB, op uint8, main, data string) *wal.Record {
	rec := record(wal.RMGin, op, unhex(t, main), unhex(t, data))
	rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: 1, Rel: testRel, Block: 9}, wal.BlockRef{ID: 2, Rel: testRel, Block: 10}, wal.BlockRef{ID: 3, Rel: testRel, Block: 11})
	return rec
}

// segment is a posting list of items on block 1.
func segment(t testing.TB, offsets ...int) []byte {
	dst := make([]byte, 64)
	e := ginrec.Encode(dst)
	for _, off := range offsets {
		if err := e.Add(ginrec.Item(1<<11 | off)); err != nil {
			t.Fatal(err)
		}
	}
	n, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return dst[:n]
}

// postingLeaf is a posting tree's leaf with these segments and LSN 1.
func postingLeaf(segments ...[]byte) pg.Page {
	p := newPage()
	ginrec.InitPage(p, ginrec.PageData|ginrec.PageLeaf|ginrec.PageCompressed)
	all := bytes.Join(segments, nil)
	copy(p[ginrec.PostingAt:], all)
	p.SetLower(uint16(ginrec.PostingAt + len(all)))
	p.SetLSN(1)
	return p
}

// postingInner is a page above leaves 101, 102 and so on.
func postingInner(n int) pg.Page {
	p := newPage()
	o := ginrec.InitPage(p, ginrec.PageData)
	for i := range n {
		item := p[ginrec.PostingAt+i*ginrec.PostingItemSize:]
		binary.LittleEndian.PutUint16(item[2:], uint16(101+i))
		binary.LittleEndian.PutUint16(item[8:], 5)
	}
	setPostingItems(p, o, n)
	p.SetLSN(1)
	return p
}

// entryPage has tuples of 16 bytes that lead to blocks 101, 102 and so on.
func entryPage(t testing.TB, flags uint16, n int) pg.Page {
	p := newPage()
	ginrec.InitPage(p, flags)
	for i := range n {
		tuple := unhex(t, "0000 0000 0500 1000 0000000000000000")
		binary.LittleEndian.PutUint16(tuple[2:], uint16(101+i))
		if err := insertItem(p, tuple, pg.OffsetNumber(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	p.SetLSN(1)
	return p
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// TestGinRecompress does each action, alone and together.
func TestGinRecompress(t *testing.T) {
	a, b, c, d := segment(t, 1, 2, 3), segment(t, 10, 12, 500), segment(t, 600), segment(t, 2000, 2001)
	seg := func(s []byte) string { return hexOf(s) }
	for name, s := range map[string]struct {
		actions string
		want    [][]byte
	}{
		"nothing":                {"0000", [][]byte{a, b, c}},
		"the first deleted":      {"0100 0001", [][]byte{b, c}},
		"the last deleted":       {"0100 0201", [][]byte{a, b}},
		"all deleted":            {"0300 0001 0101 0201", nil},
		"one before the first":   {"0100 0002" + seg(d), [][]byte{d, a, b, c}},
		"two behind the last":    {"0200 0302" + seg(d) + "0302" + seg(d), [][]byte{a, b, c, d, d}},
		"a larger one":           {"0100 0003" + seg(b), [][]byte{b, b, c}},
		"one becomes two":        {"0200 0103" + seg(d) + "0202" + seg(b), [][]byte{a, d, b, c}},
		"items":                  {"0100 0104 0300 0000 0100 0900 0000 0100 0b00 0000 0100 0002", [][]byte{a, segment(t, 9, 10, 11, 12, 500, 512), c}},
		"items before all":       {"0100 0004 0100 0000 0000 0900", [][]byte{unhex(t, "0000 0000 0900 0400 f80f 0101"), b, c}},
		"all of them, in order":  {"0400 0001 0102" + seg(d) + "0104 0100 0000 0100 0b00 0203" + seg(a), [][]byte{d, segment(t, 10, 11, 12, 500), a}},
		"no items are no change": {"0100 0104 0000", [][]byte{a, b, c}},
	} {
		for _, op := range []uint8{ginrec.OpInsert, ginrec.OpVacuumDataLeafPage} {
			main := "0300"
			if op == ginrec.OpVacuumDataLeafPage {
				main = ""
			}
			page := postingLeaf(a, b, c)
			if r := mustApply(t, page, ginRecord(t, op, main, s.actions), 0, Env{}); r != Changed || page.LSN() != 0x1040 {
				t.Errorf("%s: %v", name, r)
			}
			want := bytes.Join(s.want, nil)
			if got := page[ginrec.PostingAt:page.Lower()]; !bytes.Equal(got, want) {
				t.Errorf("%s: %x, want %x", name, got, want)
			}
			if rest := page[page.Lower():page.Special()]; len(bytes.Trim(rest, "\x00")) != 0 {
				t.Errorf("%s: what became free is not zero", name)
			}
		}
	}
}

// TestGinCreatePostingTree: built whatever the page held.
func TestGinCreatePostingTree(t *testing.T) {
	page, s := postingInner(3), segment(t, 1, 2, 3)
	page.SetLSN(0x9000)
	mustApply(t, page, ginRecord(t, ginrec.OpCreatePostingTree, "0c000000"+hexOf(s)+hexOf(make([]byte, 12-len(s))), ""), 0, Env{})
	if want := postingLeaf(s, make([]byte, 12-len(s))); page.LSN() != 0x1040 || !bytes.Equal(page[8:], want[8:]) {
		t.Errorf("at %s: %x %x", page.LSN(), page[:64], page[ginrec.Special:])
	}
}

// TestGinFullLeaf: segments may fill a page to its last byte, and no more.
func TestGinFullLeaf(t *testing.T) {
	s := segment(t, 1, 2, 3)
	n := ginrec.PostingSizeMax / len(s)
	page := postingLeaf(bytes.Repeat(s, n-1))
	add := ginRecord(t, ginrec.OpInsert, "0300", "0100 0002"+hexOf(s))
	mustApply(t, page, add, 0, Env{})
	if free := ginrec.Special - int(page.Lower()); free != ginrec.PostingSizeMax-n*len(s) {
		t.Errorf("%d bytes are free", free)
	}
	page.SetLSN(1)
	for int(page.Lower())+len(s) <= ginrec.Special {
		mustApply(t, page, add, 0, Env{})
		page.SetLSN(1)
	}
	if _, err := Apply(page, add, &add.Blocks[0], Env{}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("one segment too many: %v", err)
	}
}

// TestGinOldLeaf: a leaf from before 9.4 is brought into today's form before the actions, which are about that.
func TestGinOldLeaf(t *testing.T) {
	old := func(offsets ...int) pg.Page {
		p := newPage()
		o := ginrec.InitPage(p, ginrec.PageData|ginrec.PageLeaf)
		for i, off := range offsets {
			copy(p[ginrec.PostingAt+i*pg.TIDSize:], unhex(t, "0000 0100"))
			binary.LittleEndian.PutUint16(p[ginrec.PostingAt+i*pg.TIDSize+4:], uint16(off))
		}
		o.SetCount(len(offsets))
		p.SetLSN(1)
		return p
	}
	page := old(1, 2, 2000)
	mustApply(t, page, ginRecord(t, ginrec.OpInsert, "0300", "0100 0004 0100 0000 0100 0900"), 0, Env{})
	if want := postingLeaf(segment(t, 1, 2, 9, 2000)); !bytes.Equal(page[8:page.Lower()], want[8:want.Lower()]) || !bytes.Equal(page[ginrec.Special:], want[ginrec.Special:]) {
		t.Errorf("%x %x", page[:64], page[ginrec.Special:])
	}
	page = old()
	mustApply(t, page, ginRecord(t, ginrec.OpInsert, "0300", "0100 0002"+hexOf(segment(t, 7))), 0, Env{})
	if want := postingLeaf(segment(t, 7)); !bytes.Equal(page[8:page.Lower()], want[8:want.Lower()]) {
		t.Errorf("an empty one: %x", page[:64])
	}
	for name, p := range map[string]pg.Page{"falling items": old(2, 1), "an item twice": old(1, 1), "no address": old(0), "an offset of 12 bits": old(1, 2048)} {
		rec := ginRecord(t, ginrec.OpVacuumDataLeafPage, "", "0000")
		if _, err := Apply(p, rec, &rec.Blocks[0], Env{}); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGinInsertEntry: above the leaves the tuple whose child was split leads to the right one from then on.
func TestGinInsertEntry(t *testing.T) {
	const tuple = "0000 0700 0000 1000 4142434445464748"
	page := entryPage(t, 0, 3)
	rec := ginRecord(t, ginrec.OpInsert, "0000 0000 0700 0000 0900", "0200 0000"+tuple)
	mustApply(t, page, rec, 0, Env{})
	children := func() (list []uint16) {
		for off := pg.OffsetNumber(1); int(off) <= page.NumItems(); off++ {
			tup, err := item(page, off)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, binary.LittleEndian.Uint16(tup[2:]))
		}
		return list
	}
	if got := children(); !slices.Equal(got, []uint16{101, 7, 9, 103}) {
		t.Errorf("downlinks %v", got)
	}
	if tup, _ := item(page, 3); binary.LittleEndian.Uint16(tup[4:]) != 0 {
		t.Errorf("the downlink changed keeps an offset: %x", tup)
	}
	child := entryPage(t, ginrec.PageLeaf|ginrec.PageIncompleteSplit, 1)
	if r := mustApply(t, child, rec, 1, Env{}); r != Changed || ginFlags(child) != ginrec.PageLeaf || child.LSN() != rec.End {
		t.Errorf("the child: %v, flags %x", r, ginFlags(child))
	}
	page = entryPage(t, ginrec.PageLeaf, 3)
	mustApply(t, page, ginRecord(t, ginrec.OpInsert, "0200", "0200 0100"+tuple), 0, Env{})
	if got := children(); !slices.Equal(got, []uint16{101, 7, 103}) {
		t.Errorf("a tuple replaced: %v", got)
	}
}

func ginFlags(p pg.Page) uint16 {
	o, _ := ginrec.PageOpaque(p)
	return o.Flags()
}

// TestGinPostingItems: what is above a posting tree's leaves.
func TestGinPostingItems(t *testing.T) {
	page := postingInner(3)
	mustApply(t, page, ginRecord(t, ginrec.OpInsert, "0100 0000 6600 0000 0900", "0200 0000 6600 0000 0800 0300"), 0, Env{})
	children := func() (list []uint16) {
		o, _ := ginrec.PageOpaque(page)
		for i := range o.Count() {
			list = append(list, binary.LittleEndian.Uint16(page[ginrec.PostingAt+i*ginrec.PostingItemSize+2:]))
		}
		return list
	}
	if got := children(); !slices.Equal(got, []uint16{101, 102, 9, 103}) || int(page.Lower()) != ginrec.PostingAt+40 {
		t.Errorf("%v, lower %d", got, page.Lower())
	}
	for i, want := range [][]uint16{{102, 9, 103}, {9, 103}, {103}, {}} {
		page.SetLSN(1)
		mustApply(t, page, ginRecord(t, ginrec.OpDeletePage, "0100 0000 0c000000 e8030000", ""), 1, Env{})
		if got := children(); !slices.Equal(got, want) || int(page.Lower()) != ginrec.PostingAt+10*len(want) {
			t.Errorf("deletion %d: %v, lower %d", i, got, page.Lower())
		}
	}
}

// TestGinDeletePage: the page deleted keeps what is on it, and who may still see it; its left sibling passes it by.
func TestGinDeletePage(t *testing.T) {
	rec := ginRecord(t, ginrec.OpDeletePage, "0100 0000 0c000000 e8030000", "")
	page, left := postingLeaf(), postingLeaf(segment(t, 1))
	mustApply(t, page, rec, 0, Env{})
	mustApply(t, left, rec, 2, Env{})
	if ginFlags(page) != ginrec.PageData|ginrec.PageLeaf|ginrec.PageCompressed|ginrec.PageDeleted || page.PruneXID() != 1000 {
		t.Errorf("flags %x, xid %d", ginFlags(page), page.PruneXID())
	}
	if binary.LittleEndian.Uint32(left[ginrec.Special:]) != 12 || left.LSN() != rec.End {
		t.Errorf("%x", left[ginrec.Special:])
	}
}

const ginMeta = "03000000 04000000 e8030000 02000000 0500000000000000 0a000000 02000000 03000000 00000000 0700000000000000 02000000 00000000"

func ginMetaRecord(t *testing.T, tail, data string) *wal.Record {
	rec := ginRecord(t, ginrec.OpUpdateMetaPage, "7f060000 05000000 00400000 00000000"+ginMeta+tail, "")
	rec.Blocks[0].Block = ginrec.MetaBlock
	rec.Blocks[1].Data, rec.Blocks[1].HasData = unhex(t, data), data != ""
	return rec
}

// TestGinMeta: the metapage is built anew whatever its LSN; the list's tail is changed only if it is due.
func TestGinMeta(t *testing.T) {
	added := ginMetaRecord(t, "ffffffff ffffffff 02000000 00000000", "0000 0000 0500 1000 4142434445464748 0000 0000 0600 0a00 4142")
	meta := newPage()
	meta.Init(0)
	meta.SetLSN(0x9000)
	for _, rec := range []*wal.Record{added, deleteListRecord(t, 2)} {
		if r := mustApply(t, meta, rec, 0, Env{}); r != Changed || meta.LSN() != rec.End || meta.Lower() != 80 || ginFlags(meta) != ginrec.PageMeta ||
			!bytes.Equal(meta[24:80], unhex(t, ginMeta)) || binary.LittleEndian.Uint32(meta[ginrec.Special:]) != uint32(pg.InvalidBlock) {
			t.Errorf("%v, lower %d", r, meta.Lower())
		}
		meta.SetLSN(0x9000)
	}
	tail := newPage()
	o := ginrec.InitPage(tail, ginrec.PageList|ginrec.PageListFullRow)
	tail.SetLSN(1)
	mustApply(t, tail, added, 1, Env{})
	if o.Count() != 1 || tail.NumItems() != 2 || tail.Item(2).Len() != 10 {
		t.Errorf("%d heap tuples, %d tuples", o.Count(), tail.NumItems())
	}
	if r := mustApply(t, tail, added, 1, Env{}); r != Skipped || tail.NumItems() != 2 {
		t.Errorf("again: %v", r)
	}
	tail.SetLSN(1)
	mustApply(t, tail, ginMetaRecord(t, "05000000 0c000000 00000000 00000000", ""), 1, Env{})
	if binary.LittleEndian.Uint32(o) != 12 || o.Count() != 1 || tail.NumItems() != 2 {
		t.Errorf("a new tail: %x", []byte(o))
	}
	stats := ginMetaRecord(t, "ffffffff ffffffff 00000000 00000000", "")
	if _, err := Apply(tail, stats, &stats.Blocks[1], Env{}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a tail where the list did not change: %v", err)
	}
}

func deleteListRecord(t *testing.T, n byte) *wal.Record {
	rec := ginRecord(t, ginrec.OpDeleteListPages, ginMeta+hexOf([]byte{n, 0, 0, 0, 0, 0, 0, 0}), "")
	rec.Blocks[0].Block = ginrec.MetaBlock
	return rec
}

// TestGinListPages: pages of the pending list are built from nothing, and are nothing afterwards.
func TestGinListPages(t *testing.T) {
	page := newPage()
	page.SetLSN(0x9000)
	mustApply(t, page, ginRecord(t, ginrec.OpInsertListPage, "ffffffff 01000000", "0000 0000 0500 1000 4142434445464748"), 0, Env{})
	if o, _ := ginrec.PageOpaque(page); o.Count() != 1 || o.Flags() != ginrec.PageList|ginrec.PageListFullRow || page.NumItems() != 1 {
		t.Errorf("last page: %x", []byte(o))
	}
	mustApply(t, page, ginRecord(t, ginrec.OpInsertListPage, "0c000000 01000000", "0000 0000 0500 1000 4142434445464748"), 0, Env{})
	if o, _ := ginrec.PageOpaque(page); o.Count() != 0 || o.Flags() != ginrec.PageList || binary.LittleEndian.Uint32(o) != 12 {
		t.Errorf("page before others: %x", []byte(o))
	}
	page.SetLSN(0x9000)
	rec := deleteListRecord(t, 2)
	mustApply(t, page, rec, 2, Env{})
	if ginFlags(page) != ginrec.PageDeleted || page.NumItems() != 0 || page.LSN() != rec.End {
		t.Errorf("deleted: flags %x, %d items", ginFlags(page), page.NumItems())
	}
	if _, err := Apply(page, rec, rec.Block(3), Env{}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a third of two: %v", err)
	}
}

// TestGinImagesDemanded: pages that a split makes or VACUUM leaves are in their record as images; no other block needs one.
func TestGinImagesDemanded(t *testing.T) {
	const locator = "7f060000 05000000 00400000 ffffffff 00000000 00000000"
	for _, s := range []struct {
		op    uint8
		main  string
		block uint8
		ok    bool
	}{
		{ginrec.OpVacuumPage, "", 0, false}, {ginrec.OpVacuumPage, "", 1, false},
		{ginrec.OpSplit, locator + "0600 0000", 0, false}, {ginrec.OpSplit, locator + "0600 0000", 1, false}, {ginrec.OpSplit, locator + "0600 0000", 2, false},
		{ginrec.OpSplit, locator + "0600 0000", 3, false}, {ginrec.OpSplit, locator + "0000 0000", 2, false}, {ginrec.OpSplit, locator + "0000 0000", 3, true},
	} {
		page, rec := entryPage(t, ginrec.PageLeaf|ginrec.PageIncompleteSplit, 1), ginRecord(t, s.op, s.main, "")
		_, err := Apply(page, rec, rec.Block(s.block), Env{})
		if s.ok != (err == nil) || err != nil && !errors.Is(err, pg.ErrCorrupt) || s.ok && ginFlags(page) != ginrec.PageLeaf {
			t.Errorf("record %#x, block %d: %v, flags %x", s.op, s.block, err, ginFlags(page))
		}
		blk := rec.Block(s.block)
		blk.HasImage, blk.ApplyImage, blk.Image = true, true, entryPage(t, ginrec.PageLeaf, 2)
		if r := mustApply(t, page, rec, s.block, Env{}); r != Changed || page.NumItems() != 2 {
			t.Errorf("record %#x, block %d with its image: %v", s.op, s.block, r)
		}
	}
}
