// Package snapshots opens snapshots for the page service over a timeline. Where redo is, the timeline itself answers, between two batches
// of records; for a former LSN its layers do, beside redo; and for what is not in layers yet, a state redone from the nearest point, of
// which a few are kept for as long as they are read.
package snapshots

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/pageapi"
)

// readersMax is how many snapshots of the present, and how many of the past, are open at a time; more wait.
const readersMax = 64

// Options are what a Source needs; all but Logger are required.
type Options struct {
	Store   objstore.Store
	Scratch string // folder for what is redone of the past; emptied by Run
	// PastBytes is the memory of each state of the past, of which there are up to PastMax.
	PastBytes int64
	// Redone is the LSN below which redo is done with everything: at or behind the timeline's RedoLSN.
	Redone func() pg.LSN
	// Wait returns once Redone has reached an LSN, or why it never will.
	Wait func(ctx context.Context, lsn pg.LSN) error
	// TimelineAt is the WAL timeline of the last record before an LSN.
	TimelineAt func(lsn pg.LSN) pg.TimelineID
	// WAL reads the WAL that the timeline came from, from start on; requests to the store end with ctx.
	WAL    func(ctx context.Context, tl *pageserver.Timeline, start pg.LSN) (*wal.Reader, error)
	Logger *slog.Logger
}

// Source implements pageapi.Source.
//
// Invariant: a timeline that is attached changes under Lock alone.
type Source struct {
	opts Options
	gate *semaphore.Weighted // one for each snapshot of the present, all for who changes it
	tl   *pageserver.Timeline

	past  *semaphore.Weighted // one for each snapshot of a former LSN
	woken chan struct{}       // Run has something to do

	mu      sync.Mutex // guards what follows
	stopped bool
	formers map[pg.LSN]former // up to formerMax
	pasts   map[pg.LSN]*past  // that may be claimed, up to PastMax
	asked   []*past           // to be opened
	gone    []*past           // to be closed; nobody uses them
}

// New makes a Source, to which no timeline is attached.
func New(o Options) *Source {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Source{
		opts: o, gate: semaphore.NewWeighted(readersMax), past: semaphore.NewWeighted(readersMax), woken: make(chan struct{}, 1), formers: map[pg.LSN]former{}, pasts: map[pg.LSN]*past{},
	}
}

// Lock waits until no snapshot of the present is open, and keeps others from being opened. Who holds it may change the timeline; at
// Unlock it is at a barrier. Those who wait get their turn in order, so that neither redo nor readers starve.
func (s *Source) Lock() {
	_ = s.gate.Acquire(context.Background(), readersMax) // fails with the context alone
}

// Unlock lets snapshots be opened again.
func (s *Source) Unlock() { s.gate.Release(readersMax) }

// Attach has snapshots opened of a timeline and of its past, or of none with nil.
func (s *Source) Attach(tl *pageserver.Timeline) {
	s.Lock()
	defer s.Unlock()
	s.tl = tl
	s.forget()
}

// Open implements pageapi.Source.
func (s *Source) Open(ctx context.Context, at pageapi.Position) (pageapi.Snapshot, error) {
	lsn, err := s.resolve(ctx, at)
	if err != nil {
		return nil, err
	}
	if wanted := max(lsn, at.MinLSN); wanted > s.opts.Redone() {
		if err := s.opts.Wait(ctx, wanted); err != nil {
			return nil, s.late(wanted, err)
		}
	}
	tl, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	here := max(tl.RedoLSN(), s.opts.Redone())
	switch {
	case tl.RedoLSN() < tl.ConsistentLSN():
		err = fault.Errorf(fault.LakeNotRead, "%w: at %s, consistent at %s: try again in a moment", pageserver.ErrNotConsistent, tl.RedoLSN(), tl.ConsistentLSN())
	case lsn == 0:
		return &snapshot{tl: tl, live: tl, lsn: here, release: func() { s.gate.Release(1) }}, nil
	case tl.RedoLSN() <= lsn && lsn <= here: // no record ends in between
		return &snapshot{tl: tl, live: tl, lsn: lsn, release: func() { s.gate.Release(1) }}, nil
	}
	s.gate.Release(1)
	if err != nil {
		return nil, err
	}
	return s.openFormer(ctx, tl, lsn)
}

// enter holds the timeline at a barrier until the gate is released.
func (s *Source) enter(ctx context.Context) (*pageserver.Timeline, error) {
	if err := s.gate.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	if s.tl == nil {
		s.gate.Release(1)
		return nil, fault.New(fault.LakeNotRead, "no pages can be read now: try again in a moment, and see `tarn status` for what the server does")
	}
	return s.tl, nil
}

// resolve is the LSN of a position on main, 0 for the newest.
func (s *Source) resolve(ctx context.Context, at pageapi.Position) (pg.LSN, error) {
	tl, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer s.gate.Release(1)
	lsn := at.LSN
	if at.Branch != "" && at.Branch != pageserver.MainBranch {
		if lsn, err = onBranch(tl, at); err != nil {
			return 0, err
		}
	}
	if oldest, _ := tl.HistoryFrom(); lsn != 0 && lsn < oldest {
		return 0, fmt.Errorf("%w: %s was asked for, the oldest LSN is %s", pageserver.ErrBeforeHistory, lsn, oldest)
	}
	return lsn, nil
}

// onBranch is a position's LSN on its branch, which is main up to where it ends.
func onBranch(tl *pageserver.Timeline, at pageapi.Position) (pg.LSN, error) {
	for _, b := range tl.Branches() {
		switch {
		case b.Name != at.Branch:
			continue
		case max(at.LSN, at.MinLSN) > b.LSN:
			return 0, fmt.Errorf("%w: branch %s ends at %s, %s was asked for", pageserver.ErrBeyondWAL, b.Name, b.LSN, max(at.LSN, at.MinLSN))
		case at.LSN == 0:
			return b.LSN, nil
		}
		return at.LSN, nil
	}
	return 0, fault.Errorf(fault.BranchUnknown, "there is no branch %q: `tarn branch list` shows them", at.Branch)
}

// late says why an LSN was not reached.
func (s *Source) late(lsn pg.LSN, err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Errorf(fault.WaitTimeout, "timed out waiting for %s, redo is at %s: give the request more time, or another LSN", lsn, s.opts.Redone())
	case errors.Is(err, context.Canceled):
		return err
	}
	return fault.Errorf(fault.ServerStopped, "%s will not be reached, redo is at %s: %w", lsn, s.opts.Redone(), err)
}
