package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
)

// pagesFigures are what the page store takes to keep history, and how fast it reads there.
type pagesFigures struct {
	Workload string  `json:"workload"`
	WALMiB   float64 `json:"wal_mib"`
	MiB      int64   `json:"memory_mib"` // of the page store

	Plain   ingestRun `json:"ingest_without_history"`
	History ingestRun `json:"ingest"`
	NoImage ingestRun `json:"ingest_without_images"` // but those of flushes

	Random  readRun `json:"read_random"`          // any page that was ever changed, at any LSN
	Hot     readRun `json:"read_hot"`             // the pages of the busiest relations
	Busy    readRun `json:"read_hot_beside_half"` // while WAL is redone at half of the speed there is
	Plainer readRun `json:"read_hot_without_images"`
	Scan    float64 `json:"scan_mb_per_s"` // of the greatest relation, at an LSN in the middle
	Pushed  float64 `json:"p99_ratio"`     // of reads of hot pages without images against with
}

// ingestRun is WAL redone into layers, to the end of the last flush.
type ingestRun struct {
	Wall     float64 `json:"wall_s"`
	CPU      float64 `json:"cpu_s"`
	MBPerS   float64 `json:"wal_mb_per_s"`
	PeakMiB  int64   `json:"peak_rss_mib"`
	Flushes  uint64  `json:"flushes"`
	Merges   uint64  `json:"merges"`
	Stalls   uint64  `json:"stalls"`
	LayerMiB float64 `json:"image_layers_mib"`
	DeltaMiB float64 `json:"delta_layers_mib"`
}

// readRun is single pages read one after the other, after one round that warms the caches.
type readRun struct {
	Reads  int            `json:"reads"`
	P50    float64        `json:"p50_us"`
	P99    float64        `json:"p99_us"`
	Max    float64        `json:"max_us"`
	Chains map[string]int `json:"records_redone"` // how many reads, by how many records they redid
}

// pagesFlush is how much WAL one flush covers, as the server has it.
const pagesFlush = 512 << 20

func pagesBench(ctx context.Context, o options) (*pagesFigures, error) {
	s, err := workloadSpec(o)
	if err != nil {
		return nil, err
	}
	r, err := record(ctx, o.dir, s)
	if err != nil {
		return nil, err
	}
	f := &pagesFigures{Workload: o.workload, WALMiB: round(float64(r.End-r.Start)/(1<<20), 1), MiB: o.memory >> 20}
	b := &pagesBencher{o: o, r: r, dir: filepath.Join(o.fast, "pages")}
	defer os.RemoveAll(b.dir)
	t, err := b.ingest(ctx, &f.Plain, pageserver.Options{}, 0)
	if err == nil {
		err = b.close(t)
	}
	if err != nil {
		return nil, err
	}
	history := pageserver.History{Window: 24 * time.Hour}
	if t, err = b.ingest(ctx, &f.History, pageserver.Options{History: history}, 0); err != nil {
		return nil, err
	}
	if err := errors.Join(b.reads(ctx, t, &f.Random, b.any), b.reads(ctx, t, &f.Hot, b.hot)); err != nil {
		return nil, err
	}
	if f.Scan, err = b.scan(ctx, t); err != nil {
		return nil, err
	}
	beside, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		var run ingestRun
		_, err := b.ingest(beside, &run, pageserver.Options{History: history}, f.History.MBPerS/2)
		done <- err
	}()
	err = b.reads(ctx, t, &f.Busy, b.hot)
	cancel()
	if other := <-done; !errors.Is(other, context.Canceled) {
		err = errors.Join(err, other)
	}
	if err = errors.Join(err, b.close(t)); err != nil {
		return nil, err
	}
	if t, err = b.ingest(ctx, &f.NoImage, pageserver.Options{History: history, ImageEvery: 1<<16 - 2}, 0); err != nil {
		return nil, err
	}
	err = b.reads(ctx, t, &f.Plainer, b.hot)
	f.Pushed = round(f.Plainer.P99/f.Hot.P99, 2)
	return f, errors.Join(err, b.close(t))
}

// close lets go of a timeline, its memory and its store, so that the next one has the machine it had.
func (b *pagesBencher) close(t *pageserver.Timeline) error {
	err := t.Close()
	runtime.GC()
	debug.FreeOSMemory()
	return err
}

type pagesBencher struct {
	o   options
	r   *recording
	dir string
	n   int
}

// folderWAL is a folder of segments as an archive.
type folderWAL struct{ *waldir.Source }

// ReadAt implements pageserver.WAL.
func (w folderWAL) ReadAt(_ context.Context, lsn pg.LSN, dst []byte) (int, error) {
	return w.Read(lsn, dst)
}

// ingest redoes the recording, at rate MB of WAL a second unless that is 0.
func (b *pagesBencher) ingest(ctx context.Context, run *ingestRun, o pageserver.Options, rate float64) (*pageserver.Timeline, error) {
	b.n++
	dir := filepath.Join(b.dir, fmt.Sprint(b.n))
	store, err := objstore.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	src, reader, err := openWAL(b.r.WAL, b.r)
	if err != nil {
		return nil, err
	}
	o.Store, o.MemoryBytes, o.Workers, o.WAL = store, b.o.memory, pageserver.DefaultWorkers(), folderWAL{src}
	t, err := importBase(ctx, b.r.Base, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if run.Wall == 0 { // it failed
			_ = t.Close()
		}
	}()
	stop := func() {}
	if o.History.Window > 0 && rate == 0 {
		if stop, err = b.o.startProfile(); err != nil {
			return nil, err
		}
	}
	defer func() { stop() }()
	resetPeak()
	cpu, began := selfCPU(), time.Now()
	for flushed := t.RedoLSN(); ; {
		recs, err := reader.NextBatch(pageserver.BatchRecords)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			_, err = t.ApplyBatch(ctx, recs)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if at := t.RedoLSN(); at-flushed >= pagesFlush {
			_ = t.StartFlush(ctx)
			flushed = at
		}
		if rate > 0 {
			time.Sleep(time.Duration(float64(t.RedoLSN()-b.r.Start)/1e6/rate*float64(time.Second)) - time.Since(began))
		}
	}
	if err := t.StartFlush(ctx)(); err != nil {
		return nil, err
	}
	took := time.Since(began)
	_, peak := residentBytes(os.Getpid())
	s := t.Stats()
	*run = ingestRun{
		Wall: seconds(took), CPU: seconds(selfCPU() - cpu), MBPerS: round(float64(b.r.End-b.r.Start)/1e6/took.Seconds(), 1), PeakMiB: peak >> 20,
		Flushes: s.Flushes, Merges: s.Merges, Stalls: s.Stalls, LayerMiB: round(float64(s.LayerBytes)/(1<<20), 1), DeltaMiB: round(float64(s.DeltaBytes)/(1<<20), 1),
	}
	say("%+v", *run)
	return t, nil
}

// target is a page at an LSN.
type target struct {
	rel pg.RelFileLocator
	blk pg.BlockNumber
	s   *pageserver.Snapshot
}

// pick is a page to read. rels are the relations that have blocks, the greatest first.
type pick func(rng *rand.Rand, rels []sized) (pg.RelFileLocator, pg.BlockNumber)

type sized struct {
	loc pg.RelFileLocator
	n   pg.BlockNumber
}

// any picks a block of the user's relations.
func (b *pagesBencher) any(rng *rand.Rand, rels []sized) (pg.RelFileLocator, pg.BlockNumber) {
	at := rng.Uint32N(blocksOf(rels))
	for _, r := range rels {
		if at < uint32(r.n) {
			return r.loc, pg.BlockNumber(at)
		}
		at -= uint32(r.n)
	}
	panic("BUG: no such block")
}

// hot picks a block of small relations: pgbench's tellers and branches, TPC-C's warehouses and districts, and their indexes.
func (b *pagesBencher) hot(rng *rand.Rand, rels []sized) (pg.RelFileLocator, pg.BlockNumber) {
	small := slices.DeleteFunc(slices.Clone(rels), func(r sized) bool { return r.n > 64 })
	return b.any(rng, small)
}

func blocksOf(rels []sized) (n uint32) {
	for _, r := range rels {
		n += uint32(r.n)
	}
	return n
}

func userRelations(ctx context.Context, t *pageserver.Timeline) (rels []sized, err error) {
	for _, loc := range t.Relations() {
		n, _, err := t.NBlocks(ctx, loc, pg.MainFork)
		if err != nil {
			return nil, err
		}
		if loc.Rel >= pg.FirstNormalOID && n > 0 {
			rels = append(rels, sized{loc, n})
		}
	}
	slices.SortFunc(rels, func(a, b sized) int { return int(int64(b.n) - int64(a.n)) })
	return rels, nil
}

const (
	pagesReads     = 20_000
	pagesSnapshots = 40
	pagesTime      = 20 * time.Second // of a round; reads that do not fit into it are left out
)

// reads reads pages at LSNs all over the recording, twice, and measures the second round.
func (b *pagesBencher) reads(ctx context.Context, t *pageserver.Timeline, run *readRun, choose pick) error {
	rng := rand.New(rand.NewPCG(1, 2))
	rels, err := userRelations(ctx, t)
	if err != nil {
		return err
	}
	var snapshots []*pageserver.Snapshot
	for range pagesSnapshots {
		s, err := t.Snapshot(b.r.Start + 1 + pg.LSN(rng.Uint64N(uint64(b.r.End-b.r.Start-1))))
		if err != nil {
			return err
		}
		snapshots = append(snapshots, s)
	}
	targets := make([]target, pagesReads)
	for i := range targets {
		targets[i].rel, targets[i].blk = choose(rng, rels)
		targets[i].s = snapshots[rng.IntN(len(snapshots))]
	}
	page := make([]byte, pg.BlockSize)
	var took []float64
	run.Chains = map[string]int{}
	for round := range 2 {
		first := time.Now()
		for i, g := range targets {
			began := time.Now()
			if round == 0 && began.Sub(first) > pagesTime {
				targets = targets[:i]
				break
			}
			if _, err := g.s.Page(ctx, g.rel, pg.MainFork, g.blk, page); err != nil {
				return err
			}
			if round == 1 {
				took = append(took, float64(time.Since(began).Nanoseconds())/1000)
			}
		}
	}
	for _, g := range targets {
		n, err := g.s.Chain(ctx, g.rel, pg.MainFork, g.blk)
		if err != nil {
			return err
		}
		run.Chains[chainClass(n)]++
	}
	slices.Sort(took)
	run.Reads, run.P50, run.P99, run.Max = len(took), round(quantile(took, 0.5), 1), round(quantile(took, 0.99), 1), round(took[len(took)-1], 1)
	say("%+v", *run)
	return nil
}

func chainClass(n int) string {
	for limit := 1; limit <= 1<<16; limit *= 4 {
		if n < limit {
			return fmt.Sprintf("<%d", limit)
		}
	}
	return "more"
}

// scan reads the greatest relation from end to end, twice, and measures the second time.
func (b *pagesBencher) scan(ctx context.Context, t *pageserver.Timeline) (mbPerS float64, err error) {
	rels, err := userRelations(ctx, t)
	if err != nil {
		return 0, err
	}
	s, err := t.Snapshot((b.r.Start + b.r.End) / 2 &^ 7)
	if err != nil {
		return 0, err
	}
	for range 2 {
		began, pages := time.Now(), 0
		err := s.Scan(ctx, rels[0].loc, pg.MainFork, 0, rels[0].n, func(pg.BlockNumber, pg.Page) error { pages++; return nil })
		if err != nil {
			return 0, err
		}
		mbPerS = round(float64(pages)*pg.BlockSize/1e6/time.Since(began).Seconds(), 1)
		say("scan of %d pages: %.1f MB/s", pages, mbPerS)
	}
	return mbPerS, nil
}
