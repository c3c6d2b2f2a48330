package ingest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/raftlog"
	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestPromotedSource promotes the source at the end of what was received, several times over, also while nobody looks, and
// compares all WAL with the server's.
func TestPromotedSource(t *testing.T) {
	srv := startServer(t, keepAll)
	opt := testOptions(t, srv)
	opt.Synchronous = true
	f := follow(t, opt)
	from := f.now().Base()
	work(t, srv)
	srv.FastStop(10 * time.Second)
	srv.StartAsStandby()
	f.now().eventually("standby refused", func() bool {
		var ae *receive.AttachError
		st := f.now().Status()
		return st.State == Refused && errors.As(st.LastError, &ae) && ae.Code == receive.CodeStandby
	})
	srv.Do("SELECT pg_promote()")
	for round, hops := range []int{0, 1, 2, 2} {
		if round == 3 {
			f.stop()
		}
		for range hops {
			promote(srv)
		}
		if round == 3 {
			f = follow(t, opt)
		}
		want := pg.TimelineID([]int{2, 3, 5, 7}[round])
		end := work(t, srv)
		f.now().eventually("followed", func() bool { return f.now().Timeline() == want && f.now().CommitLSN() >= end })
		f.now().eventually("streaming", func() bool { return f.now().Status().State == Streaming })
		if st := f.now().Status(); st.Source.Timeline != want {
			t.Fatalf("%+v", st)
		}
		if err := f.now().ArchiveTo(testCtx(t), end); err != nil {
			t.Fatal(err)
		}
		sameAsPgWAL(t, f.now().Service, srv, from, end)
	}
	sameHistoryFiles(t, opt.Store, srv)
	if err := f.fails.Load(); err != nil {
		t.Fatal(*err)
	}
}

// lacks makes a source that will be promoted without the WAL that more writes, which the service receives.
func lacks(t *testing.T, srv pgtest.Fixture, more func() pg.LSN, await func(pg.LSN)) (fork pg.LSN) {
	t.Helper()
	srv.FastStop(10 * time.Second)
	srv.Must(srv.Save())
	srv.StartAgain()
	end := more()
	await(end)
	srv.Kill()
	srv.Must(srv.Restore())
	srv.StartAsStandby()
	srv.Do("SELECT pg_promote()")
	text, err := os.ReadFile(filepath.Join(srv.DataDir(), "pg_wal", "00000002.history"))
	srv.Must(err)
	h, err := pg.ParseHistory(2, string(text))
	srv.Must(err)
	_, fork, _ = h.Next(1)
	if fork >= end {
		t.Fatalf("the fork is at %s, received was %s", fork, end)
	}
	return fork
}

// TestPromotedBelowReceived promotes a source that lacks WAL which was received, archived and acknowledged, and not
// published: in a later segment, and in the same one. It is followed, breaking off at every step on the way, and none of the
// bytes behind the fork is seen again. Published to behind the fork, it is not followed.
func TestPromotedBelowReceived(t *testing.T) {
	for _, c := range []struct {
		name    string
		more    func(t *testing.T, srv pgtest.Fixture) pg.LSN
		archive bool
		lose    bool // the data folder goes too
	}{
		{"segments, archived", work, true, false},
		{"segments", work, false, false},
		{"segments, archived, folder lost", work, true, true},
		{"records", insertOne, false, false},
		{"records, archived", insertOne, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := startServer(t, keepAll)
			opt := testOptions(t, srv)
			r := start(t, opt)
			from := r.Base()
			work(t, srv)
			fork := lacks(t, srv, func() pg.LSN { return c.more(t, srv) }, func(end pg.LSN) {
				if err := r.WaitCommit(testCtx(t), end); err != nil {
					t.Fatal(err)
				}
				if c.archive {
					if err := r.ArchiveTo(testCtx(t), end); err != nil {
						t.Fatal(err)
					}
				}
				r.stop()
			})
			end := work(t, srv)
			breakOff(t, opt, fork)
			if c.lose {
				opt.DataDir = t.TempDir()
			}
			f := follow(t, opt)
			f.now().eventually("followed", func() bool { return f.now().Timeline() == 2 && f.now().CommitLSN() >= end })
			if err := f.now().ArchiveTo(testCtx(t), end); err != nil {
				t.Fatal(err)
			}
			sameAsPgWAL(t, f.now().Service, srv, from, end)
			lost := opt
			lost.DataDir = t.TempDir()
			again, err := Open(testCtx(t), lost) // from the store alone
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			sameAsPgWAL(t, again, srv, from, end)
		})
	}
}

func insertOne(t *testing.T, srv pgtest.Fixture) pg.LSN {
	srv.Do("INSERT INTO t VALUES (1)")
	return flushLSN(t, srv)
}

// breakOff ends the switch at each of its points, and opens what is there with the source away.
func breakOff(t *testing.T, opt Options, fork pg.LSN) {
	t.Helper()
	errStop := errors.New("stopped here")
	for _, point := range []string{"archived", "switched"} {
		reached := false
		opt.failpoint = func(name string) error {
			if name != point {
				return nil
			}
			reached = true
			return errStop
		}
		if _, err := Open(testCtx(t), opt); !errors.Is(err, errStop) || !reached {
			t.Fatalf("%s: %v", point, err)
		}
		opt.failpoint = nil
	}
	// Half way into the last step: the log has begun anew and lacks the part before the fork.
	l, err := raftlog.Open(raftlog.Options{Dir: opt.DataDir})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Reset(testCtx(t), l.Cluster(), 2, fork.SegmentStart(segSize))
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	away := opt
	away.Source.URL = "postgres://replicator@127.0.0.1:1/postgres?sslmode=disable&connect_timeout=1"
	s, err := Open(testCtx(t), away)
	if err != nil {
		t.Fatal(err)
	}
	if s.Timeline() != 2 || s.CommitLSN() != fork || s.archive.ArchivedLSN() != fork {
		t.Fatalf("timeline %d, committed %s, archived %s, the fork is at %s", s.Timeline(), s.CommitLSN(), s.archive.ArchivedLSN(), fork)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPromotedBelowPublished: Run ends with both LSNs, while it runs and after a start, and once nothing behind the fork is durable any
// more the promotion is followed like another.
func TestPromotedBelowPublished(t *testing.T) {
	srv := startServer(t, keepAll)
	opt := testOptions(t, srv)
	var durable atomic.Uint64
	opt.Durable = func() pg.LSN { return pg.LSN(durable.Load()) }
	r := start(t, opt)
	work(t, srv)
	fork := lacks(t, srv, func() pg.LSN { return insertOne(t, srv) }, func(end pg.LSN) {
		if err := r.WaitCommit(testCtx(t), end); err != nil {
			t.Fatal(err)
		}
		durable.Store(uint64(end))
		r.stop()
	})
	for range 2 {
		s, err := Open(testCtx(t), opt)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Run(testCtx(t))
		var fe *ForkError
		if !errors.As(err, &fe) || fe.Fork != fork || !strings.Contains(err.Error(), fork.String()) || !strings.Contains(err.Error(), fe.Durable.String()) || strings.Contains(err.Error(), "\n") {
			t.Fatal(err)
		}
		if st := s.Status(); st.State != Forked || s.Timeline() != 1 || s.Fork() != fork {
			t.Fatalf("%+v, timeline %d, fork %s", st, s.Timeline(), s.Fork())
		}
		if found := s.Forked(); found == nil || *found != *fe {
			t.Fatalf("found at the start: %v", found)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		t.Log(err)
	}
	durable.Store(uint64(fork))
	f := follow(t, opt)
	end := insertOne(t, srv)
	f.now().eventually("followed", func() bool { return f.now().Timeline() == 2 && f.now().CommitLSN() >= end })
	if f.now().Forked() != nil {
		t.Fatal(f.now().Forked())
	}
}

// TestFormerPrimary: the former primary comes back at the address. It is refused, and gets no slot; the new one is streamed from
// again when the address leads there.
func TestFormerPrimary(t *testing.T) {
	srv := startServer(t, keepAll)
	opt := testOptions(t, srv)
	f := follow(t, opt)
	work(t, srv)
	srv.FastStop(10 * time.Second)
	srv.Must(srv.Save())
	promote(srv)
	end := work(t, srv)
	f.now().eventually("followed", func() bool { return f.now().Timeline() == 2 && f.now().CommitLSN() >= end })
	srv.FastStop(20 * time.Second)
	srv.Must(srv.Restore())
	srv.StartAgain()
	srv.Do("SELECT pg_drop_replication_slot('tarn')")
	f.now().eventually("refused", func() bool {
		var ae *receive.AttachError
		st := f.now().Status()
		return st.State == Refused && errors.As(st.LastError, &ae) && ae.Code == receive.CodeTimeline
	})
	t.Log(f.now().Status().LastError)
	f.stop()
	f = follow(t, opt) // at a start no less
	if st := f.now().Status(); st.LastError == nil || st.Source.Timeline != 0 {
		t.Fatalf("%+v", st)
	}
	if n := srv.One("SELECT count(*) FROM pg_replication_slots"); n != "0" || f.now().Timeline() != 2 || f.now().CommitLSN() < end {
		t.Fatalf("%s slots, timeline %d, committed %s", n, f.now().Timeline(), f.now().CommitLSN())
	}
}

// A server that has lost its history file is streamed from on, and not followed further.
func TestHistoryFileGone(t *testing.T) {
	srv := startServer(t, keepAll)
	f := follow(t, testOptions(t, srv))
	work(t, srv)
	promote(srv)
	end := work(t, srv)
	f.now().eventually("followed", func() bool { return f.now().Timeline() == 2 && f.now().CommitLSN() >= end })
	name := filepath.Join(srv.DataDir(), "pg_wal", "00000002.history")
	srv.Must(os.Rename(name, name+".away"))
	srv.FastStop(20 * time.Second)
	srv.StartAgain()
	end = work(t, srv)
	f.now().eventually("streams on", func() bool { return f.now().CommitLSN() >= end })
}

// TestOtherSecondTimeline: two standbys of one primary were promoted, both to timeline 2. They are not taken for each other.
func TestOtherSecondTimeline(t *testing.T) {
	srv := startServer(t, keepAll)
	opt := testOptions(t, srv)
	f := follow(t, opt)
	work(t, srv)
	srv.FastStop(10 * time.Second)
	srv.Must(srv.Save())
	srv.StartAgain()
	end := work(t, srv)
	f.now().eventually("received", func() bool { return f.now().CommitLSN() >= end })
	promote(srv)
	end = work(t, srv)
	f.now().eventually("followed", func() bool { return f.now().Timeline() == 2 && f.now().CommitLSN() >= end })
	srv.Kill()
	srv.Must(srv.Restore())
	promote(srv)
	f.now().eventually("diverged", func() bool { return f.now().Status().State == Diverged })
	if err := f.now().Status().LastError; !errors.Is(err, errNotDescended) || f.now().CommitLSN() < end {
		t.Fatal(err)
	}
	t.Log(f.now().Status().LastError)
}
