package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/catalog/table"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"golang.org/x/sync/errgroup"
)

// branchProperty is the Iceberg table property that says which branch's lake a table is in.
const branchProperty = "tarn.branch"

// BranchWriter makes the lake of one branch. It begins with the tables of the last publication at or below the branch's LSN; whoever
// has the pages of that LSN publishes the difference, once at most; then Finish makes all of it visible. What it wrote is garbage
// until then. It implements lake.Publisher.
//
// A table keeps its UUID and location: it is the same table on another branch. Its metadata lists one snapshot, which is the
// publication's, or the difference on top of it. Tables of which too little is known to be compared with pages are not begun with: they
// are found there, as new ones.
type BranchWriter struct {
	c     *Catalog
	id    BranchID
	base  Publication // zero: none is kept that far back
	exact bool
	stamp table.Stamp

	heads  []lake.TableHead
	tables map[lake.TableID]*table.Table
	recs   map[lake.TableID]journal.Table // with the state that Begin gives
	named  map[lake.TableID]bool          // tables whose metadata is this lake's already
	closed bool
}

var _ lake.Publisher = (*BranchWriter)(nil)

// BeginBranch reads what the lake of a branch begins with. Until the writer is closed no file of the lake is removed. It fails with
// *AheadError while a publication at or below the branch's LSN may yet come.
func (c *Catalog) BeginBranch(ctx context.Context, id BranchID) (*BranchWriter, error) {
	c.writeMu.Lock()
	writing := c.writer != nil
	c.writeMu.Unlock()
	if !writing {
		return nil, ErrNotBegun
	}
	c.maintainMu.Lock() // no round is under way that has decided on what to remove
	c.branches.making++
	c.maintainMu.Unlock()
	w := &BranchWriter{c: c, id: id, tables: map[lake.TableID]*table.Table{}, recs: map[lake.TableID]journal.Table{}, named: map[lake.TableID]bool{}}
	if err := w.load(ctx); err != nil {
		w.Close()
		return nil, fmt.Errorf("lake of branch %s: %w", id.Name, err)
	}
	return w, nil
}

// load finds the publication, or the lake of another branch at that LSN, and reads its tables.
func (w *BranchWriter) load(ctx context.Context) error {
	c := w.c
	w.stamp = table.Stamp{
		Nonce: uuid.New(), Time: c.opts.Now(), LSN: w.id.LSN, Engine: c.opts.EngineVersion, Branch: w.id.Name, Grace: c.opts.Grace, SnapshotsMax: 1,
	}
	recs, err := w.begin()
	if err != nil {
		return err
	}
	tables, heads, err := c.loadTables(ctx, recs)
	if err != nil {
		return err
	}
	known := func(h *lake.TableHead) bool { return h.Damaged == nil }
	w.exact = w.base.LSN == w.id.LSN && !slices.ContainsFunc(heads, func(h lake.TableHead) bool { return !known(&h) })
	for i, t := range tables {
		if h := &heads[i]; known(h) && (w.exact || h.State != nil) {
			w.tables[h.ID], w.recs[h.ID] = t, recs[i]
			w.heads = append(w.heads, *h)
		}
	}
	return nil
}

// begin chooses what the lake begins with, and gives its tables' records.
func (w *BranchWriter) begin() ([]journal.Table, error) {
	c := w.c
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.state
	w.stamp.SystemID, w.stamp.Timeline = s.systemID, s.timeline
	base, err := s.baseOf(w.id.LSN, c.reached)
	var expired *ExpiredError
	switch {
	case errors.As(err, &expired):
		return w.sibling(), nil
	case err != nil:
		return nil, err
	}
	w.base, w.stamp.CommitTime = base, base.CommitTime
	return s.tablesAt(base.Seq), nil
}

// sibling begins with the lake of another branch at the same LSN, if there is one.
func (w *BranchWriter) sibling() (recs []journal.Table) {
	b := &w.c.branches
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, l := range b.lakes {
		if l.id.LSN != w.id.LSN || l.state.systemID != w.stamp.SystemID {
			continue
		}
		for _, t := range l.state.tables {
			recs = append(recs, t.rec)
		}
		w.base, w.stamp.Timeline = l.state.head(), l.state.timeline
		w.stamp.CommitTime = w.base.CommitTime
		break
	}
	slices.SortFunc(recs, func(a, b journal.Table) int { return compareIDs(a.ID(), b.ID()) })
	return recs
}

// baseOf is the publication in force at an LSN, with that LSN if nothing has changed in between: *AheadError, or *ExpiredError.
func (s *state) baseOf(lsn, reached pg.LSN) (Publication, error) {
	if head := s.head(); head.Seq != 0 && lsn > head.LSN && lsn <= reached {
		head.LSN = lsn
		return head, nil
	}
	return s.publicationAt(lsn)
}

// tablesAt are the records of the tables as they were at an entry, in the order of their ids. State is nil where it is not known.
func (s *state) tablesAt(seq uint64) (recs []journal.Table) {
	for _, t := range s.tables {
		v, ok := t.at(seq)
		if !ok {
			continue
		}
		rec := t.rec
		rec.Version = journal.Version{Seq: 1, LSN: v.lsn, Database: v.name.Database, Namespace: v.name.Namespace, Name: v.name.Name, Metadata: v.meta}
		rec.State, rec.Prev = v.state, nil
		recs = append(recs, rec)
	}
	slices.SortFunc(recs, func(a, b journal.Table) int { return compareIDs(a.ID(), b.ID()) })
	return recs
}

// Exact says that the tables which the lake begins with are those of the branch's LSN: there is no difference.
func (w *BranchWriter) Exact() bool { return w.exact }

// Base is the LSN of the publication the lake begins with; 0: none is kept that far back, and it begins with no table.
func (w *BranchWriter) Base() pg.LSN { return w.base.LSN }

// Begin implements lake.Publisher.
func (w *BranchWriter) Begin(ctx context.Context) (lake.Head, error) {
	if len(w.named) > 0 {
		return lake.Head{}, fmt.Errorf("lake of branch %s: the difference was published already", w.id.Name)
	}
	w.c.mu.RLock()
	blob := w.c.state.blob
	w.c.mu.RUnlock()
	state, err := w.c.readBlob(ctx, blob)
	if damaged(err) {
		state, err = nil, nil
	}
	return lake.Head{LSN: w.base.LSN, Timeline: w.stamp.Timeline, SystemID: w.stamp.SystemID, State: state, Tables: w.heads}, err
}

// Publish implements lake.Publisher. Nobody sees the publication before Finish.
func (w *BranchWriter) Publish(ctx context.Context, p lake.Publication) error {
	w.stamp.Timeline, w.stamp.CommitTime = p.Timeline, p.CommitTime
	if err := w.commit(ctx, p.Tables); err != nil {
		return err
	}
	if p.Durable != nil {
		return p.Durable()
	}
	return nil
}

// commit makes the tables what the changes say, side by side.
func (w *BranchWriter) commit(ctx context.Context, changes []lake.TableChange) error {
	for i := range changes {
		ch := &changes[i]
		if ch.Create {
			t, err := table.New(w.c.opts.Store, ch.ID, ch.UUID)
			if err != nil {
				return fmt.Errorf("table %s: %w", ch.Name, err)
			}
			w.tables[ch.ID] = t
		}
		if w.tables[ch.ID] == nil || w.named[ch.ID] {
			return fmt.Errorf("table %s is not in the lake of branch %s, or changes twice", ch.Name, w.id.Name)
		}
		w.named[ch.ID] = true
		if ch.Drop {
			delete(w.tables, ch.ID)
		}
	}
	recs := make([]journal.Table, len(changes))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(w.c.opts.Workers)
	for i := range changes {
		ch := &changes[i]
		t, rec := w.tables[ch.ID], w.recs[ch.ID]
		if t == nil {
			continue
		}
		g.Go(func() (err error) {
			if recs[i], err = w.commitTable(ctx, t, rec, *ch); err != nil {
				err = fmt.Errorf("table %s: %w", ch.Name, err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range changes {
		w.recs[changes[i].ID] = recs[i]
	}
	return nil
}

// commitTable puts a table's objects and takes them over.
func (w *BranchWriter) commitTable(ctx context.Context, t *table.Table, rec journal.Table, ch lake.TableChange) (journal.Table, error) {
	properties := map[string]string{branchProperty: w.id.Name}
	maps.Copy(properties, ch.Properties)
	ch.Properties = properties
	commit, err := t.Prepare(ctx, &ch, w.stamp)
	if err == nil {
		err = w.c.putAll(ctx, commit.Objects)
	}
	if err != nil {
		return rec, err
	}
	n := commit.Totals()
	if commit.Changed {
		rec.LSN = w.stamp.LSN
		rec.Metadata = commit.Name()
		commit.Adopt() // what it lets go of is the other lake's
	}
	rec.DB, rec.Rel, rec.Incarnation, rec.UUID = ch.ID.DB, ch.ID.Rel, ch.ID.Incarnation, t.UUID()
	rec.Seq, rec.Database, rec.Namespace, rec.Name = 1, ch.Name.Database, ch.Name.Namespace, ch.Name.Name
	rec.Rows, rec.Bytes, rec.DataFiles, rec.DeleteFiles = n.LiveRows(), n.DataBytes+n.DeleteFileBytes, n.DataFiles, n.DeleteFiles
	return rec, nil
}

// Finish makes the lake visible: tables that have not changed get metadata of their own, and one object says what belongs to the
// branch. When it returns nil that is durable.
func (w *BranchWriter) Finish(ctx context.Context) error {
	var same []lake.TableChange
	for id, t := range w.tables {
		if rec := w.recs[id]; !w.named[id] {
			same = append(same, lake.TableChange{ID: id, Name: rec.TableName(), UUID: t.UUID(), Schema: t.Schema()})
		}
	}
	if err := w.commit(ctx, same); err != nil {
		return fmt.Errorf("lake of branch %s: %w", w.id.Name, err)
	}
	b := w.describe()
	c := w.c
	c.writeMu.Lock() // a writer that was fenced meanwhile no longer says what is kept
	defer c.writeMu.Unlock()
	if c.writer == nil {
		return ErrNotBegun
	}
	if err := c.log.WriteBranch(ctx, b); err != nil {
		return fmt.Errorf("lake of branch %s: %w", w.id.Name, err)
	}
	c.branches.mu.Lock()
	defer c.branches.mu.Unlock()
	c.branches.lakes[b.Name] = newBranchLake(b)
	return nil
}

func (w *BranchWriter) describe() *journal.Branch {
	b := &journal.Branch{
		Name: w.id.Name, Created: w.id.Created, LSN: w.id.LSN, Base: w.base.LSN, Time: w.stamp.Time.UTC(),
		SystemID: w.stamp.SystemID, Timeline: w.stamp.Timeline, CommitTime: w.stamp.CommitTime.UTC(),
	}
	for id, t := range w.tables {
		rec := w.recs[id]
		rec.State, rec.Prev = nil, nil
		b.Tables = append(b.Tables, rec)
		for key := range t.References().Keys() {
			b.Keys = append(b.Keys, key)
		}
	}
	slices.SortFunc(b.Tables, func(a, b journal.Table) int { return compareIDs(a.ID(), b.ID()) })
	slices.Sort(b.Keys)
	return b
}

// Close lets files be removed again. It may be called twice.
func (w *BranchWriter) Close() {
	if w.closed {
		return
	}
	w.closed = true
	w.c.maintainMu.Lock()
	defer w.c.maintainMu.Unlock()
	w.c.branches.making--
}
