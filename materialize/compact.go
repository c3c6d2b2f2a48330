package materialize

// Small data files are what every cut leaves behind. Once a leaf has many of them they are written again as few: their
// rows are taken from pages like any other, so a compaction is a difference that holds some files for worthless.
const (
	// smallFileRows is what makes a data file small, unless its bytes are half of what a file may have; smallFilesMax of
	// them in one leaf are written again.
	smallFileRows = 50_000
	smallFilesMax = 32
	// compactedRows is how many rows a file written by a compaction has at least, if there are as many.
	compactedRows = 4 * smallFileRows
)

// pickSmall chooses the small files of a leaf to be written again, once there are many.
//
// Invariant: what a compaction writes is not small, or there are fewer than smallFilesMax of it; else the next cut would
// begin again with the same rows.
func (w *tableWork) pickSmall(l *leaf) {
	var small []*liveFile
	for f := range l.in.files {
		if f.rows < smallFileRows && f.bytes < w.e.fileBytes/2 {
			small = append(small, f)
		}
	}
	if len(small) < smallFilesMax {
		return
	}
	for _, f := range small {
		w.compact[f] = true
		w.removeData = append(w.removeData, f)
	}
}

// rangeBlocks is how many blocks of a kept leaf one range examines. Rows of scattered updates lie few to a block: a
// compaction's ranges are as long as it takes that what comes out is not small again.
func (w *tableWork) rangeBlocks(lp *leafPlan, blocks int) int {
	var rows int64
	for f := range w.old.leaves[lp.Rel].in.files {
		if w.compact[f] {
			rows += f.live()
		}
	}
	if rows == 0 {
		return diffBlocks
	}
	parts := int(max(1, rows/compactedRows))
	return max(diffBlocks, (blocks+parts-1)/parts)
}

// sameRows says that a change only writes rows again that are in the lake already, or says again which are deleted: no
// row came or went.
func (w *tableWork) sameRows() bool {
	return w.old != nil && !w.rewrite && len(w.copied)+len(w.gone) == 0 && w.rowsIn == 0 && w.rowsOut == 0
}
