package redo

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/btreerec"
)

// indexTupleOf is an index tuple of 16 bytes with one int4 column and the heap TID (0, tid).
func indexTupleOf(key, tid byte) []byte {
	return []byte{0, 0, 0, 0, tid, 0, 16, 0, key, 0, 0, 0, 0, 0, 0, 0}
}

// postingOf is one with these TIDs as a posting list, which is built by hand.
func postingOf(key byte, tids ...byte) []byte {
	t := indexTupleOf(key, byte(len(tids)))
	t[2], t[5], t[7] = 16, 0x20, 0x20
	for _, tid := range tids {
		t = append(t, 0, 0, 0, 0, tid, 0)
	}
	t = append(t, make([]byte, pg.MaxAlign(len(t))-len(t))...)
	t[6] = byte(len(t))
	return t
}

// btreePage is a rightmost leaf with these tuples, at LSN 1.
func btreePage(t testing.TB, tuples ...[]byte) pg.Page {
	page := newPage()
	page.Init(btreerec.OpaqueSize)
	btreerec.OpaqueOf(page).SetFlags(btreerec.FlagLeaf)
	for _, tuple := range tuples {
		if err := appendItem(page, tuple); err != nil {
			t.Fatal(err)
		}
	}
	page.SetLSN(1)
	return page
}

// btreeRecord has block 7 as reference 0, and with data for them others: 8 as 1, 9 as 2, 10 as 3.
func btreeRecord(op uint8, main string, data []byte, others ...[]byte) *wal.Record {
	m, err := hex.DecodeString(strings.ReplaceAll(main, " ", ""))
	if err != nil {
		panic(err)
	}
	rec := record(wal.RMBtree, op, m, data)
	rec.Blocks[0].WillInit = btreeBlocks[op>>4][0].built
	for i, d := range others {
		rec.Blocks = append(rec.Blocks, wal.BlockRef{
			ID: uint8(1 + i), Rel: testRel, Block: pg.BlockNumber(8 + i), HasData: d != nil, Data: d, WillInit: btreeBlocks[op>>4][1+i].built,
		})
	}
	return rec
}

// wantTuples compares a page's tuples.
func wantTuples(t *testing.T, page pg.Page, want ...[]byte) {
	t.Helper()
	if page.NumItems() != len(want) {
		t.Fatalf("%d tuples, want %d", page.NumItems(), len(want))
	}
	for i, w := range want {
		if got, err := item(page, pg.OffsetNumber(i+1)); err != nil || !bytes.Equal(got, w) {
			t.Errorf("tuple %d: %x, want %x (%v)", i+1, got, w, err)
		}
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestBtreeInsertPost: the new TID goes into the list, the list's last one to the new tuple; the record is left as it is.
func TestBtreeInsertPost(t *testing.T) {
	page := btreePage(t, postingOf(5, 1, 3, 9), indexTupleOf(6, 1))
	rec := btreeRecord(btreerec.OpInsertPost, "0200", join([]byte{1, 0}, indexTupleOf(5, 2)))
	before := append([]byte(nil), rec.Blocks[0].Data...)
	mustApply(t, page, rec, 0, Env{})
	wantTuples(t, page, postingOf(5, 1, 2, 3), indexTupleOf(5, 9), indexTupleOf(6, 1))
	if !bytes.Equal(before, rec.Blocks[0].Data) {
		t.Error("the record was changed")
	}
}

// TestBtreeSplitOfPostingList: the posting list before the new tuple stays left; the new one stays too or is the right half's
// first.
func TestBtreeSplitOfPostingList(t *testing.T) {
	tuples := [][]byte{indexTupleOf(4, 1), postingOf(5, 1, 3, 9), indexTupleOf(6, 1), indexTupleOf(7, 1)}
	highKey, right := indexTupleOf(6, 0), join(indexTupleOf(7, 1), indexTupleOf(6, 1))
	page := btreePage(t, tuples...)
	rec := btreeRecord(btreerec.OpSplitL, "00000000 0300 0300 0100", join(indexTupleOf(5, 2), highKey), right)
	mustApply(t, page, rec, 0, Env{})
	wantTuples(t, page, highKey, indexTupleOf(4, 1), postingOf(5, 1, 2, 3), indexTupleOf(5, 9))

	page = btreePage(t, tuples...)
	o := btreerec.OpaqueOf(page)
	o.SetPrev(4)
	o.SetCycleID(77)
	rec = btreeRecord(btreerec.OpSplitR, "00000000 0300 0300 0100", join(indexTupleOf(5, 2), highKey), right)
	mustApply(t, page, rec, 0, Env{})
	wantTuples(t, page, highKey, indexTupleOf(4, 1), postingOf(5, 1, 2, 3))
	if !bytes.Equal(o, []byte{4, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, btreerec.FlagLeaf | btreerec.FlagIncompleteSplit, 0, 0, 0}) {
		t.Errorf("special area %x", []byte(o))
	}

	page = newPage()
	mustApply(t, page, rec, 1, Env{})
	wantTuples(t, page, indexTupleOf(6, 1), indexTupleOf(7, 1))
	if o := btreerec.OpaqueOf(page); !bytes.Equal(o, []byte{7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, btreerec.FlagLeaf, 0, 0, 0}) {
		t.Errorf("special area %x", []byte(o))
	}
}

// TestBtreeVacuum: TIDs go from lists before tuples go, and a list of one is no list.
func TestBtreeVacuum(t *testing.T) {
	page := btreePage(t, postingOf(5, 1, 3, 9), indexTupleOf(6, 1), postingOf(7, 2, 4))
	o := btreerec.OpaqueOf(page)
	o.SetFlags(btreerec.FlagLeaf | btreerec.FlagHasGarbage)
	o.SetCycleID(77)
	data := []byte{2, 0, 1, 0, 3, 0, 1, 0, 1, 0, 1, 0, 0, 0} // 2 goes; 1 loses its second TID, 3 its first
	mustApply(t, page, btreeRecord(btreerec.OpVacuum, "0100 0200", data), 0, Env{})
	wantTuples(t, page, postingOf(5, 1, 9), indexTupleOf(7, 4))
	if !bytes.Equal(o[12:], []byte{btreerec.FlagLeaf, 0, 0, 0}) {
		t.Errorf("special area %x", []byte(o))
	}
}

// TestBtreeDedup: the high key and tuples outside the intervals stay, lists and plain tuples of an interval become one list.
func TestBtreeDedup(t *testing.T) {
	highKey := indexTupleOf(9, 0)
	page := withNext(btreePage(t, highKey, indexTupleOf(4, 1), postingOf(5, 1, 3), indexTupleOf(5, 5), postingOf(5, 6, 7),
		indexTupleOf(6, 1), indexTupleOf(7, 1), indexTupleOf(7, 2)))
	page.SetItem(2, pg.MakeItemID(page.Item(2).Offset(), pg.LPDead, 16))
	page.SetPruneXID(9)
	o := btreerec.OpaqueOf(page)
	o.SetFlags(btreerec.FlagLeaf | btreerec.FlagHasGarbage)
	o.SetCycleID(77)
	mustApply(t, page, btreeRecord(btreerec.OpDedup, "0200", []byte{3, 0, 3, 0, 7, 0, 2, 0}), 0, Env{})
	wantTuples(t, page, highKey, indexTupleOf(4, 1), postingOf(5, 1, 3, 5, 6, 7), indexTupleOf(6, 1), postingOf(7, 1, 2))
	if !bytes.Equal(o[4:], []byte{3, 0, 0, 0, 0, 0, 0, 0, btreerec.FlagLeaf, 0, 77, 0}) || page.PruneXID() != 0 || page.Item(2).State() != pg.LPNormal {
		t.Errorf("special area %x, prune XID %d, %v", []byte(o), page.PruneXID(), page.Item(2))
	}
}

// TestBtreeBuiltOrNot: pages are built from nothing exactly where the record says so, as XLogReadBufferForRedoExtended demands.
func TestBtreeBuiltOrNot(t *testing.T) {
	rec := btreeRecord(btreerec.OpNewRoot, "07000000 00000000", nil)
	page := btreePage(t, indexTupleOf(1, 1))
	page.SetLSN(0x9000)
	if r := mustApply(t, page, rec, 0, Env{}); r != Changed || page.NumItems() != 0 || page.LSN() != rec.End {
		t.Errorf("%v, %d tuples", r, page.NumItems())
	}
	rec.Blocks[0].WillInit = false
	if _, err := Apply(page, rec, &rec.Blocks[0], Env{}); !errors.Is(err, pg.ErrCorrupt) {
		t.Error(err)
	}
	insert := btreeRecord(btreerec.OpInsertLeaf, "0100", indexTupleOf(1, 1))
	if r := mustApply(t, newPage(), insert, 0, Env{}); r != Missing {
		t.Error(r)
	}
	insert.Blocks[0].WillInit = true
	if _, err := Apply(page, insert, &insert.Blocks[0], Env{}); !errors.Is(err, pg.ErrCorrupt) {
		t.Error(err)
	}
}

// TestBtreeMeta: the meta page is made of the record, for the versions that can come with one.
func TestBtreeMeta(t *testing.T) {
	data, _ := hex.DecodeString("00000000070000000200000005000000010000000900000001aabbcc")
	for version := byte(2); version <= 5; version++ {
		data[0] = version
		rec, page := btreeRecord(btreerec.OpMetaCleanup, "", data), newPage()
		rec.Blocks[0].Block = 0
		_, err := Apply(page, rec, &rec.Blocks[0], Env{})
		if ok := version == 3 || version == 4; ok != (err == nil) {
			t.Errorf("version %d: %v", version, err)
		}
		want, _ := hex.DecodeString("62310500" + hex.EncodeToString([]byte{version}) + "00000007000000020000000500000001000000" +
			"0900000000000000" + "000000000000f0bf" + "0100000000000000")
		if err == nil && (page.Lower() != 72 || !bytes.Equal(page[24:72], want) || btreerec.OpaqueOf(page).Flags() != btreerec.FlagMeta) {
			t.Errorf("version %d: %x", version, []byte(page[24:72]))
		}
	}
}

// TestBtreeRefusals: pages and records that do not fit each other are refused with the place.
func TestBtreeRefusals(t *testing.T) {
	leaf := func() pg.Page { return btreePage(t, postingOf(5, 1, 3, 9), indexTupleOf(6, 1)) }
	heap := filledPage(t, 2)
	heap.SetLSN(1)
	lying := leaf() // its posting list has more TIDs than bytes
	at := lying.Item(1).Offset()
	binary.LittleEndian.PutUint16(lying[at+4:], 0x2FFF)
	one := indexTupleOf(1, 1)
	many := make([]byte, 0, 8192)
	for range 408 {
		many = append(many, one...)
	}
	short := []byte{0, 0, 0, 0, 1, 0, 8, 0}
	meta := make([]byte, 28)
	cases := map[string]struct {
		page pg.Page
		rec  *wal.Record
		id   uint8
	}{
		"insert beyond":                   {leaf(), btreeRecord(btreerec.OpInsertLeaf, "0400", one), 0},
		"insert at 0":                     {leaf(), btreeRecord(btreerec.OpInsertLeaf, "0000", one), 0},
		"insert into a heap page":         {heap, btreeRecord(btreerec.OpInsertLeaf, "0100", one), 0},
		"posting split of a plain tuple":  {leaf(), btreeRecord(btreerec.OpInsertPost, "0300", join([]byte{1, 0}, one)), 0},
		"posting split at 0":              {leaf(), btreeRecord(btreerec.OpInsertPost, "0200", join([]byte{0, 0}, one)), 0},
		"posting split at its end":        {leaf(), btreeRecord(btreerec.OpInsertPost, "0200", join([]byte{3, 0}, one)), 0},
		"posting split before the first":  {leaf(), btreeRecord(btreerec.OpInsertPost, "0100", join([]byte{1, 0}, one)), 0},
		"posting list that lies":          {lying, btreeRecord(btreerec.OpInsertPost, "0200", join([]byte{1, 0}, one)), 0},
		"split without a right page":      {leaf(), btreeRecord(btreerec.OpSplitR, "00000000 0200 0300 0000", one), 0},
		"split beyond the page":           {leaf(), btreeRecord(btreerec.OpSplitR, "00000000 ffff 0300 0000", one, one), 0},
		"split whose new tuple is right":  {leaf(), btreeRecord(btreerec.OpSplitL, "00000000 0200 0300 0000", join(one, one), one), 0},
		"split of a posting list right":   {leaf(), btreeRecord(btreerec.OpSplitR, "00000000 0100 0200 0100", join(one, one), one), 0},
		"right half of too many tuples":   {newPage(), btreeRecord(btreerec.OpSplitR, "00000000 0200 0300 0000", one, bytes.Repeat(short, 900)), 1},
		"right half larger than a page":   {newPage(), btreeRecord(btreerec.OpSplitR, "00000000 0200 0300 0000", one, bytes.Repeat(many, 11)), 1},
		"leaf with a child":               {leaf(), btreeRecord(btreerec.OpSplitR, "00000000 0200 0300 0000", one, one, one, one), 3},
		"leaf as root with a child":       {leaf(), btreeRecord(btreerec.OpNewRoot, "07000000 00000000", nil, nil), 1},
		"interval beyond the page":        {leaf(), btreeRecord(btreerec.OpDedup, "0100", []byte{1, 0, 3, 0}), 0},
		"interval beyond all offsets":     {leaf(), btreeRecord(btreerec.OpDedup, "0100", []byte{1, 0, 0xFF, 0xFF}), 0},
		"interval of one":                 {leaf(), btreeRecord(btreerec.OpDedup, "0100", []byte{1, 0, 1, 0}), 0},
		"intervals that overlap":          {leaf(), btreeRecord(btreerec.OpDedup, "0200", []byte{1, 0, 2, 0, 2, 0, 2, 0}), 0},
		"interval with the high key":      {withNext(leaf()), btreeRecord(btreerec.OpDedup, "0100", []byte{1, 0, 2, 0}), 0},
		"update of a plain tuple":         {leaf(), btreeRecord(btreerec.OpVacuum, "0000 0100", []byte{2, 0, 1, 0, 0, 0}), 0},
		"update that leaves nothing":      {leaf(), btreeRecord(btreerec.OpVacuum, "0000 0100", []byte{1, 0, 3, 0, 0, 0, 1, 0, 2, 0}), 0},
		"update out of order":             {leaf(), btreeRecord(btreerec.OpVacuum, "0000 0100", []byte{1, 0, 2, 0, 1, 0, 0, 0}), 0},
		"update beyond the list":          {leaf(), btreeRecord(btreerec.OpVacuum, "0000 0100", []byte{1, 0, 1, 0, 3, 0}), 0},
		"delete beyond":                   {leaf(), btreeRecord(btreerec.OpVacuum, "0100 0000", []byte{3, 0}), 0},
		"delete among tuples on a heap":   {overlappingLeaf(t), btreeRecord(btreerec.OpVacuum, "0300 0000", []byte{1, 0, 2, 0, 3, 0}), 0},
		"parent without a next downlink":  {leaf(), btreeRecord(btreerec.OpMarkHalfDead, "0200 0000 07000000 00000000 08000000 ffffffff", nil, nil), 1},
		"parent of no downlink":           {leaf(), btreeRecord(btreerec.OpMarkHalfDead, "ffff 0000 07000000 00000000 08000000 ffffffff", nil, nil), 1},
		"half-dead leaf of another":       {newPage(), btreeRecord(btreerec.OpMarkHalfDead, "0200 0000 08000000 00000000 08000000 ffffffff", nil), 0},
		"root of another":                 {newPage(), btreeRecord(btreerec.OpNewRoot, "08000000 00000000", nil), 0},
		"left sibling there is not":       {leaf(), btreeRecord(btreerec.OpUnlinkPage, "00000000 08000000"+strings.Repeat("00", 28), nil, nil), 1},
		"half-dead leaf of a leaf":        {leaf(), btreeRecord(btreerec.OpUnlinkPage, strings.Repeat("00", 36), nil, nil, nil, nil), 3},
		"meta page elsewhere":             {newPage(), btreeRecord(btreerec.OpMetaCleanup, "", meta), 0},
		"block of a record that has none": {leaf(), btreeRecord(btreerec.OpReusePage, "", nil), 0},
		"unknown record":                  {leaf(), btreeRecord(0xF0, "", nil), 0},
	}
	for name, c := range cases {
		wantRefused(t, name, c.page, c.rec, c.id)
	}
}

// overlappingLeaf has 100 line pointers to one tuple: together more than the space between pd_upper and pd_special.
func overlappingLeaf(t *testing.T) pg.Page {
	p := btreePage(t, indexTupleOf(1, 1))
	i := p.Item(1)
	p.SetLower(pg.PageHeaderSize + 4*100)
	for off := pg.OffsetNumber(1); off <= 100; off++ {
		p.SetItem(off, i)
	}
	return p
}

// withNext gives a page a right sibling, so that its first tuple is its high key.
func withNext(p pg.Page) pg.Page {
	btreerec.OpaqueOf(p).SetNext(3)
	return p
}

// TestMaskBtreeHidesNoMore: of the special area only the hints go; a page that is not a B-tree's cannot be masked.
func TestMaskBtreeHidesNoMore(t *testing.T) {
	page := withNext(btreePage(t, indexTupleOf(1, 1)))
	o := btreerec.OpaqueOf(page)
	o.SetFlags(0xFFFF)
	o.SetCycleID(9)
	if !maskBtree(page, 1) || o.Flags() != 0xFFFF&^(btreerec.FlagHasGarbage|btreerec.FlagSplitEnd) || o[14] != 0 || o.Next() != 3 {
		t.Errorf("special area %x", []byte(o))
	}
	if maskBtree(filledPage(t, 1), 1) {
		t.Error("a heap page was masked as a B-tree's")
	}
}

// BenchmarkBtreeInsertLeaf inserts into the middle of a leaf from a half full page to a full one.
func BenchmarkBtreeInsertLeaf(b *testing.B) {
	half := btreePage(b)
	for range 200 {
		if err := appendItem(half, indexTupleOf(1, 1)); err != nil {
			b.Fatal(err)
		}
	}
	page, rec := newPage(), btreeRecord(btreerec.OpInsertLeaf, "6400", indexTupleOf(1, 2))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%200 == 0 {
			copy(page, half)
		}
		page.SetLSN(0)
		if _, err := Apply(page, rec, &rec.Blocks[0], Env{}); err != nil {
			b.Fatal(err)
		}
	}
}
