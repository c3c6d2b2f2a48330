package pageserver

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// batchOf is n records, each an image of one of the first blocks; version counts them. All of them can be of one run.
func batchOf(tl *Timeline, n, blocks int) []wal.Record {
	recs := make([]wal.Record, n)
	lsn := tl.nextLSN()
	for i := range recs {
		recs[i] = *inplace(fpi(lsn, 0, testRel, i+1, pg.BlockNumber(i%blocks)))
		lsn = recs[i].End
	}
	if got := tl.plainRun(recs); got != n {
		panic(fmt.Sprintf("a run of %d records, not %d", got, n))
	}
	return recs
}

// inplace makes a record of images INPLACE updates of line pointer 1.
func inplace(rec *wal.Record) *wal.Record {
	rec.RMID, rec.Info, rec.Main = wal.RMHeap, heaprec.OpInplace, []byte{1, 0}
	return rec
}

// onTuple takes such a record's image away.
func onTuple(rec *wal.Record) {
	rec.Blocks[0].HasImage, rec.Blocks[0].ApplyImage, rec.Blocks[0].Data = false, false, []byte("xxxxxxxx")
}

// TestBatchOrder: a page that many records of many batches name ends as the last of them left it, whoever redoes it.
func TestBatchOrder(t *testing.T) {
	for workers := range 4 {
		tl := importPages(t, Options{Store: objstore.NewMem(), Workers: workers}, 7)
		for range 20 {
			recs := batchOf(tl, 500, 7)
			if n, err := tl.ApplyBatch(context.Background(), recs); n != len(recs) || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := tl.Barrier(); err != nil {
			t.Fatal(err)
		}
		for blk := range 7 {
			want := 500 - (500-1-blk)%7
			if v := pageVersion(t, tl, testRel, pg.BlockNumber(blk)); v != want {
				t.Errorf("%d workers: block %d has version %d, want %d", workers, blk, v, want)
			}
		}
		if d := tl.TakeDirty(); d[testRel] == nil || d[testRel].Blocks.GetCardinality() != 7 {
			t.Errorf("%d workers: dirty %v", workers, d)
		}
		_ = tl.Close()
	}
}

// TestBatchWithBadRecord: the records before a bad one are the last of the timeline, and none of it becomes durable.
func TestBatchWithBadRecord(t *testing.T) {
	for workers := range 3 {
		for _, bad := range []int{0, 1, 250, 499} {
			t.Run(fmt.Sprintf("workers=%d/bad=%d", workers, bad), func(t *testing.T) {
				tl := importPages(t, Options{Store: objstore.NewMem(), Workers: workers}, 7)
				resume := tl.ResumeLSN()
				first := batchOf(tl, 500, 7)
				if _, err := tl.ApplyBatch(context.Background(), first); err != nil {
					t.Fatal(err)
				}
				recs := batchOf(tl, 500, 7)
				onTuple(&recs[bad]) // of a page that has no line pointers
				want := recs[bad].LSN
				_, err := tl.ApplyBatch(context.Background(), recs)
				if workers > 0 && err == nil {
					err = tl.Barrier()
				}
				var corrupt *pg.CorruptError
				if !errors.As(err, &corrupt) || corrupt.LSN != want || corrupt.Rel != testRel {
					t.Fatalf("%v, want a corrupt record at %s", err, want)
				}
				if tl.RedoLSN() != want {
					t.Errorf("redo is at %s, the bad record at %s", tl.RedoLSN(), want)
				}
				if _, err := tl.Page(context.Background(), testRel, 0, 0); !errors.Is(err, pg.ErrCorrupt) {
					t.Errorf("a page of a timeline that is over: %v", err)
				}
				if _, err := tl.XIDStatus(999); !errors.Is(err, pg.ErrCorrupt) {
					t.Errorf("a transaction of a timeline that is over: %v", err)
				}
				if err := tl.StartFlush(context.Background())(); !errors.Is(err, pg.ErrCorrupt) {
					t.Errorf("a flush of a timeline that is over: %v", err)
				}
				if tl = reopen(t, tl); tl.RedoLSN() != resume {
					t.Errorf("opened again at %s, want %s", tl.RedoLSN(), resume)
				}
				_ = tl.Close()
			})
		}
	}
}

// TestBatchWithoutStore: a page that cannot be read ends a batch before its record, which can be applied again.
func TestBatchWithoutStore(t *testing.T) {
	for workers := range 3 {
		store := objstore.NewFaulty(objstore.NewMem())
		tl := reopen(t, importPages(t, Options{Store: store, Workers: workers}, 7))
		if _, _, err := tl.NBlocks(context.Background(), testRel, 0); err != nil {
			t.Fatal(err)
		}
		recs := batchOf(tl, 400, 6) // block 6 is not touched
		for i := 300; i < 310; i++ {
			recs[i].RMID, recs[i].Info, recs[i].Main, recs[i].XID = wal.RMHeap, 0x30, nil, 0
			recs[i].Blocks = nil
		}
		recs[305] = *fpi(recs[305].LSN, 0, testRel, 1, 6)
		onTuple(&recs[305])
		recs[305].RMID, recs[305].Info = wal.RMHeap2, 0x70 // NEW_CID: changes no page, but brings it in
		store.Inject(objstore.Fault{Op: objstore.OpGetRange, Times: 1, Err: objstore.ErrInjected})
		n, err := tl.ApplyBatch(context.Background(), recs)
		if n != 305 || !errors.Is(err, objstore.ErrInjected) || tl.RedoLSN() != recs[305].LSN {
			t.Fatalf("%d workers: %d records, at %s: %v", workers, n, tl.RedoLSN(), err)
		}
		recs[305].Blocks = nil
		if n, err = tl.ApplyBatch(context.Background(), recs[n:]); n != 95 || err != nil {
			t.Fatal(n, err)
		}
		if err := tl.Barrier(); err != nil {
			t.Fatal(err)
		}
		if v, w := pageVersion(t, tl, testRel, 3), pageVersion(t, tl, testRel, 6); v != 400 || w != 0 {
			t.Errorf("%d workers: versions %d and %d", workers, v, w)
		}
		_ = tl.Close()
	}
}

// TestBatchMemory: runs of many blocks, and of commits on very many pages of transaction logs, stay within memory, with a store that
// has to be waited for.
func TestBatchMemory(t *testing.T) {
	for workers := range 3 {
		store := objstore.NewFaulty(objstore.NewMem())
		tl := importPages(t, Options{Store: store, MemoryBytes: 32 << 20, Workers: workers}, 1)
		store.Inject(objstore.Fault{Op: objstore.OpPutStream, Times: 2, Err: objstore.ErrInjected})
		apply(t, tl, record(tl, wal.RMXLog, xlrec.XLogParameterChange, 0, u32s(100, 8, 10, 0, 64, uint32(xlrec.WALLevelReplica), 0x100)))
		batch := func(n int, make func(i int) *wal.Record) {
			var recs []wal.Record
			lsn := tl.RedoLSN()
			for i := range n {
				rec := make(i)
				rec.LSN, rec.End = lsn, lsn+0x100
				recs, lsn = append(recs, *rec), rec.End
			}
			if done, err := tl.ApplyBatch(context.Background(), recs); done != n || err != nil {
				t.Fatal(done, err)
			}
			if s := tl.Stats(); s.ResidentBytes > 24<<20 {
				t.Fatalf("%d workers: %d bytes resident", workers, s.ResidentBytes)
			}
		}
		for round := range 6 {
			batch(500, func(i int) *wal.Record {
				blk := pg.BlockNumber((round*500 + i) * 3)
				return inplace(fpi(0, 0, testRel, round, blk, blk+1, blk+2))
			})
		}
		xid := uint32(1000)
		batch(100, func(int) *wal.Record {
			subs := make([]uint32, 100)
			for i := range subs {
				xid += slru.CommitTsXacts // each on a page of its own
				subs[i] = xid
			}
			return commitAll(tl, pg.XID(xid), subs...)
		})
		if err := tl.Barrier(); err != nil {
			t.Fatal(err)
		}
		if s, err := tl.XIDStatus(pg.XID(xid - slru.CommitTsXacts)); s != Committed || err != nil {
			t.Errorf("%d workers: %s, %v", workers, s, err)
		}
		if v := pageVersion(t, tl, testRel, 8999); v != 5 {
			t.Errorf("%d workers: version %d", workers, v)
		}
		_ = tl.Close()
	}
}

// TestEachCommitIsTold: a batch has many commits, and each is told of with its own LSN.
func TestEachCommitIsTold(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 7)
	defer tl.Close()
	recs := batchOf(tl, 60, 7)
	var want, got []pg.LSN
	for i := 0; i < len(recs); i += 3 {
		lsn, end := recs[i].LSN, recs[i].End
		recs[i] = *record(tl, wal.RMXact, xlrec.XactCommit, pg.XID(2000+i), make([]byte, 8))
		recs[i].LSN, recs[i].End = lsn, end
		want = append(want, end)
	}
	tl.OnCommit(func(lsn pg.LSN, at time.Time) {
		if last, when := tl.LastCommit(); last != lsn || !when.Equal(at) {
			t.Errorf("told of %s, the last commit is %s", lsn, last)
		}
		got = append(got, lsn)
	})
	if n, err := tl.ApplyBatch(context.Background(), recs); n != len(recs) || err != nil {
		t.Fatal(n, err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("told of %v, want %v", got, want)
	}
}

// TestBatchOfBackup: records of a base backup's WAL are not applied in runs, nor those after its end before the transactions that are
// older than it have been looked for.
func TestBatchOfBackup(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem(), Workers: 1}, 4)
	defer tl.Close()
	recs := batchOf(tl, 300, 9)
	onTuple(&recs[8]) // of a block that is not there
	tl.consistent = recs[200].End
	if n, err := tl.ApplyBatch(context.Background(), recs[:200]); n != 200 || err != nil || tl.Stats().Invalid != 1 {
		t.Fatalf("%d records, %d blocks missing: %v", n, tl.Stats().Invalid, err)
	}
	apply(t, tl, truncate(tl, testRel, 8))
	recs = recs[201:]
	tl.consistent, tl.inherited = tl.redoLSN, inherited{From: 1000, To: 1001}
	if n, err := tl.ApplyBatch(context.Background(), recs); n != len(recs) || err != nil || !tl.inherited.empty() {
		t.Errorf("%d records, transactions %v: %v", n, tl.inherited, err)
	}
}

// gated is a store whose layers wait until gate is closed.
type gated struct {
	objstore.Store
	gate chan struct{}
}

func (s *gated) PutStream(ctx context.Context, key string, r io.Reader) (objstore.ObjectInfo, error) {
	<-s.gate
	return s.Store.PutStream(ctx, key, r)
}

// TestFlushKeepsItsPages: what a flush writes is as of when it began, whatever is redone until it has come to a page.
func TestFlushKeepsItsPages(t *testing.T) {
	const n = 500
	for workers := range 3 {
		store := &gated{Store: objstore.NewMem(), gate: make(chan struct{})}
		close(store.gate)
		tl := importPages(t, Options{Store: store, Workers: workers}, n)
		all := func(version int) {
			recs := make([]wal.Record, n)
			for i := range recs {
				recs[i] = *inplace(fpi(tl.nextLSN()+pg.LSN(i)*0x100, 0, testRel, version, pg.BlockNumber(i)))
			}
			if done, err := tl.ApplyBatch(context.Background(), recs); done != n || err != nil {
				t.Fatal(done, err)
			}
			if err := tl.Barrier(); err != nil {
				t.Fatal(err)
			}
		}
		all(1)
		store.gate = make(chan struct{})
		wait := tl.StartFlush(context.Background())
		all(2)
		apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 3, 7))
		close(store.gate)
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		if v, w := pageVersion(t, tl, testRel, 7), pageVersion(t, tl, testRel, 499); v != 3 || w != 2 {
			t.Errorf("%d workers: versions %d and %d in memory", workers, v, w)
		}
		tl = reopen(t, tl)
		for blk := range pg.BlockNumber(n) {
			if v := pageVersion(t, tl, testRel, blk); v != 1 {
				t.Fatalf("%d workers: block %d has version %d in the store", workers, blk, v)
			}
		}
		_ = tl.Close()
	}
}

// TestBlockTwice: a record that names a block twice does both to it.
func TestBlockTwice(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 4)
	defer tl.Close()
	rec := inplace(fpi(tl.nextLSN(), 0, testRel, 1, 2, 2))
	rec.Blocks[1].Image = heapPage(2, 7)
	apply(t, tl, rec)
	if v := pageVersion(t, tl, testRel, 2); v != 7 {
		t.Errorf("version %d", v)
	}
}

// TestPlain: only records that change pages by redo, and ends of transactions that drop nothing, are of runs.
func TestPlain(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
	defer tl.Close()
	withBlock := commitAll(tl, 1001, 1002)
	withBlock.Blocks = fpi(0, 0, testRel, 1, 0).Blocks
	custom := fpi(0, 0, testRel, 1, 0)
	custom.RMID = wal.RMCustomMin
	for _, c := range []struct {
		name string
		rec  *wal.Record
		want bool
	}{
		{"heap", inplace(fpi(0, 0, testRel, 1, 0)), true},
		{"image of any relation", fpi(0, 0, testRel, 1, 0), false},
		{"commit", commitAll(tl, 1001, 1002), true},
		{"abort", record(tl, wal.RMXact, xlrec.XactAbort, 1001, make([]byte, 8)), true},
		{"commit that drops", commit(tl, 1001, testRel), false},
		{"commit of many", commitAll(tl, 1001, make([]uint32, 200)...), false},
		{"commit that names a block", withBlock, false},
		{"prepare", record(tl, wal.RMXact, xlrec.XactPrepare, 1001, nil), false},
		{"commit prepared", record(tl, wal.RMXact, xlrec.XactCommitPrepared, 0, make([]byte, 8)), false},
		{"commit cut short", record(tl, wal.RMXact, xlrec.XactCommit|xlrec.XactHasInfo, 1001, make([]byte, 8)), false},
		{"storage", truncate(tl, testRel, 1), false},
		{"running transactions", record(tl, wal.RMStandby, xlrec.StandbyRunningXacts, 0, nil), false},
		{"extension", custom, false},
	} {
		if got := plain(c.rec); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
