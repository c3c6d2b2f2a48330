// Package progress shows how far long work has come: a bar on a terminal, a log line every few seconds elsewhere.
package progress

import (
	"log/slog"
	"sync"
	"time"
)

// Unit says what a task counts.
type Unit uint8

// The units.
const (
	Bytes Unit = iota + 1
	Rows
	Items
)

// Sink takes reports of work. Its methods and those of its tasks may be called from several goroutines.
type Sink interface {
	// Start begins a task, such as "base backup". total is 0 while it is not known.
	Start(name string, total int64, unit Unit) Task
}

// Task is one piece of work. After Done the other methods do nothing.
type Task interface {
	// Set reports how much is done, and how much there is in all; a total of 0 keeps the one before.
	Set(done, total int64)
	// Add counts n more as done.
	Add(n int64)
	// Done ends the task; a nil error means all of it was done.
	Done(err error)
}

// Discard shows nothing.
var Discard Sink = discard{}

type discard struct{}

func (discard) Start(string, int64, Unit) Task { return discard{} }
func (discard) Set(int64, int64)               {}
func (discard) Add(int64)                      {}
func (discard) Done(error)                     {}

// lineEvery is the pause between two lines of one task.
const lineEvery = 3 * time.Second

// Lines reports to a log: one line when a task starts, one every few seconds while it moves, one at its end.
func Lines(log *slog.Logger) Sink { return &lines{log: log, now: time.Now} }

type lines struct {
	log *slog.Logger
	now func() time.Time
}

func (l *lines) Start(name string, total int64, unit Unit) Task {
	now := l.now()
	t := &lineTask{lines: l, name: name, total: total, unit: unit, start: now, last: now}
	l.log.Info(name+" starts", t.attrs()...)
	return t
}

type lineTask struct {
	*lines
	name  string
	unit  Unit
	start time.Time

	mu          sync.Mutex
	done, total int64
	last        time.Time // of the last line
	ended       bool
}

func (t *lineTask) Set(done, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = done
	if total > 0 {
		t.total = total
	}
	t.tick()
}

func (t *lineTask) Add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done += n
	t.tick()
}

func (t *lineTask) tick() {
	if now := t.now(); !t.ended && now.Sub(t.last) >= lineEvery {
		t.last = now
		t.log.Info(t.name, t.attrs()...)
	}
}

func (t *lineTask) Done(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	took := slog.Duration("took", t.now().Sub(t.start).Round(time.Millisecond))
	if err != nil {
		t.log.Error(t.name+" failed", append(t.attrs(), took, slog.Any("error", err))...)
		return
	}
	t.log.Info(t.name+" done", append(t.attrs(), took)...)
}

func (t *lineTask) attrs() []any {
	a := []any{slog.String("done", Format(t.done, t.unit))}
	if t.total > 0 {
		// The total is an estimate while tables grow: never show more than all of it.
		a = append(a, slog.String("total", Format(max(t.total, t.done), t.unit)), slog.Int64("percent", min(100, t.done*100/t.total)))
	}
	return a
}
