package pageserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/cluster"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// commitAll is a commit with subtransactions.
func commitAll(tl *Timeline, xid pg.XID, subs ...uint32) *wal.Record {
	main := append(make([]byte, 8), u32s(append([]uint32{xlrec.XInfoHasSubxacts, uint32(len(subs))}, subs...)...)...)
	return record(tl, wal.RMXact, xlrec.XactCommit|xlrec.XactHasInfo, xid, main)
}

// TestCutSegmentsStayAway: pages cut off are not there, and when their numbers are used again nothing of them shows: not in
// pages that a file has because a later one was written, not after a restart, not from merged layers.
func TestCutSegmentsStayAway(t *testing.T) {
	for _, merge := range []bool{false, true} {
		tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
		zero := func(no uint32) *wal.Record { return record(tl, wal.RMClog, xlrec.ClogZeroPage, 0, u32s(no)) }
		xid := pg.XID(2*slru.CLOGXacts + 5) // on page 2
		for _, no := range []uint32{1, 2, 40} {
			apply(t, tl, zero(no))
		}
		tl.live.CheckPoint.NextXID = 40*slru.CLOGXacts + 9
		apply(t, tl, commit(tl, xid), commit1(tl, 40*slru.CLOGXacts+1))
		flush(t, tl)
		apply(t, tl, record(tl, wal.RMClog, xlrec.ClogTruncate, 0, u32s(40, 40*slru.CLOGXacts, 1)))
		if s := fmt.Sprint(tl.SLRUPages(slru.CLOG)); s != "[{32 41}]" {
			t.Errorf("pages %s", s)
		}
		if s, err := tl.XIDStatus(xid); s != Committed || err != nil {
			t.Errorf("a transaction older than the commit log is %v, %v", s, err)
		}
		flush(t, tl)
		// The ids come round: page 3 is made, and the file has the pages before it.
		apply(t, tl, zero(3))
		flush(t, tl)
		if merge {
			mergeAll(t, tl)
		}
		for range 2 {
			page, ok, err := tl.SLRUPage(context.Background(), slru.CLOG, 2)
			if !ok || err != nil || slru.StatusOf(page, xid) != 0 {
				t.Errorf("merge %v: page 2 shows what it was: %v, %v", merge, ok, err)
			}
			if page, ok, err := tl.SLRUPage(context.Background(), slru.CLOG, 40); !ok || err != nil || slru.StatusOf(page, 40*slru.CLOGXacts+1) != slru.CLOGCommitted {
				t.Errorf("merge %v: page 40 has lost something: %v, %v", merge, ok, err)
			}
			if s := fmt.Sprint(tl.SLRUPages(slru.CLOG)); s != "[{0 4} {32 41}]" {
				t.Errorf("pages %s", s)
			}
			tl = reopen(t, tl)
		}
		_ = tl.Close()
	}
}

// TestCommitIsWhole: a commit over several pages of which one cannot be read has not happened at all, and happens when it is
// applied again.
func TestCommitIsWhole(t *testing.T) {
	store := objstore.NewFaulty(objstore.NewMem())
	tl := importPages(t, Options{Store: store}, 1)
	for no := range uint32(5) {
		apply(t, tl, record(tl, wal.RMClog, xlrec.ClogZeroPage, 0, u32s(no+1)))
		apply(t, tl, commit(tl, pg.XID((no+1)*slru.CLOGXacts+77)))
		flush(t, tl) // a layer of its own
	}
	tl = reopen(t, tl)
	const a, b, c = 1*slru.CLOGXacts + 1, 3*slru.CLOGXacts + 1, 9*slru.CLOGXacts + 1 // the last one's page does not exist
	rec := commitAll(tl, c, a, b)
	if s, _ := tl.XIDStatus(a); s == Committed {
		t.Error("committed before it is")
	}
	before, failures := tl.RedoLSN(), 0
	for ; ; failures++ {
		store.Inject(objstore.Fault{Op: objstore.OpGetRange, Skip: failures, Err: objstore.ErrInjected})
		tl.reader.cache = newCache(1 << 20)
		err := tl.Apply(context.Background(), rec)
		store.Clear()
		if err == nil {
			break
		}
		if !errors.Is(err, objstore.ErrInjected) || tl.RedoLSN() != before {
			t.Fatalf("with a dead store: %v", err)
		}
		tl.memo.Store(nil)
		for _, xid := range []pg.XID{a, b, c} {
			if bits, err := tl.clogBits(xid); bits != 0 || err != nil {
				t.Errorf("half a commit: %d has status %d, %v", xid, bits, err)
			}
		}
		if f := tl.slruFork(slru.CLOG); tl.slruSets[slru.CLOG].Has(9) || f.frame(9) != 0 || tl.CheckPoint().NextXID > 6*slru.CLOGXacts {
			t.Error("half a commit has made a page, or moved a counter")
		}
		f := tl.slruFork(slru.CLOG) // or it would be read no more
		f.frames(0, func(_ pg.BlockNumber, id frameID) {
			if tl.arena.frames[id].state&framePinned != 0 {
				t.Error("a page stays pinned")
			}
			tl.arena.unlink(id)
		})
	}
	if failures < 3 {
		t.Errorf("it failed %d times only", failures)
	}
	for range 2 {
		for _, xid := range []pg.XID{a, b, c, 5*slru.CLOGXacts + 77} {
			if bits, err := tl.clogBits(xid); bits != slru.CLOGCommitted || err != nil {
				t.Errorf("%d has status %d, %v", xid, bits, err)
			}
		}
		flush(t, tl)
		tl = reopen(t, tl)
	}
	_ = tl.Close()
}

// TestManySubtransactions: commit times of a transaction with very many subtransactions are on thousands of pages. Those that
// do not fit into memory at once are refused, and nothing panics.
func TestManySubtransactions(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem(), MemoryBytes: 32 << 20}, 1)
	defer tl.Close()
	on := record(tl, wal.RMXLog, xlrec.XLogParameterChange, 0, u32s(100, 8, 10, 0, 64, uint32(xlrec.WALLevelReplica), 0x100))
	apply(t, tl, on)
	spread := func(n, step uint32) (subs []uint32) {
		for i := range n {
			subs = append(subs, 1001+(i+1)*step)
		}
		return subs
	}
	apply(t, tl, commitAll(tl, 1001, spread(100_000, 8)...)) // 976 pages that exist by then, or are made
	if s, err := tl.XIDStatus(1001 + 80_000); s != Committed || err != nil {
		t.Errorf("%v, %v", s, err)
	}
	err := tl.Apply(context.Background(), commitAll(tl, 1002, spread(100_000, 900)...))
	if err == nil || errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("more pages than memory: %v", err)
	}
	apply(t, tl, commit(tl, 900_000))
}

// TestStateOfVersion1 opens a store that tarn 0.4 wrote, with the commit log, a multixact and an open transaction.
func TestStateOfVersion1(t *testing.T) {
	store := objstore.NewMem()
	root := filepath.Join("testdata", "store-1")
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil {
			name, _ := filepath.Rel(root, path)
			_, err = store.Put(context.Background(), filepath.ToSlash(name), data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tl, err := Open(context.Background(), Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if v := binary.LittleEndian.Uint32(stateOf(t, tl)[8:]); v != 1 {
		t.Fatalf("the store's state is of version %d", v)
	}
	check := func() {
		t.Helper()
		if v, w := pageVersion(t, tl, testRel, 1), pageVersion(t, tl, testRel, 2); v != 1 || w != 2 {
			t.Errorf("versions %d and %d", v, w)
		}
		c := tl.CheckPoint()
		if c.NextXID != 1502 || c.NextMulti != 41 || c.NextMultiOffset != 92 || c.OldestXID != 900 || tl.Cluster().OldestCLOGXID != 900 || tl.Cluster().Settings.WALLevel != xlrec.WALLevelReplica {
			t.Errorf("%+v", tl.Cluster())
		}
		for xid, want := range map[pg.XID]XIDState{800: Committed, 1001: Committed, 1002: InProgress} {
			if got, err := tl.XIDStatus(xid); got != want || err != nil {
				t.Errorf("transaction %d is %s, %v", xid, got, err)
			}
		}
		if xid, ok, err := tl.MultiXactUpdater(40); xid != 1501 || !ok || err != nil {
			t.Errorf("updater %d, %v, %v", xid, ok, err)
		}
		if s := fmt.Sprint(tl.SLRUPages(slru.CLOG), tl.SLRUPages(slru.Offsets), tl.SLRUPages(slru.CommitTs)); s != "[{0 2}] [{0 1}] []" {
			t.Errorf("pages %s", s)
		}
		if d := tl.TakeDirty()[testRel]; d == nil || d.Blocks.GetCardinality() != 2 {
			t.Errorf("dirty %v", d)
		}
	}
	check()
	apply(t, tl, record(tl, wal.RMXLog, xlrec.XLogNoop, 0, nil))
	flush(t, tl)
	if v := binary.LittleEndian.Uint32(stateOf(t, tl)[8:]); v != stateVersion {
		t.Errorf("written again as version %d", v)
	}
	tl = reopen(t, tl)
	check()
	_ = tl.Close()
}

func stateOf(t *testing.T, tl *Timeline) []byte {
	t.Helper()
	tl.flusher.mu.Lock()
	defer tl.flusher.mu.Unlock()
	data, _, err := tl.opts.Store.Get(context.Background(), tl.reader.prefix+tl.flusher.authority.index.State)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// prepareState is a prepared transaction's state data.
func prepareState(xid pg.XID) []byte {
	main := append(u32s(xlrec.TwophaseMagic, 0, uint32(xid), 5, 55, 0, 10, 0, 0, 0, 0, 0, 0, 2<<16, 0, 0, 0, 0), "g\x00\x00\x00\x00\x00\x00\x00"...)
	main = append(main, make([]byte, 8)...) // the closing record
	binary.LittleEndian.PutUint32(main[4:], uint32(len(main)+4))
	return main
}

// TestTwoPhaseFiles: prepared transactions' files are those of the base backup and the WAL until they end; one that is
// damaged is refused, unless it is of after the backup began and so in the WAL too.
func TestTwoPhaseFiles(t *testing.T) {
	ctx := context.Background()
	imported := func(end pg.LSN, files map[string][]byte) (*Timeline, error) {
		im, err := NewImport(ctx, Options{Store: objstore.NewMem()}, ImportInfo{})
		if err != nil {
			t.Fatal(err)
		}
		files["global/pg_control"] = testControl(t, 0x1000000)
		for name, data := range files {
			if err := im.File(ctx, 0, name, int64(len(data)), bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
		}
		start := pg.LSN(0)
		if end != 0 {
			start = 0x1000000
		}
		return im.Finish(ctx, start, end)
	}
	file := cluster.AppendTwoPhase(nil, prepareState(990))
	tl, err := imported(0x1000200, map[string][]byte{"pg_twophase/000003DE": file, "pg_twophase/000005DC": file[:30]})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, tl, record(tl, wal.RMXact, xlrec.XactPrepare, 1500, prepareState(1500)))
	names := func() (s []string) {
		for _, f := range tl.TwoPhase() {
			s = append(s, fmt.Sprintf("%s %d", f.Name, len(f.Data)))
			if _, err := cluster.ParseTwoPhase(f.Data); err != nil {
				t.Error(err)
			}
		}
		return s
	}
	for range 2 {
		if got := fmt.Sprint(names()); got != "[000003DE 92 000005DC 92]" || !bytes.Equal(tl.TwoPhase()[0].Data, file) {
			t.Errorf("files %v", got)
		}
		flush(t, tl)
		tl = reopen(t, tl)
	}
	for i, op := range []uint8{xlrec.XactCommitPrepared, xlrec.XactAbortPrepared} {
		main := append(make([]byte, 8), u32s(xlrec.XInfoHasTwophase, []uint32{990, 1500}[i])...)
		apply(t, tl, record(tl, wal.RMXact, op|xlrec.XactHasInfo, 0, main))
	}
	flush(t, tl)
	tl = reopen(t, tl)
	if n := names(); len(n) != 0 {
		t.Errorf("files %v of transactions that have ended", n)
	}
	_ = tl.Close()
	file[20] ^= 1
	if _, err := imported(0, map[string][]byte{"pg_twophase/000003DE": file}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a damaged file: %v", err)
	}
}
