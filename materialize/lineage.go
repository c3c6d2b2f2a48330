package materialize

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tidset"
)

// Format version 3: deletion vectors in place of position delete files, and rows that keep their ids.

// TableFormat is how the configuration wants a table written.
type TableFormat struct {
	Version int // Iceberg format version; 0: as it is, 2 for a new table
	// SharedVectors has the deletion vectors of a publication share an object. DuckDB 1.5 then misses rows without a word
	// (docs/ENGINES.md).
	SharedVectors bool
	CopyOnWrite   bool // files that lose rows are written again; there are no deletes beside them
	// Parquet, with CopyOnWrite, has the data files be the table to readers of bare Parquet (lake.ParquetProperty).
	Parquet bool
}

func (e *Engine) format(name lake.TableName) TableFormat {
	if e.opts.Format == nil {
		return TableFormat{}
	}
	return e.opts.Format(name)
}

// CheckFormats refuses a configuration that wants a table back in a lower format version; it is asked before the first cut. A table
// that comes to match such a rule later, by a new name, stays as it is.
func (e *Engine) CheckFormats() error {
	for _, t := range slices.SortedFunc(maps.Values(e.tables), func(a, b *table) int { return cmp.Compare(a.name.String(), b.name.String()) }) {
		if want := e.format(t.name).Version; want != 0 && want < t.format {
			return fault.Errorf(fault.FormatDown, "table %s is in the lake in Iceberg format version %d, which does not go back to %d: "+
				"write format_version: %d in its rule, or keep it out of the lake for one publication with exclude: true", t.name, t.format, want, t.format)
		}
	}
	return nil
}

// writeVectors writes a deletion vector for each file of deleted, with all that was ever deleted in it. The first time a table
// has vectors, all of its delete files become some; and all that share an object are written apart once they are to.
func (w *tableWork) writeVectors(ctx context.Context, deleted map[*liveFile]*roaring.Bitmap) error {
	for f, pos := range deleted {
		if !w.e.faults.newPositions {
			deleted[f] = roaring.Or(f.deleted, pos)
		}
	}
	if w.old != nil && len(w.old.deletes) > 0 {
		w.removeDeletes = slices.Sorted(maps.Keys(w.old.deletes))
	}
	shared := w.plan.format.SharedVectors
	if w.old != nil && (len(w.old.deletes) > 0 || w.old.shared && !shared) {
		w.addDeleted(deleted)
	}
	partitions := map[string]lake.Partition{} // by data file
	for f := range deleted {
		partitions[f.key] = f.partition
	}
	var dd []datafile.DataPositions
	var n uint64
	for f, pos := range deleted {
		dd = append(dd, datafile.DataPositions{Key: f.key, Path: w.e.opts.Store.URL(f.key), Positions: pos})
		if n += pos.GetCardinality(); n >= w.e.deletePositions || !shared {
			if err := w.putVectors(ctx, dd, partitions); err != nil {
				return err
			}
			dd, n = nil, 0
		}
	}
	if len(dd) == 0 {
		return nil
	}
	return w.putVectors(ctx, dd, partitions)
}

// addDeleted adds what earlier cuts deleted in files that stay.
func (w *tableWork) addDeleted(deleted map[*liveFile]*roaring.Bitmap) {
	for _, lp := range w.keep {
		for f := range w.old.leaves[lp.Rel].in.files {
			if deleted[f] == nil && !f.deleted.IsEmpty() && !slices.Contains(w.removeData, f) {
				deleted[f] = f.deleted
			}
		}
	}
}

// putVectors has one Puffin file put.
func (w *tableWork) putVectors(ctx context.Context, dd []datafile.DataPositions, partitions map[string]lake.Partition) error {
	vectors, data, err := datafile.EncodeVectors(dd)
	if err != nil {
		return err
	}
	key := w.objectKey("", "deletes", lake.VectorsSuffix)
	if err := w.c.uploads.put(ctx, key, data); err != nil {
		return err
	}
	for _, v := range vectors {
		v.Key, v.Partition = key, partitions[v.Data]
		w.newVectors = append(w.newVectors, v)
	}
	return nil
}

// noteFormat has a publication's row ids and vectors in the engine's view.
func (w *tableWork) noteFormat(leaves map[pg.OID]*leaf) (shared bool) {
	vectors := map[string]string{}
	for _, v := range w.newVectors {
		vectors[v.Data] = v.Key
	}
	for _, l := range leaves {
		for f := range l.in.files {
			if got, ok := w.assigned[f.key]; ok {
				f.lineage = &got
			}
			if key, ok := vectors[f.key]; ok {
				f.vector = key
			}
		}
	}
	return sharedVectors(leaves)
}

// sharedVectors says whether two files have their deletion vectors in one object.
func sharedVectors(leaves map[pg.OID]*leaf) bool {
	seen := map[string]bool{}
	for _, l := range leaves {
		for f := range l.in.files {
			if f.vector != "" && seen[f.vector] {
				return true
			}
			seen[f.vector] = true
		}
	}
	return false
}

// loadVectors adds a table's deletion vectors to out, by data file location.
func (e *Engine) loadVectors(ctx context.Context, h *lake.TableHead, out map[string]*roaring.Bitmap) error {
	rows := map[string]int64{}
	for _, d := range h.Data {
		rows[d.Key] = d.Rows
	}
	objects := map[string][]lake.Vector{}
	for _, v := range h.Vectors {
		objects[v.Key] = append(objects[v.Key], v)
	}
	for key, vectors := range objects {
		b, _, err := e.opts.Store.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("table %s: deletion vectors: %w", h.Name, err)
		}
		for _, v := range vectors {
			set, err := datafile.ReadVector(b, v, rows[v.Data])
			if err != nil {
				return fmt.Errorf("%w: table %s: %w", errDamaged, h.Name, err)
			}
			if path := e.opts.Store.URL(v.Data); out[path] == nil {
				out[path] = set
			} else {
				out[path].Or(set)
			}
		}
	}
	return nil
}

// keepsRowIDs says whether rows that this cut writes again have row ids.
func (w *tableWork) keepsRowIDs() bool {
	if w.e.faults.forgetRowIDs {
		return false
	}
	for _, files := range []map[*liveFile]bool{w.compact, w.overwritten} {
		for f := range files {
			if f.lineage != nil {
				return true
			}
		}
	}
	return false
}

// origin tells the row ids of a file that is being compacted.
type origin struct {
	file *lake.Lineage       // for rows that have none of their own
	runs []tidset.LineageRun // empty: no row has
}

// of gives the row at a position; ok is false if it has no row id.
func (o *origin) of(pos uint32) (l lake.Lineage, ok bool) {
	if len(o.runs) > 0 {
		i, found := slices.BinarySearchFunc(o.runs, pos, func(r tidset.LineageRun, pos uint32) int { return cmp.Compare(r.Start, pos) })
		if !found {
			i--
		}
		if r := o.runs[i]; r.Own {
			return lake.Lineage{FirstRowID: r.RowID + int64(pos-r.Start), Sequence: r.Sequence}, true
		}
	}
	if o.file == nil {
		return lake.Lineage{}, false
	}
	return lake.Lineage{FirstRowID: o.file.FirstRowID + int64(pos), Sequence: o.file.Sequence}, true
}

// keep writes the row id and sequence number of the row that was just added; a new one inherits them from its file.
func (enc *encoder) keep(ctx context.Context, moved *member) error {
	columns := enc.out.Columns()[len(enc.cols):]
	if moved != nil {
		o, err := enc.origin(ctx, moved.file)
		if err != nil {
			return err
		}
		if l, ok := o.of(moved.pos); ok {
			columns[0].AppendInt64(l.FirstRowID)
			columns[1].AppendInt64(l.Sequence)
			enc.tids.Keep(l.FirstRowID, l.Sequence)
			return nil
		}
	}
	columns[0].AppendNull()
	columns[1].AppendNull()
	return nil
}

func (enc *encoder) origin(ctx context.Context, f *liveFile) (*origin, error) {
	if o := enc.origins[f]; o != nil {
		return o, nil
	}
	set, err := enc.w.e.sets.get(ctx, f.key)
	if err != nil {
		return nil, &storeErr{err}
	}
	o := &origin{file: f.lineage, runs: set.Lineage()}
	enc.origins[f] = o
	return o, nil
}
