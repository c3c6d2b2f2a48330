package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tarn-db/tarn/ingest/raftlog"
	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/pg"
)

const (
	backoffMin = 100 * time.Millisecond
	backoffMax = 3 * time.Second
	// slotHeld is how long a slot may be held by the walsender of a connection of ours that died: wal_sender_timeout,
	// one minute unless changed, and some.
	slotHeld = 75 * time.Second
)

// Run streams and archives until ctx ends, then returns nil; when the source has been promoted, a *PromotedError or a *ForkError. A
// stream that cannot go on ends, and Status says why; archiving goes on.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, part := range []func(context.Context){s.watchCommits, s.archiveLoop} {
		wg.Go(func() { part(ctx) })
	}
	err := s.stream(ctx)
	if err == nil {
		<-ctx.Done()
	}
	cancel()
	wg.Wait()
	return err
}

// stream keeps a session going, with a growing pause between those that fail.
func (s *Service) stream(ctx context.Context) error {
	pause := backoffMin
	var failing time.Time // since when, zero after a session that streamed
	for ctx.Err() == nil {
		streamed, err := s.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if streamed {
			pause, failing = backoffMin, time.Time{}
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		state, err := s.judge(err, time.Since(failing))
		s.setState(state, err)
		if state == Promoted || state == Forked {
			return err
		}
		if state.ended() {
			return nil
		}
		if !sleep(ctx, pause/2+rand.N(pause/2)) {
			return nil
		}
		pause = min(2*pause, backoffMax)
	}
	return nil
}

// judge says what an ended session means.
func (s *Service) judge(err error, failing time.Duration) (State, error) {
	var ae *receive.AttachError
	var promoted *PromotedError
	var fork *ForkError
	switch {
	case errors.As(err, &promoted):
		return Promoted, err
	case errors.As(err, &fork):
		return Forked, err
	case errors.Is(err, errNotDescended):
		return Diverged, fmt.Errorf("%w; tarn resync --all copies the source anew", err)
	case errors.Is(err, receive.ErrWALGone):
		return WALGap, fmt.Errorf("%w; tarn resync --all copies the source anew", err)
	case errors.Is(err, receive.ErrServerBehind), raftlog.Diverged(err):
		return Diverged, fmt.Errorf("the source's history is not the one received: %w; tarn resync --all copies the source anew", err)
	case s.log.Err() != nil:
		return Failed, fmt.Errorf("%w; free or repair the disk of data_dir and start again", s.log.Err())
	case errors.As(err, &ae) && ae.Code == receive.CodeSlotLost:
		return WALGap, err
	case errors.As(err, &ae) && (!ae.Temporary() || ae.Code == receive.CodeSlotInUse && failing > slotHeld):
		return Refused, err
	}
	// receive.ErrOtherHistory as well: the server was promoted after it was looked at, and the next look tells.
	return Reconnecting, err
}

// session is one connection; streamed says that it got as far as receiving.
func (s *Service) session(ctx context.Context) (streamed bool, err error) {
	next, err := s.log.Restart(ctx)
	if err != nil {
		return false, err
	}
	s.received.Store(uint64(next))
	if err := s.check(ctx); err != nil {
		return false, err
	}
	// From the start of the segment: what is here already is compared, so that a source with another history is noticed
	// even when it has grown past this one. The server keeps whole segments, so it has those bytes if it has the next.
	begin, _ := s.log.Bounds()
	begin = max(begin, next.SegmentStart(s.log.Cluster().SegmentSize))
	st, err := receive.StartStream(ctx, s.opt.Source, receive.StreamOptions{Slot: s.opt.Slot, Start: begin, Timeline: s.log.Timeline()})
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = st.Close() })
	a := &acker{s: s, st: st, force: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { a.run(ctx) })
	h := &handler{s: s, acker: a, resume: next}
	err = st.Receive(h)
	var te *receive.TimelineEndError
	if errors.As(err, &te) {
		err = s.ended(ctx, te)
	}
	cancel()
	wg.Wait()
	stop()
	_ = st.Close()
	return h.streamed, err
}

// ended is the end of a timeline that was streamed to its end: what came before is committed first.
func (s *Service) ended(ctx context.Context, te *receive.TimelineEndError) error {
	if err := s.log.Flush(); err != nil {
		return err
	}
	if end, err := s.log.Restart(ctx); err != nil || end < te.Switch {
		return errors.Join(te, err) // connect again
	}
	s.fork.Store(uint64(te.Switch))
	return &PromotedError{From: te.Timeline, To: te.Next, Fork: te.Switch}
}

// check asks the server again what may have changed since the last connection. A slot that is gone is made anew: the WAL
// may still be there, and if not the stream says so.
func (s *Service) check(ctx context.Context) error {
	info, err := receive.Preflight(ctx, s.opt.Source)
	if err != nil {
		return err
	}
	if err := receive.CheckSystemID(info, s.log.Cluster().SystemID); err != nil {
		return err
	}
	if err := s.refuseFormer(info); err != nil {
		return err
	}
	s.mu.Lock()
	s.info = info
	s.mu.Unlock()
	err = s.checkTimeline(ctx, info)
	var promoted *PromotedError
	var fork *ForkError
	switch {
	case errors.As(err, &promoted):
		s.fork.Store(uint64(promoted.Fork))
	case errors.As(err, &fork):
		s.fork.Store(uint64(fork.Fork))
	}
	if err != nil {
		return err
	}
	if end := s.log.CommitLSN(); info.Timeline == s.log.Timeline() && info.FlushLSN < end {
		// A server sends only what it has flushed: one that has less now has lost it, or is a copy from before.
		return fmt.Errorf("%w: at %s on timeline %d, received is %s", receive.ErrServerBehind, info.FlushLSN, info.Timeline, end)
	}
	_, _, err = receive.EnsureSlot(ctx, s.opt.Source, s.opt.Slot)
	return err
}

// watchCommits passes on that the commit LSN has moved.
func (s *Service) watchCommits(ctx context.Context) {
	size := s.log.Cluster().SegmentSize
	for last := s.log.CommitLSN(); ; {
		if err := s.log.Wait(ctx, last+1); err != nil {
			return // ctx, or a failed log, which the stream reports
		}
		last = s.log.CommitLSN()
		wake(s.ackWake)
		if last.SegmentStart(size) > s.archive.ArchivedLSN() {
			wake(s.archiveKick)
		}
	}
}

// archiveLoop uploads full segments as they come, the tail now and then or when it is wanted, and trims the log.
func (s *Service) archiveLoop(ctx context.Context) {
	tick := time.NewTicker(s.opt.TailInterval)
	defer tick.Stop()
	pause := backoffMin
	wake(s.archiveKick) // what an earlier run left
	for {
		tail := false
		select {
		case <-ctx.Done():
			return
		case <-s.archiveKick:
		case <-s.tailKick:
			tail = true
		case <-tick.C:
			tail = true
		}
		err := s.archive.Seal(ctx)
		if err == nil && tail {
			err = s.archive.ArchiveTo(ctx, s.log.CommitLSN())
		}
		if ctx.Err() != nil {
			return
		}
		s.noteStore(err)
		if err != nil {
			s.opt.Logger.Warn("archiving WAL", "error", err, "archived_lsn", s.archive.ArchivedLSN().String())
			if !sleep(ctx, pause/2+rand.N(pause/2)) {
				return
			}
			pause = min(2*pause, backoffMax)
			wake(s.archiveKick)
			continue
		}
		pause = backoffMin
		s.trim()
	}
}

// trim lets go of local WAL that is archived and beyond what is kept for readers.
func (s *Service) trim() {
	archived, keep := s.archive.ArchivedLSN(), pg.LSN(s.opt.RetainBytes)
	if archived <= keep {
		return
	}
	if err := s.log.Trim(archived - keep); err != nil && !errors.Is(err, raftlog.ErrClosed) {
		s.opt.Logger.Warn("trimming local WAL", "error", err)
	}
}

// sleep waits, or returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
