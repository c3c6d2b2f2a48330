package materialize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/pageserver"
)

// tableResult is what a cut found to do to a table. apply makes it the engine's view, after it was published.
type tableResult struct {
	change lake.TableChange
	rowsIn int64
	blocks int64
	apply  func(context.Context) error
}

// Limits of the files a table gathers between compactions of the lake.
const (
	// deleteFilesMax delete files of a table are written again as few.
	deleteFilesMax = 32
	// copyBlocks is how many blocks one data file of a whole-table copy covers: 128 MiB of pages.
	copyBlocks = 16384
	// diffBlocks is how many changed blocks one range of a difference examines.
	diffBlocks = 8192
)

// runJob finds what to do to one table and writes its files.
func (c *cut) runJob(ctx context.Context, j *job) error {
	if j.plan == nil {
		t := j.table
		j.out = &tableResult{
			change: lake.TableChange{ID: t.id, Name: t.name, UUID: t.uuid, Schema: t.schema, Drop: true},
			apply:  func(context.Context) error { delete(c.e.tables, t.key); t.drop(); return nil },
		}
		return nil
	}
	if j.rename {
		j.out = stateOnly(j, j.table.state)
		return nil
	}
	if j.plan.err != nil {
		return &tableErr{j.plan.err}
	}
	w := &tableWork{c: c, e: c.e, plan: j.plan, old: j.table, rewrite: j.rewrite, restated: j.rewrite && !j.promote, began: time.Now()}
	w.begin()
	if err := w.encode(ctx); err != nil {
		return err
	}
	if err := w.findMoved(ctx); err != nil {
		return err
	}
	if err := w.writeDeletes(ctx); err != nil {
		return err
	}
	j.out = w.result()
	return nil
}

// tableWork is one table's part of a cut.
type tableWork struct {
	c       *cut
	e       *Engine
	plan    *tablePlan
	old     *table // nil: the table is new
	rewrite bool
	// restated: values of rows that stay may not be what they were
	restated bool
	began    time.Time
	took     time.Duration // until the result was known

	id     lake.TableID
	uuid   string
	format int // Iceberg format version from this cut on

	keep    []leafPlan // leaves whose rows in the lake stay and are compared
	copied  []leafPlan // leaves encoded whole
	gone    []*leaf    // leaves whose rows leave
	compact map[*liveFile]bool

	mu      sync.Mutex
	added   map[pg.OID][]*liveFile // by leaf
	files   []lake.File
	deletes map[*liveFile]*roaring.Bitmap // positions that leave, beside those already deleted
	rowsIn  int64                         // rows that are new; those of compacted files that stay are not counted
	rowsOut int64                         // rows that are no more
	blocks  int64
	moved   int64              // rows of compacted files that were written again
	done    int64              // blocks copied, for progress
	beyond  []int64            // by column of the plan: new values that the lake's type cannot hold
	xmins   map[pg.OID]xminSum // of rows written, by copied leaf that was in the lake already
	refiled int                // copied leaves whose rows are those that the lake held, in other files

	newDeletes    []lake.PositionDeletes
	newVectors    []lake.Vector
	assigned      map[string]lake.Lineage // row ids that the publication gave, by data file
	removeData    []*liveFile
	removeDeletes []string
}

// begin sorts leaves into kept, copied and gone.
func (w *tableWork) begin() {
	w.added, w.deletes, w.compact, w.xmins = map[pg.OID][]*liveFile{}, map[*liveFile]*roaring.Bitmap{}, map[*liveFile]bool{}, map[pg.OID]xminSum{}
	w.beyond, w.assigned, w.format = make([]int64, len(w.plan.cols.states)), map[string]lake.Lineage{}, max(w.plan.format.Version, lake.FormatV2)
	if w.old == nil {
		w.id, w.uuid = lake.TableID{DB: w.plan.key.db, Rel: w.plan.key.rel, Incarnation: w.c.incarnation()}, newUUID()
		w.copied = w.plan.leaves
		return
	}
	w.id, w.uuid, w.format = w.old.id, w.old.uuid, max(w.format, w.old.format)
	still := map[pg.OID]bool{}
	for _, lp := range w.plan.leaves {
		l := w.old.leaves[lp.Rel]
		if l != nil && !w.rewrite && l.state.sameRows(&lp.leafState, w.old.state.Columns, w.plan.cols.states) {
			w.keep = append(w.keep, lp)
			still[lp.Rel] = true
			w.pickSmall(l)
			w.pickSparse(l)
		} else {
			w.copied = append(w.copied, lp)
		}
	}
	for oid, l := range w.old.leaves {
		if !still[oid] {
			w.gone = append(w.gone, l)
		}
	}
	for _, l := range w.gone {
		for f := range l.in.files {
			w.removeData = append(w.removeData, f)
			w.rowsOut += f.live()
		}
	}
}

// encode runs all ranges of the table side by side, as many at once over all tables as there are slots.
func (w *tableWork) encode(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	run := func(fn func(context.Context) error) {
		g.Go(func() error {
			select {
			case w.e.slots <- struct{}{}:
			case <-gctx.Done():
				return gctx.Err()
			}
			defer func() { <-w.e.slots }()
			return fn(gctx)
		})
	}
	sizes := make([]pg.BlockNumber, len(w.copied))
	var total int64
	for i := range w.copied {
		n, _, err := w.e.pages.NBlocks(ctx, w.copied[i].File, pg.MainFork)
		if err != nil {
			return pageError(err)
		}
		sizes[i], total = n, total+int64(n)
	}
	for i, n := range sizes {
		lp := &w.copied[i]
		for from := pg.BlockNumber(0); from < n; from += copyBlocks {
			to := min(n, from+copyBlocks)
			run(func(ctx context.Context) error {
				if err := w.copyRange(ctx, lp, from, to); err != nil {
					return err
				}
				w.progress(int64(to-from), total)
				return nil
			})
		}
	}
	for i := range w.keep {
		lp := &w.keep[i]
		blocks, err := w.changedBlocks(ctx, lp)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		for part := range slices.Chunk(blocks, w.rangeBlocks(lp, len(blocks))) {
			run(func(ctx context.Context) error { return w.diffRange(ctx, lp, part) })
		}
	}
	return g.Wait()
}

func (w *tableWork) progress(blocks, total int64) {
	w.mu.Lock()
	w.done += blocks
	done := w.done
	w.mu.Unlock()
	if w.e.opts.Copying != nil {
		w.e.opts.Copying(w.plan.name, done, total)
	}
}

// changedBlocks are the blocks of a kept leaf to examine: dirty ones, and those with rows in files being compacted.
func (w *tableWork) changedBlocks(ctx context.Context, lp *leafPlan) ([]uint32, error) {
	b := roaring.New()
	if d := w.c.dirty[lp.File]; d != nil {
		b.Or(d)
	}
	for f := range w.old.leaves[lp.Rel].in.files {
		if !w.compact[f] {
			continue
		}
		set, err := w.e.sets.get(ctx, f.key)
		if err != nil {
			return nil, err
		}
		set.EachBlock(func(blk pg.BlockNumber) bool { b.Add(uint32(blk)); return true })
	}
	return b.ToArray(), nil
}

// copyRange encodes every visible row of a block range.
func (w *tableWork) copyRange(ctx context.Context, lp *leafPlan, from, to pg.BlockNumber) error {
	enc, err := w.newEncoder(ctx, lp)
	if err != nil {
		return err
	}
	err = w.e.pages.Scan(ctx, lp.File, pg.MainFork, from, to, func(blk pg.BlockNumber, page pg.Page) error {
		return enc.page(ctx, blk, page, nil)
	})
	if err != nil {
		return pageError(err)
	}
	return w.finish(ctx, enc, int64(to-from))
}

// diffRange compares changed blocks with what the lake holds.
func (w *tableWork) diffRange(ctx context.Context, lp *leafPlan, blocks []uint32) error {
	enc, err := w.newEncoder(ctx, lp)
	if err != nil {
		return err
	}
	in := w.old.leaves[lp.Rel].in
	var held []member
	for _, b := range blocks {
		blk := pg.BlockNumber(b)
		if held, err = in.block(ctx, blk, held[:0]); err != nil {
			return err
		}
		page, err := w.e.pages.Page(ctx, lp.File, pg.MainFork, blk)
		if err != nil {
			return pageError(err)
		}
		if err := enc.page(ctx, blk, page, held); err != nil {
			return pageError(err)
		}
	}
	return w.finish(ctx, enc, int64(len(blocks)))
}

// finish makes an encoder's files durable and adds what it found to the table's.
func (w *tableWork) finish(ctx context.Context, enc *encoder, blocks int64) error {
	if err := enc.seal(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocks += blocks
	w.rowsIn -= enc.moved
	w.moved += enc.moved
	w.rowsOut += enc.gone
	for i, n := range enc.outOfRange {
		w.beyond[i] += n
	}
	if enc.xmins != nil {
		w.xmins[enc.lp.Rel] = w.xmins[enc.lp.Rel].plus(*enc.xmins)
	}
	for _, s := range enc.sealed {
		w.added[enc.lp.Rel] = append(w.added[enc.lp.Rel], s.live)
		w.files = append(w.files, s.file)
		w.rowsIn += s.live.rows
	}
	for lf, pos := range enc.deleted {
		w.rowsOut += int64(pos.GetCardinality())
		if d := w.deletes[lf]; d != nil {
			d.Or(pos)
		} else {
			w.deletes[lf] = pos
		}
	}
	return nil
}

// objectKey names a new object of the table; names are never used twice.
func (w *tableWork) objectKey(what, suffix string) string {
	return fmt.Sprintf("%s/data/%016X-%s-%s%s", w.id.Root(), uint64(w.c.at.LSN), what, newUUID(), suffix)
}

// pageError marks an error of reading one relation's pages as the table's own, unless the store or the context failed.
func pageError(err error) error {
	var t *tableErr
	if errors.As(err, &t) || !errors.Is(err, pg.ErrCorrupt) && !errors.Is(err, pageserver.ErrOpaque) {
		return err
	}
	return &tableErr{err}
}

// result describes the change, and how the engine's view follows it.
func (w *tableWork) result() *tableResult {
	w.took = time.Since(w.began)
	st := tableState{Version: stateVersion, Encoders: encodersVersion, Columns: w.plan.cols.states, LeftOut: w.plan.cols.leftOut, OutOfRange: w.outOfRange(), Policy: w.plan.policy}
	for _, lp := range w.plan.leaves {
		st.Leaves = append(st.Leaves, lp.leafState)
	}
	ch := lake.TableChange{
		ID: w.id, Name: w.plan.name, UUID: w.uuid, Create: w.old == nil, Schema: w.plan.cols.schema, Format: w.format,
		RemoveDeletes: w.removeDeletes, AddData: w.files, AddDeletes: w.newDeletes, AddVectors: w.newVectors, RowsDeleted: w.rowsOut, SameRows: w.sameRows(), State: encodeState(st),
		Assigned: func(key string, l lake.Lineage) { w.assigned[key] = l },
	}
	for _, f := range w.removeData {
		ch.RemoveData = append(ch.RemoveData, f.key)
	}
	slices.Sort(ch.RemoveData)
	if w.old != nil && len(w.keep) == 0 {
		ch.ReplaceAll, ch.RemoveData, ch.RemoveDeletes = true, nil, nil
	}
	if w.nothing(ch, st) {
		return nil
	}
	return &tableResult{change: ch, rowsIn: w.rowsIn, blocks: w.blocks, apply: func(ctx context.Context) error { return w.apply(ctx, ch, st) }}
}

// nothing says whether blocks changed but neither rows nor what is said of them.
func (w *tableWork) nothing(ch lake.TableChange, st tableState) bool {
	return w.old != nil && !w.rewrite && ch.Name == w.old.name && len(w.gone) == 0 && len(w.copied) == 0 &&
		w.format == w.old.format && len(ch.AddData) == 0 && len(ch.AddDeletes) == 0 && len(ch.AddVectors) == 0 && len(ch.RemoveData) == 0 && len(ch.RemoveDeletes) == 0 &&
		slices.EqualFunc(st.Columns, w.old.state.Columns, func(a, b columnState) bool { return a.equal(&b) }) &&
		slices.Equal(st.LeftOut, w.old.state.LeftOut) && w.old.state.Error == ""
}

// apply makes a published change the engine's view.
func (w *tableWork) apply(ctx context.Context, ch lake.TableChange, st tableState) error {
	t := w.old
	if t == nil {
		t = &table{key: w.plan.key, id: w.id, uuid: w.uuid, leaves: map[pg.OID]*leaf{}, deletes: map[string]bool{}}
		w.e.tables[t.key] = t
	}
	t.name, t.schema, t.state, t.lsn, t.format = ch.Name, ch.Schema, st, w.c.at.LSN, w.format
	leaves := map[pg.OID]*leaf{}
	for _, lp := range w.keep {
		leaves[lp.Rel] = t.leaves[lp.Rel]
		leaves[lp.Rel].state = lp.leafState // which columns stand for new ones of the table
	}
	for _, lp := range w.copied {
		leaves[lp.Rel] = &leaf{state: lp.leafState, in: newMembership(w.e.sets)}
	}
	for oid, l := range t.leaves {
		if leaves[oid] != l {
			l.in.drop()
		}
	}
	t.leaves = leaves
	w.e.kept(t.id, w.upkeep())
	if ch.ReplaceAll {
		t.deletes = map[string]bool{}
	}
	for _, k := range ch.RemoveDeletes {
		delete(t.deletes, k)
	}
	for _, d := range ch.AddDeletes {
		t.deletes[d.Key] = true
	}
	for f, pos := range w.deletes {
		f.deleted.Or(pos)
	}
	for _, f := range w.removeData {
		for _, l := range leaves {
			if err := l.in.remove(ctx, f); err != nil {
				return err
			}
		}
	}
	for oid, fs := range w.added {
		for _, f := range fs {
			if err := leaves[oid].in.add(ctx, f); err != nil {
				return err
			}
		}
	}
	if w.format == lake.FormatV3 {
		t.shared = w.noteFormat(leaves)
	}
	return nil
}
