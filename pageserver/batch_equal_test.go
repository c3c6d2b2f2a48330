package pageserver

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/heaprec"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// TestBatchEqualsApply: ApplyBatch leaves what Apply does, one record after the other: pages, sizes, relations, transactions and what
// the lake has to look at, however records are cut into batches and whatever flushes run beside.
func TestBatchEqualsApply(t *testing.T) {
	seed := uint64(time.Now().UnixNano() & 0xFFFFF)
	for workers := range 3 {
		t.Run(fmt.Sprintf("workers=%d/seed=%d", workers, seed), func(t *testing.T) {
			ctx := context.Background()
			one := importPages(t, Options{Store: objstore.NewMem(), MemoryBytes: 32 << 20}, 40)
			batch := importPages(t, Options{Store: objstore.NewMem(), MemoryBytes: 32 << 20, Workers: workers}, 40)
			defer one.Close()
			r := mixedRecords{rng: rand.New(rand.NewPCG(seed, uint64(workers))), tl: one}
			for round := range 60 {
				recs := r.next(t, []int{1, 3, 60, 400, 900}[r.rng.IntN(5)])
				if n, err := batch.ApplyBatch(ctx, recs); n != len(recs) || err != nil {
					t.Fatal(n, err)
				}
				if r.rng.IntN(3) == 0 {
					continue // the next one begins while this one's pages are redone
				}
				if err := batch.Barrier(); err != nil {
					t.Fatal(err)
				}
				if a, b := everything(t, one), everything(t, batch); a != b {
					t.Fatalf("round %d\n%s\nand one by one\n%s", round, b, a)
				}
				for _, tl := range []*Timeline{one, batch} {
					switch round % 4 {
					case 0:
						tl.TakeDirty()
						tl.Published()
					case 1:
						tl.TakeDirty()
						tl.ReturnDirty()
					case 2:
						tl.StartFlush(ctx)
					}
				}
			}
			if one.stats.records != batch.stats.records || one.stats.images != batch.stats.images || one.stats.commits != batch.stats.commits {
				t.Errorf("counted %+v, one by one %+v", batch.stats.records, one.stats.records)
			}
			one.TakeDirty()
			one.Published()
			one.settle()
			batch.TakeDirty()
			batch.Published()
			flush(t, batch)
			if batch = reopen(t, batch); everything(t, one) != everything(t, batch) {
				t.Error("opened again it is another one")
			}
			_ = batch.Close()
		})
	}
}

// mixedRecords makes records of which most, not all, can be of a run, and has Apply take them.
type mixedRecords struct {
	rng  *rand.Rand
	tl   *Timeline
	made int
}

func (m *mixedRecords) next(t *testing.T, n int) (recs []wal.Record) {
	for range n {
		rec := m.record()
		apply(t, m.tl, rec)
		recs = append(recs, *rec)
	}
	return recs
}

func (m *mixedRecords) record() *wal.Record {
	tl, rng := m.tl, m.rng
	m.made++
	rel := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: pg.OID(16384 + rng.IntN(3))}
	index := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 400}
	xid := pg.XID(1000 + m.made/4 + rng.IntN(40)) // the highest of all as like as not
	version, blk := rng.IntN(1000), pg.BlockNumber(rng.IntN(60))
	switch rng.IntN(100) {
	case 0:
		return commit(tl, xid, rel)
	case 1:
		return truncate(tl, rel, uint32(blk))
	case 2:
		return create(tl, rel)
	case 3, 4, 5:
		return fpi(tl.nextLSN(), xid, rel, version, blk, blk+1)
	case 6, 7, 8:
		rec := fpi(tl.nextLSN(), xid, rel, version, blk)
		rec.Info = xlrec.XLogFPIForHint
		return rec
	case 9, 10, 11:
		return indexed(fpi(tl.nextLSN(), xid, index, version, blk), index)
	case 12, 13:
		return record(tl, wal.RMXact, xlrec.XactAbort, xid, make([]byte, 8))
	case 14, 15, 16:
		return ofFork(inplace(fpi(tl.nextLSN(), xid, rel, version, 0)), pg.VMFork)
	case 17, 18, 19, 20: // it clears bits of the map
		rec := fpi(tl.nextLSN(), xid, rel, version, blk)
		rec.RMID, rec.Info, rec.Main = wal.RMHeap, heaprec.OpDelete, []byte{0xE9, 3, 0, 0, 1, 0, 0, 1}
		return rec
	case 21: // one block twice
		rec := inplace(fpi(tl.nextLSN(), xid, rel, version, blk, blk))
		rec.Blocks[1].Image = heapPage(blk, version+1)
		return rec
	}
	switch rng.IntN(6) {
	case 0:
		return commitAll(tl, xid, uint32(xid)-30, uint32(xid)+1)
	case 1:
		rec := indexed(fpi(tl.nextLSN(), xid, index, version, blk), index)
		rec.RMID, rec.Info = wal.RMBtree, 0
		return rec
	}
	return inplace(fpi(tl.nextLSN(), xid, rel, version, blk))
}

// everything is what can be seen of a timeline, at a barrier.
func everything(t *testing.T, tl *Timeline) string {
	t.Helper()
	ctx := context.Background()
	s := tl.snapshot()
	slices.SortFunc(s.Dirty, func(a, b savedDirty) int {
		return cmp.Or(cmp.Compare(a.Rel.Rel, b.Rel.Rel), cmp.Compare(a.Created, b.Created))
	})
	slices.SortFunc(s.Open, func(a, b savedOpenBlocks) int {
		return cmp.Or(cmp.Compare(a.XID, b.XID), cmp.Compare(a.Rel.Rel, b.Rel.Rel))
	})
	if _, err := s.encode(); err != nil { // fills in bitmaps
		t.Fatal(err)
	}
	state, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	out := bytes.NewBuffer(state)
	for rel := pg.OID(0); rel < 16390; rel++ {
		loc := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: rel}
		info, ok := tl.Relation(loc)
		if !ok {
			continue
		}
		fmt.Fprintf(out, "\n%s made at %s", loc, info.Created)
		for num := pg.MainFork; num <= pg.InitFork; num++ {
			n, exists, err := tl.NBlocks(ctx, loc, num)
			fmt.Fprintf(out, "\n %s %d %v %v", num, n, exists, err)
			for blk := range n {
				page, err := tl.Page(ctx, loc, num, blk)
				fmt.Fprintf(out, " %08x %v", crcOf(page), err)
			}
		}
	}
	for k := slru.Kind(0); k < slru.Kinds; k++ {
		for _, run := range tl.SLRUPages(k) {
			for no := run.From; no < run.To; no++ {
				page, _, err := tl.SLRUPage(ctx, k, no)
				fmt.Fprintf(out, "\n%s %d %08x %v", k, no, crcOf(page), err)
			}
		}
	}
	return out.String()
}
