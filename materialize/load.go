package materialize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
)

// load rebuilds membership from published objects alone: data files' TID sets and position deletes. Whatever a failed
// publication left behind is not looked at.
func (e *Engine) load(ctx context.Context) error {
	head, err := e.opts.Publisher.Begin(ctx)
	if err != nil {
		return err
	}
	st, err := decodeEngineState(head.State)
	if err != nil {
		return err
	}
	if e.lcMonetary == "" {
		e.lcMonetary = st.LCMonetary
	}
	for _, t := range e.tables {
		t.drop() // the memory is needed for what comes now
	}
	heads, histories, err := loadHistories(head.Tables)
	if err != nil {
		return err
	}
	tables := make([]*table, len(heads))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range heads {
		g.Go(func() (err error) {
			tables[i], err = e.loadTable(gctx, &heads[i])
			if damaged(err) {
				e.opts.Logger.Error("table cannot be read back", "table", heads[i].Name, "error", err)
				tables[i], err = e.unreadable(&heads[i], err), nil
			}
			if err == nil {
				tables[i].history = histories[heads[i].ID]
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	e.tables, e.failed = map[tableKey]*table{}, map[tableKey]failure{}
	for _, t := range tables {
		e.tables[t.key] = t
	}
	e.catalogs, e.plans = nil, nil
	e.mu.Lock()
	e.lsn, e.rewinds = head.LSN, st.Rewinds
	e.mu.Unlock()
	e.setStatus(head.LSN)
	return nil
}

// damaged says whether one table's objects are to blame, not the way to them.
func damaged(err error) bool {
	return errors.Is(err, errDamaged) || errors.Is(err, pg.ErrCorrupt) || errors.Is(err, objstore.ErrNotFound)
}

var errDamaged = errors.New("a published object is damaged")

// unreadable is a table of which it is not known what is in the lake: what readers see stays, and a resync replaces it.
func (e *Engine) unreadable(h *lake.TableHead, err error) *table {
	t := newLoaded(h)
	if st, stErr := decodeTableState(h.State, h.Name); stErr == nil {
		t.state = st
		t.schema.LastColumnID = max(t.schema.LastColumnID, lastID(st.Columns))
	}
	t.state.Version, t.state.Leaves, t.unknown = stateVersion, nil, true
	t.state.Error, t.state.ErrorAt, t.state.FromPlan = fmt.Sprintf("%s; `tarn resync %s` writes it anew", err, h.Name), h.LSN, false
	return t
}

func newLoaded(h *lake.TableHead) *table {
	return &table{
		key: tableKey{h.ID.DB, h.ID.Rel}, id: h.ID, uuid: h.UUID, name: h.Name, schema: h.Schema,
		format: max(h.Format, lake.FormatV2), specs: h.Specs, layout: h.Layout, lastPartitionID: h.LastPartitionID, leaves: map[pg.OID]*leaf{}, deletes: map[string]bool{}, lsn: h.LSN,
	}
}

func (e *Engine) loadTable(ctx context.Context, h *lake.TableHead) (*table, error) {
	if h.Damaged != nil {
		return nil, fmt.Errorf("%w: table %s: %w", errDamaged, h.Name, h.Damaged)
	}
	st, err := decodeTableState(h.State, h.Name)
	if err != nil {
		return nil, err
	}
	t := newLoaded(h)
	t.state = st
	t.schema.LastColumnID = max(t.schema.LastColumnID, lastID(st.Columns))
	byFile := map[leafFile]*leaf{}
	for _, ls := range st.Leaves {
		l := &leaf{state: ls, in: newMembership(e.sets)}
		t.leaves[ls.Rel] = l
		byFile[ls.leafFile] = l
	}
	deleted, err := e.loadDeletes(ctx, h)
	if err != nil {
		return nil, err
	}
	for _, k := range h.Deletes {
		t.deletes[k] = true
	}
	vectors := map[string]string{}
	for _, v := range h.Vectors {
		vectors[v.Data] = v.Key
	}
	for _, d := range h.Data {
		set, err := e.sets.get(ctx, d.Key)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", h.Name, err)
		}
		if set.Rows() != d.Rows {
			return nil, fmt.Errorf("%w: table %s: data file %s has %d rows, its TID set %d", errDamaged, h.Name, d.Key, d.Rows, set.Rows())
		}
		src := set.Source()
		l := byFile[leafFile{File: src.Rel, Created: src.Incarnation}]
		if l == nil {
			return nil, fmt.Errorf("%w: table %s: data file %s came from relation %s created at %s, which is not part of it", errDamaged, h.Name, d.Key, src.Rel, src.Incarnation)
		}
		f := &liveFile{
			key: d.Key, rows: d.Rows, bytes: d.Bytes, lo: set.MinBlock(), hi: set.MaxBlock(), blocks: set.Blocks(), deleted: deleted[e.opts.Store.URL(d.Key)],
			lineage: d.Lineage, vector: vectors[d.Key], partition: d.Partition,
		}
		if f.deleted == nil {
			f.deleted = roaring.New()
		}
		if err := l.in.add(ctx, f); err != nil {
			return nil, err
		}
	}
	t.shared = sharedVectors(t.leaves)
	return t, nil
}

// loadDeletes reads a table's position deletes and deletion vectors by data file location.
func (e *Engine) loadDeletes(ctx context.Context, h *lake.TableHead) (map[string]*roaring.Bitmap, error) {
	out := map[string]*roaring.Bitmap{}
	for _, key := range h.Deletes {
		b, _, err := e.opts.Store.Get(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("table %s: delete file: %w", h.Name, err)
		}
		m, err := datafile.ReadPositionDeletes(b)
		if err != nil {
			return nil, fmt.Errorf("%w: table %s: delete file %s: %w", errDamaged, h.Name, key, err)
		}
		for path, pos := range m {
			if out[path] == nil {
				out[path] = pos
			} else {
				out[path].Or(pos)
			}
		}
	}
	return out, e.loadVectors(ctx, h, out)
}

func lastID(cols []columnState) int {
	id := 0
	for i := range cols {
		id = max(id, maxFieldID(cols[i].Field))
	}
	return id
}

func sortStatus(s []TableStatus) {
	slices.SortFunc(s, func(a, b TableStatus) int { return strings.Compare(a.Name, b.Name) })
}
