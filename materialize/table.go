package materialize

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// tableResult is what a cut found to do to a table. apply makes it the engine's view, after it was published.
type tableResult struct {
	change  lake.TableChange
	history *lake.TableChange // nil: it stays as it is, or there is none
	rowsIn  int64
	blocks  int64
	apply   func(context.Context) error
}

// publish adds the result to a publication's changes.
func (r *tableResult) publish(to []lake.TableChange) []lake.TableChange {
	if to = append(to, r.change); r.history != nil {
		to = append(to, *r.history)
	}
	return to
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
			change:  lake.TableChange{ID: t.id, Name: t.name, UUID: t.uuid, Schema: t.schema, Drop: true},
			history: t.history.dropped(),
			apply:   func(context.Context) error { delete(c.e.tables, t.key); t.drop(); return nil },
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
	if err := w.beginHistory(ctx); err != nil {
		return err
	}
	if err := w.encode(ctx); err != nil {
		return err
	}
	if err := w.finishHistory(ctx); err != nil {
		return err
	}
	if w.plan.format.CopyOnWrite {
		if err := w.overwrite(ctx); err != nil {
			return err
		}
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

	id      lake.TableID
	uuid    string
	format  int          // Iceberg format version from this cut on
	history *historyWork // nil if the table has none

	keep    []leafPlan // leaves whose rows in the lake stay and are compared
	copied  []leafPlan // leaves encoded whole
	gone    []*leaf    // leaves whose rows leave
	compact map[*liveFile]bool
	// overwritten files lose rows in a table in copy-on-write mode: those that stay are written again
	overwritten map[*liveFile]bool

	mu      sync.Mutex
	added   map[pg.OID][]*liveFile // by leaf
	files   []lake.File
	deletes map[*liveFile]*roaring.Bitmap // positions that leave, beside those already deleted
	rowsIn  int64                         // rows that are new; those of compacted files that stay are not counted
	rowsOut int64                         // rows that are no more
	blocks  int64
	moved   int64              // rows of compacted files that were written again
	carried int64              // rows of overwritten files that were
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
	w.overwritten = map[*liveFile]bool{}
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
			if w.plan.format.CopyOnWrite {
				w.pickDeleted(l)
			}
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

// result describes the change, and how the engine's view follows it.
func (w *tableWork) result() *tableResult {
	w.took = time.Since(w.began)
	st := tableState{Version: stateVersion, Encoders: encodersVersion, Columns: w.plan.cols.states, LeftOut: w.plan.cols.leftOut, OutOfRange: w.outOfRange(), Policy: w.plan.policy, CopyOnWrite: w.plan.format.CopyOnWrite, Parquet: w.plan.format.Parquet, FileBytes: w.plan.layout.fileBytes}
	for _, lp := range w.plan.leaves {
		st.Leaves = append(st.Leaves, lp.leafState)
	}
	ch := lake.TableChange{
		ID: w.id, Name: w.plan.name, UUID: w.uuid, Create: w.old == nil, Schema: w.plan.cols.schema, Format: w.format, Layout: &w.plan.layout.Layout,
		RemoveDeletes: w.removeDeletes, AddData: w.files, AddDeletes: w.newDeletes, AddVectors: w.newVectors, RowsDeleted: w.rowsOut, SameRows: w.sameRows(), State: encodeState(st),
		Assigned: func(key string, l lake.Lineage) { w.assigned[key] = l },
	}
	if st.CopyOnWrite || w.old != nil && w.old.state.CopyOnWrite {
		ch.Properties = writeModes(st.CopyOnWrite)
	}
	if st.Parquet || w.old != nil && w.old.state.Parquet {
		ch.Properties[lake.ParquetProperty] = strconv.FormatBool(st.Parquet)
	}
	if st.FileBytes > 0 || w.old != nil && w.old.state.FileBytes > 0 {
		if ch.Properties == nil {
			ch.Properties = map[string]string{}
		}
		maps.Copy(ch.Properties, writeSize(st.FileBytes))
	}
	for _, f := range w.removeData {
		ch.RemoveData = append(ch.RemoveData, f.key)
	}
	slices.Sort(ch.RemoveData)
	if w.old != nil && len(w.keep) == 0 {
		ch.ReplaceAll, ch.RemoveData, ch.RemoveDeletes = true, nil, nil
	}
	history, follow := w.historyResult()
	if history == nil && w.nothing(ch, st) {
		return nil
	}
	return &tableResult{change: ch, history: history, rowsIn: w.rowsIn, blocks: w.blocks, apply: func(ctx context.Context) error {
		if err := w.apply(ctx, ch, st); err != nil {
			return err
		}
		w.e.tables[w.plan.key].history = follow
		return nil
	}}
}

// nothing says whether blocks changed but neither rows nor what is said of them.
func (w *tableWork) nothing(ch lake.TableChange, st tableState) bool {
	return w.old != nil && !w.rewrite && ch.Name == w.old.name && st.CopyOnWrite == w.old.state.CopyOnWrite && st.Parquet == w.old.state.Parquet && len(w.gone) == 0 && len(w.copied) == 0 &&
		w.format == w.old.format && w.plan.layout.same(w.old) && len(ch.AddData) == 0 && len(ch.AddDeletes) == 0 && len(ch.AddVectors) == 0 && len(ch.RemoveData) == 0 && len(ch.RemoveDeletes) == 0 &&
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
	t.unknown = false
	t.name, t.schema, t.state, t.lsn, t.format = ch.Name, ch.Schema, st, w.c.at.LSN, w.format
	w.plan.layout.adopt(t)
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
