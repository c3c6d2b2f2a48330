package table

import (
	"strconv"
	"time"

	"github.com/tarn-db/tarn/materialize/lake"
)

// summary is a snapshot's summary: Iceberg's standard metrics and where in the WAL the snapshot is.
func (c *Commit) summary(st Stamp, ch *lake.TableChange, w *writer) map[string]string {
	s := map[string]string{
		"operation":         operation(ch, w),
		"engine-name":       "tarn",
		"engine-version":    st.Engine,
		"tarn.lsn":          st.LSN.String(),
		"tarn.timeline":     strconv.FormatUint(uint64(st.Timeline), 10),
		"tarn.system-id":    strconv.FormatUint(st.SystemID, 10),
		"manifests-created": strconv.Itoa(w.written),
		"manifests-kept":    strconv.Itoa(w.kept),
	}
	if !st.CommitTime.IsZero() {
		s["tarn.commit-ts"] = st.CommitTime.UTC().Format(time.RFC3339Nano)
	}
	if st.Branch != "" {
		s["tarn.branch"] = st.Branch
	}
	some := func(key string, n int64) {
		if n != 0 {
			s[key] = strconv.FormatInt(n, 10)
		}
	}
	d, x, t := w.data, w.deletes, c.totals
	some("manifests-replaced", int64(w.replaced))
	some("entries-processed", int64(w.entries))
	some("added-data-files", d.added)
	some("deleted-data-files", d.removed)
	some("added-records", d.addedRows)
	some("deleted-records", d.removedRows)
	some("added-delete-files", x.added)
	some("removed-delete-files", x.removed)
	some("added-position-delete-files", x.added-x.addedVectors)
	some("removed-position-delete-files", x.removed-x.removedVectors)
	some("added-dvs", x.addedVectors)
	some("removed-dvs", x.removedVectors)
	some("added-position-deletes", x.addedRows)
	some("removed-position-deletes", x.removedRows)
	some("added-files-size", d.addedBytes+x.addedBytes)
	some("removed-files-size", d.removedBytes+x.removedBytes)
	if d.added+d.removed+x.added+x.removed > 0 {
		s["changed-partition-count"] = "1"
	}
	for key, n := range map[string]int64{
		"total-data-files":       t.DataFiles,
		"total-delete-files":     t.DeleteFiles,
		"total-records":          t.Rows,
		"total-files-size":       t.DataBytes + t.DeleteFileBytes,
		"total-position-deletes": t.PositionDeletes,
		"total-equality-deletes": 0,
	} {
		s[key] = strconv.FormatInt(n, 10)
	}
	return s
}

// operation names what the snapshot did as Iceberg's engines understand it: incremental readers take append, pass over
// replace, and stop or recompute at overwrite and delete. So replace is claimed only where no row can have changed: when
// the change says so, or when delete files alone were merged and as many positions came as left.
func operation(ch *lake.TableChange, w *writer) string {
	d, x := w.data, w.deletes
	switch {
	case d.removed == 0 && x.added == 0 && x.removed == 0:
		return "append"
	case ch.SameRows && ch.RowsDeleted == 0 && d.addedRows <= d.removedRows:
		return "replace"
	case d.added == 0 && d.removed == 0 && x.removed > 0 && x.addedRows == x.removedRows && ch.RowsDeleted == 0:
		return "replace"
	case d.added == 0 && (x.removed == 0 || d.removed > 0 || x.removed == x.removedVectors): // a vector is replaced by a fuller one
		return "delete"
	}
	return "overwrite"
}
