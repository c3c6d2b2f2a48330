package ingest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/raftlog"
	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/objstore"
)

// TestFastShutdown says that an asynchronous tarn does not hold up the server's shutdown: the tail is archived for it, and
// where the store takes nothing the server is let go.
func TestFastShutdown(t *testing.T) {
	srv := startServer(t, keepAll)
	store := objstore.NewFaulty(objstore.NewMem())
	opt := testOptions(t, srv)
	opt.Store = store
	opt.yieldAfter = time.Second
	r := start(t, opt)
	work(t, srv)
	begun := time.Now()
	srv.FastStop(5 * time.Second)
	t.Logf("shutdown with the store up: %s", time.Since(begun))
	srv.StartAgain()
	r.eventually("streaming again", func() bool { return r.Status().Connected })
	store.Inject(objstore.Fault{Op: objstore.OpPut, Err: errors.New("store is down")})
	end := work(t, srv)
	r.eventually("received", func() bool { return r.CommitLSN() >= end })
	begun = time.Now()
	srv.FastStop(6 * time.Second)
	t.Logf("shutdown with the store down: %s", time.Since(begun))
	store.Clear()
	srv.StartAgain()
	end = work(t, srv)
	if err := r.WaitCommit(testCtx(t), end); err != nil {
		t.Fatal(err)
	}
}

// TestWALGap lets the server remove WAL while nobody holds it, then starts over.
func TestWALGap(t *testing.T) {
	srv := startServer(t, nil)
	opt := testOptions(t, srv)
	r := start(t, opt)
	end := work(t, srv)
	if err := r.WaitCommit(testCtx(t), end); err != nil {
		t.Fatal(err)
	}
	r.stop()
	srv.AwaitFreeSlot()
	if err := receive.DropSlot(testCtx(t), opt.Source, "tarn"); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		work(t, srv)
		srv.Do("CHECKPOINT")
	}
	r = start(t, opt)
	r.eventually("gap", func() bool { return r.Status().State == WALGap })
	st := r.Status()
	if !errors.Is(st.LastError, receive.ErrWALGone) || !strings.Contains(st.LastError.Error(), "tarn resync --all") || strings.Contains(st.LastError.Error(), "\n") {
		t.Fatal(st.LastError)
	}
	t.Log(st.LastError)
	if st.CommitLSN < end {
		t.Fatalf("what was received is gone: %+v", st)
	}
	if err := Resync(testCtx(t), opt); !errors.Is(err, raftlog.ErrLocked) {
		t.Fatalf("resync beside the service: %v", err)
	}
	r.stop()
	if err := Resync(testCtx(t), opt); err != nil {
		t.Fatal(err)
	}
	r = start(t, opt)
	if r.Base() <= end {
		t.Fatalf("resynced at %s", r.Base())
	}
	end = work(t, srv)
	if err := r.WaitCommit(testCtx(t), end); err != nil {
		t.Fatalf("%v: %+v", err, r.Status())
	}
}

// TestResyncCutShort ends the process between the new beginning of the log and that of the archive. The next start says
// that WAL is missing, and another resync is the way out.
func TestResyncCutShort(t *testing.T) {
	srv := startServer(t, nil)
	opt := testOptions(t, srv)
	r := start(t, opt)
	end := work(t, srv)
	if err := r.WaitCommit(testCtx(t), end); err != nil {
		t.Fatal(err)
	}
	cluster := r.Cluster()
	r.stop()
	log, err := raftlog.Open(raftlog.Options{Dir: opt.DataDir})
	if err != nil {
		t.Fatal(err)
	}
	end = work(t, srv)
	if err := errors.Join(log.Reset(testCtx(t), cluster, 1, end.SegmentStart(segSize)), log.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(testCtx(t), opt); !errors.Is(err, raftlog.ErrGap) || !strings.Contains(err.Error(), "tarn resync --all") {
		t.Fatalf("%v, %v", s, err)
	}
	if err := Resync(testCtx(t), opt); err != nil {
		t.Fatal(err)
	}
	r = start(t, opt)
	end = work(t, srv)
	if err := r.WaitCommit(testCtx(t), end); err != nil {
		t.Fatalf("%v: %+v", err, r.Status())
	}
}

// TestForeignSource points a data folder at another cluster, then at none.
func TestForeignSource(t *testing.T) {
	srv := startServer(t, nil)
	opt := testOptions(t, srv)
	start(t, opt).stop()
	other := startServer(t, nil)
	foreign := opt
	foreign.Source.URL = other.ReplConnString("postgres")
	_, err := Open(testCtx(t), foreign)
	var ae *receive.AttachError
	if !errors.As(err, &ae) || ae.Code != receive.CodeSystemID {
		t.Fatalf("another cluster: %v", err)
	}
	srv.Kill()
	if _, err := Open(testCtx(t), Options{Source: opt.Source, DataDir: t.TempDir(), Store: objstore.NewMem()}); !errors.As(err, &ae) || ae.Code != receive.CodeUnreachable {
		t.Fatalf("first attach to nobody: %v", err)
	}
	r := start(t, opt)
	if st := r.Status(); st.Connected || st.LastError == nil || st.CommitLSN == 0 {
		t.Fatalf("without the server: %+v", st)
	}
}

// TestDivergedSource puts the server back to an older copy of itself, which then writes another history.
func TestDivergedSource(t *testing.T) {
	srv := startServer(t, keepAll)
	opt := testOptions(t, srv)
	r := start(t, opt)
	work(t, srv)
	srv.FastStop(10 * time.Second)
	srv.Must(srv.Save())
	srv.StartAgain()
	end := work(t, srv)
	if err := r.WaitCommit(testCtx(t), end); err != nil {
		t.Fatal(err)
	}
	srv.Kill()
	srv.Must(srv.Restore())
	srv.StartAgain()
	r.eventually("diverged", func() bool { return r.Status().State == Diverged })
	t.Log(r.Status().LastError)
	if !errors.Is(r.Status().LastError, receive.ErrServerBehind) {
		t.Fatal(r.Status().LastError)
	}
	// Its other history grows past ours: only the bytes tell.
	r.stop()
	for flushLSN(t, srv) <= end {
		srv.Do("INSERT INTO t SELECT g, repeat('z', 200) FROM generate_series(1, 3000) g")
	}
	r = start(t, opt)
	r.eventually("diverged", func() bool { return r.Status().State == Diverged })
	t.Log(r.Status().LastError)
	if !raftlog.Diverged(r.Status().LastError) || r.CommitLSN() != end {
		t.Fatal(r.Status().LastError)
	}
}
