package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// following opens and runs a service, again after each promotion, until stop.
type following struct {
	at    atomic.Pointer[running] // the one at work
	fails atomic.Pointer[error]   // why the last could not be opened
	stop  func()
}

// follow runs a service as a server does that follows promotions.
func follow(t *testing.T, opt Options) *following {
	t.Helper()
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	f := &following{stop: func() { cancel(); <-done }}
	t.Cleanup(f.stop)
	opened := make(chan struct{})
	go func() {
		defer close(done)
		for first := true; ; first = false {
			s, err := Open(ctx, opt)
			if err != nil {
				f.fails.Store(&err)
				if first {
					close(opened)
				}
				return
			}
			f.at.Store(&running{Service: s, t: t})
			if first {
				close(opened)
			}
			err = s.Run(ctx)
			if closeErr := s.Close(); closeErr != nil {
				t.Error(closeErr)
			}
			var promoted *PromotedError
			if !errors.As(err, &promoted) {
				return
			}
		}
	}()
	<-opened
	if err := f.fails.Load(); err != nil {
		t.Fatal(*err)
	}
	return f
}

func (f *following) now() *running { return f.at.Load() }

// promote makes a running or stopped server a standby of nobody, and promotes it.
func promote(srv pgtest.Fixture) {
	if srv.Running() {
		srv.Kill()
	}
	srv.StartAsStandby()
	srv.Do("SELECT pg_promote()")
}

// sameAsPgWAL compares what the service reads with what the server has, record by record, over a switch: the archive and the log
// through the Source against the server's own files.
func sameAsPgWAL(t *testing.T, s *Service, srv pgtest.Fixture, from, to pg.LSN) {
	t.Helper()
	if got := records(t, s.Source(testCtx(t)), from, to); got == 0 {
		t.Fatalf("no records from %s to %s", from, to)
	}
	files := map[string][]byte{}
	h := s.History()
	src := s.Source(testCtx(t))
	buf := make([]byte, 100_003)
	for at := from; at < to; {
		n, err := src.Read(at, buf[:min(pg.LSN(len(buf)), to-at)])
		if err != nil {
			t.Fatalf("at %s: %v", at, err)
		}
		for i := 0; i < n; {
			lsn := at + pg.LSN(i)
			name := pg.WALFileName(h.FileAt(lsn, segSize), lsn, segSize)
			if files[name] == nil {
				b, err := os.ReadFile(filepath.Join(srv.DataDir(), "pg_wal", name))
				if err != nil {
					t.Fatal(err)
				}
				files[name] = b
			}
			off := int(lsn - lsn.SegmentStart(segSize))
			m := min(n-i, segSize-off)
			if !bytes.Equal(buf[i:i+m], files[name][off:off+m]) {
				t.Fatalf("bytes from %s on differ from the server's %s", lsn, name)
			}
			i += m
		}
		at += pg.LSN(n)
	}
}

// records counts the records that a reader finds.
func records(t *testing.T, src wal.Source, from, to pg.LSN) (n int) {
	t.Helper()
	r, err := wal.NewReader(wal.Options{Source: src, Start: from, SegmentSize: segSize})
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, err := r.Next()
		if errors.Is(err, wal.ErrNoMoreYet) || errors.Is(err, io.EOF) {
			if p := r.Position(); p.Complete < to {
				t.Fatalf("records end at %s, want %s", p.Complete, to)
			}
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
}

// sameHistoryFiles compares every history file in the store with the server's.
func sameHistoryFiles(t *testing.T, store objstore.Store, srv pgtest.Fixture) {
	t.Helper()
	n := 0
	err := store.List(testCtx(t), "wal/", func(o objstore.ObjectInfo) error {
		if !strings.HasSuffix(o.Key, ".history") {
			return nil
		}
		n++
		b, _, err := store.Get(testCtx(t), o.Key)
		if err != nil {
			return err
		}
		own, err := os.ReadFile(filepath.Join(srv.DataDir(), "pg_wal", filepath.Base(o.Key)))
		if err == nil && !bytes.Equal(b, own) {
			err = fmt.Errorf("%s: %q, the server's is %q", o.Key, b, own)
		}
		return err
	})
	if err != nil || n < 3 {
		t.Fatalf("%d history files: %v", n, err)
	}
}
