package pageserver

import (
	"context"
	"errors"
	"fmt"
	"io"
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
// by the primary's clock, as recovery_target_time has it; or, if both are zero, the end of the WAL.
type Target struct {
	LSN  pg.LSN
	Time time.Time
}

func (g Target) String() string {
	switch {
	case g.LSN != 0:
		return g.LSN.String()
	case !g.Time.IsZero():
		return g.Time.Format(time.RFC3339Nano)
	}
	return "the end of the WAL"
}

// OpenPast opens a timeline as it was at the newest point that is not behind the target, from where Replay leads to the target. What
// it writes goes into scratch and the store stays as it is: any number of processes may look at the past of a timeline that
// another one goes on with. Layers that leave the history meanwhile are missed, with an error.
func OpenPast(ctx context.Context, o Options, to Target, scratch objstore.Store) (*Timeline, error) {
	if o.Store == nil {
		return nil, errors.New("page store needs an object store")
	}
	o.Store, o.History = objstore.NewOverlay(o.Store, scratch), History{}
	return open(ctx, o, func(a *authority, ctx context.Context) error {
		if err := a.load(ctx); err != nil {
			return err
		}
		return a.rewind(to)
	})
}

// rewind makes the newest point that is not behind the target the authority's content. The index is written anew, not replaced.
func (a *authority) rewind(to Target) error {
	points := append(a.points, a.index.point)
	chosen := len(points) - 1
	for ; chosen >= 0 && points[chosen].after(to); chosen-- {
	}
	if chosen < 0 {
		return fmt.Errorf("%w: %s was asked for, the oldest point is %s", ErrBeforeHistory, to, points[0])
	}
	p := points[chosen]
	var layers []*layerObject
	for _, l := range append(a.layers, a.retired...) {
		if l.at(p.LSN) {
			now := *l
			now.until = 0
			layers = append(layers, &now)
		}
	}
	a.etag, a.index.point, a.contents = "", p, contents{layers: layers}
	return nil
}

// after says that the target lies before the point.
func (p *point) after(to Target) bool {
	return to.LSN != 0 && p.LSN > to.LSN || !to.Time.IsZero() && p.CommitTime.After(to.Time)
}

func (p point) String() string {
	if p.CommitTime.IsZero() {
		return p.LSN.String()
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
		if err == nil {
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
