package materialize

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tarn-db/tarn/materialize/lake"
)

// Small data files are what every cut leaves behind, and large ones lose their rows to updates, but the last of them only
// after many times as many. Once a leaf has many small ones they are written again as few, and so is what is left of a file
// that has lost most of its rows. Rows are taken from pages like any other, so a compaction is a difference that holds
// some files for worthless.
const (
	// smallFileRows is what makes a data file small, unless its bytes are half of what a file may have; smallFilesMax of
	// them in one leaf are written again.
	smallFileRows = 50_000
	smallFilesMax = 32
	// compactedRows is how many rows a file written by a compaction has at least, if there are as many.
	compactedRows = 4 * smallFileRows
	// sparseRows is how many rows of files that have lost most of theirs are written again by one cut, in each leaf.
	sparseRows = 4 * smallFileRows
)

// small says whether a file is one of those that are written again once there are many, where files are ended at fileBytes.
func (f *liveFile) small(fileBytes int64) bool {
	return f.rows < smallFileRows && f.bytes < fileBytes/2
}

// pickSmall chooses the small files of a leaf to be written again, once there are many in one partition, or many of a former spec.
//
// Invariant: what a compaction writes is not small, or there are fewer than smallFilesMax of it; else the next cut would
// begin again with the same rows.
func (w *tableWork) pickSmall(l *leaf) {
	small := map[string][]*liveFile{}
	for f := range l.in.files {
		if f.small(w.plan.fileBytes(w.e)) {
			key := w.groupKey(f)
			small[key] = append(small[key], f)
		}
	}
	for _, files := range small {
		if len(files) < smallFilesMax {
			continue
		}
		for _, f := range files {
			w.rewriteFile(f)
		}
	}
}

// pickSparse chooses large files most of whose rows are deleted: readers read them for little, and the positions deleted
// would come to many times the table's rows. The emptiest go first, and no more than a cut can bear.
//
// Invariant: a row is written again for at least one that was deleted, so that this costs no more than the deletes did.
func (w *tableWork) pickSparse(l *leaf) {
	var sparse []*liveFile
	for f := range l.in.files {
		if !f.small(w.plan.fileBytes(w.e)) && 2*f.live() < f.rows {
			sparse = append(sparse, f)
		}
	}
	slices.SortFunc(sparse, func(a, b *liveFile) int { return cmp.Or(cmp.Compare(a.live(), b.live()), cmp.Compare(a.key, b.key)) })
	var rows int64
	for i, f := range sparse {
		if rows += f.live(); i > 0 && rows > sparseRows {
			return
		}
		w.rewriteFile(f)
	}
}

// rewriteFile has a file's rows written again and the file taken out.
func (w *tableWork) rewriteFile(f *liveFile) {
	w.compact[f] = true
	w.removeData = append(w.removeData, f)
}

// groupKey is the same for files whose rows one file may have.
func (w *tableWork) groupKey(f *liveFile) string {
	if f.partition.SpecID != w.plan.layout.Spec.ID {
		return lake.Partition{SpecID: f.partition.SpecID}.Key()
	}
	return f.partition.Key()
}

// rangeBlocks is how many blocks of a kept leaf one range examines, when files are written again. Rows of scattered updates
// lie few to a block: ranges are as long as it takes that what comes out is not small again, in any partition.
func (w *tableWork) rangeBlocks(lp *leafPlan, blocks int, files map[*liveFile]bool) int {
	groups := map[string]int64{} // rows
	for f := range w.old.leaves[lp.Rel].in.files {
		if files[f] {
			groups[w.groupKey(f)] += f.live()
		}
	}
	if len(groups) == 0 {
		toasted := 0
		if d := w.c.dirty[lp.toast.File]; d != nil {
			toasted = int(d.GetCardinality())
		}
		return w.spread(blocks, toasted, diffBlocks)
	}
	rows := slices.Min(slices.Collect(maps.Values(groups)))
	parts := int(max(1, rows/compactedRows))
	return max(diffBlocks, (blocks+parts-1)/parts)
}
