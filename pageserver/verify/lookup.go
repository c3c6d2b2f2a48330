package verify

import (
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/datadir"
)

// lookup is the Lookup of a run's own pages.
func (s *pageSet) lookup(f datadir.Fork, blk pg.BlockNumber, dst pg.Page) (bool, error) {
	st := s.fork(f)
	if st.opaque {
		return false, nil
	}
	if p := st.pages[blk]; p != nil {
		copy(dst, p)
		return true, nil
	}
	return true, s.readBase(f, st, blk, dst)
}

// compareExtra looks for pages that redo has and the server has not: they should have been cut off or dropped.
func (s *pageSet) compareExtra(dir *stoppedDir, final *Final) error {
	for f, st := range s.forks {
		if len(st.pages) == 0 {
			continue
		}
		if ok, err := dir.logged(f); err != nil {
			return err
		} else if !ok {
			continue
		}
		blocks, err := dir.Blocks(f)
		if err != nil {
			return err
		}
		for blk, p := range st.pages {
			if blk < blocks || p.IsNew() {
				continue
			}
			final.Extra++
			if len(final.First) < mismatchesMax {
				final.First = append(final.First, PageDifference{
					Name: f.Rel.String(), Fork: f.Fork.String(), Block: blk, Ours: p.LSN(),
					Bytes: fmt.Sprintf("the server's has %d blocks", blocks),
				})
			}
		}
	}
	return nil
}
