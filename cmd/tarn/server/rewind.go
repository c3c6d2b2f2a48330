package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tarn-db/tarn/ingest"
	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/pageserver"
)

// errRewound ends attached: what is durable no longer lies behind the fork, and the promotion is followed like any other.
var errRewound = errors.New("taken back to where the source's history forked off")

// rewindError is a failure that may pass: what is durable is as it was, or partly taken back, and the same is tried again.
type rewindError struct{ err error }

func (e *rewindError) Error() string {
	return fmt.Sprintf("going back to where the source's history forked off: %v", e.err)
}
func (e *rewindError) Unwrap() error { return e.err }

// rewind takes lake and pages back to the fork of a source that was promoted below what is published. It closes tl, and returns
// errRewound, *rewindError, or a *stopError.
//
// The steps, each durable before the next. Whatever a crash leaves, the next start finds the source promoted below what is still
// durable, and takes the same steps; those that were taken find nothing to do:
//
//  1. One publication takes all tables to the fork, as of the newer timeline. What it compares the lake with is pages as of the fork,
//     made in a folder that is thrown away; the blocks it looks at are those that changed up to what was published.
//  2. The page store's index goes back to its last point before the fork.
//  3. The archive and the log go over, as in any promotion (ingest's goOver).
func (s *Server) rewind(ctx context.Context, ing *ingest.Service, tl *pageserver.Timeline, fork *ingest.ForkError) error {
	s.setState(admin.StateRewinding, fork)
	s.log.Warn("the source's history forked off below what is published: going back", "from_timeline", fork.From, "to_timeline", fork.To, "fork", fork.Fork, "published", s.eng.Published())
	s.pages.Store(nil)
	err := errNoPages
	if tl != nil {
		err = tl.Close()
	}
	if err == nil {
		r := rewinding{s: s, ing: ing, fork: fork, published: s.eng.Published()}
		err = r.run(ctx)
	}
	switch {
	case err == nil:
		return errRewound
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, lake.ErrFenced), errors.Is(err, pageserver.ErrFenced):
		return fenced(err)
	case errors.Is(err, errNoPages), errors.Is(err, errResyncing), errors.Is(err, pageserver.ErrBeforeHistory):
		return &stopError{admin.StateDiverged, fault.Errorf(fault.Diverged, "%w; it cannot be gone back there (%w): `tarn resync --all` copies the source anew", fork, err)}
	case errors.Is(err, pg.ErrCorrupt):
		return &stopError{admin.StateCorrupt, fault.Errorf(fault.Corrupt, "%w; going back there: %w", fork, err)}
	}
	return &rewindError{err}
}

var (
	errNoPages = fault.New(fault.Diverged, "the store has no pages")
	// errResyncing: rows in the lake are partly those of before a resync, of which pages have no history.
	errResyncing = fault.New(fault.Diverged, "a resync is not finished")
)

// rewinding is one try.
type rewinding struct {
	s         *Server
	ing       *ingest.Service
	fork      *ingest.ForkError
	published pg.LSN // before
	undone    int64  // transactions
}

func (r *rewinding) run(ctx context.Context) error {
	if r.s.resyncStage() != resyncNone {
		return errResyncing
	}
	var res materialize.CutResult
	if r.published > r.fork.Fork {
		var err error
		if res, err = r.lake(ctx); err != nil {
			return err
		}
		r.s.log.Info("going back: the lake is at the fork", "lsn", r.fork.Fork)
	}
	pages, err := pageserver.Rewind(ctx, r.s.pageOptions(), r.fork.Fork)
	if err != nil {
		return err
	}
	for _, b := range pages.Branches {
		r.s.log.Warn("a branch was dropped: it named an LSN of a history that is no more", "branch", b.Name, "lsn", b.LSN)
	}
	end := r.ing.Status()
	acknowledged := end.ArchivedLSN
	if r.s.cfg.Source.Synchronous {
		acknowledged = end.CommitLSN
	}
	r.s.log.Warn("went back to where the source's history forked off", "from_timeline", r.fork.From, "to_timeline", r.fork.To, "fork", r.fork.Fork, "published", r.published, "pages", pages.LSN,
		"transactions_undone", r.undone, "rows_removed", res.RowsOut, "rows_returned", res.RowsIn, "tables", res.Tables, "acknowledged_bytes_abandoned", behind(acknowledged, r.fork.Fork))
	return nil
}

// behind is how many bytes of WAL before end lie behind a fork. They stay in the store under the former timeline's name.
func behind(end, fork pg.LSN) uint64 { return uint64(max(end, fork) - fork) }

// lake publishes all tables as of the fork.
func (r *rewinding) lake(ctx context.Context) (res materialize.CutResult, err error) {
	var changed pageserver.DirtySet
	r.undone = 0
	err = r.at(ctx, r.published, func(tl *pageserver.Timeline) error { changed = tl.TakeDirty(); return nil })
	if err != nil {
		return res, err
	}
	err = r.at(ctx, r.fork.Fork, func(tl *pageserver.Timeline) error {
		tl.MarkDirty(changed)
		r.s.eng.SetLCMonetary(r.ing.Status().Source.LCMonetary)
		r.s.eng.Attach(materialize.TimelinePages(tl))
		_, last := tl.LastCommit()
		res, err = r.s.eng.Cut(ctx, materialize.CutPoint{
			LSN: r.fork.Fork, Resume: tl.ResumeLSN(), Timeline: r.fork.To, SystemID: tl.SystemID(), CommitTime: last, Rewind: true,
		})
		return err
	})
	return res, err
}

// at calls fn with the pages of an LSN of the history received so far, made from the last point before the fork. What fn sees as
// changed since is all that changed since, relations made behind the fork excepted: those are not of it.
func (r *rewinding) at(ctx context.Context, lsn pg.LSN, fn func(*pageserver.Timeline) error) error {
	dir := filepath.Join(r.s.cfg.DataDir, "rewind")
	defer os.RemoveAll(dir)
	tl, err := r.s.pagesAt(ctx, r.s.pageOptions(), r.fork.Fork, lsn, dir, func(tl *pageserver.Timeline) error {
		switch {
		case tl.ConsistentLSN() > r.fork.Fork:
			return fmt.Errorf("%w: the base backup is consistent from %s on", pageserver.ErrBeforeHistory, tl.ConsistentLSN())
		case tl.ResumeLSN() < r.ing.Base():
			return fmt.Errorf("%w: pages are of %s, WAL begins at %s", pageserver.ErrBeforeHistory, tl.ResumeLSN(), r.ing.Base())
		}
		tl.OnCommit(func(at pg.LSN, _ time.Time) {
			if at > r.fork.Fork {
				r.undone++
			}
		})
		return nil
	})
	if tl != nil {
		defer tl.Close()
	}
	if err != nil {
		return err
	}
	return fn(tl)
}
