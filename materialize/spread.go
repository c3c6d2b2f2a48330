package materialize

import (
	"context"

	"github.com/tarn-db/tarn/internal/pg"
)

// spread is how many of a relation's blocks one range has, at most most. Rows with values out of line lie on few of them: with toasted blocks
// beside them there are as many ranges as there are workers, if each gets enough for a file of its own.
//
// Invariant: a range's share of the toasted blocks is a data file's bytes or more, so that what comes out is hardly small, and written again soon.
func (w *tableWork) spread(blocks, toasted, most int) int {
	parts := max(1, min(cap(w.e.slots), int(int64(toasted)*pg.BlockSize/w.e.fileBytes)))
	return max(1, min(most, (blocks+parts-1)/parts))
}

// toasted is how many blocks a leaf's TOAST relation has. What cannot be read of it is for whoever needs a value of it to say.
func (w *tableWork) toasted(ctx context.Context, lp *leafPlan) (pg.BlockNumber, error) {
	if lp.toastOID == 0 {
		return 0, nil
	}
	n, _, err := w.e.pages.NBlocks(ctx, lp.toast.File, pg.MainFork)
	if err = pageError(err); tableError(err) {
		return 0, nil
	}
	return n, err
}
