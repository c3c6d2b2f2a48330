package pageserver

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/heaprec"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// deletes is a record by which xid deletes what lies at an offset of a block, with the block's image.
func deletes(tl *Timeline, xid pg.XID, rel pg.RelFileLocator, blk pg.BlockNumber, off uint16) *wal.Record {
	rec := fpi(tl.nextLSN(), xid, rel, 1, blk)
	rec.RMID, rec.Info, rec.Main = wal.RMHeap, heaprec.OpDelete, []byte{byte(xid), byte(xid >> 8), 0, 0, byte(off), byte(off >> 8), 0, 0}
	return rec
}

// What a table of changes asks is known from one publication to the next, over restarts, and no longer.
func TestChanges(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 40)
	defer func() { _ = tl.Close() }()
	other := testRel
	other.Rel++
	apply(t, tl, commit(tl, 1000))
	if _, ok := tl.CommitOf(1000); ok {
		t.Error("a commit is noted that nobody asks for")
	}
	watch := func() { tl.NoteChanges(true, []pg.RelFileLocator{testRel}) }
	watch()
	apply(t, tl, deletes(tl, 1002, testRel, 1, 5))
	apply(t, tl, deletes(tl, 1003, testRel, 1, 6))
	apply(t, tl, create(tl, other))
	apply(t, tl, deletes(tl, 1003, other, 1, 7))
	main := append(make([]byte, 8), u32s(xlrec.XInfoHasSubxacts, 1, 1002)...)
	rec := record(tl, wal.RMXact, xlrec.XactCommit|xlrec.XactHasInfo, 1001, main)
	apply(t, tl, rec)
	want := Commit{XID: 1001, LSN: rec.End, Time: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}
	known := func(commits, deleters bool) {
		t.Helper()
		for _, xid := range []pg.XID{1001, 1002} {
			if got, ok := tl.CommitOf(xid); ok != commits || ok && (got.XID != want.XID || got.LSN != want.LSN || !got.Time.Equal(want.Time)) {
				t.Errorf("commit of %d: %+v, %v", xid, got, ok)
			}
		}
		if got := tl.Deleters(testRel, pg.TID{Block: 1, Offset: 5}); slices.Equal(got, []pg.XID{1002}) != deleters {
			t.Errorf("deleters %v", got)
		}
		if got := tl.Deleters(testRel, pg.TID{Block: 1, Offset: 6}); !slices.Equal(got, []pg.XID{1003}) {
			t.Errorf("deleters whose transaction is open %v", got)
		}
		if got := tl.Deleters(other, pg.TID{Block: 1, Offset: 7}); got != nil {
			t.Errorf("deleters of a relation that is not watched: %v", got)
		}
	}
	known(true, true)
	flush(t, tl)
	tl = reopen(t, tl)
	watch()
	known(true, true)
	_ = tl.TakeDirty()
	tl.ReturnDirty()
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 1, 2))
	known(true, true)
	_ = tl.TakeDirty()
	tl.Published()
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 1, 2))
	known(false, false)
	if tl.NoteChanges(false, nil); tl.Deleters(testRel, pg.TID{Block: 1, Offset: 6}) != nil {
		t.Error("deleters are noted still")
	}
	var c changes
	if err := c.load(&savedChanges{Commits: make([]byte, 27)}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a state cut short: %v", err)
	}
}

// An id has the epoch of the next one, or is within 2^31 of it on the other side.
func TestFullXID(t *testing.T) {
	for _, c := range []struct {
		next pg.FullXID
		xid  pg.XID
		want pg.FullXID
	}{{1000, 999, 999}, {1000, 1001, 1001}, {1<<32 + 5, 3, 1<<32 + 3}, {1<<32 + 5, 0xFFFFFFFF, 0xFFFFFFFF}, {3<<32 - 1, 4, 3<<32 + 4}} {
		tl := &Timeline{}
		if tl.live.CheckPoint.NextXID = c.next; tl.fullXID(c.xid) != c.want {
			t.Errorf("%d with %d next is %d, want %d", c.xid, c.next, tl.fullXID(c.xid), c.want)
		}
	}
}
