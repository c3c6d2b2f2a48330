package redo

import (
	"errors"
	"math"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/hashrec"
)

// TestHashRefuses: records and pages that do not fit each other.
func TestHashRefuses(t *testing.T) {
	bucket := func(t *testing.T) pg.Page { return hashPageWith(t, hashBucketPage, 10, 20) }
	heap := func(t *testing.T) pg.Page { p := filledPage(t, 1); p.SetLSN(1); return p }
	other := func(t *testing.T) pg.Page { p := hashPageWith(t, hashBucketPage); p[pg.BlockSize-1] = 0; return p }
	full := func(t *testing.T) pg.Page { p := hashPageWith(t, hashBucketPage); p.SetUpper(p.Lower() + 16); return p }
	bitmap := func(t *testing.T) pg.Page {
		p := newPage()
		if err := initHashBitmap(p, 4096); err != nil {
			t.Fatal(err)
		}
		return p
	}
	metaWith := func(at int, v uint32) func(*testing.T) pg.Page {
		return func(t *testing.T) pg.Page { p := metaPage(t); metaOf(t, p).setU32(at, v); return p }
	}
	squeeze := []byte{8, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, 0}
	insert := with(hashRecord(hashrec.OpInsert, []byte{1, 0}, 0, 1), 0, hashTuple(1))
	ovfl := []byte{0, 0x10, 0}
	split := []byte{4, 0, 0, 0, 0x22, 0, 0x12, 0, 3}
	for what, s := range map[string]struct {
		page func(*testing.T) pg.Page
		rec  *wal.Record
		id   uint8
	}{
		"an insertion into a heap page":              {heap, insert, 0},
		"an insertion into a page of another kind":   {other, insert, 0},
		"an insertion into a full page":              {full, insert, 0},
		"an insertion beyond the line pointers":      {bucket, with(hashRecord(hashrec.OpInsert, []byte{4, 0}, 0), 0, hashTuple(1)), 0},
		"an insertion of nothing":                    {bucket, hashRecord(hashrec.OpInsert, []byte{1, 0}, 0), 0},
		"tuples counted on a bucket page":            {bucket, insert, 1},
		"an insertion's third block":                 {bucket, hashRecord(hashrec.OpInsert, []byte{1, 0}, 0, 1, 2), 2},
		"an unknown type":                            {bucket, hashRecord(0xD0, nil, 0), 0},
		"a metapage without a fill factor":           {bucket, hashRecord(hashrec.OpInitMetaPage, make([]byte, 14), 0), 0},
		"a bitmap larger than a page":                {bucket, hashRecord(hashrec.OpInitBitmapPage, []byte{0xD9, 0x1F}, 0), 0},
		"one bitmap page too many":                   {metaWith(metaMaps, 1024), hashRecord(hashrec.OpInitBitmapPage, ovfl[:2], 1), 1},
		"an overflow page of no bucket":              {bucket, hashRecord(hashrec.OpAddOvflPage, ovfl, 0, 1), 0},
		"an overflow page after none":                {bucket, with(hashRecord(hashrec.OpAddOvflPage, ovfl, 0), 0, le32(1)), 0},
		"a bit beyond the bitmap":                    {bitmap, with(hashRecord(hashrec.OpAddOvflPage, ovfl, 0, 1, 2), 2, le32(4096*8)), 2},
		"a bit on a bucket page":                     {bucket, with(hashRecord(hashrec.OpAddOvflPage, ovfl, 0, 1, 2), 2, le32(1)), 2},
		"an overflow page past the split points":     {metaWith(metaSplitPoint, 98), with(hashRecord(hashrec.OpAddOvflPage, ovfl, 0, 1, 4), 4, le32(1)), 4},
		"an overflow page's bitmap page too many":    {metaWith(metaMaps, math.MaxUint32), with(hashRecord(hashrec.OpAddOvflPage, ovfl, 0, 1, 3, 4), 4, le32(1)), 4},
		"a split past the split points":              {metaPage, with(hashRecord(hashrec.OpSplitAllocatePage, split, 2), 2, le32(7, 15, 98, 6)), 2},
		"a split without its masks":                  {metaPage, with(hashRecord(hashrec.OpSplitAllocatePage, split, 2), 2, le32(3, 6)), 2},
		"a move of no tuples that says one":          {bucket, hashRecord(hashrec.OpMovePageContents, []byte{1, 0, 1}, 1), 1},
		"a move that names a first page twice":       {bucket, hashRecord(hashrec.OpMovePageContents, []byte{1, 0, 1}, 0, 1), 0},
		"a move from a line pointer that is not":     {bucket, with(hashRecord(hashrec.OpMovePageContents, []byte{1, 0, 1}, 1, 2), 2, []byte{3, 0}), 2},
		"half a line pointer":                        {bucket, with(hashRecord(hashrec.OpMovePageContents, []byte{1, 0, 1}, 1, 2), 2, []byte{1}), 2},
		"a squeeze that names a first page twice":    {bucket, hashRecord(hashrec.OpSqueezePage, squeeze, 0, 1), 0},
		"a squeeze of a heap page":                   {heap, hashRecord(hashrec.OpSqueezePage, squeeze, 2), 2},
		"a squeeze's first free page of no metapage": {bucket, with(hashRecord(hashrec.OpSqueezePage, squeeze, 6), 6, le32(1)), 6},
		"a squeeze's eighth block":                   {bucket, hashRecord(hashrec.OpSqueezePage, squeeze, 7), 7},
		"a deletion that names a first page twice":   {bucket, hashRecord(hashrec.OpDelete, []byte{0, 1}, 0, 1), 0},
		"a deletion of line pointers out of order":   {bucket, with(hashRecord(hashrec.OpDelete, []byte{0, 1}, 1), 1, []byte{2, 0, 1, 0, 1, 0}), 1},
		"more dead tuples than there are":            {bucket, hashRecord(hashrec.OpVacuumOnePage, []byte{1, 0, 0, 0, 3, 0, 0, 0, 1, 0, 2, 0, 3, 0}, 0), 0},
		"a cleanup with data":                        {bucket, hashRecord(hashrec.OpSplitCleanup, []byte{1}, 0), 0},
		"a split page without its image":             {bucket, hashRecord(hashrec.OpSplitPage, nil, 0), 0},
	} {
		wantRefused(t, what, s.page(t), s.rec, s.id)
	}
}

func TestMaskHash(t *testing.T) {
	a, b := hashPageWith(t, hashBucketPage, 10, 20), hashPageWith(t, hashBucketPage|hashHasDeadTuples, 10, 20)
	b.SetLSN(2)
	b.SetItem(2, pg.MakeItemID(b.Item(2).Offset(), pg.LPDead, 16))
	b[b.Lower()] = 0xEE
	var s Scratch
	if equal, diffs, err := Compare(wal.RMHash, a, b, 7, &s); !equal || err != nil {
		t.Errorf("what scans change without WAL counts: %v %v", diffs, err)
	}
	b[b.Upper()+9]++
	if equal, _, _ := Compare(wal.RMHash, a, b, 7, &s); equal {
		t.Error("another tuple does not count")
	}
	freed, older := hashPageWith(t, hashUnusedPage), hashPageWith(t, hashUnusedPage, 1)
	if equal, diffs, _ := Compare(wal.RMHash, freed, older, 7, &s); !equal {
		t.Errorf("the contents of a freed page count: %v", diffs)
	}
	meta := metaPage(t)
	meta.SetItem(1, pg.MakeItemID(0, pg.LPDead, 0))
	if equal, _, _ := Compare(wal.RMHash, metaPage(t), meta, 0, &s); equal {
		t.Error("the metapage's contents are taken for line pointers")
	}
	if equal, _, _ := Compare(wal.RMHash, filledPage(t, 1), filledPage(t, 1), 7, &s); equal {
		t.Error("heap pages pass as hash pages")
	}
}

// FuzzHash: no record and no page panics.
func FuzzHash(f *testing.F) {
	f.Add(uint8(hashrec.OpMovePageContents), uint8(1), []byte{2, 0, 1}, movedData(), []byte{1, 2, 3}, uint16(0))
	f.Add(uint8(hashrec.OpSqueezePage), uint8(6), []byte{8, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0}, le32(3), []byte{}, uint16(9))
	f.Fuzz(func(t *testing.T, op, id uint8, main, data, scribble []byte, at uint16) {
		for _, kind := range []uint16{hashBucketPage, hashBitmapPage, hashMetaPage} {
			page := hashPageWith(t, kind, 10, 20, 30)
			copy(page[at%pg.BlockSize:], scribble)
			page.SetLSN(1)
			rec := with(hashRecord(op, main, 0, 1, 2, 3, 4, 5, 6, 7), id%8, data)
			rec.Major = pg.Major(15 + op%4)
			if _, err := Apply(page, rec, rec.Block(id%8), Env{}); err != nil && !errors.Is(err, pg.ErrCorrupt) {
				t.Fatal(err)
			}
			maskHash(page, 7)
		}
	})
}
