package redo

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/brinrec"
)

// brinTuple summarizes the range that begins at a heap block below 256.
func brinTuple(heap, value byte) []byte {
	return []byte{heap, 0, 0, 0, 8, 0, 0, 0, value, value, value, value, value, value, value, value}
}

// brinPage is an empty page at LSN 0/1000.
func brinPage(kind brinrec.PageType) pg.Page {
	p := newPage()
	brinrec.Init(p, kind)
	p.SetLSN(0x1000)
	return p
}

// brinUpdateRecord moves the tuple of heap block 6, two blocks to a range, from line pointer 1 of block 9 to line pointer off of block 7.
func brinUpdateRecord(info uint8, off byte) *wal.Record {
	rec := record(wal.RMBrin, brinrec.OpUpdate|info, []byte{1, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0, off, 0}, brinTuple(6, 77))
	rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: 1, Rel: testRel, Block: 1}, wal.BlockRef{ID: 2, Rel: testRel, Block: 9})
	return rec
}

func TestBrinUpdate(t *testing.T) {
	old, revmap := brinPage(brinrec.RegularPage), brinPage(brinrec.RevmapPage)
	for off, heap := range []byte{6, 8} {
		if err := overwriteUnused(old, brinTuple(heap, heap), pg.OffsetNumber(off+1)); err != nil {
			t.Fatal(err)
		}
	}
	home := append(pg.Page(nil), old...)
	home.SetLSN(0x9000)
	rec := brinUpdateRecord(brinrec.InitPage, 1)
	for id, page := range map[uint8]pg.Page{0: home, 1: revmap, 2: old} {
		if r := mustApply(t, page, rec, id, Env{}); r != Changed || page.LSN() != rec.End {
			t.Errorf("block %d: %v", id, r)
		}
	}
	if b, err := item(home, 1); err != nil || b[8] != 77 || home.NumItems() != 1 {
		t.Errorf("new page: %x %v", b, err)
	}
	if got := hex.EncodeToString(revmap[pg.PageHeaderSize+3*6-2:][:10]); got != "00000000070001000000" {
		t.Errorf("range map: %s", got)
	}
	if b, err := item(old, 2); err != nil || b[0] != 8 || old.Item(1) != 0 {
		t.Errorf("old page: %x %v", b, err)
	}
	again := brinUpdateRecord(0, 1)
	old.SetLSN(0x1000)
	if r := mustApply(t, old, again, 0, Env{}); r != Changed || old.NumItems() != 2 {
		t.Errorf("the number that became free is used again: %v", r)
	}
}

func TestBrinRevmapExtend(t *testing.T) {
	meta := newPage()
	create := record(wal.RMBrin, brinrec.OpCreateIndex, []byte{1, 0, 0, 0, 1, 0}, nil)
	mustApply(t, meta, create, 0, Env{})
	meta.SetLSN(0x1000)
	rec := record(wal.RMBrin, brinrec.OpRevmapExtend, []byte{1, 0, 0, 0}, nil)
	rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: 1, Rel: testRel, Block: 1, WillInit: true})
	page := filledPage(t, 3)
	mustApply(t, meta, rec, 0, Env{})
	mustApply(t, page, rec, 1, Env{})
	if kind, ok := brinrec.Type(page); !ok || kind != brinrec.RevmapPage || page.NumItems() != 0 || brinrec.LastRevmapPage(meta) != 1 {
		t.Errorf("page %#x, last %d", kind, brinrec.LastRevmapPage(meta))
	}
	meta.SetLSN(0x1000)
	if _, err := Apply(meta, rec, rec.Block(0), Env{}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a range map that is that long already: %v", err)
	}
}

// TestBrinMask: a page of the range map has no space that is unused; evacuation is not logged.
func TestBrinMask(t *testing.T) {
	for kind, want := range map[brinrec.PageType]bool{brinrec.RegularPage: true, brinrec.RevmapPage: false, brinrec.MetaPage: false} {
		a, b := brinPage(kind), brinPage(kind)
		brinrec.SetSpecialFlags(b, brinrec.EvacuatePage)
		var s Scratch
		if equal, diffs, err := Compare(wal.RMBrin, a, b, 7, &s); !equal || err != nil {
			t.Errorf("%#x: evacuation: %v %v", kind, diffs, err)
		}
		b[1000] = 1
		if equal, _, err := Compare(wal.RMBrin, a, b, 7, &s); equal != want || err != nil {
			t.Errorf("%#x: byte 1000: %t %v", kind, equal, err)
		}
	}
}

// TestBrinRefusals: records and pages that do not go together.
func TestBrinRefusals(t *testing.T) {
	samepage := record(wal.RMBrin, brinrec.OpSamepageUpdate, []byte{1, 0}, brinTuple(6, 1))
	wrongTarget := record(wal.RMBrin, brinrec.OpRevmapExtend, []byte{2, 0, 0, 0}, nil)
	wrongTarget.Blocks = append(wrongTarget.Blocks, wal.BlockRef{ID: 1, Rel: testRel, Block: 1})
	otherTuple := brinUpdateRecord(brinrec.InitPage, 1)
	otherTuple.Blocks[0].Data = brinTuple(7, 1)
	zeroRange := brinUpdateRecord(0, 1)
	zeroRange.Main[8] = 0
	farRange := brinUpdateRecord(0, 1)
	farRange.Main[6] = 1
	for name, c := range map[string]struct {
		page pg.Page
		rec  *wal.Record
		id   uint8
	}{
		"a tuple of another range":        {newPage(), otherTuple, 0},
		"a line pointer too far":          {newPage(), brinUpdateRecord(brinrec.InitPage, 2), 0},
		"ranges of no blocks":             {brinPage(brinrec.RevmapPage), zeroRange, 1},
		"a range of another map page":     {brinPage(brinrec.RevmapPage), farRange, 1},
		"a tuple at no line pointer":      {brinPage(brinrec.RevmapPage), brinUpdateRecord(0, 0), 1},
		"tuples for a range map":          {brinPage(brinrec.RevmapPage), samepage, 0},
		"no tuple to update":              {brinPage(brinrec.RegularPage), samepage, 0},
		"no tuple to take away":           {brinPage(brinrec.RegularPage), brinUpdateRecord(0, 1), 2},
		"a range map among tuples":        {brinPage(brinrec.RegularPage), brinUpdateRecord(0, 1), 1},
		"a new map page that is another":  {newPage(), wrongTarget, 1},
		"an index created with INIT_PAGE": {newPage(), record(wal.RMBrin, brinrec.OpCreateIndex|brinrec.InitPage, []byte{1, 0, 0, 0, 1, 0}, nil), 0},
	} {
		wantRefused(t, name, c.page, c.rec, c.id)
	}
}
