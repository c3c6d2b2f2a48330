package progress

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestLines: one line at the start, one each few seconds however often work reports, one at the end.
func TestLines(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	sink := &lines{log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }}
	task := sink.Start("base backup", 0, Bytes)
	for i := int64(1); i <= 100; i++ {
		now = now.Add(100 * time.Millisecond)
		task.Set(i<<20, 100<<20)
	}
	task.Done(nil)
	task.Done(errors.New("late"))
	task.Set(0, 0)
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) != 5 { // start, 3 s, 6 s, 9 s, done
		t.Fatalf("%d lines:\n%s", len(got), out.String())
	}
	for i, want := range []string{`msg="base backup starts"`, `done="30.0 MiB" total="100.0 MiB" percent=30`, "percent=60", "percent=90", `msg="base backup done"`} {
		if !strings.Contains(got[i], want) {
			t.Errorf("line %d: %s, want %s", i, got[i], want)
		}
	}
}

func TestLinesFailure(t *testing.T) {
	var out bytes.Buffer
	Lines(slog.New(slog.NewTextHandler(&out, nil))).Start("initial copy", 10, Rows).Done(errors.New("disk full"))
	if !strings.Contains(out.String(), `level=ERROR msg="initial copy failed"`) || !strings.Contains(out.String(), `error="disk full"`) {
		t.Error(out.String())
	}
}

// lockedBuffer lets the drawing goroutine and the test share a buffer.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// TestBars: concurrent tasks, log lines above them, and nothing left running after the last Done.
func TestBars(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out lockedBuffer
	bars := NewBars(&out)
	for range 2 {
		var wg sync.WaitGroup
		for range 3 {
			task := bars.Start("initial copy", 1000, Rows)
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 10 {
					task.Add(100)
				}
				task.Done(nil)
			}()
		}
		if _, err := io.WriteString(bars, "a log line\n"); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	}
	if _, err := io.WriteString(bars, "after\n"); err != nil {
		t.Fatal(err)
	}
	got := out.b.String()
	if !strings.Contains(got, "a log line") || !strings.Contains(got, "initial copy") || !strings.HasSuffix(got, "after\n") {
		t.Errorf("%q", got)
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		n    int64
		unit Unit
		want string
	}{{0, Bytes, "0 B"}, {1023, Bytes, "1023 B"}, {1536, Bytes, "1.5 KiB"}, {1 << 40, Bytes, "1.0 TiB"}, {1234567, Rows, "1,234,567"}, {-1234, Items, "-1,234"}, {999, Rows, "999"}} {
		if got := Format(c.n, c.unit); got != c.want {
			t.Errorf("%d: %s, want %s", c.n, got, c.want)
		}
	}
}
