package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-db/tarn/ingest"
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/pageserver"
)

// How often pages are made durable, whichever comes first.
const (
	flushEvery = 2 * time.Minute
	flushWAL   = 512 << 20 // bytes of WAL redone since
)

// redo applies committed WAL to pages, and cuts.
type redo struct {
	s      *Server
	ing    *ingest.Service
	tl     *pageserver.Timeline
	reader *wal.Reader

	lastCut   time.Time // when the last cut began
	cutRedo   pg.LSN    // redo LSN at the last cut
	commits   commitTimes
	flushing  chan error // gives the outcome of the flush under way; nil if none
	flushed   time.Time
	flushedAt pg.LSN
	retry     time.Duration // pause after a failed cut
	pause     time.Duration // last pause of a record that the store failed
}

// run applies records until the context ends or something cannot be read.
func (r *redo) run(ctx context.Context) error {
	for {
		more, err := r.apply(ctx)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.s.waiting(r.commits.first())
		at, whole := r.position(more)
		r.s.noteFullPageWrites(r.tl) // first: who waits for redo sees what it has found
		r.s.marks.Advance(admin.StageRedo, at)
		if r.due(at) {
			if err := r.cut(ctx, at); err != nil {
				return err
			}
			continue
		}
		if !more {
			if head := r.s.eng.Published(); at < head {
				r.s.setError(fault.Errorf(fault.LakeBehind, "the lake is at %s, the source's WAL ends at %s: nothing is published before it has passed that; SELECT pg_switch_wal() on the source moves it on by a segment", head, at))
			}
			r.idle(ctx, at, whole)
			if err := r.wait(ctx); err != nil {
				return err
			}
		}
	}
}

// turnTime is how long batches of records are applied before the workers are waited for and it is seen whether a cut is due.
const turnTime = 10 * time.Millisecond

// apply redoes some records, to the last page, and says whether there may be more at once. No snapshot is open meanwhile.
func (r *redo) apply(ctx context.Context) (more bool, err error) {
	r.s.snaps.Lock()
	defer r.s.snaps.Unlock()
	for from := time.Now(); time.Since(from) < turnTime; {
		recs, err := r.reader.NextBatch(pageserver.BatchRecords)
		if err != nil {
			return r.noBatch(ctx, err)
		}
		for {
			n, err := r.tl.ApplyBatch(ctx, recs)
			recs = recs[n:]
			if err == nil {
				break
			}
			if final(err) {
				return false, r.unreadable(err)
			}
			if err := r.again(ctx, err); err != nil {
				return false, err
			}
		}
		r.pause = 0
	}
	return true, r.barrier()
}

// noBatch ends a turn for which there is no more WAL, or none that can be read.
func (r *redo) noBatch(ctx context.Context, err error) (more bool, _ error) {
	if err := r.barrier(); err != nil {
		return false, err
	}
	switch {
	case errors.Is(err, wal.ErrNoMoreYet):
		return false, nil
	case !final(err): // the store that old WAL is read from
		return true, r.again(ctx, fmt.Errorf("reading WAL: %w", err))
	}
	return false, r.unreadable(fmt.Errorf("reading WAL: %w", err))
}

// barrier waits for the pages of the last batch.
func (r *redo) barrier() error {
	if err := r.tl.Barrier(); err != nil {
		return r.unreadable(err)
	}
	return nil
}

// final says whether an error would come again however often a record is tried: its bytes are at fault, or another
// process owns the pages.
func final(err error) bool {
	var system *wal.SystemIDError
	var timeline *wal.TimelineError
	return errors.Is(err, pg.ErrCorrupt) || errors.Is(err, pageserver.ErrWALMinimal) || errors.Is(err, pageserver.ErrFenced) || errors.Is(err, pageserver.ErrTornCopy) ||
		errors.As(err, &system) || errors.As(err, &timeline)
}

// again shows a failure of the store and waits, ever longer, before the same is tried again.
func (r *redo) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.pause = min(30*time.Second, max(100*time.Millisecond, 2*r.pause))
	r.s.log.Error("redo waits for the store", "lsn", r.tl.RedoLSN(), "error", err, "in", r.pause)
	r.s.setError(err)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.pause):
		return nil
	}
}

// unreadable stops the timeline where its WAL cannot be read or applied. WAL is received and kept on.
func (r *redo) unreadable(err error) error {
	if errors.Is(err, pageserver.ErrFenced) {
		return fenced(err)
	}
	if errors.Is(err, pageserver.ErrTornCopy) {
		return err // the next base backup may be whole
	}
	return &stopError{admin.StateCorrupt, fault.Errorf(fault.Corrupt, "timeline stops at %s: %w", r.tl.RedoLSN(), err)}
}

// fenced ends this server's part: two writers of one store would void each other for ever.
func fenced(err error) error {
	return &stopError{admin.StateStopped, fault.Errorf(fault.StoreTaken, "another tarn has taken over this store: %w; end one of the two, and start this one again if it is to go on", err)}
}

// position is the LSN below which everything has been redone. While records follow at once it is the last one's end;
// at the end of what is committed it is that end, unless part of a record lies before it.
func (r *redo) position(more bool) (at pg.LSN, whole bool) {
	p := r.reader.Position()
	if !more && p.Partial == 0 {
		return p.Available, true
	}
	return p.Complete, false
}

// due says whether to cut now: something was redone since the last cut, and the interval is over.
//
// Invariant: a cut is never below the last publication. Pages are durable less often than publications are made, so a
// restart redoes WAL that is in the lake already.
// Invariant: nothing is published behind a fork once it is known: the source is followed only if nothing was.
func (r *redo) due(at pg.LSN) bool {
	if fork := r.ing.Fork(); fork != 0 && at > fork {
		return false
	}
	return r.tl.RedoLSN() >= r.tl.ConsistentLSN() && at >= r.s.eng.Published() && r.pending() && time.Since(r.lastCut) >= r.s.interval()+r.retry
}

// pending says that there is something to cut.
func (r *redo) pending() bool { return r.tl.RedoLSN() > r.cutRedo || r.s.eng.ResyncAsked() }

// idle moves the published position over WAL that changed nothing.
func (r *redo) idle(ctx context.Context, at pg.LSN, whole bool) {
	if !whole || r.cutRedo == 0 || r.tl.RedoLSN() != r.cutRedo || at <= r.s.marks.At(admin.StagePublished) {
		return
	}
	r.s.marks.Advance(admin.StageCut, at)
	if err := r.ing.ArchiveTo(ctx, at); err != nil {
		return // the service says why
	}
	r.publishedAt(at)
}

func (r *redo) publishedAt(at pg.LSN) {
	r.s.cat.Reached(at)
	r.s.marks.Advance(admin.StagePublished, at)
	r.ing.PublishedMoved()
}

// wait blocks until more WAL is committed, a cut is due or the server is nudged.
func (r *redo) wait(ctx context.Context) error {
	timeout := time.Hour
	if r.pending() && r.reader.Position().Available >= r.s.eng.Published() {
		timeout = max(time.Millisecond, r.s.interval()+r.retry-time.Since(r.lastCut))
	}
	wctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.ing.WaitCommit(wctx, r.reader.Position().Available+1) }()
	var err error
	select {
	case err = <-done:
	case <-r.s.nudge:
		cancel()
		<-done
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return &stopError{admin.StateStopped, err}
	}
	return nil
}

// cut publishes what changed and, from time to time, makes pages durable.
func (r *redo) cut(ctx context.Context, at pg.LSN) error {
	r.s.marks.Advance(admin.StageCut, at)
	_, last := r.tl.LastCommit()
	point := materialize.CutPoint{LSN: at, Resume: r.tl.ResumeLSN(), Timeline: r.timeline(), SystemID: r.tl.SystemID(), CommitTime: last}
	r.lastCut = time.Now()
	res, err := r.s.eng.Cut(ctx, point)
	if err != nil {
		return r.failed(ctx, at, err)
	}
	r.retry = 0
	r.cutRedo = r.tl.RedoLSN()
	r.s.published(at, res, r.commits.take())
	r.publishedAt(at)
	if err := r.s.resyncAt(ctx, resyncNone); err != nil {
		r.s.log.Warn("the end of the resync could not be noted; the next cut tries again", "error", err)
	}
	return r.flush(ctx)
}

// timeline is the WAL timeline of the last record redone. The first records of a timeline come before the one that speaks of
// it, so the page store may not have heard of it.
func (r *redo) timeline() pg.TimelineID {
	if at := r.tl.RedoLSN(); at > 0 {
		return max(r.tl.WALTimeline(), r.ing.History().At(at-1))
	}
	return r.tl.WALTimeline()
}

// failed decides what a failed cut means: the lake is unchanged, so the store is tried again, ever less often.
func (r *redo) failed(ctx context.Context, at pg.LSN, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, lake.ErrFenced) {
		return fenced(err)
	}
	r.retry = min(30*time.Second, max(time.Second, 2*r.retry))
	r.s.log.Error("publication failed; trying again", "lsn", at, "error", err, "in", r.retry)
	r.s.setError(err)
	return nil
}

// flush starts making pages durable when it is time, and looks after an earlier flush.
func (r *redo) flush(ctx context.Context) error {
	if r.flushing != nil {
		select {
		case err := <-r.flushing:
			r.flushing = nil
			if err != nil {
				r.s.log.Warn("making pages durable failed; trying again", "error", err)
				r.flushedAt = 0
			}
		default:
			return nil
		}
	}
	if time.Since(r.flushed) < flushEvery && r.tl.RedoLSN() < r.flushedAt+flushWAL {
		return nil
	}
	wait := r.startFlush(ctx)
	r.flushing, r.flushed, r.flushedAt = make(chan error, 1), time.Now(), r.tl.RedoLSN()
	go func(done chan<- error) { done <- wait() }(r.flushing)
	return nil
}

// startFlush begins one while no snapshot is open.
func (r *redo) startFlush(ctx context.Context) (wait func() error) {
	r.s.snaps.Lock()
	defer r.s.snaps.Unlock()
	return r.tl.StartFlush(ctx)
}

// lastFlushMax bounds how long an orderly end waits for pages to become durable.
const lastFlushMax = 15 * time.Second

// close makes pages durable once more, so that the next start has little WAL to redo. A start after a crash has up to
// flushWAL of it; what is lost is time, never rows.
func (r *redo) close() {
	if r.flushing != nil {
		<-r.flushing
	}
	if r.tl.RedoLSN() < r.tl.ConsistentLSN() {
		return
	}
	if fork := r.ing.Fork(); fork != 0 && r.tl.RedoLSN() > fork {
		return // these pages are not of the history that is followed
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastFlushMax)
	defer cancel()
	if err := r.startFlush(ctx)(); err != nil {
		r.s.log.Warn("pages were not made durable at the end; the next start redoes WAL", "from", r.tl.ResumeLSN(), "error", err)
	}
}
