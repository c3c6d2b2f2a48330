package pageserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/objstore/blockcache"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/slru"
	"github.com/tarn-db/tarn/pageserver/verify"
)

// restored is what a stock server's point-in-time recovery makes of a corpus at an LSN.
type restored struct {
	lsn pg.LSN
	dir string // data directory, stopped; empty: not made yet
}

// stock compares snapshots of a few LSNs with what a stock server restores at each: every page of every fork that is in the WAL, and of the
// SLRUs. It does so again after each thing that gives a page other layers to come from: merges, a disk cache that is lost, another
// process that has the store alone, more or fewer images, and garbage collection that leaves the LSN to a branch.
func (c *corpus) stock(t *testing.T, opts pgtest.Options, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	moments, rounds := 2, []int{1 + rng.IntN(imageEvery)}
	if pgtest.Long() {
		moments, rounds = 3, []int{1, 500}
	}
	ends := c.ends(t)
	ends = ends[:len(ends)-len(ends)/20] // the rest is for garbage collection to happen
	var all []restored
	for i := range moments { // one in each part
		part := len(ends) / moments
		all = append(all, restored{lsn: ends[i*part+rng.IntN(part)]})
	}
	for _, every := range rounds {
		t.Logf("seed %d: an image every %d records", seed, every)
		c.stockRound(t, opts, rng, every, ends[len(ends)-1], all)
	}
}

// TestStockRegress compares with stock servers what they write when they run their own regression tests.
func TestStockRegress(t *testing.T) {
	if !pgtest.Long() {
		t.Skip("makes a gigabyte of WAL of each major version")
	}
	for _, major := range pgtest.Majors() {
		release := map[int]string{15: "15", 16: "16.15", 17: "17.11", 18: "18.6"}[major]
		t.Run(release, func(t *testing.T) {
			root := pgtest.ModuleRoot()
			cmd := exec.Command("go", "run", "./internal/corpus", "make", "-plain", "-releases", release, "-corpora", "regress")
			cmd.Dir = root
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			made := filepath.Join(root, ".cache", "corpus", release, "regress-plain")
			if _, err := os.Stat(made); err != nil {
				pgtest.Missing(t, err) // the tests, that is: internal/tools/install-regress
			}
			seed := uint64(time.Now().UnixNano() & 0xFFFFF)
			c := &corpus{base: filepath.Join(made, "base"), final: filepath.Join(made, "final"), wal: filepath.Join(made, "wal")}
			opts := pgtest.Options{Release: release}
			if release == "15" {
				opts = pgtest.Options{Major: 15}
			}
			c.stock(t, opts, seed)
		})
	}
}

// ends lists where the records end that are behind the base.
func (c *corpus) ends(t *testing.T) (ends []pg.LSN) {
	t.Helper()
	tl := c.importBase(t, Options{Store: objstore.NewMem(), MemoryBytes: 32 << 20})
	defer tl.Close()
	r := c.records(t, tl.RedoLSN())
	for {
		rec, err := r.Next()
		if err != nil {
			return ends
		}
		ends = append(ends, rec.End)
	}
}

// stockRound redoes the corpus into a store of its own, and compares in each state of it. Behind tail nothing is compared.
func (c *corpus) stockRound(t *testing.T, opts pgtest.Options, rng *rand.Rand, every int, tail pg.LSN, all []restored) {
	ctx := context.Background()
	dir, err := objstore.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cached := t.TempDir()
	store, err := blockcache.Open(dir, blockcache.Options{Dir: cached, Bytes: 64 << 20, Immutable: Immutable})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	o := Options{Store: store, MemoryBytes: 64 << 20, Workers: 1, ImageEvery: every, History: History{Window: 1 << 60}, WAL: c.archive(t)}
	tl := c.importBase(t, o)
	flushes := 0
	c.applyAll(t, tl, func(rec *wal.Record) bool {
		if rng.IntN(30_000) == 0 {
			_ = tl.StartFlush(ctx)
			flushes++
		}
		return rec.End >= tail
	})
	flush(t, tl)
	for i := range all {
		c.restore(t, opts, o, &all[i])
	}
	compare := func(when string, open func(pg.LSN) (*Snapshot, error), some []restored) {
		t.Helper()
		pages := 0
		for _, r := range some {
			s, err := open(r.lsn)
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			pages += compareStock(t, when, s, r.dir)
		}
		t.Logf("%s: %d pages compared", when, pages)
	}
	alone := o
	alone.Store = dir // another process knows the store, and has no cache of it
	compare("as flushed", tl.Snapshot, all)
	mergeAll(t, tl)
	if err := os.RemoveAll(cached); err != nil {
		t.Fatal(err)
	}
	compare("merged, the disk cache lost", tl.Snapshot, all)
	compare("another process", func(lsn pg.LSN) (*Snapshot, error) { return OpenSnapshot(ctx, alone, lsn) }, all)
	t.Logf("%d flushes, %d merges, %+v", flushes, tl.Stats().Merges, store.Stats())

	if _, err := tl.CreateBranch(ctx, "kept", MainBranch, all[0].lsn); err != nil {
		t.Fatal(err)
	}
	tl.opts.History = History{}
	tl = reopen(t, tl)
	defer tl.Close()
	c.applyAll(t, tl, nil)
	flush(t, tl)
	for i := range tl.flusher.removable { // as if its time had come
		tl.flusher.removable[i].after = time.Time{}
	}
	tl.clean(ctx)
	if n := len(tl.flusher.removable); n > 0 {
		t.Errorf("%d objects could not be removed", n)
	}
	compare("on a branch, the rest collected", func(pg.LSN) (*Snapshot, error) {
		kept := alone
		kept.Branch = "kept"
		return OpenSnapshot(ctx, kept, all[0].lsn)
	}, all[:1])
	for _, r := range all[1:] {
		if _, err := OpenSnapshot(ctx, alone, r.lsn); !errors.Is(err, ErrBeforeHistory) && !errors.Is(err, ErrNotInDeltas) {
			t.Errorf("%s was collected, and can be opened: %v", r.lsn, err)
		}
	}
}

// restore has a stock server recover the base up to the LSN, if it has not been done. What a replay of WAL makes of the timeline there, which is
// what base backups are written from, has the same relations and pages.
func (c *corpus) restore(t *testing.T, opts pgtest.Options, o Options, r *restored) {
	t.Helper()
	if r.dir != "" {
		return
	}
	ctx := context.Background()
	past, to, err := OpenPast(ctx, o, Target{LSN: r.lsn}, objstore.NewMem())
	if err == nil {
		err = past.Replay(ctx, c.records(t, past.RedoLSN()), to)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close()
	if opts.Dir, err = os.MkdirTemp("", "pitr"); err != nil { // not t.TempDir: a socket's path is short
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(opts.Dir) })
	if err := copyTree(c.base, filepath.Join(opts.Dir, "data")); err != nil {
		t.Fatal(err)
	}
	at := pgtest.PointInTime{Archive: c.wal, LSN: r.lsn.String(), CommitTimes: past.Cluster().CommitTs}
	if r.dir, err = pgtest.RecoverTo(ctx, opts, at); err != nil {
		t.Fatalf("recover to %s: %v", r.lsn, err)
	}
	theirs, err := datadir.Open(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	forks, err := theirs.Forks()
	if err != nil {
		t.Fatal(err)
	}
	there := map[pg.RelFileLocator]bool{}
	for _, f := range forks {
		there[f.Rel] = true
	}
	for _, loc := range past.Relations() {
		if !there[loc] {
			t.Errorf("at %s: the server has no relation %s", r.lsn, loc)
		}
	}
	final, err := verify.ComparePages(ctx, r.dir, func(f datadir.Fork, blk pg.BlockNumber, dst pg.Page) (bool, error) {
		clear(dst)
		page, err := past.Page(ctx, f.Rel, f.Fork, blk)
		copy(dst, page)
		return true, err
	}, nil)
	if err != nil || !final.OK() || final.Unknown > 0 {
		t.Errorf("at %s: of %d heap pages that are replayed, %d differ: %v, %v", r.lsn, final.HeapPages, final.Differ, final.First, err)
	}
}

// compareStock compares a snapshot with the data directory of a server that was stopped there, and returns how many pages that is.
func compareStock(t *testing.T, when string, s *Snapshot, dir string) (pages int) {
	t.Helper()
	ctx := context.Background()
	final, err := verify.ComparePages(ctx, dir, func(f datadir.Fork, blk pg.BlockNumber, dst pg.Page) (bool, error) {
		ok, err := s.Page(ctx, f.Rel, f.Fork, blk, dst)
		if !ok {
			clear(dst)
		}
		return true, err
	}, nil)
	if err != nil {
		t.Fatalf("%s, at %s: %v", when, s.LSN(), err)
	}
	for _, d := range final.First {
		t.Errorf("%s, at %s: %v", when, s.LSN(), d)
	}
	if !final.OK() || final.VMPages == 0 || final.Unknown > 0 {
		t.Errorf("%s, at %s: of %d heap and %d map pages and %+v, %d differ", when, s.LSN(), final.HeapPages, final.VMPages, final.ByRmgr, final.Differ)
	}
	for _, n := range final.ByRmgr {
		pages += int(n.Pages)
	}
	theirs, err := datadir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if err := errors.Join(lengthsDiffer(ctx, s, theirs), logsDiffer(ctx, s, theirs, &pages)); err != nil {
		t.Errorf("%s, at %s: %v", when, s.LSN(), err)
	}
	return pages
}

// lengthsDiffer says which forks the snapshot has more blocks of than the server. Of free space maps the WAL knows some alone.
func lengthsDiffer(ctx context.Context, s *Snapshot, theirs *datadir.Dir) error {
	forks, err := theirs.Forks()
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range forks {
		n, err := theirs.Blocks(f)
		if err != nil {
			return err
		}
		if ours, _, err := s.NBlocks(ctx, f.Rel, f.Fork); err != nil || ours > n && f.Fork != pg.FSMFork {
			errs = append(errs, fmt.Errorf("relation %s fork %s has %d blocks, the server's %d: %v", f.Rel, f.Fork, ours, n, err))
		}
	}
	return errors.Join(errs...)
}

// logsDiffer compares all pages of the SLRUs.
func logsDiffer(ctx context.Context, s *Snapshot, theirs *datadir.Dir, pages *int) error {
	control, err := theirs.Control()
	if err != nil {
		return err
	}
	next := slru.Next{Multi: control.CheckPoint.NextMulti, Offset: control.CheckPoint.NextMultiOffset}
	var errs []error
	page := make([]byte, pg.BlockSize)
	for kind := range slru.Kind(slru.Kinds) {
		segments, err := theirs.LogSegments(kind.Folder())
		if err != nil {
			return err
		}
		ours, err := s.slruSet(ctx, kind)
		if err != nil {
			return err
		}
		for _, run := range ours.Runs() {
			for no := run.From; no < run.To; no++ {
				if no%slru.SegmentPages >= segments[no/slru.SegmentPages] {
					errs = append(errs, fmt.Errorf("the server has no page %d of %s", no, kind))
				}
			}
		}
		for segment := range segments {
			file, err := theirs.LogFile(kind.Folder(), slru.SegmentName(segment))
			if err != nil {
				return err
			}
			for no := segment * slru.SegmentPages; len(file) >= pg.BlockSize; no++ {
				ok, err := s.SLRUPage(ctx, kind, no, page)
				slru.Mask(kind, no, page, next)
				slru.Mask(kind, no, file[:pg.BlockSize], next)
				if !ok || err != nil || !bytes.Equal(page, file[:pg.BlockSize]) {
					errs = append(errs, fmt.Errorf("page %d of %s differs (there %v): %v", no, kind, ok, err))
				}
				file = file[pg.BlockSize:]
				*pages++
			}
		}
	}
	return errors.Join(errs...)
}
