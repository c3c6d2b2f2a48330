package raftlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
)

var testCluster = Cluster{SystemID: 42, SegmentSize: 1 << 20}

// walBytes is WAL made of its own positions, so that any byte tells where it belongs.
func walBytes(start pg.LSN, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		at := uint64(start) + uint64(i)
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], at/8*0x9E3779B97F4A7C15)
		b[i] = w[at%8]
	}
	return b
}

func testOptions(dir string) Options {
	return Options{Dir: dir, Cluster: testCluster, SnapshotBytes: 1 << 20, RaftSegmentBytes: 4 << 20}
}

func openLog(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func testCtx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// appendAll appends [start, start+n) in pieces of random size and waits until all is committed.
func appendAll(t *testing.T, l *Log, start pg.LSN, n int) {
	t.Helper()
	data := walBytes(start, n)
	for at := 0; at < n; {
		k := min(n-at, 1+rand.IntN(100_000))
		if err := l.Append(start+pg.LSN(at), data[at:at+k]); err != nil {
			t.Fatal(err)
		}
		if at += k; rand.IntN(4) == 0 {
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(testCtx(t), start+pg.LSN(n)); err != nil {
		t.Fatal(err, l.append.failed())
	}
}

// verify compares everything the log holds.
func verify(t *testing.T, l *Log) {
	t.Helper()
	start, end := l.Bounds()
	got := make([]byte, 300_000)
	for at := start; at < end; {
		n, err := l.ReadAt(at, got)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[:n], walBytes(at, n)) {
			t.Fatalf("bytes at %s differ", at)
		}
		at += pg.LSN(n)
	}
}

func TestAppendReadReopen(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, testOptions(dir))
	if err := l.Append(0x100000, []byte{1}); err != nil {
		t.Fatal(err)
	}
	if _ = l.Flush(); !errors.Is(waitErr(l), ErrNoBase) {
		t.Fatalf("append before Reset: %v", waitErr(l))
	}
	const base = pg.LSN(0x1_00000000 - 3<<20)
	if err := l.Reset(testCtx(t), testCluster, 1, base); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, base, 5<<20+12345)
	verify(t, l)
	end := l.CommitLSN()
	if _, err := l.ReadAt(end, make([]byte, 1)); !errors.Is(err, ErrNotCommitted) {
		t.Fatal(err)
	}
	if _, err := l.ReadAt(base-1, make([]byte, 1)); !errors.Is(err, ErrTrimmed) {
		t.Fatal(err)
	}
	epoch := l.Epoch()
	for range 3 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, testOptions(dir))
		if s, e := l.Bounds(); s != base || e != end || l.Timeline() != 1 || l.Cluster() != testCluster {
			t.Fatalf("reopened as %s-%s", s, e)
		}
		if l.Epoch() <= epoch {
			t.Fatalf("epoch %d after %d", l.Epoch(), epoch)
		}
		epoch = l.Epoch()
		appendAll(t, l, end, 700_001)
		end += 700_001
		verify(t, l)
	}
	// A sealed file is as pg_wal's: full name, full size, the bytes.
	b, err := os.ReadFile(filepath.Join(dir, "wal", pg.WALFileName(1, base, 1<<20)))
	if err != nil || !bytes.Equal(b, walBytes(base, 1<<20)) {
		t.Fatalf("segment file: %d bytes, %v", len(b), err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "wal", pg.WALFileName(1, end, 1<<20))); err != nil || fi.Size() != 1<<20 {
		t.Fatalf("tail file: %v, %v", fi, err)
	}
}

// waitErr is the error appending stopped with.
func waitErr(l *Log) error {
	for range 200 {
		if err := l.append.failed(); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

func TestRefusals(t *testing.T) {
	l := openLog(t, testOptions(t.TempDir()))
	ctx := testCtx(t)
	const base = pg.LSN(8 << 20)
	if err := l.Reset(ctx, testCluster, 1, base); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, base, 1<<20+5000)
	end := l.CommitLSN()
	restart := func(want error) {
		t.Helper()
		if err := waitErr(l); !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
		if err := l.Append(end, []byte{1}); !errors.Is(err, want) {
			t.Fatalf("the next append: %v", err)
		}
		if next, err := l.Restart(ctx); err != nil || next != end {
			t.Fatalf("restart at %s: %v", next, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.Append(end+1, []byte{1}))
	must(l.Flush())
	restart(ErrGap)

	bad := walBytes(end-4000, 5000)
	bad[10] ^= 1
	must(l.Append(end-4000, bad))
	must(l.Flush())
	restart(ErrDiverged)

	must(l.Append(end-4000, walBytes(end-4000, 5000))) // overlaps, equal, goes on
	must(l.Flush())
	must(l.Wait(ctx, end+1000))
	end += 1000
	must(l.Append(base, walBytes(base, 3000))) // all of it known
	must(l.Flush())
	appendAll(t, l, end, 100)
	end += 100
	verify(t, l)

	// The comparison is what refused: with bytes flipped in the file the right WAL is refused too.
	f, err := os.OpenFile(filepath.Join(l.opt.Dir, "wal", pg.WALFileName(1, end, 1<<20)), os.O_RDWR, 0)
	must(err)
	_, err = f.WriteAt([]byte{^walBytes(end-10, 1)[0]}, int64((end-10)%(1<<20)))
	must(errors.Join(err, f.Close()))
	must(l.Append(end-50, walBytes(end-50, 60)))
	must(l.Flush())
	restart(ErrDiverged)
}

func TestTrimAndReset(t *testing.T) {
	o := testOptions(t.TempDir())
	l := openLog(t, o)
	ctx := testCtx(t)
	const base = pg.LSN(8 << 20)
	if err := l.Reset(ctx, testCluster, 1, base); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, base, 4<<20)
	if err := l.Trim(base + 2<<20 + 77); err != nil {
		t.Fatal(err)
	}
	if s, _ := l.Bounds(); s != base+2<<20 {
		t.Fatalf("start %s", s)
	}
	if _, err := l.ReadAt(base, make([]byte, 10)); !errors.Is(err, ErrTrimmed) {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if n := len(files(t, o)); n == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("files left: %v", files(t, o))
		}
	}
	verify(t, l)
	// Back on another timeline, over positions the log had before.
	if err := l.Reset(ctx, testCluster, 2, base+1<<20); err != nil {
		t.Fatal(err)
	}
	if n := files(t, o); len(n) != 0 {
		t.Fatalf("files left: %v", n)
	}
	appendAll(t, l, base+1<<20, 1<<20+5)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, o)
	if s, e := l.Bounds(); s != base+1<<20 || e != base+2<<20+5 || l.Timeline() != 2 {
		t.Fatalf("%s-%s on %d", s, e, l.Timeline())
	}
	verify(t, l)
}

func files(t *testing.T, o Options) (names []string) {
	t.Helper()
	es, err := os.ReadDir(o.walDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

// TestLogIsCut says that the raft log does not grow with what it has carried.
func TestLogIsCut(t *testing.T) {
	o := testOptions(t.TempDir())
	l := openLog(t, o)
	const base = pg.LSN(8 << 20)
	if err := l.Reset(testCtx(t), testCluster, 1, base); err != nil {
		t.Fatal(err)
	}
	for at := base; at < base+40<<20; at += 2 << 20 {
		appendAll(t, l, at, 2<<20)
		if err := l.Trim(at); err != nil {
			t.Fatal(err)
		}
	}
	var size int64
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		size = 0
		logs, _ := filepath.Glob(filepath.Join(o.raftDir(), "log", "*.wal"))
		for _, f := range logs {
			if fi, err := os.Stat(f); err == nil {
				size += fi.Size()
			}
		}
		if size <= 16<<20 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("raft log is %d bytes after 40 MiB of WAL", size)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	o := testOptions(dir)
	l := openLog(t, o)
	if _, err := Open(o); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second process: %v", err)
	}
	if err := l.Reset(testCtx(t), testCluster, 1, 8<<20); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, 8<<20, 3<<20)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	foreign := o
	foreign.Cluster.SystemID++
	if _, err := Open(foreign); !errors.Is(err, ErrForeign) {
		t.Fatalf("another cluster: %v", err)
	}
	foreign.Cluster = Cluster{}
	any := openLog(t, foreign)
	if any.Cluster() != testCluster {
		t.Fatal(any.Cluster())
	}
	if err := any.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "wal", pg.WALFileName(1, 9<<20, 1<<20))); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, pg.ErrCorrupt) && err == nil {
		t.Fatalf("a missing segment: %v", err)
	} else {
		t.Log(err)
	}
}

// TestDiskFull breaks the local files under a running log: it stops, says so, and loses nothing.
func TestDiskFull(t *testing.T) {
	o := testOptions(t.TempDir())
	l := openLog(t, o)
	const base = pg.LSN(8 << 20)
	if err := l.Reset(testCtx(t), testCluster, 1, base); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, base, 1<<19)
	// A folder in the place of the next segment cannot be opened as a file.
	blocked := filepath.Join(o.walDir(), pg.WALFileName(1, base+1<<20, 1<<20))
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(base+1<<19, walBytes(base+1<<19, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Flush(), waitErr(l)); err == nil {
		t.Fatal("no error")
	}
	if err := l.Wait(testCtx(t), base+2<<20); err == nil || l.Err() == nil {
		t.Fatalf("Wait: %v, Err: %v", err, l.Err())
	}
	if _, err := l.Restart(testCtx(t)); err == nil {
		t.Fatal("Restart went on")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, o)
	if e := l.CommitLSN(); e < base+1<<19 {
		t.Fatalf("end %s", e)
	}
	verify(t, l)
}
