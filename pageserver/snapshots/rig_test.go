package snapshots

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/internal/walfixture"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/pageapi"
)

var testRel = pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: 16384}

// testPage is a page that tells its version.
func testPage(version byte) pg.Page {
	p := make(pg.Page, pg.BlockSize)
	p.Init(0)
	for i := 4096; i < pg.BlockSize; i++ {
		p[i] = version
	}
	return p
}

// rig is a Source over a timeline that begins where a recorded stream of WAL does, with block 0 in version 1, and has gone on to version 2.
// Up to 64 bytes behind first nothing in the stream ends.
type rig struct {
	*Source
	tl      *pageserver.Timeline
	first   pg.LSN // where the timeline begins
	redone  atomic.Uint64
	opened  atomic.Int32  // states of the past
	fail    atomic.Bool   // the next of them
	held    chan struct{} // if not nil, they wait for it
	stop    func()
	scratch string
}

// newRig has delta layers lead to former LSNs, or leaves all of them to be redone.
func newRig(t *testing.T, layers bool) *rig {
	t.Helper()
	fixture, err := walfixture.Load(pg.PG15)
	if err != nil {
		t.Fatal(err)
	}
	// The first page's header, and what it has of a record that began before (XLogLongPageHeaderData).
	skip := 40 + (pg.LSN(binary.LittleEndian.Uint32(fixture.Bytes[16:]))+7)&^7
	r := &rig{first: fixture.Start + skip, scratch: filepath.Join(t.TempDir(), "past")}
	systemID := binary.LittleEndian.Uint64(fixture.Bytes[24:])
	ctx := context.Background()
	store := objstore.NewMem()
	o := pageserver.Options{Store: store}
	if layers {
		o.History.Window, o.WAL = time.Hour, fixtureWAL{fixture}
	}
	im, err := pageserver.NewImport(ctx, o, pageserver.ImportInfo{SystemID: systemID, Timeline: 1})
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{"base/5/16384": testPage(1), "global/pg_control": testControl(systemID, r.first), "pg_xact/0000": bytes.Repeat([]byte{0x55}, pg.BlockSize)} {
		if err := im.File(ctx, 0, path, int64(len(data)), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	if r.tl, err = im.Finish(ctx, 0, 0); err != nil {
		t.Fatal(err)
	}
	r.Source = New(Options{
		Store: store, Scratch: r.scratch, PastBytes: 32 << 20,
		TimelineAt: func(pg.LSN) pg.TimelineID { return 1 },
		Redone:     func() pg.LSN { return pg.LSN(r.redone.Load()) },
		Wait:       func(ctx context.Context, _ pg.LSN) error { <-ctx.Done(); return ctx.Err() },
		WAL: func(_ context.Context, tl *pageserver.Timeline, start pg.LSN) (*wal.Reader, error) {
			r.opened.Add(1)
			if r.held != nil {
				<-r.held
			}
			if r.fail.CompareAndSwap(true, false) {
				return nil, fault.New(fault.StoreUnreachable, "the store is away")
			}
			return wal.NewReader(wal.Options{Source: fixture, Start: start, Timeline: 1, SystemID: systemID, SegmentSize: fixture.SegmentLen, Major: pg.PG15})
		},
	})
	r.Attach(r.tl)
	r.apply(t, 2)
	return r
}

// fixtureWAL is a recorded stream as an archive.
type fixtureWAL struct{ *walfixture.WAL }

// ReadAt implements pageserver.WAL.
func (w fixtureWAL) ReadAt(_ context.Context, lsn pg.LSN, dst []byte) (int, error) {
	return w.Read(lsn, dst)
}

// SegmentSize implements pageserver.WAL.
func (w fixtureWAL) SegmentSize() int64 { return w.SegmentLen }

// run runs the source until the test ends, or until stop.
func (r *rig) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		left, err := os.ReadDir(r.scratch)
		if len(left) > 0 || err != nil {
			t.Errorf("%v is left in the folder: %v", left, err)
		}
		r.Attach(nil)
		if err := r.tl.Close(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t)
	}
	t.Cleanup(r.stop)
}

// apply redoes a record that makes block 0 another version, as the server's loop does.
func (r *rig) apply(t *testing.T, version byte) {
	t.Helper()
	r.Lock()
	defer r.Unlock()
	at := r.tl.RedoLSN()
	rec := &wal.Record{Major: pg.PG15, LSN: at, End: at + 0x1000, RMID: wal.RMXLog, Info: xlrec.XLogFPI}
	rec.Blocks = []wal.BlockRef{{Rel: testRel, HasImage: true, ApplyImage: true, Image: testPage(version)}}
	if err := r.tl.Apply(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	r.redone.Store(uint64(rec.End))
}

// version opens a snapshot and reads block 0; the snapshot is left open.
func (r *rig) version(t *testing.T, lsn pg.LSN) (pageapi.Snapshot, byte) {
	t.Helper()
	snap, err := r.Open(t.Context(), pageapi.Position{LSN: lsn})
	if err != nil {
		t.Fatalf("open %s: %v", lsn, err)
	}
	version := byte(0)
	err = snap.Pages(t.Context(), []key.Key{key.OfBlock(testRel, pg.MainFork, 0)}, func(_ int, page []byte) error { version = page[5000]; return nil })
	if err != nil || lsn != 0 && snap.LSN() != lsn {
		t.Fatalf("read at %s, of %s: %v", lsn, snap.LSN(), err)
	}
	return snap, version
}

// testControl is a pg_control of PostgreSQL 15 whose server was shut down at lsn.
func testControl(systemID uint64, lsn pg.LSN) []byte {
	b := make([]byte, control.FileSize)
	le := binary.LittleEndian
	le.PutUint64(b, systemID)
	le.PutUint32(b[8:], 1300)
	le.PutUint32(b[12:], 202209061)
	le.PutUint32(b[16:], uint32(control.ShutDown))
	copy(b[40:], xlrec.AppendCheckPoint(nil, pg.PG15, xlrec.CheckPoint{Redo: lsn, TimelineID: 1, PrevTimelineID: 1, NextXID: 1000, NextMulti: 1, OldestXID: 700}))
	le.PutUint32(b[172:], uint32(xlrec.WALLevelReplica))
	le.PutUint32(b[204:], 8)
	le.PutUint64(b[208:], 0x4132D68700000000) // 1234567.0
	le.PutUint32(b[216:], pg.BlockSize)
	le.PutUint32(b[220:], pg.SegmentBlocks)
	le.PutUint32(b[224:], 8192)
	le.PutUint32(b[228:], walfixture.SegmentSize)
	b[248] = 1
	le.PutUint32(b[288:], crc32.Checksum(b[:288], crc32.MakeTable(crc32.Castagnoli)))
	return b
}
