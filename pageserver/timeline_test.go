package pageserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

func apply(t testing.TB, tl *Timeline, recs ...*wal.Record) {
	t.Helper()
	for _, rec := range recs {
		if err := tl.Apply(context.Background(), rec); err != nil {
			t.Fatal(err)
		}
	}
}

func flush(t testing.TB, tl *Timeline) {
	t.Helper()
	if err := tl.StartFlush(context.Background())(); err != nil {
		t.Fatal(err)
	}
}

func reopen(t testing.TB, tl *Timeline) *Timeline {
	t.Helper()
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
	tl, err := Open(context.Background(), tl.opts)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// pageVersion is the version heapPage gave the block, -1 if there is no page.
func pageVersion(t testing.TB, tl *Timeline, rel pg.RelFileLocator, blk pg.BlockNumber) int {
	t.Helper()
	page, err := tl.Page(context.Background(), rel, pg.MainFork, blk)
	if err != nil {
		t.Fatal(err)
	}
	if page == nil {
		return -1
	}
	var b, v int
	if _, err := fmt.Sscanf(string(page[4000:]), "block %d version %d", &b, &v); err != nil || b != int(blk) {
		t.Fatalf("block %d holds %q", blk, page[4000:4040])
	}
	return v
}

func (t *Timeline) nextLSN() pg.LSN { return t.redoLSN }

func u32s(v ...uint32) (b []byte) {
	for _, x := range v {
		b = append(b, byte(x), byte(x>>8), byte(x>>16), byte(x>>24))
	}
	return b
}

func record(tl *Timeline, rmid wal.RMID, info uint8, xid pg.XID, main []byte) *wal.Record {
	return &wal.Record{Major: pg.PG15, LSN: tl.nextLSN(), End: tl.nextLSN() + 0x80, RMID: rmid, Info: info, XID: xid, Main: main}
}

func create(tl *Timeline, rel pg.RelFileLocator) *wal.Record {
	return record(tl, wal.RMSmgr, xlrec.SmgrCreate, 0, u32s(uint32(rel.Spc), uint32(rel.DB), uint32(rel.Rel), 0))
}

func truncate(tl *Timeline, rel pg.RelFileLocator, n uint32) *wal.Record {
	return record(tl, wal.RMSmgr, xlrec.SmgrTruncate, 0, u32s(n, uint32(rel.Spc), uint32(rel.DB), uint32(rel.Rel), 7))
}

// commit ends xid and drops relations.
func commit(tl *Timeline, xid pg.XID, drop ...pg.RelFileLocator) *wal.Record {
	main := append(make([]byte, 8), u32s(xlrec.XInfoHasRels, uint32(len(drop)))...)
	for _, r := range drop {
		main = append(main, u32s(uint32(r.Spc), uint32(r.DB), uint32(r.Rel))...)
	}
	return record(tl, wal.RMXact, xlrec.XactCommit|xlrec.XactHasInfo, xid, main)
}

func TestNoTimeline(t *testing.T) {
	if _, err := Open(context.Background(), Options{Store: objstore.NewMem()}); !errors.Is(err, ErrNoTimeline) {
		t.Errorf("Open of an empty store: %v", err)
	}
	if _, err := Open(context.Background(), Options{Store: objstore.NewMem(), Branch: "../x"}); err == nil || errors.Is(err, ErrNoTimeline) {
		t.Errorf("Open of a branch with a bad name: %v", err)
	}
	if _, err := Open(context.Background(), Options{Store: objstore.NewMem(), Workers: -1}); err == nil || errors.Is(err, ErrNoTimeline) {
		t.Errorf("Open with fewer than no workers: %v", err)
	}
}

// TestFormerTenant: what a relation was before a truncation, or a drop, must not come back when its blocks or its number
// are used again: not from layers, not from merged ones, not after a restart.
func TestFormerTenant(t *testing.T) {
	for _, merge := range []bool{false, true} {
		tl := importPages(t, Options{Store: objstore.NewMem()}, 20)
		apply(t, tl, truncate(tl, testRel, 5))
		// Block 12 is extended over a gap of zeros.
		apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 2, 12))
		other := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 99}
		apply(t, tl, fpi(tl.nextLSN(), 0, other, 3, 0, 1, 2))
		flush(t, tl)
		apply(t, tl, commit(tl, 1001, other))
		apply(t, tl, create(tl, other))
		apply(t, tl, fpi(tl.nextLSN(), 0, other, 4, 2))
		info, ok := tl.Relation(other)
		if !ok || info.Created <= tl.ResumeLSN() {
			t.Errorf("created %v at %s", ok, info.Created)
		}
		flush(t, tl)
		if merge {
			mergeAll(t, tl)
			if len(*tl.layers.Load()) != 1 {
				t.Fatal("not merged into one")
			}
		}
		check := func(tl *Timeline) {
			t.Helper()
			for blk, want := range map[pg.BlockNumber]int{0: 0, 4: 0, 5: -1, 11: -1, 12: 2, 13: -1, 19: -1} {
				if got := pageVersion(t, tl, testRel, blk); got != want {
					t.Errorf("merge %v: block %d has version %d, want %d", merge, blk, got, want)
				}
			}
			for blk, want := range []int{-1, -1, 4, -1} {
				if got := pageVersion(t, tl, other, pg.BlockNumber(blk)); got != want {
					t.Errorf("merge %v: other's block %d has version %d, want %d", merge, blk, got, want)
				}
			}
			var seen []pg.BlockNumber
			err := tl.Scan(context.Background(), testRel, 0, 0, 100, func(blk pg.BlockNumber, _ pg.Page) error {
				seen = append(seen, blk)
				return nil
			})
			if err != nil || fmt.Sprint(seen) != "[0 1 2 3 4 12]" {
				t.Errorf("scan sees %v, %v", seen, err)
			}
			if n, ok, err := tl.NBlocks(context.Background(), testRel, 0); n != 13 || !ok || err != nil {
				t.Errorf("%d blocks, %v, %v", n, ok, err)
			}
			if i, _ := tl.Relation(other); i != info {
				t.Errorf("created at %s, was %s", i.Created, info.Created)
			}
		}
		check(tl)
		tl = reopen(t, tl)
		check(tl)
		_ = tl.Close()
	}
}

// TestMergeBesideFlushes: a merge that began with a flush knows nothing of relations made since, and leaves their layers
// alone.
func TestMergeBesideFlushes(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 4)
	tl.flusher.merging.Store(true) // none by itself
	for i := range 12 {
		apply(t, tl, fpi(tl.nextLSN(), 0, testRel, i+1, 1, pg.BlockNumber(10+i)))
		flush(t, tl)
	}
	old := tl.directory()
	later := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 99}
	apply(t, tl, fpi(tl.nextLSN(), 0, later, 5, 0))
	flush(t, tl)
	if err := tl.mergeLayers(context.Background(), old); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if n := tl.Stats().Layers; n > mergeLayersMax+1 {
			t.Errorf("%d layers", n)
		}
		if v := pageVersion(t, tl, later, 0); v != 5 {
			t.Errorf("the later relation has version %d", v)
		}
		for blk, want := range map[pg.BlockNumber]int{0: 0, 1: 12, 10: 1, 21: 12} {
			if v := pageVersion(t, tl, testRel, blk); v != want {
				t.Errorf("block %d has version %d, want %d", blk, v, want)
			}
		}
		tl = reopen(t, tl)
	}
	_ = tl.Close()
}

// TestBadRecordEndsTimeline: a record of which one block fails is not followed by anything, and what it did is never
// durable: the store still has the timeline as it was.
func TestBadRecordEndsTimeline(t *testing.T) {
	o := Options{Store: objstore.NewMem()}
	tl := importPages(t, o, 4)
	fresh := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 77}
	rec := fpi(tl.nextLSN(), 9, testRel, 5, 1, 2, 9)
	rec.Blocks[1].Rel = fresh
	rec.Blocks[2].Image = rec.Blocks[2].Image[:100] // of a wrong length
	before := tl.RedoLSN()
	for _, r := range []*wal.Record{rec, rec, fpi(tl.nextLSN(), 9, testRel, 6, 1)} {
		if err := tl.Apply(context.Background(), r); !errors.Is(err, pg.ErrCorrupt) {
			t.Fatalf("Apply from a bad record on: %v", err)
		}
	}
	if tl.RedoLSN() != before {
		t.Errorf("a bad record moved the timeline from %s to %s", before, tl.RedoLSN())
	}
	if _, err := tl.Page(context.Background(), testRel, pg.MainFork, 1); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a page that may be half changed was read: %v", err)
	}
	if err := tl.StartFlush(context.Background())(); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("pages that may be half changed were made durable: %v", err)
	}
	_ = tl.Close()
	tl, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer tl.Close()
	if tl.RedoLSN() != before || pageVersion(t, tl, testRel, 1) != 0 {
		t.Error("a bad record left traces in the store")
	}
	if _, ok := tl.Relation(fresh); ok {
		t.Error("a bad record made a relation")
	}
}

func TestDirtyFollowsCommit(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 40)
	defer func() { _ = tl.Close() }()
	take := func() string {
		t.Helper()
		d := tl.TakeDirty()[testRel]
		if d == nil {
			return ""
		}
		return strings.Trim(d.Blocks.String(), "{}")
	}
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("dirty %s, want %s", got, want)
		}
	}
	apply(t, tl, fpi(tl.nextLSN(), 1001, testRel, 1, 1, 2))
	want(take(), "1,2")
	tl.Published()
	for blk := range pg.BlockNumber(15) { // more than the inline list holds
		apply(t, tl, fpi(tl.nextLSN(), 1002, testRel, 1, 20+blk))
	}
	want(take(), "20,21,22,23,24,25,26,27,28,29,30,31,32,33,34")
	tl.ReturnDirty()
	apply(t, tl, fpi(tl.nextLSN(), 1003, testRel, 1, 3))
	apply(t, tl, commit(tl, 1003), commit1(tl, 1001))
	want(take(), "1,2,3,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34")
	// Neither said: it comes again.
	want(take(), "1,2,3,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34")
	tl.Published()
	apply(t, tl, record(tl, wal.RMXact, xlrec.XactAbort, 1002, make([]byte, 8)))
	want(take(), "")
	tl.Published()
	if tl.OpenXIDs() != 0 {
		t.Errorf("%d transactions open", tl.OpenXIDs())
	}
	// What was taken and not confirmed survives a restart, and so do the blocks of open transactions.
	apply(t, tl, fpi(tl.nextLSN(), 1004, testRel, 1, 7))
	want(take(), "7")
	tl.Published()
	apply(t, tl, fpi(tl.nextLSN(), 1005, testRel, 1, 8))
	want(take(), "8")
	apply(t, tl, fpi(tl.nextLSN(), 1005, testRel, 1, 9))
	flush(t, tl)
	tl = reopen(t, tl)
	apply(t, tl, commit(tl, 1004))
	want(take(), "7,8,9")
	tl.Published()
	apply(t, tl, commit(tl, 1005))
	want(take(), "8,9")
}

// commit1 is a commit that follows another record of 0x80 bytes.
func commit1(tl *Timeline, xid pg.XID) *wal.Record {
	rec := commit(tl, xid)
	rec.LSN, rec.End = rec.LSN+0x80, rec.End+0x80
	return rec
}

func TestOpaque(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 4)
	rec := fpi(tl.nextLSN(), 0, testRel, 1, 1)
	rec.RMID, rec.Info, rec.Blocks[0].HasImage = wal.RMID(200), 0, false
	apply(t, tl, rec)
	for range 2 {
		if _, err := tl.Page(context.Background(), testRel, 0, 0); !errors.Is(err, ErrOpaque) || !tl.Opaque(testRel) || tl.Stats().Opaque != 1 {
			t.Errorf("a page of an opaque relation: %v", err)
		}
		apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 2, 1)) // passed over
		flush(t, tl)
		tl = reopen(t, tl)
	}
	apply(t, tl, commit(tl, 1001, testRel))
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 3, 1))
	if v := pageVersion(t, tl, testRel, 1); v != 3 || tl.Opaque(testRel) {
		t.Errorf("a new relation of the number has version %d", v)
	}
	_ = tl.Close()
}

// TestUnexplainedBlock: a base backup in which a changed block is missing is refused at its end, unless the relation goes.
func TestUnexplainedBlock(t *testing.T) {
	for _, explained := range []bool{true, false} {
		tl := importPages(t, Options{Store: objstore.NewMem()}, 4)
		tl.consistent = tl.redoLSN + 0x1000 // as of a running server
		if _, err := tl.Page(context.Background(), testRel, 0, 0); !errors.Is(err, ErrNotConsistent) {
			t.Errorf("a page before the base backup's end: %v", err)
		}
		rec := fpi(tl.nextLSN(), 0, testRel, 1, 9)
		rec.RMID, rec.Info, rec.Main = wal.RMHeap, 0x70, []byte{1, 0} // INPLACE
		rec.Blocks[0].HasImage, rec.Blocks[0].Data = false, []byte("xxxxxxxx")
		apply(t, tl, rec)
		if explained {
			apply(t, tl, truncate(tl, testRel, 2))
		}
		flush(t, tl)
		tl = reopen(t, tl)
		end := record(tl, wal.RMXLog, xlrec.XLogNoop, 0, nil)
		end.End = tl.consistent
		err := tl.Apply(context.Background(), end)
		if explained != (err == nil) || err != nil && !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("explained %v: %v", explained, err)
		}
		_ = tl.Close()
	}
}

func TestWALMinimal(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
	defer tl.Close()
	rec := record(tl, wal.RMXLog, xlrec.XLogParameterChange, 0, u32s(100, 8, 10, 0, 64, uint32(xlrec.WALLevelMinimal), 0))
	if err := tl.Apply(context.Background(), rec); !errors.Is(err, ErrWALMinimal) || !strings.Contains(err.Error(), "resync") {
		t.Errorf("wal_level=minimal: %v", err)
	}
}

// BenchmarkScan reads a relation of 512 MiB from a directory store, as the initial copy does.
func BenchmarkScan(b *testing.B) {
	dir, err := objstore.OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	const n = 65536
	tl := importPages(b, Options{Store: dir}, n)
	defer tl.Close()
	b.SetBytes(n * pg.BlockSize)
	for b.Loop() {
		seen := 0
		err := tl.Scan(context.Background(), testRel, 0, 0, n, func(pg.BlockNumber, pg.Page) error { seen++; return nil })
		if err != nil || seen != n {
			b.Fatal(seen, err)
		}
	}
}
