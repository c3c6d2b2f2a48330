package basebackup

import (
	"context"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/verify"
)

// seam goes on with the timeline the directory was written of: the WAL of the server that was started on it and has stopped leads to its
// pages, as if it had been one server all along.
func (r *rig) seam(tl *pageserver.Timeline, dir string, report Report) error {
	ctx := context.Background()
	if err := tl.Replay(ctx, r.reader(dir, report.CheckPoint), pageserver.Target{}); err != nil {
		return err
	}
	final, err := verify.ComparePages(ctx, dir, func(f datadir.Fork, blk pg.BlockNumber, dst pg.Page) (bool, error) {
		clear(dst)
		page, err := tl.Page(ctx, f.Rel, f.Fork, blk)
		copy(dst, page)
		return true, err
	})
	if err == nil && !final.OK() {
		err = fmt.Errorf("%d pages differ of %d: %v", final.Differ, final.HeapPages, final.First)
	}
	return err
}
