package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize"
	"github.com/tarn-db/tarn/pageserver"
)

const (
	// branchLook is how often it is seen which branches lack a lake, unless one is made or deleted.
	branchLook = 10 * time.Second
	// branchWait is how soon a lake is tried again that waits for a publication.
	branchWait = 200 * time.Millisecond
)

// branchLakes is which lakes of branches could not be made.
type branchLakes struct {
	woken chan struct{}

	mu   sync.Mutex
	errs map[string]branchFailure // by branch
}

type branchFailure struct {
	id  catalog.BranchID
	err error
}

func newBranchLakes() branchLakes {
	return branchLakes{woken: make(chan struct{}, 1)}
}

// wake has it seen at once which branches there are.
func (l *branchLakes) wake() {
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// failed is why a branch's lake could not be made when that was last tried.
func (l *branchLakes) failed(id catalog.BranchID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.errs[id.Name]; ok && f.id.Equal(id) {
		return f.err
	}
	return nil
}

func (l *branchLakes) note(errs map[string]branchFailure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = errs
}

func branchID(b pageserver.Branch) catalog.BranchID {
	return catalog.BranchID{Name: b.Name, LSN: b.LSN, Created: b.Created}
}

// makeBranchLakes makes the lakes of branches that have none and forgets those whose branch is no more, until the context ends. Which
// these are is worked out from what there is, each time anew: nothing has to be remembered over a restart.
func (s *Server) makeBranchLakes(ctx context.Context) {
	for {
		wait := branchLook
		if waiting := s.lookAtBranches(ctx); waiting {
			wait = branchWait
		}
		select {
		case <-ctx.Done():
			return
		case <-s.lakes.woken:
		case <-time.After(wait):
		}
	}
}

// lookAtBranches does one round, and says whether a lake waits for a publication, or all for the pages.
func (s *Server) lookAtBranches(ctx context.Context) (waiting bool) {
	tl := s.pages.Load()
	if tl == nil || s.attachedTo() == nil {
		return true // what branches there are is not known
	}
	branches := tl.Branches()
	var missing []pageserver.Branch
	ready := s.cat.View().BranchLakes()
	for _, b := range branches {
		if !slices.ContainsFunc(ready, branchID(b).Equal) {
			missing = append(missing, b)
		}
	}
	for _, id := range ready {
		if slices.ContainsFunc(branches, func(b pageserver.Branch) bool { return branchID(b).Equal(id) }) {
			continue
		}
		if err := s.cat.DeleteBranch(ctx, id.Name); err != nil && ctx.Err() == nil {
			s.log.Warn("the lake of a branch could not be forgotten; trying again", "branch", id.Name, "error", err)
			return false // no other may begin with it: its history may have been taken back
		}
	}
	errs := map[string]branchFailure{}
	for _, b := range missing {
		s.pending(missing, errs)
		began := time.Now()
		err := s.makeBranchLake(ctx, tl, b)
		var ahead *catalog.AheadError
		switch {
		case ctx.Err() != nil:
			return false
		case errors.As(err, &ahead), errors.Is(err, catalog.ErrNotBegun):
			waiting = true
		case err != nil:
			errs[b.Name] = branchFailure{branchID(b), err}
			s.log.Error("the lake of a branch could not be made; trying again", "branch", b.Name, "lsn", b.LSN, "error", err)
		default:
			s.log.Info("the lake of a branch is ready", "branch", b.Name, "lsn", b.LSN, "in", time.Since(began))
		}
	}
	s.pending(missing, errs)
	return waiting
}

// pending tells those who ask for a lake that is not ready, or for its branch, how it stands.
func (s *Server) pending(missing []pageserver.Branch, errs map[string]branchFailure) {
	why := map[string]error{}
	ready := s.cat.View().BranchLakes()
	for _, b := range missing {
		if !slices.ContainsFunc(ready, branchID(b).Equal) {
			why[b.Name] = errs[b.Name].err
		}
	}
	s.cat.Pending(why)
	s.lakes.note(errs)
}

// makeBranchLake makes the lake of one branch.
func (s *Server) makeBranchLake(ctx context.Context, tl *pageserver.Timeline, b pageserver.Branch) (err error) {
	w, err := s.cat.BeginBranch(ctx, branchID(b))
	if err != nil {
		return err
	}
	defer w.Close()
	if !w.Exact() {
		if err := s.cutBranch(ctx, w, b); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(tl.Branches(), func(now pageserver.Branch) bool { return branchID(now).Equal(branchID(b)) }) {
		return nil // deleted meanwhile
	}
	return w.Finish(ctx)
}

// cutBranch publishes the difference between what the lake of a branch begins with and the pages of the branch's LSN.
//
// The pages are those of the nearest point before, redone up to the branch's LSN, as after a restart at that moment. So are the blocks
// to be compared: a point has those that had changed since the last publication before it, and redo adds to them. The publication
// that the lake begins with is that one or a later one.
func (s *Server) cutBranch(ctx context.Context, w *catalog.BranchWriter, b pageserver.Branch) (err error) {
	dir := filepath.Join(s.cfg.DataDir, "branch")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o := pageserver.Options{Store: s.pageStore, Branch: b.Name, MemoryBytes: s.branchMemory(), Logger: s.log}
	past, err := s.pagesAt(ctx, o, b.LSN, b.LSN, filepath.Join(dir, "pages"), nil)
	if past != nil {
		defer past.Close()
	}
	if err != nil {
		return fmt.Errorf("pages of branch %s: %w", b.Name, err)
	}
	lake := s.lakeOptions()
	lake.Publisher, lake.ToastDir, lake.Archive, lake.Copying = w, filepath.Join(dir, "toast"), nil, nil
	lake.ValueBytes = materialize.ValueBytesOf(lake.MemoryBytes)
	lake.MemoryBytes = s.branchMemory()
	eng, err := materialize.New(ctx, lake)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eng.Close()) }()
	eng.Attach(materialize.TimelinePages(past))
	if w.Base() < past.ConsistentLSN() { // a base backup lies in between: what changed until then is not known
		if err := eng.Resync("", true); err != nil {
			return err
		}
	}
	_, last := past.LastCommit()
	res, err := eng.Cut(ctx, materialize.CutPoint{LSN: b.LSN, Resume: b.LSN, Timeline: s.timelineAt(b.LSN), SystemID: past.SystemID(), CommitTime: last})
	if err == nil {
		s.log.Info("difference of a branch", "branch", b.Name, "from", w.Base(), "lsn", b.LSN, "tables", res.Tables, "rows_in", res.RowsIn, "rows_out", res.RowsOut, "blocks", res.Blocks)
	}
	return err
}

// pagesAt is a timeline as it was at an LSN, redone from the last point not behind from, with what redo writes in a folder that is thrown away.
// opened, unless nil, is called before redo. The timeline may have to be closed even if there is an error.
func (s *Server) pagesAt(ctx context.Context, o pageserver.Options, from, lsn pg.LSN, dir string, opened func(*pageserver.Timeline) error) (*pageserver.Timeline, error) {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil { // of an earlier try
		return nil, fault.Errorf(fault.DataDirUnusable, "the folder for pages of the past %s cannot be made anew: %w", dir, fault.Cause(err))
	}
	scratch, err := objstore.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	past, _, err := pageserver.OpenPast(ctx, o, pageserver.Target{LSN: from}, scratch)
	if err != nil {
		return nil, err
	}
	if opened != nil {
		if err := opened(past); err != nil {
			return past, err
		}
	}
	r, err := s.walOf(ctx, past, past.ResumeLSN())
	if err == nil {
		err = past.Replay(ctx, r, pageserver.Target{LSN: lsn})
	}
	return past, err
}
