package pageserver

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// folderWAL is a server's pg_wal as an archive.
type folderWAL struct{ *waldir.Source }

func (w folderWAL) ReadAt(_ context.Context, lsn pg.LSN, dst []byte) (int, error) {
	return w.Read(lsn, dst)
}

func (c *corpus) archive(t *testing.T) WAL {
	t.Helper()
	src, err := waldir.Open(c.wal, waldir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	return folderWAL{src}
}

// TestSnapshotOfEarlyFlush: what a record makes of a relation comes behind the flush that began before it, to make room for it.
func TestSnapshotOfEarlyFlush(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem(), History: History{Window: time.Hour}, WAL: noWAL{}}, 4)
	defer tl.Close()
	clock := time.Now()
	tl.flusher.now = func() time.Time { clock = clock.Add(10 * time.Minute); return clock } // else the flush's image goes with its point
	rel := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 99}
	apply(t, tl, fpi(tl.nextLSN(), 0, rel, 1, 0))
	for blk := range 250 {
		apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 1, pg.BlockNumber(blk)))
	}
	limit := tl.arena.limit
	tl.arena.limit = tl.arena.dirty*5/2 - 1 // a flush is wanted
	apply(t, tl, fpi(tl.nextLSN(), 0, rel, 2, 1, 2))
	tl.arena.limit = limit
	lsn := tl.RedoLSN()
	if tl.flush == nil || tl.flush.lsn >= lsn {
		t.Fatal("no flush has begun before the record")
	}
	apply(t, tl, commit(tl, 1001, rel))
	flush(t, tl)
	mergeAll(t, tl)
	s, err := tl.Snapshot(lsn)
	if err != nil {
		t.Fatal(err)
	}
	if n, ok, err := s.NBlocks(context.Background(), rel, pg.MainFork); n != 3 || !ok || err != nil {
		t.Errorf("the relation has %d blocks, %v: %v", n, ok, err)
	}
}

// compareSnapshot compares all that a snapshot can be asked for with a timeline that stands there, and returns how many pages that is.
func compareSnapshot(t *testing.T, s *Snapshot, want *Timeline) (pages int) {
	t.Helper()
	ctx := context.Background()
	got, differ := make([]byte, pg.BlockSize), 0
	fail := func(format string, args ...any) {
		if differ++; differ < 10 {
			t.Errorf("at %s: "+format, append([]any{s.LSN()}, args...)...)
		}
	}
	for _, loc := range want.Relations() {
		if want.Opaque(loc) {
			continue
		}
		for num := pg.MainFork; num <= pg.InitFork; num++ {
			n, exists, err := want.NBlocks(ctx, loc, num)
			if err != nil {
				t.Fatal(err)
			}
			if m, there, err := s.NBlocks(ctx, loc, num); m != n || there != exists || err != nil {
				fail("relation %s fork %s has %d blocks (%v), want %d (%v): %v", loc, num, m, there, n, exists, err)
				continue
			}
			for blk := range n {
				page, err := want.Page(ctx, loc, num, blk)
				if err != nil {
					t.Fatal(err)
				}
				if page == nil {
					page = zeroPage[:]
				}
				pages++
				if ok, err := s.Page(ctx, loc, num, blk, got); !ok || err != nil || !bytes.Equal(got, page) {
					fail("relation %s fork %s block %d: there %v, LSN %s, want LSN %s: %v", loc, num, blk, ok, pg.Page(got).LSN(), page.LSN(), err)
				}
			}
			if ok, err := s.Page(ctx, loc, num, n, got); ok || err != nil {
				fail("relation %s fork %s has a block %d behind its end: %v", loc, num, n, err)
			}
		}
	}
	for k := slru.Kind(0); k < slru.Kinds; k++ {
		for _, run := range want.SLRUPages(k) {
			for no := run.From; no < run.To; no++ {
				page, _, err := want.SLRUPage(ctx, k, no)
				if err != nil {
					t.Fatal(err)
				}
				pages++
				if ok, err := s.SLRUPage(ctx, k, no, got); !ok || err != nil || !bytes.Equal(got, page) {
					fail("%s page %d: there %v: %v", k, no, ok, err)
				}
			}
			if ok, err := s.SLRUPage(ctx, k, run.To, got); want.slruSets[k].Has(run.To) != ok || err != nil {
				fail("%s page %d: there %v: %v", k, run.To, ok, err)
			}
		}
	}
	if differ > 0 {
		t.Errorf("at %s: %d of %d differ", s.LSN(), differ, pages)
	}
	return pages
}
