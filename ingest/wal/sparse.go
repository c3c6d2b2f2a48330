package wal

import "github.com/tarn-db/tarn/internal/pg"

// sparseWindow and sparseRead are windowSize and readSize of a sparse reader, bytes.
const (
	sparseWindow = 4 * PageSize
	sparseRead   = PageSize
)

// Seek goes on with the record that begins at lsn, or the first one behind it if lsn is the start of a page, as a new reader would that
// starts there. What Next returned is not valid any more. It is for sparse readers, and not for reading batches.
func (r *Reader) Seek(lsn pg.LSN) {
	if !r.opts.Sparse || r.batch != nil {
		panic("BUG: Seek of a reader that reads on")
	}
	if page := pageStart(lsn); !r.hasPage || r.pageLSN != page || r.base > page {
		r.base, r.end, r.hasPage, r.tli = page, 0, false, 0
	} // else the page is in the window, and its header was right
	r.opts.Start, r.pos, r.complete = lsn, lsn, lsn
	r.phase, r.started, r.stopped, r.overwritten, r.err = atRecord, false, false, 0, nil
	r.resetArena()
}
