package snapshots

import (
	"context"
	"fmt"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// snapshot is a timeline held at a barrier.
type snapshot struct {
	tl      *pageserver.Timeline
	lsn     pg.LSN
	live    *pageserver.Timeline // the one that goes on: it leases
	failed  func(error)          // told of errors that reading again may not meet; nil if nobody is
	release func()
}

// LSN implements pageapi.Snapshot.
func (s *snapshot) LSN() pg.LSN { return s.lsn }

// SystemID implements pageapi.Snapshot.
func (s *snapshot) SystemID() uint64 { return s.tl.SystemID() }

// Timeline implements pageapi.Snapshot.
func (s *snapshot) Timeline() pg.TimelineID { return s.tl.WALTimeline() }

// Lease implements pageapi.Snapshot.
func (s *snapshot) Lease() (time.Time, error) { return s.live.LeaseLSN(s.lsn) }

// Release implements pageapi.Snapshot.
func (s *snapshot) Release() { s.release() }

// RelSize implements pageapi.Snapshot.
func (s *snapshot) RelSize(ctx context.Context, rel pg.RelFileLocator, fork pg.ForkNumber) (pg.BlockNumber, bool, error) {
	n, ok, err := s.tl.NBlocks(ctx, rel, fork)
	return n, ok, s.note(err)
}

// SLRUPages implements pageapi.Snapshot.
func (s *snapshot) SLRUPages(_ context.Context, kind slru.Kind) ([]slru.Run, error) {
	return s.tl.SLRUPages(kind), nil
}

// note tells who kept the timeline of a failure.
func (s *snapshot) note(err error) error {
	if err != nil && s.failed != nil {
		s.failed(err)
	}
	return err
}

var zeroPage [pg.BlockSize]byte

// Pages implements pageapi.Snapshot. Neighbours in a fork are read as one.
func (s *snapshot) Pages(ctx context.Context, keys []key.Key, fn func(int, []byte) error) error {
	for i := 0; i < len(keys); {
		n := 1
		for i+n < len(keys) && keys[i+n].SameFork(keys[i]) && keys[i+n].Block() == keys[i].Block()+pg.BlockNumber(n) {
			n++
		}
		var err error
		switch k := keys[i]; {
		case !k.IsPage():
			panic(fmt.Sprintf("BUG: key %s is not a page's", k))
		case k.Kind() == key.SLRU:
			n, err = 1, s.slruPage(ctx, k, i, fn)
		case n == 1:
			err = s.page(ctx, k, i, fn)
		default:
			err = s.run(ctx, k, n, i, fn)
		}
		if err != nil {
			return s.note(err)
		}
		i += n
	}
	return nil
}

func (s *snapshot) slruPage(ctx context.Context, k key.Key, i int, fn func(int, []byte) error) error {
	page, ok, err := s.tl.SLRUPage(ctx, slru.Kind(k.Rel().Spc), uint32(k.Block()))
	if err != nil {
		return err
	}
	if !ok {
		page = zeroPage[:]
	}
	return fn(i, page)
}

func (s *snapshot) page(ctx context.Context, k key.Key, i int, fn func(int, []byte) error) error {
	page, err := s.tl.Page(ctx, k.Rel(), k.Fork(), k.Block())
	if err != nil {
		return err
	}
	if page == nil {
		page = zeroPage[:]
	}
	return fn(i, page)
}

// run reads n blocks from k on, the first of which is key i. A scan leaves out those that were never initialised.
func (s *snapshot) run(ctx context.Context, k key.Key, n, i int, fn func(int, []byte) error) error {
	next := k.Block()
	zeros := func(to pg.BlockNumber) error {
		for ; next < to; next++ {
			if err := fn(i+int(next-k.Block()), zeroPage[:]); err != nil {
				return err
			}
		}
		return nil
	}
	end := k.Block() + pg.BlockNumber(n)
	err := s.tl.Scan(ctx, k.Rel(), k.Fork(), next, end, func(blk pg.BlockNumber, page pg.Page) error {
		if err := zeros(blk); err != nil {
			return err
		}
		next++
		return fn(i+int(blk-k.Block()), page)
	})
	if err != nil {
		return err
	}
	return zeros(end)
}
