package brinrec

import (
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/rectest"
)

var b = rectest.Hex

func decode(op uint8, main []byte) (r any, err error) {
	switch op {
	case OpCreateIndex:
		return DecodeCreateIndex(main)
	case OpInsert:
		return DecodeInsert(main)
	case OpUpdate:
		return DecodeUpdate(main)
	case OpSamepageUpdate:
		return DecodeSamepageUpdate(main)
	case OpRevmapExtend:
		return DecodeRevmapExtend(main)
	case OpDesummarize:
		return DecodeDesummarize(main)
	}
	return nil, nil
}

var samples = []struct {
	op   uint8
	main string
	want any
}{
	{OpCreateIndex, "80000000 0100", CreateIndex{PagesPerRange: 128, Version: 1}},
	{OpInsert, "00010000 80000000 0300", Insert{Range{256, 128}, 3}},
	{OpUpdate, "0500 0000 00010000 80000000 0300", Update{5, Insert{Range{256, 128}, 3}}},
	{OpSamepageUpdate, "0400", SamepageUpdate{4}},
	{OpRevmapExtend, "02000000", RevmapExtend{2}},
	{OpDesummarize, "80000000 00010000 0300", Desummarize{Range{256, 128}, 3}},
}

// TestDecode: each sample reads as it should, and only its own length will do.
func TestDecode(t *testing.T) {
	for _, s := range samples {
		main := b(t, s.main)
		if got, err := decode(s.op, main); err != nil || got != s.want {
			t.Errorf("%#x: %+v, %v", s.op, got, err)
		}
		rectest.OnlyItsLength(t, fmt.Sprintf("%#x", s.op), main, func(main []byte) error {
			_, err := decode(s.op, main)
			return err
		})
	}
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		r     Range
		blk   pg.BlockNumber
		index int
	}{
		{Range{0, 1}, 1, 0}, {Range{1359, 1}, 1, 1359}, {Range{1360, 1}, 2, 0}, {Range{1361 * 128, 128}, 2, 1},
		{Range{pg.InvalidBlock - 1, 1}, 1 + 4294967294/1360, 4294967294 % 1360},
	} {
		if blk, index := c.r.Place(); blk != c.blk || index != c.index {
			t.Errorf("%+v: %d, %d", c.r, blk, index)
		}
	}
}

func TestPages(t *testing.T) {
	p := pg.Page(make([]byte, pg.BlockSize))
	if _, ok := Type(p); ok {
		t.Error("a page of zeros has a type")
	}
	Init(p, RevmapPage)
	if kind, ok := Type(p); !ok || kind != RevmapPage || p[pg.BlockSize-2] != 0x92 || p[pg.BlockSize-1] != 0xF0 {
		t.Errorf("%x", p[pg.BlockSize-8:])
	}
	last := RevmapItems - 1
	SetTID(p, last, pg.TID{Block: 0x00030002, Offset: 1})
	if got := hex.EncodeToString(p[pg.PageHeaderSize+6*last : pg.BlockSize-8]); got != "030002000100" {
		t.Error(got)
	}
	SetTID(p, last, pg.TID{})
	if got := hex.EncodeToString(p[pg.PageHeaderSize+6*last : pg.BlockSize-8]); got != "ffffffff0000" {
		t.Error(got)
	}
	InitMeta(p, CreateIndex{PagesPerRange: 128, Version: 1})
	if kind, _ := Type(p); kind != MetaPage || LastRevmapPage(p) != 0 || p.Lower() != MetaEnd {
		t.Errorf("%x", p[:64])
	}
	p.SetLower(pg.PageHeaderSize) // as before 11
	SetLastRevmapPage(p, 1)
	if got := hex.EncodeToString(p[pg.PageHeaderSize:MetaEnd]); got != "fa9c10a8010000008000000001000000" || p.Lower() != MetaEnd {
		t.Error(got)
	}
}

// FuzzDecode: no input panics, and what is refused is refused as corrupt.
func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(s.op, b(f, s.main))
	}
	f.Fuzz(func(t *testing.T, op uint8, main []byte) {
		if _, err := decode(op&OpMask, main); err != nil && !errors.Is(err, pg.ErrCorrupt) {
			t.Fatal(err)
		}
		_, _ = TupleRange(main)
	})
}
