package progress

import (
	"io"
	"strconv"
	"sync"
	"time"

	pretty "github.com/jedib0t/go-pretty/v6/progress"
)

// Bars draws a bar per task on a terminal. It is a writer too: what is written while bars are drawn appears above
// them, so a log that goes to the same terminal must go through it.
type Bars struct {
	out io.Writer

	mu       sync.Mutex
	writer   pretty.Writer // nil while no task runs
	rendered chan struct{} // closed when writer has drawn its last
	active   int
}

// NewBars draws on out, a terminal.
func NewBars(out io.Writer) *Bars { return &Bars{out: out} }

// Write prints p above the bars.
func (b *Bars) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.writer == nil {
		return b.out.Write(p)
	}
	text := string(p)
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	b.writer.Log("%s", text)
	return len(p), nil
}

// Start draws one more bar. The drawing goroutine lives from the first task's start to the last task's Done.
func (b *Bars) Start(name string, total int64, unit Unit) Task {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.writer == nil {
		b.writer, b.rendered = newWriter(b.out), make(chan struct{})
		go func(w pretty.Writer, rendered chan struct{}) {
			defer close(rendered)
			w.Render()
		}(b.writer, b.rendered)
		// Stop before the first frame would be forgotten by the library: wait for the frame loop.
		for deadline := time.Now().Add(time.Second); !b.writer.IsRenderInProgress() && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	b.active++
	t := &pretty.Tracker{Message: name, Total: total, Units: units(unit), AutoStopDisabled: true}
	b.writer.AppendTracker(t)
	return &barTask{bars: b, tracker: t}
}

func newWriter(out io.Writer) pretty.Writer {
	w := pretty.NewWriter()
	w.SetOutputWriter(out)
	w.SetAutoStop(false)
	w.SetTrackerPosition(pretty.PositionRight)
	w.SetUpdateFrequency(100 * time.Millisecond)
	w.SetTrackerLength(30)
	w.SetStyle(pretty.StyleBlocks)
	w.Style().Visibility.ETA = true
	w.Style().Visibility.Speed = true
	return w
}

func units(u Unit) pretty.Units {
	if u == Bytes {
		return pretty.UnitsBytes
	}
	return pretty.UnitsDefault
}

type barTask struct {
	bars    *Bars
	tracker *pretty.Tracker
	once    sync.Once
}

func (t *barTask) Set(done, total int64) {
	if total > 0 {
		t.tracker.UpdateTotal(max(total, done))
	}
	t.tracker.SetValue(done)
}

func (t *barTask) Add(n int64) { t.tracker.Increment(n) }

func (t *barTask) Done(err error) {
	t.once.Do(func() {
		if err != nil {
			t.tracker.MarkAsErrored()
		} else {
			t.tracker.MarkAsDone()
		}
		t.bars.ended()
	})
}

// ended stops drawing after the last task, and returns when the terminal is ours again.
func (b *Bars) ended() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.active--; b.active > 0 {
		return
	}
	b.writer.Stop()
	<-b.rendered
	b.writer = nil
}

// Format writes a count for people: bytes with a binary unit, other things with thousands apart.
func Format(n int64, unit Unit) string {
	if unit != Bytes {
		return group(n)
	}
	const names = "KMGTPE"
	if n < 1024 && n > -1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, i := float64(n)/1024, 0
	for (v >= 1024 || v <= -1024) && i < len(names)-1 {
		v, i = v/1024, i+1
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + names[i:i+1] + "iB"
}

func group(n int64) string {
	s := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
