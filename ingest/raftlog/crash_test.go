package raftlog

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
)

const crashBase = pg.LSN(8 << 20)

// TestMain runs the crashing child when it is one: it appends for ever and prints each end that was committed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("TARN_RAFTLOG_CRASH"); dir != "" {
		if err := crashChild(dir, os.Getenv("TARN_RAFTLOG_POINT"), os.Getenv("TARN_RAFTLOG_HITS")); err != nil {
			fmt.Println("error:", err)
			os.Exit(3)
		}
	}
	os.Exit(m.Run())
}

// crashChild kills itself with SIGKILL when the failpoint is hit for the nth time.
func crashChild(dir, point, hits string) error {
	o := testOptions(dir)
	n, _ := strconv.ParseInt(hits, 10, 64)
	var seen atomic.Int64
	o.failpoint = func(name string) {
		if name == point && seen.Add(1) == n {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	l, err := Open(o)
	if err != nil {
		return err
	}
	ctx := context.Background()
	start, at := l.Bounds()
	if start == 0 {
		if err := l.Reset(ctx, testCluster, 1, crashBase); err != nil {
			return err
		}
		at = crashBase
	}
	fmt.Println("open", uint64(at))
	committed := make(chan error, 1)
	go func() {
		for end := at; ; {
			if err := l.Wait(ctx, end+1); err != nil {
				committed <- err
				return
			}
			end = l.CommitLSN()
			fmt.Println("committed", uint64(end))
		}
	}()
	for {
		back := pg.LSN(rand.IntN(5000)) // begins again within what it has, as after a reconnect
		if at-back < crashBase {
			back = 0
		}
		k := 1 + rand.IntN(200_000)
		if err := l.Append(at-back, walBytes(at-back, int(back)+k)); err != nil {
			return err
		}
		at += pg.LSN(k)
		if rand.IntN(3) == 0 {
			if err := l.Flush(); err != nil {
				return err
			}
		}
		if rand.IntN(50) == 0 && at > crashBase+8<<20 {
			if err := l.Trim(min(l.CommitLSN(), at-6<<20)); err != nil {
				return err
			}
		}
		select {
		case err := <-committed:
			return err
		default:
		}
	}
}

// crash runs the child until it dies at the failpoint, or is killed after some time, and returns the last end it was told
// was committed.
func crash(t *testing.T, dir, point string, hits int, after time.Duration) (acked pg.LSN) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TARN_RAFTLOG_CRASH="+dir, "TARN_RAFTLOG_POINT="+point, "TARN_RAFTLOG_HITS="+strconv.Itoa(hits))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	var last string
	for sc := bufio.NewScanner(out); sc.Scan(); {
		last = sc.Text()
		if v, ok := strings.CutPrefix(last, "committed "); ok {
			if n, err := strconv.ParseUint(v, 10, 64); err == nil {
				acked = pg.LSN(n)
			}
		}
		if strings.HasPrefix(last, "error:") {
			t.Error(last)
		}
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // killed: that is the point
	return acked
}

// TestKill9 kills the process at every failpoint and at random moments: no committed byte is lost, none differs.
func TestKill9(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	type round struct {
		point string
		hits  int
	}
	rounds := []round{{"based", 1}, {"written", 1}, {"before-segment-sync", 2}, {"after-segment-sync", 3}, {"before-snapshot-close", 2},
		{"snapshotted", 2}, {"written", 40}}
	for range 5 {
		rounds = append(rounds, round{"", 0})
	}
	dir := t.TempDir()
	var acked pg.LSN
	for i, r := range rounds {
		after := 3 * time.Second
		if r.point == "" {
			after = time.Duration(100+rng.IntN(400)) * time.Millisecond
		}
		a := crash(t, dir, r.point, r.hits, after)
		acked = max(acked, a)
		l, err := Open(testOptions(dir))
		if err != nil {
			t.Fatalf("round %d (%s): %v", i, r.point, err)
		}
		start, end := l.Bounds()
		if end < acked {
			t.Fatalf("round %d (%s): %s was committed, the log ends at %s", i, r.point, acked, end)
		}
		verify(t, l)
		t.Logf("round %d %s: told %s, log %s-%s", i, r.point, acked, start, end)
		acked = max(acked, end)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKill9WouldNotice plants what TestKill9 is to find: a log that forgets committed bytes, and one that changes one.
func TestKill9WouldNotice(t *testing.T) {
	o := testOptions(t.TempDir())
	l := openLog(t, o)
	if err := l.Reset(testCtx(t), testCluster, 1, crashBase); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, crashBase, 3<<20)
	end := l.CommitLSN()
	// Segment files that never got their bytes: without the sync a power cut would leave them so.
	name := o.walDir() + "/" + pg.WALFileName(1, crashBase, 1<<20)
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 1<<20); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8)
	if _, err := l.ReadAt(crashBase+16, got); err != nil || string(got) == string(walBytes(crashBase+16, 8)) {
		t.Fatalf("the planted fault was not seen: %x, %v", got, err)
	}
	if l.CommitLSN() != end {
		t.Fatal("moved")
	}
}
