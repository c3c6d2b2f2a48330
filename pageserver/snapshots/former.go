package snapshots

import (
	"context"
	"errors"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/pageapi"
	"github.com/tarn-db/tarn/pageserver/slru"
)

const (
	// formerMax is how many LSNs are held whose pages delta layers lead to, with the relations that were looked up there.
	formerMax = 16
	// formerTime is for how long: the layers such an LSN needs stay in the store somewhat longer than that.
	formerTime = 5 * time.Minute
)

// former is what a timeline was at an LSN as its layers have it.
type former struct {
	*pageserver.Snapshot
	tl   *pageserver.Timeline
	made time.Time
}

// openFormer opens a snapshot of an LSN that redo has passed: by delta layers where they lead there, else by redoing WAL.
func (s *Source) openFormer(ctx context.Context, tl *pageserver.Timeline, lsn pg.LSN) (pageapi.Snapshot, error) {
	f, err := s.formerAt(tl, lsn)
	if errors.Is(err, pageserver.ErrNotFlushed) || errors.Is(err, pageserver.ErrNotInDeltas) {
		return s.openPast(ctx, tl, lsn)
	}
	if err == nil {
		err = s.past.Acquire(ctx, 1)
	}
	if err != nil {
		return nil, err
	}
	return &formerSnapshot{former: f, source: s}, nil
}

// formerAt finds what is held of an LSN, or looks it up.
func (s *Source) formerAt(tl *pageserver.Timeline, lsn pg.LSN) (former, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if f, ok := s.formers[lsn]; ok && f.tl == tl && now.Sub(f.made) < formerTime {
		return f, nil
	}
	snap, err := tl.Snapshot(lsn)
	if err != nil {
		return former{}, err
	}
	if len(s.formers) >= formerMax {
		oldest := lsn
		for at, f := range s.formers {
			if oldest == lsn || f.made.Before(s.formers[oldest].made) {
				oldest = at
			}
		}
		delete(s.formers, oldest)
	}
	f := former{snap, tl, now}
	s.formers[lsn] = f
	return f, nil
}

// formerSnapshot is a snapshot that layers lead to. Redo goes on beside it.
type formerSnapshot struct {
	former
	source *Source
	past   pageapi.Snapshot // for what layers do not tell; nil if it was not needed
	buf    [pg.BlockSize]byte
}

// SystemID implements pageapi.Snapshot.
func (s *formerSnapshot) SystemID() uint64 { return s.tl.SystemID() }

// Timeline implements pageapi.Snapshot.
func (s *formerSnapshot) Timeline() pg.TimelineID { return s.source.opts.TimelineAt(s.LSN()) }

// Lease implements pageapi.Snapshot.
func (s *formerSnapshot) Lease() (time.Time, error) { return s.tl.LeaseLSN(s.LSN()) }

// Release implements pageapi.Snapshot.
func (s *formerSnapshot) Release() {
	if s.past != nil {
		s.past.Release()
	}
	s.source.past.Release(1)
}

// RelSize implements pageapi.Snapshot.
func (s *formerSnapshot) RelSize(ctx context.Context, rel pg.RelFileLocator, fork pg.ForkNumber) (pg.BlockNumber, bool, error) {
	n, ok, err := s.NBlocks(ctx, rel, fork)
	return n, ok, s.note(err)
}

// note has an LSN looked up anew that could not be read: its layers may have given way to others.
func (s *formerSnapshot) note(err error) error {
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		s.source.mu.Lock()
		defer s.source.mu.Unlock()
		delete(s.source.formers, s.LSN())
	}
	return err
}

// SLRUPages implements pageapi.Snapshot. Where no delta layer leads, which is where history begins, layers do not tell.
func (s *formerSnapshot) SLRUPages(ctx context.Context, kind slru.Kind) ([]slru.Run, error) {
	runs, err := s.Snapshot.SLRUPages(ctx, kind)
	if !errors.Is(err, pageserver.ErrNotInDeltas) {
		return runs, s.note(err)
	}
	if s.past == nil {
		if s.past, err = s.source.openPast(ctx, s.tl, s.LSN()); err != nil {
			return nil, err
		}
	}
	return s.past.SLRUPages(ctx, kind)
}

// Pages implements pageapi.Snapshot.
func (s *formerSnapshot) Pages(ctx context.Context, keys []key.Key, fn func(int, []byte) error) error {
	if s.past != nil {
		return s.past.Pages(ctx, keys, fn)
	}
	for i, k := range keys {
		var ok bool
		var err error
		if k.Kind() == key.SLRU {
			ok, err = s.SLRUPage(ctx, slru.Kind(k.Rel().Spc), uint32(k.Block()), s.buf[:])
		} else {
			ok, err = s.Page(ctx, k.Rel(), k.Fork(), k.Block(), s.buf[:])
		}
		if err != nil {
			return s.note(err)
		}
		if !ok {
			clear(s.buf[:])
		}
		if err := fn(i, s.buf[:]); err != nil {
			return err
		}
	}
	return nil
}
