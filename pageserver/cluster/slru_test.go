package cluster

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// TestMultiXactPagesOfOldMinors: WAL of minor releases that make an offsets page only when its first multixact is assigned,
// and of those that make it one multixact earlier, leave the same.
func TestMultiXactPagesOfOldMinors(t *testing.T) {
	create := func(id, offset uint32) *wal.Record {
		return record(pg.PG16, wal.RMMultiXact, xlrec.MultiXactCreateID, id, offset, uint32(1), uint32(900), uint32(1))
	}
	zero := record(pg.PG16, wal.RMMultiXact, xlrec.MultiXactZeroOffPage, uint32(1))
	for name, recs := range map[string][]*wal.Record{
		"old":            {create(2046, 10), create(2047, 11), zero, create(2048, 12)},
		"new":            {create(2046, 10), zero, create(2047, 11), create(2048, 12)},
		"old, after one": {record(pg.PG16, wal.RMMultiXact, xlrec.MultiXactZeroOffPage, uint32(0)), create(2046, 10), create(2047, 11), zero, create(2048, 12)},
	} {
		w := newWorld()
		w.sets[slru.Offsets].Add(0)
		stale := w.page(slru.Offsets, 1)
		for i := range stale {
			stale[i] = 0xEE // of 2^32 multixacts ago
		}
		last := uint32(0)
		for _, rec := range recs {
			w.must(t, rec)
			if rec.Op() == xlrec.MultiXactCreateID {
				last = binary.LittleEndian.Uint32(rec.Main)
			}
			// The end of the last one is known at all times.
			if next := pg.MultiXactID(last + 1); last != 0 && slru.OffsetOf(w.page(slru.Offsets, slru.Offsets.Page(uint32(next))), next) != last-2046+11 {
				t.Errorf("%s: after record %#02x the end of %d is not known", name, rec.Info, last)
			}
		}
		for id, want := range map[pg.MultiXactID]uint32{2046: 10, 2047: 11, 2048: 12, 2049: 13, 2050: 0} {
			if got := slru.OffsetOf(w.page(slru.Offsets, slru.Offsets.Page(uint32(id))), id); got != want {
				t.Errorf("%s: offset of %d is %d, want %d", name, id, got, want)
			}
		}
	}
}

// TestMultiXactTruncation: members go by segment, over the end of the numbers, offsets by page.
func TestMultiXactTruncation(t *testing.T) {
	w := newWorld()
	w.CheckPoint.NextMulti = 200_000
	for no := uint32(0); no < 120; no += 32 {
		w.sets[slru.Offsets].Add(no)
	}
	last := slru.Members.PagesMax() - 1
	for _, no := range []uint32{0, 40, 70, last} {
		w.sets[slru.Members].Add(no)
	}
	w.must(t, record(pg.PG15, wal.RMMultiXact, xlrec.MultiXactTruncateID, uint32(5), uint32(1), uint32(131_073), uint32(1<<32-1), uint32(65*slru.MembersPerPage)))
	if fmt.Sprint(w.sets[slru.Offsets].Runs()) != "[{64 65} {96 97}]" || fmt.Sprint(w.sets[slru.Members].Runs()) != "[{64 71}]" {
		t.Errorf("offsets %v, members %v", w.sets[slru.Offsets].Runs(), w.sets[slru.Members].Runs())
	}
	if w.CheckPoint.OldestMulti != 131_073 || w.CheckPoint.OldestMultiDB != 5 {
		t.Errorf("%+v", w.CheckPoint)
	}
}

// TestApparentWraparound: a truncation that would take the page in use takes nothing (SimpleLruTruncate).
func TestApparentWraparound(t *testing.T) {
	w := newWorld()
	w.sets[slru.CLOG].Add(31)
	w.must(t, record(pg.PG15, wal.RMClog, xlrec.ClogTruncate, uint32(90), uint32(1100), uint32(5)))
	if !w.sets[slru.CLOG].Has(0) {
		t.Error("the page in use is gone")
	}
}
