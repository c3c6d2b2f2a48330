package redo

import (
	"bytes"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

// TestGeneric: fragments land where they say, and the space between the pointers as they are afterwards is cleared.
func TestGeneric(t *testing.T) {
	page := newPage()
	page.Init(16)
	for i := pg.PageHeaderSize; i < pg.BlockSize; i++ {
		page[i] = 0xEE
	}
	// Lower from 24 to 40 with 4 bytes that follow it, and the last byte; all other bytes from 40 to upper must become zero.
	rec := record(wal.RMGeneric, 0, nil, []byte{12, 0, 2, 0, 40, 0, 36, 0, 4, 0, 1, 2, 3, 4, 0xFF, 0x1F, 1, 0, 9})
	if r := mustApply(t, page, rec, 0, Env{}); r != Changed || page.LSN() != rec.End || page.Lower() != 40 {
		t.Errorf("%v, LSN %s, lower %d", r, page.LSN(), page.Lower())
	}
	if !bytes.Equal(page[32:40], []byte{0xEE, 0xEE, 0xEE, 0xEE, 1, 2, 3, 4}) || page[pg.BlockSize-1] != 9 || page[pg.BlockSize-2] != 0xEE {
		t.Errorf("fragments: %x %x", page[32:40], page[pg.BlockSize-2:])
	}
	if upper := int(page.Upper()); !bytes.Equal(page[40:upper], make([]byte, upper-40)) || page[upper] != 0xEE {
		t.Error("the space between the pointers is not clear, or more than that is")
	}
	before := append(pg.Page(nil), page...)
	if r := mustApply(t, page, rec, 0, Env{}); r != Skipped || !bytes.Equal(page, before) {
		t.Errorf("again: %v", r)
	}
	if r := mustApply(t, newPage(), rec, 0, Env{}); r != Missing {
		t.Errorf("a page that is not there: %v", r)
	}
}

func TestGenericRefuses(t *testing.T) {
	fifth := record(wal.RMGeneric, 0, nil, nil)
	fifth.Blocks[0].ID = 4
	for what, rec := range map[string]*wal.Record{
		"a fragment off the page":       record(wal.RMGeneric, 0, nil, []byte{0xFF, 0x1F, 2, 0, 1, 1}),
		"a fragment cut short":          record(wal.RMGeneric, 0, nil, []byte{24, 0, 2, 0, 1}),
		"lower above upper":             record(wal.RMGeneric, 0, nil, []byte{12, 0, 4, 0, 40, 0, 32, 0}),
		"upper off the page":            record(wal.RMGeneric, 0, nil, []byte{14, 0, 2, 0, 1, 0x20}),
		"main data":                     record(wal.RMGeneric, 0, []byte{1}, nil),
		"a record type":                 record(wal.RMGeneric, 0x10, nil, nil),
		"more blocks than there can be": fifth,
	} {
		page := newPage()
		page.Init(0)
		wantRefused(t, what, page, rec, rec.Blocks[0].ID)
	}
}
