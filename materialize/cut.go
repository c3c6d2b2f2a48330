package materialize

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Cut publishes the difference between the pages as they are now and what the lake holds. The caller applies no record
// while it runs.
//
// Durability: the publisher makes a publication visible only after its Durable returned nil, by when every file it names
// is durable; the engine's own view moves only after Publish returned nil. On an error the engine has forgotten the attempt;
// what it wrote is garbage.
//
// After a failure the next Cut reads the head of the lake again under a new epoch, because the failed publication may
// have taken effect; lake.ErrFenced alone is final.
func (e *Engine) Cut(ctx context.Context, at CutPoint) (CutResult, error) {
	if e.stale {
		if err := e.load(ctx); err != nil {
			return CutResult{}, err
		}
		e.stale = false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &cut{e: e, at: at, since: e.Published(), began: time.Now(), uploads: e.newUploads(ctx)}
	res, err := c.run(ctx)
	if err != nil {
		cancel()
		err = c.uploads.cause(err)
		e.pages.ReturnDirty()
		e.stale = true
		return res, err
	}
	e.pages.Published()
	e.noteChanges()
	err = c.compactHistories(ctx)
	e.stale = err != nil
	e.setStatus(at.LSN)
	return res, err
}

// cut is one run of Cut.
type cut struct {
	e       *Engine
	at      CutPoint
	since   pg.LSN // of the last publication
	began   time.Time
	uploads *uploads
	dirty   map[pg.RelFileLocator]*roaring.Bitmap
	resync  map[string]bool // by name; "*" for all
	state   []byte          // the engine's, as published
	res     CutResult
}

// job is what a cut does to one table.
type job struct {
	plan    *tablePlan // nil: the table goes
	table   *table     // nil: the table comes
	rewrite bool       // encode every row again
	promote bool       // with rewrite: only because types grew, or the layout asks for it, so every value stays what it is
	rename  bool       // the table is in error; its name follows all the same
	out     *tableResult
	err     error // of this table alone
}

func (c *cut) run(ctx context.Context) (CutResult, error) {
	e := c.e
	c.archive()
	c.dirty = e.pages.TakeDirty()
	c.resync = e.takeResync()
	defer func() { e.keepResync(c.resync) }()
	cats, fresh, err := e.refreshCatalogs(ctx, func(r pg.RelFileLocator) bool { return c.dirty[r] != nil })
	if err != nil {
		return c.res, err
	}
	plans := e.planUnreadable(fresh)
	for oid, cat := range cats {
		if old, ok := e.plans[oid]; ok && !fresh[oid].read {
			plans[oid] = old
			continue
		}
		t, x := e.plan(cat)
		plans[oid] = databasePlan{t, x}
	}
	jobs := c.jobs(plans)
	if err := c.runJobs(c.uploads.ctx, jobs); err != nil {
		return c.res, err
	}
	c.res.Diff = time.Since(c.began)
	if err := c.publish(ctx, jobs); err != nil {
		return c.res, err
	}
	e.catalogs, e.plans = cats, plans
	for _, p := range plans {
		for _, t := range p.tables {
			t.cols.change, t.layout.renew = same, false // a plan that is used again has been carried out
			if there := e.tables[t.key]; there != nil {
				there.notes = t.layout.notes
			}
		}
	}
	c.resync = nil
	return c.res, nil
}

// jobs compares plans with what the lake holds. Tables nothing happened to are left out.
func (c *cut) jobs(plans map[pg.OID]databasePlan) []*job {
	var jobs []*job
	planned := map[tableKey]bool{}
	for _, p := range plans {
		for _, plan := range p.tables {
			planned[plan.key] = true
			if j := c.job(plan); j != nil {
				jobs = append(jobs, j)
			}
		}
	}
	for key, t := range c.e.tables {
		if !planned[key] {
			jobs = append(jobs, &job{table: t})
		}
	}
	for key := range c.e.failed {
		if !planned[key] {
			delete(c.e.failed, key)
		}
	}
	return jobs
}

func (c *cut) job(p *tablePlan) *job {
	t := c.e.tables[p.key]
	resync := c.resync["*"] || c.resync[p.name.String()] || c.at.Rewind && c.undone(p, t)
	if t == nil {
		if f, ok := c.e.failed[p.key]; ok && !resync && f.still(p.err) {
			return nil
		}
		return &job{plan: p, rewrite: true}
	}
	switch {
	case p.err != nil:
		if t.state.Error == p.err.Error() {
			return renamed(p, t)
		}
		return &job{plan: p, table: t}
	case t.state.Error != "" && !resync:
		if !t.state.FromPlan {
			return renamed(p, t)
		}
		return &job{plan: p, table: t, rewrite: true} // what the plan could not say is understood again
	case resync || p.cols.change == reencode || p.format.Parquet && (!t.state.Parquet || p.cols.change == metadata) || t.state.Encoders != encodersVersion || p.policy != t.state.Policy && len(t.state.OutOfRange) > 0:
		return &job{plan: p, table: t, rewrite: true}
	case p.history.wanted && c.historyBegins(t):
		return &job{plan: p, table: t, rewrite: true} // it begins with every row
	case p.cols.change == promote || p.layout.renew:
		return &job{plan: p, table: t, rewrite: true, promote: true}
	case !p.history.wanted && p.history.err == "" && t.history != nil:
		return &job{plan: p, table: t}
	case p.cols.change == metadata || p.name != t.name || p.format.Version > t.format || !p.layout.same(t) || p.format.CopyOnWrite != t.state.CopyOnWrite || p.format.Parquet != t.state.Parquet || t.shared && !p.format.SharedVectors || !sameLeaves(p, t) || c.touched(p):
		return &job{plan: p, table: t}
	}
	return nil
}

// renamed follows the name of a table that does not move: kept, it could be in the way of another table's.
func renamed(p *tablePlan, t *table) *job {
	if ch, _ := t.followHistory(p); p.name == t.name && ch == nil {
		return nil
	}
	return &job{plan: p, table: t, rename: true}
}

// still says whether trying again would fail the same way: rows that cannot be read stay so until a resync, a plan
// that could not be made until the catalogs allow it.
func (f failure) still(planErr error) bool {
	if planErr != nil {
		return f.err == planErr.Error()
	}
	return !f.fromPlan
}

func (c *cut) touched(p *tablePlan) bool {
	for i := range p.leaves {
		if c.dirty[p.leaves[i].File] != nil {
			return true
		}
	}
	return false
}

func sameLeaves(p *tablePlan, t *table) bool {
	if len(p.leaves) != len(t.leaves) {
		return false
	}
	for i := range p.leaves {
		l := t.leaves[p.leaves[i].Rel]
		if l == nil || !l.state.sameRows(&p.leaves[i].leafState, t.state.Columns, p.cols.states) {
			return false
		}
	}
	return true
}

// runJobs carries jobs out side by side. A failure of one table is noted in its job; one of the store ends all.
func (c *cut) runJobs(ctx context.Context, jobs []*job) error {
	if err := c.updateToast(ctx); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4 * cap(c.e.slots))
	for _, j := range jobs {
		g.Go(func() error {
			err := c.runJob(gctx, j)
			if err == nil {
				return nil
			}
			if !tableError(err) {
				return fmt.Errorf("table %s: %w", j.name(), err)
			}
			j.err, j.out = err, nil
			c.e.opts.Logger.Error("table stops moving", "table", j.name(), "lsn", c.at.LSN, "error", err)
			return nil
		})
	}
	return g.Wait()
}

func (j *job) name() lake.TableName {
	if j.plan != nil {
		return j.plan.name
	}
	return j.table.name
}

// updateToast keeps the TOAST index true: relations it knows whole take in the blocks that changed, whether or not a
// table is read at this cut, and those that are no more go.
func (c *cut) updateToast(ctx context.Context) error {
	e := c.e
	for _, r := range e.toast.Relations() {
		if created, ok := e.pages.RelationCreated(r.File); !ok || created != r.Created {
			if err := e.toast.Drop(r); err != nil {
				return err
			}
			continue
		}
		d := c.dirty[r.File]
		if d == nil || !e.toast.Known(r) {
			continue
		}
		it := d.Iterator()
		err := e.toast.Update(ctx, e.pages, r, func(yield func(pg.BlockNumber) bool) {
			for it.HasNext() && yield(pg.BlockNumber(it.Next())) {
			}
		})
		if errors.Is(err, pg.ErrCorrupt) {
			e.toast.Forget(r) // whoever needs a value of it will say what is wrong
		} else if err != nil {
			return err
		}
	}
	return nil
}

// archive begins to make the WAL below the cut durable, for which the publication waits too.
func (c *cut) archive() {
	if archive := c.e.opts.Archive; archive != nil {
		c.uploads.group.Go(func() error {
			if err := archive(c.uploads.ctx, c.at.LSN); err != nil {
				return fmt.Errorf("%w: archiving WAL up to %s: %w", ErrRetry, c.at.LSN, err)
			}
			return nil
		})
	}
}

// publish hands all changes over in one step and, once they are durable, makes them the engine's own view.
func (c *cut) publish(ctx context.Context, jobs []*job) error {
	e := c.e
	p := lake.Publication{LSN: c.at.LSN, Timeline: c.at.Timeline, SystemID: c.at.SystemID, CommitTime: c.at.CommitTime}
	failed := map[tableKey]failure{}
	for _, j := range jobs {
		switch {
		case j.out != nil:
			p.Tables = j.out.publish(p.Tables)
			c.res.RowsIn += j.out.rowsIn
			c.res.RowsOut += j.out.change.RowsDeleted
			c.res.Blocks += j.out.blocks
		case j.err != nil && j.table != nil:
			j.out = stopped(j, e.Published())
			p.Tables = j.out.publish(p.Tables)
		case j.err != nil:
			failed[j.plan.key] = failure{name: j.plan.name, err: j.err.Error(), at: c.at.LSN, fromPlan: j.plan.err != nil}
		}
	}
	if len(p.Tables) > 0 || c.at.Rewind { // of a lake that is taken back the head moves, whatever it holds
		st := engineState{Version: stateVersion, Resume: c.at.Resume, LCMonetary: e.lcMonetary, Rewinds: e.Rewinds(), Failed: map[string]string{}}
		if c.at.Rewind {
			st.Rewinds++
		}
		for _, f := range failed {
			st.Failed[f.name.String()] = f.err
		}
		c.state = encodeState(st)
		p.State, p.Durable = c.state, c.uploads.wait
		began := time.Now()
		if err := e.opts.Publisher.Publish(ctx, p); err != nil {
			return err
		}
		c.res.Commit, c.res.Published, c.res.Tables = time.Since(began), true, len(p.Tables)
		e.mu.Lock()
		e.lsn, e.rewinds = c.at.LSN, st.Rewinds
		e.mu.Unlock()
	} else if err := c.uploads.wait(); err != nil {
		return err
	}
	for _, j := range jobs {
		if j.out != nil && j.out.apply != nil {
			if err := j.out.apply(ctx); err != nil {
				return err
			}
		}
		if j.plan != nil {
			delete(e.failed, j.plan.key)
		}
	}
	for k, f := range failed {
		e.failed[k] = f
	}
	return nil
}

// stopped is a publication's word on a table that can no longer be moved: its files stay as they are. good is the last
// publication before.
func stopped(j *job, good pg.LSN) *tableResult {
	st := j.table.state
	if st.Error == "" {
		st.ErrorAt = good
	}
	st.Error, st.FromPlan = j.err.Error(), j.plan.err != nil
	return stateOnly(j, st)
}

// stateOnly changes a table's name and state, and no file.
func stateOnly(j *job, st tableState) *tableResult {
	t, name := j.table, j.plan.name
	history, follow := t.followHistory(j.plan)
	return &tableResult{
		change:  lake.TableChange{ID: t.id, Name: name, UUID: t.uuid, Schema: t.schema, State: encodeState(st)},
		history: history,
		apply:   func(context.Context) error { t.state, t.name = st, name; follow(); return nil },
	}
}

func (e *Engine) takeResync() map[string]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.resync
	if e.resyncAll {
		r["*"] = true
	}
	e.resync, e.resyncAll = map[string]bool{}, false
	return r
}

// keepResync puts back what was asked for when the cut that took it failed.
func (e *Engine) keepResync(r map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name := range r {
		if name == "*" {
			e.resyncAll = true
		} else {
			e.resync[name] = true
		}
	}
}

func newUUID() string { return uuid.NewString() }

// tableError says whether an error is of one table's bytes, so that the others can go on.
func tableError(err error) bool {
	var t *tableErr
	return errors.As(err, &t)
}

// tableErr wraps what is wrong with one table.
type tableErr struct{ err error }

func (e *tableErr) Error() string { return e.err.Error() }
func (e *tableErr) Unwrap() error { return e.err }
