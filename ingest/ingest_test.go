package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

const segSize = 1 << 20

func testCtx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// startServer starts a server of the oldest major with WAL segments of 1 MiB.
func startServer(t *testing.T, settings map[string]string) pgtest.Fixture {
	t.Helper()
	return pgtest.NewFixture(t, pgtest.SmallWAL(15, settings))
}

func testOptions(t *testing.T, srv pgtest.Fixture) Options {
	return Options{Source: receive.Source{URL: srv.ReplConnString("postgres")}, DataDir: t.TempDir(), Store: objstore.NewMem(), TailInterval: time.Hour}
}

// running is a service at work.
type running struct {
	*Service
	t    *testing.T
	stop func()
}

func start(t *testing.T, opt Options) *running {
	t.Helper()
	s, err := Open(testCtx(t), opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r := &running{Service: s, t: t}
	r.stop = func() {
		if cancel == nil {
			return
		}
		cancel()
		cancel = nil
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

// eventually fails unless cond becomes true.
func (r *running) eventually(what string, cond func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: not within 20 s; %+v", what, r.Status())
		}
	}
}

func lsn(t *testing.T, s string) pg.LSN {
	t.Helper()
	l, err := pg.ParseLSN(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func flushLSN(t *testing.T, srv pgtest.Fixture) pg.LSN {
	t.Helper()
	return lsn(t, srv.One("SELECT pg_current_wal_flush_lsn()"))
}

// work writes some segments of WAL and returns its end.
func work(t *testing.T, srv pgtest.Fixture) pg.LSN {
	t.Helper()
	srv.Do("CREATE TABLE IF NOT EXISTS t (g int, s text)")
	srv.Do("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 15000) g")
	srv.Do("SELECT pg_switch_wal()")
	srv.Do("INSERT INTO t SELECT g, repeat('y', 100) FROM generate_series(1, 500) g")
	return flushLSN(t, srv)
}

// sameAsServer compares every full segment, through the Source and in the store, with the server's files.
func (r *running) sameAsServer(srv pgtest.Fixture, size int64) {
	r.t.Helper()
	ctx := testCtx(r.t)
	end := r.Status().ArchivedLSN.SegmentStart(size)
	src := r.Source(ctx)
	n := 0
	for at := r.Base(); at < end; at += pg.LSN(size) {
		name := pg.WALFileName(1, at, size)
		want, err := os.ReadFile(filepath.Join(srv.DataDir(), "pg_wal", name))
		if err != nil {
			r.t.Fatal(err)
		}
		stored, _, err := r.opt.Store.Get(ctx, "wal/00000001/"+name)
		if err != nil || !bytes.Equal(stored, want) {
			r.t.Fatalf("%s in the store differs: %v", name, err)
		}
		read := make([]byte, 0, size)
		for len(read) < int(size) {
			k, err := src.Read(at+pg.LSN(len(read)), read[len(read):size])
			if err != nil {
				r.t.Fatal(err)
			}
			read = read[:len(read)+k]
		}
		if !bytes.Equal(read, want) {
			r.t.Fatalf("%s as read differs", name)
		}
		n++
	}
	if n < 2 {
		r.t.Fatalf("only %d segments to compare", n)
	}
	if _, err := src.Read(r.CommitLSN(), make([]byte, 1)); !errors.Is(err, wal.ErrNoMoreYet) {
		r.t.Fatalf("read at the end: %v", err)
	}
}

var keepAll = map[string]string{"wal_keep_size": "2GB"}

func TestSegmentsEqualServers(t *testing.T) {
	large := pgtest.SmallWAL(18, map[string]string{"wal_keep_size": "2GB", "min_wal_size": "32MB"})
	large.InitdbArgs = nil // 16 MiB
	for _, c := range []pgtest.Options{pgtest.SmallWAL(15, keepAll), large} {
		t.Run(fmt.Sprint(c.Major), func(t *testing.T) {
			srv := pgtest.NewFixture(t, c)
			opt := testOptions(t, srv)
			opt.Store = objstore.NewFaulty(objstore.NewMem())
			// The first puts behind the base arrive and their answers are lost.
			opt.Store.(*objstore.Faulty).Inject(objstore.Fault{Op: objstore.OpPut, Skip: 1, Times: 2, LoseReply: true})
			opt.RetainBytes = 2 << 20
			r := start(t, opt)
			end := work(t, srv)
			if c.InitdbArgs == nil {
				srv.Do("SELECT pg_switch_wal()")
				end = work(t, srv)
			}
			if err := r.WaitCommit(testCtx(t), end); err != nil {
				t.Fatal(err)
			}
			size := r.Cluster().SegmentSize
			r.eventually("segments archived", func() bool { return r.Status().ArchivedLSN >= end.SegmentStart(size) })
			r.sameAsServer(srv, size)
			if st := r.Status(); st.State != Streaming || st.LastError != nil || st.ServerFlushLSN < end || int(st.Source.Major) != c.Major {
				t.Fatalf("%+v", st)
			}
		})
	}
}

// TestSlotAdvance says what the slot lets go of: archived WAL when asynchronous, committed WAL when synchronous.
func TestSlotAdvance(t *testing.T) {
	srv := startServer(t, keepAll)
	store := objstore.NewFaulty(objstore.NewMem())
	opt := testOptions(t, srv)
	opt.Store = store
	var published pg.LSN
	opt.Published = func() pg.LSN { return published }
	r := start(t, opt)
	row := func() string { // empty until the first answer of a stream; two while the server has not missed the one before
		return srv.One("SELECT coalesce(string_agg(write_lsn || ' ' || flush_lsn || ' ' || coalesce(replay_lsn::text, '-'), ';'), '') FROM pg_stat_replication")
	}
	store.Inject(objstore.Fault{Op: objstore.OpPut, Err: errors.New("store is down")})
	before := r.Status().ArchivedLSN
	end := work(t, srv)
	r.eventually("write", func() bool { return strings.HasPrefix(row(), end.String()+" ") })
	r.eventually("store error", func() bool { return r.Status().StoreError != nil })
	if got := lsn(t, srv.One("SELECT restart_lsn FROM pg_replication_slots")); got > before {
		t.Fatalf("the slot let go up to %s, archived is %s", got, before)
	}
	store.Clear()
	if err := r.ArchiveTo(testCtx(t), end); err != nil {
		t.Fatal(err)
	}
	r.eventually("flush", func() bool { return row() == fmt.Sprintf("%s %s -", end, end) })
	r.eventually("slot", func() bool { return srv.One("SELECT restart_lsn FROM pg_replication_slots") == end.String() })
	r.stop()

	store.Inject(objstore.Fault{Op: objstore.OpPut, Err: errors.New("store is down")})
	published = end
	opt.Synchronous = true
	r = start(t, opt)
	end2 := work(t, srv)
	r.eventually("synchronous", func() bool { return row() == fmt.Sprintf("%s %s %s", end2, end2, end) })
	if got := r.Status().ArchivedLSN; got >= end2 {
		t.Fatalf("archived %s with the store down", got)
	}
}

func TestSynchronousStandby(t *testing.T) {
	srv := startServer(t, keepAll)
	opt := testOptions(t, srv)
	opt.Synchronous = true
	opt.Source.ApplicationName = "tarn"
	r := start(t, opt)
	r.eventually("streaming", func() bool { return r.Status().Connected })
	srv.Do("CREATE TABLE t (g int)")
	srv.Do("ALTER SYSTEM SET synchronous_standby_names = 'tarn'")
	srv.Do("SELECT pg_reload_conf()")
	r.eventually("sync", func() bool { return srv.One("SELECT sync_state FROM pg_stat_replication") == "sync" })
	begun := time.Now()
	for range 20 {
		before := flushLSN(t, srv)
		srv.Do("INSERT INTO t VALUES (1)")
		if r.CommitLSN() <= before {
			t.Fatalf("a commit behind %s was answered, committed here is %s", before, r.CommitLSN())
		}
	}
	t.Logf("20 synchronous commits with connections: %s", time.Since(begun))
	// Without us a commit waits: the acknowledgement above was ours.
	r.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if srv.Exec(ctx, "postgres", "INSERT INTO t VALUES (2)") == nil {
		t.Fatal("a commit was answered without its standby")
	}
}

func TestServerKill9(t *testing.T) {
	srv := startServer(t, map[string]string{"fsync": "on", "wal_keep_size": "2GB"})
	r := start(t, testOptions(t, srv))
	for i := range 3 {
		end := work(t, srv)
		if i%2 == 0 {
			if err := r.WaitCommit(testCtx(t), end); err != nil {
				t.Fatal(err)
			}
		}
		srv.Kill()
		r.eventually("loss noticed", func() bool { st := r.Status(); return !st.Connected && st.LastError != nil })
		srv.StartAgain()
	}
	end := work(t, srv)
	if err := r.WaitCommit(testCtx(t), end); err != nil {
		t.Fatalf("%v: %+v", err, r.Status())
	}
	r.eventually("archived", func() bool { return r.Status().ArchivedLSN >= end.SegmentStart(segSize) })
	r.sameAsServer(srv, segSize)
	if st := r.Status(); st.State != Streaming {
		t.Fatalf("%+v", st)
	}
}

// TestLostDataFolder goes on from the store alone, also while the server is away.
func TestLostDataFolder(t *testing.T) {
	srv := startServer(t, keepAll)
	opt := testOptions(t, srv)
	r := start(t, opt)
	end := work(t, srv)
	if err := r.WaitCommit(testCtx(t), end); err != nil {
		t.Fatal(err)
	}
	if err := r.ArchiveTo(testCtx(t), end); err != nil {
		t.Fatal(err)
	}
	base := r.Base()
	r.stop()
	end2 := work(t, srv)
	srv.FastStop(10 * time.Second)
	opt.DataDir = t.TempDir()
	r = start(t, opt)
	if st := r.Status(); st.CommitLSN != end || st.ArchivedLSN != end || r.Base() != base {
		t.Fatalf("want %s from %s; %+v", end, base, st)
	}
	srv.StartAgain()
	if err := r.WaitCommit(testCtx(t), end2); err != nil {
		t.Fatalf("%v: %+v", err, r.Status())
	}
	r.eventually("archived", func() bool { return r.Status().ArchivedLSN >= end2.SegmentStart(segSize) })
	r.sameAsServer(srv, segSize)

	// The store lost instead: the archive is filled from the folder.
	r.stop()
	opt.Store = objstore.NewMem()
	r = start(t, opt)
	r.eventually("archived again", func() bool { return r.Status().ArchivedLSN >= end2.SegmentStart(segSize) })
}
