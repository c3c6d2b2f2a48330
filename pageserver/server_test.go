package pageserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/redo"
	"github.com/tarn-db/tarn/pageserver/verify"
)

var testMajors = pgtest.Majors()

// TestServers redoes what real servers did, from a base of a stopped and of a running one, with memory so small that
// pages come and go, and dies again and again: in the end every page is the server's, and every row it saw is visible.
func TestServers(t *testing.T) {
	for _, major := range testMajors {
		for _, online := range []bool{false, true} {
			t.Run(fmt.Sprintf("PostgreSQL%d/online=%v", major, online), func(t *testing.T) {
				if _, err := pgtest.Bin(major); err != nil {
					t.Fatal(err)
				}
				seed := uint64(time.Now().UnixNano() & 0xFFFFF)
				t.Logf("seed %d", seed)
				c := makeCorpus(t, major, seed, 8*time.Second, online)
				t.Run("straight", c.straight)
				t.Run("planted faults", c.plantedFaults)
				t.Run("past", func(t *testing.T) { c.past(t, seed) })
				if !online {
					t.Run("stock", func(t *testing.T) { c.stock(t, pgtest.Options{Major: major}, seed) })
				}
				rounds := uint64(1)
				if pgtest.Long() {
					rounds = 5
				}
				for i := range rounds {
					t.Run(fmt.Sprint("crashes", i), func(t *testing.T) { c.crashes(t, seed+i) })
				}
			})
		}
	}
}

// straight applies all WAL in one go.
func (c *corpus) straight(t *testing.T) {
	dir, err := objstore.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Store: dir, MemoryBytes: 64 << 20, Workers: 1}
	tl := c.importBase(t, o)
	began := time.Now()
	before := tl.CheckPoint()
	n, _ := c.applyAll(t, tl, func(rec *wal.Record) bool {
		if rec.RMID == wal.RMXLog && rec.Op() == xlrec.XLogCheckpointShutdown {
			checkFollowed(t, rec, before)
		}
		before = tl.CheckPoint()
		return false
	})
	took := time.Since(began)
	s := tl.Stats()
	t.Logf("%d records in %v, %.0f/s; %d pages changed, %d images, %d loaded, %d flushes, %d merges, %d stalls, %d layers, %d opaque, records %v",
		n, took, float64(n)/took.Seconds(), s.Pages, s.Images, s.PagesLoaded, s.Flushes, s.Merges, s.Stalls, s.Layers, s.Opaque, s.Records)
	c.check(t, tl)
	if err := tl.StartFlush(context.Background())(); err != nil {
		t.Fatal(err)
	}
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
	if tl, err = Open(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	if tl.RedoLSN() != s.RedoLSN {
		t.Errorf("opened at %s, flushed at %s", tl.RedoLSN(), s.RedoLSN)
	}
	c.check(t, tl)
	_ = tl.Close()
}

// check compares a timeline at the end of the WAL with the stopped server.
func (c *corpus) check(t *testing.T, tl *Timeline) {
	t.Helper()
	ctx := context.Background()
	final, err := verify.ComparePages(ctx, c.final, func(f datadir.Fork, blk pg.BlockNumber, dst pg.Page) (bool, error) {
		if tl.Opaque(f.Rel) {
			return false, nil
		}
		clear(dst)
		page, err := tl.Page(ctx, f.Rel, f.Fork, blk)
		copy(dst, page)
		return true, err
	}, c.hints(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range final.First {
		t.Errorf("%v", d)
		c.history(t, d.Name, d.Block)
	}
	if !final.OK() || final.VMPages == 0 {
		t.Errorf("%d heap and %d map pages compared, %d differ", final.HeapPages, final.VMPages, final.Differ)
	}
	t.Logf("%d heap and %d map pages compared, %d differ; by manager %+v", final.HeapPages, final.VMPages, final.Differ, final.ByRmgr)
	all := true
	for _, rmid := range []wal.RMID{wal.RMBtree, wal.RMHash, wal.RMGin, wal.RMGist, wal.RMSeq, wal.RMSpgist, wal.RMBrin, wal.RMGeneric} {
		if all = all && redo.Redone(rmid); redo.Redone(rmid) && final.ByRmgr[rmid.String()].Pages == 0 {
			t.Errorf("no page of a %s relation was compared", rmid)
		}
	}
	if s := tl.Stats(); all && (s.Opaque != 0 || final.Unknown != 0) {
		t.Errorf("%d relations and %d pages are not known", s.Opaque, final.Unknown)
	}
	states := map[string]int{}
	for xid, want := range c.xids {
		states[want]++
		if got, err := tl.XIDStatus(xid); want != "forgotten" && (err != nil || got.String() != want) {
			t.Errorf("transaction %d is %s, %v; the server says %s", xid, got, err, want)
		}
	}
	t.Logf("transactions compared: %v", states)
	c.checkCluster(t, tl)
	rows := 0
	for path, want := range c.tids {
		rel := locator(t, path)
		got := map[string]bool{}
		n, ok, err := tl.NBlocks(ctx, rel, pg.MainFork)
		if err != nil || !ok {
			t.Fatalf("%s: %v, %v", path, ok, err)
		}
		err = tl.Scan(ctx, rel, pg.MainFork, 0, n, func(blk pg.BlockNumber, page pg.Page) error {
			return visibleRows(tl, page, func(off pg.OffsetNumber, _ pg.HeapTuple) { got[fmt.Sprintf("(%d,%d)", blk, off)] = true })
		})
		if err != nil {
			t.Fatal(err)
		}
		for tid := range want {
			if !got[tid] {
				t.Errorf("%s: row %s is not visible", path, tid)
			}
		}
		for tid := range got {
			if !want[tid] {
				t.Errorf("%s: row %s should not be visible", path, tid)
			}
		}
		rows += len(want)
	}
	t.Logf("%d rows of %d tables compared", rows, len(c.tids))
}

// hints are for each block the LSNs that the server's page may have since it was last changed: of two hints at once the server takes the
// first one's, redo the last one's (MarkBufferDirtyHint).
func (c *corpus) hints(t *testing.T) func(datadir.Fork, pg.BlockNumber) []pg.LSN {
	type block struct {
		fork datadir.Fork
		blk  pg.BlockNumber
	}
	changed, hinted := map[block]pg.LSN{}, map[block][]pg.LSN{}
	start := c.start
	if start == 0 {
		file, err := os.ReadFile(filepath.Join(c.base, "global/pg_control"))
		if err != nil {
			t.Fatal(err)
		}
		stopped, err := control.Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		start = stopped.CheckPoint.Redo
	}
	r := c.records(t, start)
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, wal.ErrNoMoreYet) {
			return func(f datadir.Fork, blk pg.BlockNumber) []pg.LSN { return hinted[block{f, blk}] }
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range rec.Blocks {
			b := block{datadir.Fork{Rel: rec.Blocks[i].Rel, Fork: rec.Blocks[i].Fork}, rec.Blocks[i].Block}
			if rec.RMID == wal.RMXLog && rec.Op() == xlrec.XLogFPIForHint {
				hinted[b] = append(hinted[b], changed[b], rec.End)
			} else {
				delete(hinted, b)
				changed[b] = rec.End
			}
		}
	}
}

// history logs the records that named a block.
func (c *corpus) history(t *testing.T, rel string, blk pg.BlockNumber) {
	start, _ := pg.ParseLSN("0/1000000")
	if c.start != 0 {
		start = c.start.SegmentStart(16 << 20)
	}
	r := c.records(t, start)
	var lines []string
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		for _, b := range rec.Blocks {
			if b.Rel.String() == rel && b.Block == blk {
				lines = append(lines, fmt.Sprintf("%s-%s %s xid %d fork %s image %v/%v main %x", rec.LSN, rec.End, recordName(rec), rec.XID, b.Fork, b.HasImage, b.ApplyImage, rec.Main))
			}
		}
	}
	t.Logf("%s", strings.Join(lines[max(0, len(lines)-8):], "\n"))
}

// locator reads pg_relation_filepath.
func locator(t *testing.T, path string) pg.RelFileLocator {
	t.Helper()
	f, ok := parsePath(0, path)
	if !ok {
		t.Fatalf("path %q", path)
	}
	return f.rel
}

// visibleRows calls fn for each row of a page that a new snapshot sees.
func visibleRows(tl *Timeline, page pg.Page, fn func(pg.OffsetNumber, pg.HeapTuple)) error {
	for off := pg.OffsetNumber(1); int(off) <= page.NumItems(); off++ {
		tup, ok := page.Tuple(off)
		if !ok {
			continue
		}
		mask := tup.Infomask()
		if mask&pg.HeapXminFrozen != pg.HeapXminFrozen {
			if ok, err := tl.Committed(tup.Xmin()); !ok || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		}
		lockOnly := mask&pg.HeapXmaxLockOnly != 0 || mask&(pg.HeapXmaxIsMulti|pg.HeapLockMask) == pg.HeapXmaxExclLock
		if mask&pg.HeapXmaxInvalid == 0 && tup.Xmax() != 0 && !lockOnly {
			xmax, deleted := tup.Xmax(), true
			var err error
			if mask&pg.HeapXmaxIsMulti != 0 {
				if xmax, deleted, err = tl.MultiXactUpdater(pg.MultiXactID(xmax)); err != nil {
					return err
				}
			}
			if deleted {
				if deleted, err = tl.Committed(xmax); err != nil {
					return err
				}
			}
			if deleted {
				continue
			}
		}
		fn(off, tup)
	}
	return nil
}

// crashes kills the timeline at random records and opens it again from a store that fails now and then. The lake, which
// survives, must always be right after a publication by the dirty set.
func (c *corpus) crashes(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	mem := objstore.NewMem()
	store := objstore.NewFaulty(mem)
	o := Options{Store: store, MemoryBytes: 32 << 20, Workers: int(seed % 3)}
	tl := c.importBase(t, o)
	lk := lake{}
	var waits []func() error
	published := pg.LSN(0)
	deaths, publications, returned, flushErrors := 0, 0, 0, 0
	for {
		left := 1 + rng.IntN(60_000)
		_, ended := c.applyAll(t, tl, func(*wal.Record) bool {
			left--
			switch n := rng.IntN(20_000); {
			case n == 0:
				store.Clear()
				switch rng.IntN(6) {
				case 0:
					store.Inject(objstore.Fault{Op: objstore.OpPutIfMatch, Times: 1, LoseReply: true})
				case 1:
					store.Inject(objstore.Fault{Op: objstore.OpPutStream, Times: 1, Err: objstore.ErrInjected})
				case 2:
					store.Inject(objstore.Fault{Op: objstore.OpPutIfMatch, Times: 5, LoseReply: true, Err: objstore.ErrInjected})
				case 3:
					store.Inject(objstore.Fault{Op: objstore.OpPutStream, Times: 1, LoseReply: true})
				}
				waits = append(waits, tl.StartFlush(context.Background()))
			case n <= 2 && tl.reached() && tl.RedoLSN() >= published: // a lake is never cut back
				d := tl.TakeDirty()
				if rng.IntN(4) == 0 {
					tl.ReturnDirty() // the publication failed
					returned++
					break
				}
				if err := lk.publish(tl, d); err != nil {
					t.Fatal(err)
				}
				if err := lk.check(tl); err != nil {
					t.Fatalf("seed %d, after %d deaths and %d publications, at %s: %v", seed, deaths, publications, tl.RedoLSN(), err)
				}
				publications++
				published = tl.RedoLSN()
				if rng.IntN(4) != 0 { // else the process dies, or goes on, before it says so
					tl.Published()
				}
			}
			return left <= 0
		})
		for _, wait := range waits {
			if err := wait(); err != nil {
				flushErrors++
			}
		}
		waits = nil
		if ended {
			break
		}
		deaths++
		store.Clear()
		if err := tl.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		if tl, err = Open(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	store.Clear()
	if err := lk.publish(tl, tl.TakeDirty()); err != nil {
		t.Fatal(err)
	}
	if err := lk.check(tl); err != nil {
		t.Fatal(err)
	}
	c.check(t, tl)
	s := tl.Stats()
	t.Logf("%d deaths, %d publications, %d returned, %d flushes failed, %d layers, %d merges", deaths, publications, returned, flushErrors, s.Layers, s.Merges)
	if err := tl.StartFlush(context.Background())(); err != nil {
		t.Error(err)
	}
	if limit := tl.opts.MemoryBytes; s.ResidentBytes+s.CacheBytes > limit {
		t.Errorf("%d bytes of pages and %d of cache, limit %d", s.ResidentBytes, s.CacheBytes, limit)
	}
	_ = tl.Close()
	if strings.Count(fmt.Sprint(lk), "map") == 0 {
		t.Error("the lake is empty")
	}
}
