package raftlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/tarn-db/tarn/internal/pg"
)

// appender gathers WAL into entries and follows them through raft. Its reaper waits for them in order; the first that
// fails stops all appending until Restart.
type appender struct {
	log     *Log
	staged  []byte // header and payload being gathered; nil when empty
	start   pg.LSN // of the payload
	compare []byte // Overlap's
	pool    sync.Pool
	queue   chan inflight // to the reaper
	done    chan struct{}

	mu       sync.Mutex
	cond     sync.Cond // signalled when inflight or err changes
	inflight int       // payload bytes given to raft and not answered
	err      error
}

type inflight struct {
	future raft.ApplyFuture
	buf    []byte
}

// entriesInFlightMax bounds entries handed to raft; the bound on bytes is Options.InFlightBytes.
const entriesInFlightMax = 256

func (a *appender) run(l *Log) {
	a.log = l
	a.cond.L = &a.mu
	a.queue = make(chan inflight, entriesInFlightMax)
	a.done = make(chan struct{})
	a.pool.New = func() any { return make([]byte, 0, entryHeaderSize+EntryPayloadMax) }
	go a.reap()
}

// close waits until raft, which must still run, has answered everything. The goroutine that appends is done by then.
func (a *appender) close() {
	if a.queue != nil {
		close(a.queue)
		<-a.done
	}
}

// reap takes raft's answers in order.
func (a *appender) reap() {
	defer close(a.done)
	for f := range a.queue {
		err := f.future.Error()
		if err == nil {
			err, _ = f.future.Response().(error)
		}
		a.answered(len(f.buf)-entryHeaderSize, err)
		//lint:ignore SA6002 a slice header per entry of up to 256 KiB is nothing
		a.pool.Put(f.buf[:0])
	}
}

// failed returns why appending has stopped.
func (a *appender) failed() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// submit hands the staged entry to raft, waiting while too much is in flight.
func (a *appender) submit() error {
	if len(a.staged) == 0 {
		return nil
	}
	n := len(a.staged) - entryHeaderSize
	a.mu.Lock()
	for a.err == nil && a.inflight > 0 && a.inflight+n > a.log.opt.InFlightBytes {
		a.cond.Wait()
	}
	err := a.err
	if err == nil {
		a.inflight += n
	}
	a.mu.Unlock()
	if err != nil {
		return err
	}
	s := a.log.fsm.get()
	sealEntry(a.staged, entry{kind: kindBatch, cluster: s.cluster, timeline: s.timeline, lsn: a.start})
	err = a.log.guard(func() error {
		a.queue <- inflight{future: a.log.raft.Apply(a.staged, 0), buf: a.staged}
		return nil
	})
	if err != nil {
		a.answered(n, err)
	}
	a.staged = nil
	return err
}

// answered takes n payload bytes out of flight.
func (a *appender) answered(n int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inflight -= n
	if err != nil && a.err == nil {
		a.err = err
	}
	a.cond.Broadcast()
}

// Append takes WAL that starts at an LSN; data may be reused when it returns. Nothing is durable yet: WAL is committed
// when CommitLSN has passed it. It blocks while Options.InFlightBytes are under way. Bytes the log holds already are
// compared. An error, perhaps of an earlier Append, ends appending until Restart: *AppendError, or what failed in raft or
// in the local files.
func (l *Log) Append(start pg.LSN, data []byte) error {
	a := &l.append
	if err := a.failed(); err != nil {
		return err
	}
	for len(data) > 0 {
		if len(a.staged) > 0 && start != a.start+pg.LSN(len(a.staged)-entryHeaderSize) {
			if err := a.submit(); err != nil {
				return err
			}
		}
		if len(a.staged) == 0 {
			a.staged = a.pool.Get().([]byte)[:entryHeaderSize]
			a.start = start
		}
		n := min(len(data), entryHeaderSize+EntryPayloadMax-len(a.staged))
		a.staged = append(a.staged, data[:n]...)
		data, start = data[n:], start+pg.LSN(n)
		if len(a.staged) == entryHeaderSize+EntryPayloadMax {
			if err := a.submit(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Overlap compares WAL that starts at an LSN with what the log holds of it, and returns how many bytes of data that is:
// the rest is for Append. It is for the beginning of a stream that starts before the log's end, so that what is there
// already does not go through raft again. An *AppendError that unwraps to ErrDiverged says that the bytes differ.
func (l *Log) Overlap(start pg.LSN, data []byte) (int, error) {
	first, end := l.Bounds()
	if start < first || start >= end {
		return 0, nil
	}
	held := data[:min(pg.LSN(len(data)), end-start)]
	a := &l.append
	if cap(a.compare) < len(held) {
		a.compare = make([]byte, len(held))
	}
	for at := 0; at < len(held); {
		n, err := l.ReadAt(start+pg.LSN(at), a.compare[at:len(held)])
		if err != nil {
			return 0, err
		}
		at += n
	}
	if !bytes.Equal(held, a.compare[:len(held)]) {
		return 0, &AppendError{Start: start, Stop: start + pg.LSN(len(held)), End: end, Err: ErrDiverged}
	}
	return len(held), nil
}

// Flush sends what Append has gathered on its way to becoming durable, without waiting for it: raft writes all that is
// under way with one fsync.
func (l *Log) Flush() error {
	if err := l.append.failed(); err != nil {
		return err
	}
	return l.append.submit()
}

// Restart ends a run of appends, failed or not: it drops what was gathered, waits for what is under way and returns the
// LSN at which to go on. After a failed local write it returns that failure: only opening the log again helps.
func (l *Log) Restart(ctx context.Context) (pg.LSN, error) {
	a := &l.append
	a.staged = nil
	a.mu.Lock()
	for a.inflight > 0 {
		a.cond.Wait() // raft answers everything: committed, or failed at its shutdown
	}
	a.err = nil
	a.mu.Unlock()
	if err := l.lead(ctx); err != nil {
		return 0, err
	}
	if err := l.Err(); err != nil {
		return 0, err
	}
	if l.unsettled {
		if err := l.settle(false); err != nil {
			a.stop(err)
			return 0, err
		}
	}
	return l.CommitLSN(), nil
}

// stop refuses all appends until Restart.
func (a *appender) stop(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
	a.cond.Broadcast()
}

// Reset begins the log at an LSN, forgetting what it held: at first attach, after a loss of the local folder, after a gap.
// When it returns nil the beginning is durable and the old files are gone.
func (l *Log) Reset(ctx context.Context, c Cluster, tli pg.TimelineID, base pg.LSN) error {
	if c.SystemID == 0 || tli == 0 || base == 0 || !pg.ValidWALSegmentSize(c.SegmentSize) {
		panic(fmt.Sprintf("BUG: log reset to system %d, segments of %d, timeline %d, %s", c.SystemID, c.SegmentSize, tli, base))
	}
	if _, err := l.Restart(ctx); err != nil {
		return err
	}
	// Until a snapshot has replaced the entries before the base, a restart would replay those against files that hold
	// other bytes by then: nothing is appended before.
	l.unsettled = true
	if err := l.apply(entry{kind: kindBase, cluster: c, timeline: tli, lsn: base}); err != nil {
		l.append.stop(err)
		return err
	}
	l.fsm.point("based")
	if err := l.settle(false); err != nil {
		l.append.stop(err)
		return err
	}
	return nil
}

// Trim lets go of the segments wholly before an LSN. Their files go with the next snapshot.
func (l *Log) Trim(before pg.LSN) error {
	s := l.fsm.get()
	if s.timeline == 0 || before.SegmentStart(s.cluster.SegmentSize) <= s.start {
		return nil
	}
	if err := l.apply(entry{kind: kindTrim, cluster: s.cluster, timeline: s.timeline, lsn: before}); err != nil {
		return err
	}
	l.kickSnapshot()
	return nil
}

// Err is the failure of a local file that keeps this voter out until it is opened again, or nil.
func (l *Log) Err() error {
	l.fsm.mu.RLock()
	defer l.fsm.mu.RUnlock()
	return l.fsm.failed
}

// Diverged says that an append was refused because the source's WAL is not the one received before.
func Diverged(err error) bool { return errors.Is(err, ErrDiverged) }
