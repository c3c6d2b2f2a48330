package snapshots

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/pageapi"
)

const (
	// PastMax is how many states of the past are kept at a time.
	PastMax = 3
	// pastIdle is how long one is kept that nobody reads.
	pastIdle = 2 * time.Minute
	// pastLook is how often it is seen which those are.
	pastLook = 10 * time.Second
)

// past is what a timeline was at an LSN, redone from the nearest point before it.
//
// Invariant: only Run opens and closes tl; it closes none that can be claimed or has users.
type past struct {
	lsn   pg.LSN
	ready chan struct{} // closed once tl or err is set
	tl    *pageserver.Timeline
	err   error
	dir   string // of what is redone

	// Under Source.mu:
	users int
	used  time.Time
	bad   bool // of a timeline that is not attached any more, or short of objects that the store has let go: not in Source.pasts
}

// openPast opens a snapshot of an LSN that redo of the timeline has passed.
func (s *Source) openPast(ctx context.Context, live *pageserver.Timeline, lsn pg.LSN) (pageapi.Snapshot, error) {
	if err := s.past.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	p, err := s.claim(lsn)
	if err != nil {
		s.past.Release(1)
		return nil, err
	}
	release := func() { s.unclaim(p); s.past.Release(1) }
	select {
	case <-p.ready:
		if err = p.err; err == nil {
			return &snapshot{tl: p.tl, live: live, lsn: lsn, release: release, failed: func(err error) { s.failed(p, err) }}, nil
		}
	case <-ctx.Done(): // it goes on: who asks again finds it further
		if err = ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
			err = fault.Errorf(fault.WaitTimeout, "timed out while WAL up to %s is redone from the nearest point before it: ask again", lsn)
		}
	}
	release()
	return nil, err
}

// claim finds the state of an LSN or asks for it, and keeps it from being closed.
func (s *Source) claim(lsn pg.LSN) (*past, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, fault.New(fault.ServerStopped, "tarn is stopping")
	}
	p := s.pasts[lsn]
	if p == nil {
		if !s.room() {
			return nil, fault.Errorf(fault.PageServiceBusy, "%d former LSNs are being read already, as many as are kept: ask for %s again in a moment", PastMax, lsn)
		}
		p = &past{lsn: lsn, ready: make(chan struct{})}
		s.pasts[lsn] = p
		s.asked = append(s.asked, p)
		s.nudge()
	}
	p.users++
	return p, nil
}

// room lets go of the state that has not been read for longest if there are as many as may be. It may be that all are read. Under mu.
func (s *Source) room() bool {
	if len(s.pasts) < PastMax {
		return true
	}
	var oldest *past
	for _, p := range s.pasts {
		if p.users == 0 && p.opened() && (oldest == nil || p.used.Before(oldest.used)) {
			oldest = p
		}
	}
	if oldest == nil {
		return false
	}
	s.discard(oldest)
	return true
}

// opened says that opening has ended.
func (p *past) opened() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

// discard has nobody claim p again, and Run close it once it has no users. Under mu.
func (s *Source) discard(p *past) {
	s.hide(p)
	if p.users == 0 && p.opened() && p.tl != nil {
		s.gone = append(s.gone, p)
		s.nudge()
	}
}

// hide has nobody claim p again: another one of its LSN may be opened. Under mu.
func (s *Source) hide(p *past) {
	p.bad = true
	if s.pasts[p.lsn] == p {
		delete(s.pasts, p.lsn)
	}
}

func (s *Source) unclaim(p *past) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.users--
	p.used = time.Now()
	if p.bad {
		s.discard(p)
	}
}

// failed discards a state that cannot be read: what the store has let go meanwhile may be read from another point.
func (s *Source) failed(p *past, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hide(p) // closed when its last user lets go
}

// forget discards every state: what comes is another timeline.
func (s *Source) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.formers)
	for _, p := range s.pasts {
		s.discard(p)
	}
}

// nudge has Run look at what there is to do.
func (s *Source) nudge() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// Run opens states of the past, one after the other, and closes those that nobody reads, until the context ends; then it waits for
// snapshots of the past to be released.
func (s *Source) Run(ctx context.Context) error {
	if err := errors.Join(os.RemoveAll(s.opts.Scratch), os.MkdirAll(s.opts.Scratch, 0o700)); err != nil {
		return fault.Errorf(fault.DataDirUnusable, "the folder for former pages %s cannot be made anew: %w", s.opts.Scratch, fault.Cause(err))
	}
	tick := time.NewTicker(pastLook)
	defer tick.Stop()
	for {
		if p := s.next(); p != nil {
			s.settle(p, s.open(ctx, p))
			continue
		}
		select {
		case <-ctx.Done():
			s.stop()
			return nil
		case <-s.woken:
		case <-tick.C:
			s.expire(time.Now())
		}
	}
}

// next closes what is to be closed, so that there are never more than PastMax, and is the next state to be opened, or nil.
func (s *Source) next() *past {
	s.mu.Lock()
	gone := s.gone
	s.gone = nil
	var p *past
	if len(s.asked) > 0 {
		p, s.asked = s.asked[0], s.asked[1:]
	}
	s.mu.Unlock()
	for _, p := range gone {
		s.close(p)
	}
	return p
}

// expire discards what has not been read for some time.
func (s *Source) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pasts {
		if p.users == 0 && p.opened() && now.Sub(p.used) >= pastIdle {
			s.discard(p)
		}
	}
}

// open redoes WAL from the nearest point before a state's LSN up to it.
func (s *Source) open(ctx context.Context, p *past) (err error) {
	if ctx.Err() != nil {
		return fault.New(fault.ServerStopped, "tarn is stopping")
	}
	began := time.Now()
	if p.dir, err = os.MkdirTemp(s.opts.Scratch, "past-"); err != nil {
		return fault.Errorf(fault.DataDirUnusable, "a folder for former pages cannot be made: %w", fault.Cause(err))
	}
	scratch, err := objstore.OpenDir(p.dir)
	if err != nil {
		return err
	}
	tl, to, err := pageserver.OpenPast(ctx, pageserver.Options{Store: s.opts.Store, MemoryBytes: s.opts.PastBytes, Logger: s.opts.Logger}, pageserver.Target{LSN: p.lsn}, scratch)
	if err != nil {
		return fmt.Errorf("open pages of %s: %w", p.lsn, err)
	}
	p.tl = tl
	from := tl.ResumeLSN()
	r, err := s.opts.WAL(ctx, tl, from)
	if err == nil {
		err = tl.Replay(ctx, r, to)
	}
	if err == nil {
		s.opts.Logger.Debug("opened former pages", "lsn", p.lsn, "from", from, "in", time.Since(began))
	}
	return err
}

// settle tells those who wait for a state that it is open, or why not.
func (s *Source) settle(p *past, err error) {
	s.mu.Lock()
	if err == nil && p.bad {
		err = fault.New(fault.LakeNotRead, "the timeline was attached anew meanwhile: ask again")
	}
	p.err, p.used = err, time.Now()
	if err != nil {
		s.hide(p)
	}
	s.mu.Unlock()
	if err != nil {
		s.close(p)
	}
	close(p.ready)
}

// close gives a state's memory and folder back. Nobody uses it.
func (s *Source) close(p *past) {
	var err error
	if p.tl != nil {
		err = p.tl.Close()
		p.tl = nil
	}
	if err = errors.Join(err, os.RemoveAll(p.dir)); err != nil {
		s.opts.Logger.Warn("former pages were not closed properly", "lsn", p.lsn, "error", err)
	}
}

// stop ends Run's part.
func (s *Source) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	_ = s.past.Acquire(context.Background(), readersMax) // no snapshot of the past is open, and none will be
	defer s.past.Release(readersMax)
	s.forget()
	for s.next() != nil { // asked for by who has gone
	}
}
