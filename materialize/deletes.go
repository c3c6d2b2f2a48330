package materialize

import (
	"context"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
)

// writeDeletes writes what the cut deleted, taking out files with no row left. It goes to position delete files, all of which
// are written again as few when there are many, or to deletion vectors.
func (w *tableWork) writeDeletes(ctx context.Context) error {
	live := map[*liveFile]*roaring.Bitmap{}
	for f, pos := range w.deletes {
		all := roaring.Or(f.deleted, pos)
		if int64(all.GetCardinality()) == f.rows {
			w.removeData = append(w.removeData, f)
			continue
		}
		live[f] = pos
	}
	if w.format == lake.FormatV3 {
		return w.writeVectors(ctx, live)
	}
	if w.old != nil && w.mergeDeletes(live) {
		w.removeDeletes = slices.Sorted(maps.Keys(w.old.deletes))
	}
	parts := map[string]map[*liveFile]*roaring.Bitmap{} // by partition: a delete file holds for the data files of its own alone
	for f, pos := range live {
		key := f.partition.Key()
		if parts[key] == nil {
			parts[key] = map[*liveFile]*roaring.Bitmap{}
		}
		parts[key][f] = pos
	}
	for _, deleted := range parts {
		if err := w.partitionDeletes(ctx, deleted); err != nil {
			return err
		}
	}
	return nil
}

// partitionDeletes writes what was deleted in one partition.
func (w *tableWork) partitionDeletes(ctx context.Context, deleted map[*liveFile]*roaring.Bitmap) error {
	var pp []datafile.PathPositions
	var of lake.Partition
	var n uint64
	for f, pos := range deleted {
		of = f.partition
		pp = append(pp, datafile.PathPositions{Path: w.e.opts.Store.URL(f.key), Positions: pos})
		if n += pos.GetCardinality(); n >= w.e.deletePositions {
			if err := w.putDeletes(ctx, pp, of); err != nil {
				return err
			}
			pp, n = nil, 0
		}
	}
	if len(pp) == 0 {
		return nil
	}
	return w.putDeletes(ctx, pp, of)
}

// putDeletes has one delete file put.
func (w *tableWork) putDeletes(ctx context.Context, pp []datafile.PathPositions, of lake.Partition) error {
	d, data, err := datafile.EncodePositionDeletes(pp)
	if err != nil {
		return err
	}
	d.Key, d.Partition = w.objectKey("", "deletes", ".parquet"), of
	if err := w.c.uploads.put(ctx, d.Key, data); err != nil {
		return err
	}
	w.newDeletes = append(w.newDeletes, d)
	return nil
}

// mergeDeletes adds the deletes of earlier cuts to live when their files are to be replaced by one.
func (w *tableWork) mergeDeletes(live map[*liveFile]*roaring.Bitmap) bool {
	leaving := map[*liveFile]bool{}
	for _, f := range w.removeData {
		leaving[f] = true
	}
	older, positions, parts := map[*liveFile]*roaring.Bitmap{}, uint64(0), map[string]bool{}
	for _, l := range w.old.leaves {
		for f := range l.in.files {
			if !leaving[f] && !f.deleted.IsEmpty() {
				older[f] = f.deleted
				parts[f.partition.Key()] = true
				positions += f.deleted.GetCardinality()
			}
		}
	}
	most := deleteFilesMax*max(1, len(parts)) + int(positions/w.e.deletePositions) // merged, they are several
	if len(w.old.deletes) == 0 || len(older) > 0 && len(w.old.deletes) < most {
		return false
	}
	for f, pos := range older {
		if live[f] != nil {
			live[f] = roaring.Or(live[f], pos)
		} else {
			live[f] = pos
		}
	}
	return true
}
