package snapshots

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
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
	"github.com/tarn-db/tarn/pageserver/slru"
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

// TestPast: former LSNs are redone once each, as many as are kept; one more takes the place of the one that has not been read for longest,
// or is refused while all are read.
func TestPast(t *testing.T) {
	r := newRig(t, false)
	r.run(t)
	snap, version := r.version(t, 0)
	if version != 2 || snap.LSN() != r.first+0x1000 {
		t.Errorf("the newest is version %d at %s", version, snap.LSN())
	}
	snap.Release()
	var open []pageapi.Snapshot
	for i := range PastMax {
		for range 2 {
			snap, version := r.version(t, r.first+pg.LSN(i))
			if open = append(open, snap); version != 1 {
				t.Errorf("version %d at the first LSN", version)
			}
		}
	}
	if n := r.opened.Load(); n != PastMax {
		t.Errorf("%d states opened for %d LSNs", n, PastMax)
	}
	if _, err := r.Open(t.Context(), pageapi.Position{LSN: r.first + 50}); fault.CodeOf(err) != fault.PageServiceBusy {
		t.Errorf("one LSN too many: %v", err)
	}
	for i := len(open) - 1; i >= 0; i-- {
		open[i].Release() // the last LSN's first: it has not been read for longest
	}
	snap, _ = r.version(t, r.first+50)
	snap.Release()
	for i := range PastMax - 1 {
		snap, _ := r.version(t, r.first+pg.LSN(i))
		snap.Release()
	}
	if n := r.opened.Load(); n != PastMax+1 {
		t.Errorf("%d states opened: one that was read lately went", n)
	}
	if left, err := os.ReadDir(r.scratch); len(left) != PastMax || err != nil {
		t.Errorf("%d states are kept: %v", len(left), err)
	}
	r.expire(time.Now().Add(pastIdle - time.Second))
	if len(r.pasts) != PastMax {
		t.Errorf("%d states are left before they are idle", len(r.pasts))
	}
	r.expire(time.Now().Add(pastIdle))
	if len(r.pasts) != 0 {
		t.Errorf("%d idle states are kept", len(r.pasts))
	}
}

// TestFormer: once pages have been flushed, layers answer for former LSNs, beside redo; where they do not tell which pages SLRUs have, a state of
// the past does.
func TestFormer(t *testing.T) {
	r := newRig(t, true)
	r.run(t)
	r.Lock()
	wait := r.tl.StartFlush(t.Context())
	r.Unlock()
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	r.apply(t, 3)
	for i := range formerMax + 2 {
		snap, version := r.version(t, r.first+pg.LSN(i))
		if version != 1 || snap.Timeline() != 1 || snap.SystemID() != r.tl.SystemID() {
			t.Errorf("version %d of timeline %d before the first record", version, snap.Timeline())
		}
		if n, ok, err := snap.RelSize(t.Context(), testRel, pg.MainFork); n != 1 || !ok || err != nil {
			t.Errorf("the relation has %d blocks, %v, %v", n, ok, err)
		}
		r.apply(t, byte(4+i)) // redo does not wait for such a snapshot
		snap.Release()
	}
	if n := len(r.formers); n != formerMax {
		t.Errorf("%d former LSNs are held", n)
	}
	snap, version := r.version(t, r.first+0x1000)
	if version != 2 {
		t.Errorf("version %d where the flush was", version)
	}
	snap.Release()
	if n := r.opened.Load(); n != 0 {
		t.Errorf("%d states of the past opened where layers lead", n)
	}
	for i, want := range []int32{1, 1} { // no layer leads to the first LSN, one leads on from there
		snap, _ := r.version(t, r.first+pg.LSN(i))
		runs, err := snap.SLRUPages(t.Context(), slru.CLOG)
		if err != nil || len(runs) != 1 || runs[0] != (slru.Run{From: 0, To: 1}) || r.opened.Load() != want {
			t.Errorf("pg_xact has pages %v at %s: %v; %d states of the past opened, want %d", runs, snap.LSN(), err, r.opened.Load(), want)
		}
		err = snap.Pages(t.Context(), []key.Key{key.OfSLRU(pg.OID(slru.CLOG), 0)}, func(_ int, page []byte) error {
			if page[0] != 0x55 {
				t.Errorf("pg_xact begins with %x at %s", page[0], snap.LSN())
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		snap.Release()
	}
	r.Attach(nil)
	if len(r.formers) != 0 {
		t.Error("LSNs of a timeline that is not attached are held")
	}
}

// TestPastFails: what cannot be opened is tried again by who asks next; what cannot be read any more is opened anew.
func TestPastFails(t *testing.T) {
	r := newRig(t, false)
	r.run(t)
	r.fail.Store(true)
	if _, err := r.Open(t.Context(), pageapi.Position{LSN: r.first}); fault.CodeOf(err) != fault.StoreUnreachable {
		t.Errorf("open while the store is away: %v", err)
	}
	snap, _ := r.version(t, r.first)
	snap.(*snapshot).failed(context.Canceled) // a client that left
	other, _ := r.version(t, r.first)
	if n := r.opened.Load(); n != 2 {
		t.Errorf("%d states opened: a client's end counts as the state's", n)
	}
	snap.(*snapshot).failed(objstore.ErrNotFound)
	again, version := r.version(t, r.first)
	if n := r.opened.Load(); n != 3 || version != 1 {
		t.Errorf("%d states opened: a broken one is read on", n)
	}
	snap.Release()
	other.Release()
	last, _ := r.version(t, r.first)
	if n := r.opened.Load(); n != 3 {
		t.Errorf("%d states opened: the broken one took the new one with it", n)
	}
	again.Release()
	last.Release()
}

// TestPastOfAnother: after another timeline is attached, nothing is read of the former one's past.
func TestPastOfAnother(t *testing.T) {
	r := newRig(t, false)
	r.run(t)
	snap, _ := r.version(t, r.first)
	r.Attach(nil)
	if _, err := r.Open(t.Context(), pageapi.Position{LSN: r.first}); fault.CodeOf(err) != fault.LakeNotRead {
		t.Errorf("read of no timeline: %v", err)
	}
	r.Attach(r.tl)
	again, _ := r.version(t, r.first)
	if n := r.opened.Load(); n != 2 {
		t.Errorf("%d states opened: the former timeline's is read", n)
	}
	snap.Release()
	again.Release()
	r.held = make(chan struct{})
	asked := make(chan error, 1)
	go func() {
		_, err := r.Open(context.Background(), pageapi.Position{LSN: r.first + 1})
		asked <- err
	}()
	for r.opened.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	r.Attach(r.tl)
	close(r.held)
	if err := <-asked; fault.CodeOf(err) != fault.LakeNotRead {
		t.Errorf("a state that was opened while another timeline was attached: %v", err)
	}
}

// TestPastDeadline: who waits in vain hears so, and finds the state open later.
func TestPastDeadline(t *testing.T) {
	r := newRig(t, false)
	r.held = make(chan struct{})
	r.run(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Open(ctx, pageapi.Position{LSN: r.first}); fault.CodeOf(err) != fault.WaitTimeout {
		t.Errorf("open of what takes long: %v", err)
	}
	close(r.held)
	snap, _ := r.version(t, r.first)
	snap.Release()
	if n := r.opened.Load(); n != 1 {
		t.Errorf("%d states opened for one LSN", n)
	}
	r.stop()
	if _, err := r.Open(t.Context(), pageapi.Position{LSN: r.first}); err == nil {
		t.Error("opened after the end")
	}
	if _, err := r.openPast(t.Context(), r.first); fault.CodeOf(err) != fault.ServerStopped {
		t.Errorf("opened after the end: %v", err)
	}
}

// TestGate: redo waits for snapshots of the newest that are open, and gets its turn before those that come after it.
func TestGate(t *testing.T) {
	r := newRig(t, false)
	r.run(t)
	snap, _ := r.version(t, 0)
	applied := make(chan struct{})
	go func() { r.apply(t, 3); close(applied) }()
	select {
	case <-applied:
		t.Fatal("a record was applied under an open snapshot")
	case <-time.After(50 * time.Millisecond):
	}
	// Once redo waits, a reader waits behind it.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if late, err := r.Open(ctx, pageapi.Position{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a snapshot was opened before redo had its turn: %v, %v", late, err)
	}
	snap.Release()
	<-applied
	snap, version := r.version(t, 0)
	if version != 3 {
		t.Errorf("version %d after redo had its turn", version)
	}
	snap.Release()
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
