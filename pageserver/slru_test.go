package pageserver

import (
	"context"
	"errors"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/slru"
)

func createMulti(tl *Timeline, id, offset uint32, members ...uint32) *wal.Record {
	return record(tl, wal.RMMultiXact, xlrec.MultiXactCreateID, 0, u32s(append([]uint32{id, offset, uint32(len(members) / 2)}, members...)...))
}

// TestMultiXacts follows multixacts over the ends of offset pages, member pages, groups and the 32-bit range.
func TestMultiXacts(t *testing.T) {
	const update, lock = uint32(xlrec.MultiXactUpdate), uint32(xlrec.MultiXactForKeyShare)
	for _, c := range []struct {
		name       string
		id, offset uint32
	}{
		{"first", 1, 1}, {"offset page ends", slru.OffsetsPerPage - 3, 50}, {"member page ends", 10, slru.MembersPerPage - 3}, {"members wrap", 10, 0xFFFFFFF9},
	} {
		t.Run(c.name, func(t *testing.T) {
			tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
			tl.live.CheckPoint.NextMulti, tl.live.CheckPoint.NextMultiOffset = pg.MultiXactID(c.id), c.offset
			want := map[pg.MultiXactID]pg.XID{}
			id, offset := c.id, c.offset
			for i := range uint32(8) {
				if id%slru.OffsetsPerPage == 0 {
					apply(t, tl, record(tl, wal.RMMultiXact, xlrec.MultiXactZeroOffPage, 0, u32s(id/slru.OffsetsPerPage)))
				}
				members := []uint32{2000 + i, lock, 3000 + i, update}
				want[pg.MultiXactID(id)] = pg.XID(3000 + i)
				if i%2 == 1 {
					members[3] = lock
					want[pg.MultiXactID(id)] = 0
				}
				apply(t, tl, createMulti(tl, id, offset, members...))
				id++
				// A new multixact whose offset would be 0 takes one member more and starts at 1.
				if offset += 2; offset < 2 {
					offset = max(offset, 1)
				}
			}
			flush(t, tl)
			for range 2 {
				for multi, xid := range want {
					got, ok, err := tl.MultiXactUpdater(multi)
					if err != nil || got != xid || ok != (xid != 0) {
						t.Errorf("updater of %d is %d, %v, %v; want %d", multi, got, ok, err, xid)
					}
				}
				tl = reopen(t, tl)
			}
			for _, unknown := range []uint32{id, id + 5} {
				if _, _, err := tl.MultiXactUpdater(pg.MultiXactID(unknown)); !errors.Is(err, pg.ErrCorrupt) {
					t.Errorf("multixact %d that is not there yet: %v", unknown, err)
				}
			}
			if n := tl.CheckPoint().NextXID; n != 3008 {
				t.Errorf("next transaction id %d", n)
			}
			_ = tl.Close()
		})
	}
}

// TestMultiXactBehindIsNotLogged: of three multixacts the second is assigned and not logged yet, in a base backup of a minor
// release that does not set its offset ahead.
func TestMultiXactBehindIsNotLogged(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
	defer tl.Close()
	tl.live.CheckPoint.NextMulti, tl.live.CheckPoint.NextMultiOffset = 5, 50
	const update, lock = uint32(xlrec.MultiXactUpdate), uint32(xlrec.MultiXactForKeyShare)
	apply(t, tl, createMulti(tl, 5, 50, 2000, lock, 3000, update))
	apply(t, tl, createMulti(tl, 7, 54, 2002, lock, 3002, update))
	unset := slru.Change{Kind: slru.Offsets, Op: slru.Offset, ID: 6}
	unset.Apply(tl.arena.page(tl.slruFork(slru.Offsets).frame(0)))
	for multi, want := range map[pg.MultiXactID]pg.XID{5: 3000, 7: 3002} {
		if got, ok, err := tl.MultiXactUpdater(multi); err != nil || !ok || got != want {
			t.Errorf("updater of %d is %d, %v, %v; want %d", multi, got, ok, err, want)
		}
	}
	if _, _, err := tl.MultiXactUpdater(6); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("the one not logged: %v", err)
	}
}

// TestNextXID counts the epoch when ids wrap.
func TestNextXID(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
	defer tl.Close()
	for _, c := range []struct {
		next pg.FullXID
		seen pg.XID
		want pg.FullXID
	}{
		{1000, 999, 1000}, {1000, 1000, 1001}, {1000, 0, 1000}, {1000, 5000, 5001}, {0xFFFFFFFF, 0xFFFFFFFF, 1<<32 | 3},
		{0xFFFFFFF0, 5, 1<<32 | 6}, {1<<32 | 6, 0xFFFFFFF0, 1<<32 | 6}, {2<<32 | 100, 2, 2<<32 | 100},
	} {
		tl.live.CheckPoint.NextXID = c.next
		if tl.live.NoteXID(c.seen); tl.live.CheckPoint.NextXID != c.want {
			t.Errorf("next %#x after %d is %#x, want %#x", c.next, c.seen, tl.live.CheckPoint.NextXID, c.want)
		}
	}
}

// TestApplyDoesNotAllocate: a record on resident pages costs no garbage.
func TestApplyDoesNotAllocate(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 8)
	defer tl.Close()
	rec := fpi(tl.nextLSN(), 1001, testRel, 1, 1, 2, 3)
	apply(t, tl, rec)
	n := testing.AllocsPerRun(200, func() {
		rec.LSN, rec.End = tl.redoLSN, tl.redoLSN+0x100
		if err := tl.Apply(context.Background(), rec); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%.1f allocations a record", n)
	}
}
