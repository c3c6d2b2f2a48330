package pageserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

var (
	// ErrBeforeHistory: what was asked for lies before the oldest point that is kept.
	ErrBeforeHistory = fault.New(fault.BeforeHistory, "the page store does not reach back that far")
	// ErrBeyondWAL: what was asked for lies behind the WAL there is.
	ErrBeyondWAL = fault.New(fault.BeyondWAL, "the WAL does not reach that far yet")
)

// Target is a moment of a timeline: behind the last record that ends at or below LSN; or before the first commit later than Time,
// by the primary's clock, as recovery_target_time has it; the earlier of the two; or, if both are zero, the end of the WAL.
type Target struct {
	LSN  pg.LSN
	Time time.Time
}

func (g Target) String() string {
	switch {
	case g.LSN != 0 && g.Time.IsZero():
		return g.LSN.String()
	case !g.Time.IsZero():
		return g.Time.Format(time.RFC3339Nano)
	}
	return "the end of the WAL"
}

// OpenPast opens a timeline as it was at the newest point that is not behind the target, from where Replay leads to what it returns as
// the target: that of a branch is not behind the branch's LSN. What it writes goes into scratch and the store stays as it is: any
// number of processes may look at the past of a timeline that another one goes on with. Layers that leave the history meanwhile are
// missed, with an error.
func OpenPast(ctx context.Context, o Options, to Target, scratch objstore.Store) (*Timeline, Target, error) {
	if o.Store == nil {
		return nil, to, errors.New("page store needs an object store")
	}
	name := o.Branch
	o.Store, o.History, o.Branch = objstore.NewOverlay(o.Store, scratch), History{}, MainBranch
	t, err := open(ctx, o, func(a *authority, ctx context.Context) (err error) {
		if err = a.load(ctx); err == nil && name != "" && name != MainBranch {
			to, err = a.onBranch(name, to)
		}
		if err != nil {
			return err
		}
		return a.rewind(to)
	})
	if err == nil {
		t.flusher.swept = true // what the index does not name here, it may name there
	}
	return t, to, err
}

// onBranch is the target on a branch, whose end is its LSN.
func (a *authority) onBranch(name string, to Target) (Target, error) {
	b, ok := findBranch(a.branches, name)
	if !ok {
		return to, unknownBranch(name)
	}
	if to.LSN > b.LSN {
		return to, fmt.Errorf("%w: branch %s ends at %s, %s was asked for", ErrBeyondWAL, name, b.LSN, to)
	}
	if to.LSN == 0 {
		to.LSN = b.LSN
	}
	return to, nil
}

// rewind makes the newest point that is not behind the target the authority's content. The index is written anew, not replaced.
func (a *authority) rewind(to Target) error {
	p, err := a.pointBefore(to)
	if err != nil {
		return err
	}
	c, _ := a.back(p, p.LSN)
	a.etag, a.index.point, a.contents = "", p, contents{layers: c.layers}
	return nil
}

// pointBefore is the newest point that is not behind the target.
func (a *authority) pointBefore(to Target) (point, error) {
	points := append(slices.Clone(a.points), a.index.point)
	for i := len(points) - 1; i >= 0; i-- {
		if !points[i].after(to) {
			return points[i], nil
		}
	}
	return point{}, fmt.Errorf("%w: %s was asked for, the oldest point is %s", ErrBeforeHistory, to, points[0])
}

// PointBefore is an LSN that is not behind the target, from where WAL leads to it. It may be called at any time.
func (t *Timeline) PointBefore(to Target) (pg.LSN, error) {
	t.flusher.mu.Lock()
	defer t.flusher.mu.Unlock()
	p, err := t.flusher.authority.pointBefore(to)
	return p.LSN, err
}

// after says that the target lies before the point. Of one without a commit before it, the base backup's, only its making says when it was.
func (p *point) after(to Target) bool {
	at := p.CommitTime
	if at.IsZero() {
		at = p.Made
	}
	return to.LSN != 0 && p.LSN > to.LSN || !to.Time.IsZero() && at.After(to.Time)
}

func (p point) String() string {
	if p.CommitTime.IsZero() {
		return fmt.Sprintf("%s (made %s)", p.LSN, p.Made.Format(time.RFC3339))
	}
	return fmt.Sprintf("%s (last commit %s)", p.LSN, p.CommitTime.Format(time.RFC3339))
}

// Replay applies WAL up to the target; r starts at ResumeLSN. It returns ErrBeyondWAL if the WAL ends before, unless the target is
// its end, and ErrBeforeHistory if the base backup is not consistent by then.
func (t *Timeline) Replay(ctx context.Context, r *wal.Reader, to Target) error {
	for {
		recs, err := r.NextBatch(BatchRecords)
		if errors.Is(err, io.EOF) || errors.Is(err, wal.ErrNoMoreYet) {
			return errors.Join(t.Barrier(), t.arrived(to, r.Position().Available))
		}
		if err != nil {
			return fmt.Errorf("replay to %s: %w", to, err)
		}
		n, err := before(recs, to)
		if err = cmp.Or(err, ctx.Err()); err == nil {
			_, err = t.ApplyBatch(ctx, recs[:n])
		}
		if err != nil {
			return fmt.Errorf("replay to %s: %w", to, err)
		}
		if n < len(recs) {
			return errors.Join(t.Barrier(), t.arrived(to, recs[n].End))
		}
	}
}

// Find reads WAL from PointBefore(to) on and says where the target lies, so that it can be named: the end of the last record before it.
func Find(ctx context.Context, r *wal.Reader, to Target) (pg.LSN, error) {
	for at := pg.LSN(0); ; {
		recs, err := r.NextBatch(BatchRecords)
		if errors.Is(err, io.EOF) || errors.Is(err, wal.ErrNoMoreYet) {
			return max(at, r.Position().Complete), nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return 0, fmt.Errorf("look for %s: %w", to, err)
		}
		n, err := before(recs, to)
		if err != nil {
			return 0, fmt.Errorf("look for %s: %w", to, err)
		}
		if n > 0 {
			at = recs[n-1].End
		}
		if n < len(recs) {
			return max(at, recs[0].LSN), nil
		}
	}
}

// before is how many of the records are applied for the target.
func before(recs []wal.Record, to Target) (int, error) {
	for i := range recs {
		rec := &recs[i]
		if to.LSN != 0 && rec.End > to.LSN {
			return i, nil
		}
		if to.Time.IsZero() || rec.RMID != wal.RMXact {
			continue
		}
		if op := rec.Info & xlrec.XactOpMask; op != xlrec.XactCommit && op != xlrec.XactCommitPrepared {
			continue
		}
		c, err := xlrec.DecodeCommit(rec.Major, rec.Main, rec.Info)
		if err != nil {
			return 0, err
		}
		if c.Time.Time().After(to.Time) {
			return i, nil
		}
	}
	return len(recs), nil
}

// arrived checks that the target was met with WAL up to seen.
func (t *Timeline) arrived(to Target, seen pg.LSN) error {
	switch {
	case to.LSN != 0 && seen < to.LSN:
		return fmt.Errorf("%w: %s was asked for, it ends at %s", ErrBeyondWAL, to, seen)
	case !t.reached():
		return fmt.Errorf("%w: at %s the base backup is not consistent, it is from %s on", ErrBeforeHistory, t.redoLSN, t.consistent)
	}
	return nil
}
