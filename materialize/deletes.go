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
	var pp []datafile.PathPositions
	var n uint64
	for f, pos := range live {
		pp = append(pp, datafile.PathPositions{Path: w.e.opts.Store.URL(f.key), Positions: pos})
		if n += pos.GetCardinality(); n >= w.e.deletePositions {
			if err := w.putDeletes(ctx, pp); err != nil {
				return err
			}
			pp, n = nil, 0
		}
	}
	if len(pp) == 0 {
		return nil
	}
	return w.putDeletes(ctx, pp)
}

// putDeletes has one delete file put.
func (w *tableWork) putDeletes(ctx context.Context, pp []datafile.PathPositions) error {
	d, data, err := datafile.EncodePositionDeletes(pp)
	if err != nil {
		return err
	}
	d.Key = w.objectKey("deletes", ".parquet")
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
	older, positions := map[*liveFile]*roaring.Bitmap{}, uint64(0)
	for _, l := range w.old.leaves {
		for f := range l.in.files {
			if !leaving[f] && !f.deleted.IsEmpty() {
				older[f] = f.deleted
				positions += f.deleted.GetCardinality()
			}
		}
	}
	most := deleteFilesMax + int(positions/w.e.deletePositions) // merged, they are several
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
