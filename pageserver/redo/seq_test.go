package redo

import (
	"encoding/binary"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

// seqRecord sets a sequence to a value.
func seqRecord(value uint64) *wal.Record {
	main := make([]byte, 12+24+17)
	for i, v := range []pg.OID{testRel.Spc, testRel.DB, testRel.Rel} {
		binary.LittleEndian.PutUint32(main[4*i:], uint32(v))
	}
	main[12+22] = 24
	binary.LittleEndian.PutUint64(main[12+24:], value)
	return record(wal.RMSeq, 0, main, nil)
}

func TestSequence(t *testing.T) {
	page := filledPage(t, 3)
	page.SetLSN(0x9000)
	for _, value := range []uint64{7, 8} {
		r := mustApply(t, page, seqRecord(value), 0, Env{})
		tuple, ok := page.Tuple(1)
		if r != Changed || page.LSN() != 0x1040 || page.NumItems() != 1 || !ok || len(tuple) != 41 ||
			binary.LittleEndian.Uint64(tuple[24:]) != value {
			t.Errorf("%v, %d items, tuple %x", r, page.NumItems(), tuple)
		}
		if page.Special() != pg.BlockSize-8 || binary.LittleEndian.Uint64(page[pg.BlockSize-8:]) != 0x1717 {
			t.Errorf("special area at %d: %x", page.Special(), page[pg.BlockSize-8:])
		}
	}
	other := seqRecord(7)
	other.Blocks[0].Rel.Rel++
	second := seqRecord(7)
	second.Blocks[0].ID = 1
	unknown := seqRecord(7)
	unknown.Info = 0x10
	long := seqRecord(7)
	long.Main = append(long.Main, make([]byte, pg.BlockSize)...)
	for what, rec := range map[string]*wal.Record{"another relation": other, "a second block": second, "an unknown type": unknown, "a tuple larger than a page": long} {
		wantRefused(t, what, page, rec, rec.Blocks[0].ID)
	}
}
