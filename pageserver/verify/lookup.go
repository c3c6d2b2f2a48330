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
	} else {
		clear(dst)
		if s.base != nil && st.base && blk < st.blocks {
			if _, err := s.base.ReadPage(f, blk, dst); err != nil {
				return true, err
			}
		}
	}
	return true, nil
}

// compareExtra looks for pages that redo has and the server has not: they should have been cut off or dropped.
func (s *pageSet) compareExtra(dir *datadir.Dir, final *Final) error {
	forks, err := loggedForks(dir)
	if err != nil {
		return err
	}
	blocks := map[datadir.Fork]pg.BlockNumber{}
	for _, f := range forks {
		if blocks[f], err = dir.Blocks(f); err != nil {
			return err
		}
	}
	all, err := dir.Forks()
	if err != nil {
		return err
	}
	unlogged := map[pg.RelFileLocator]bool{}
	for _, f := range all {
		unlogged[f.Rel] = unlogged[f.Rel] || f.Fork == pg.InitFork
	}
	whole, err := wholeDatabases(dir)
	if err != nil {
		return err
	}
	for f, st := range s.forks {
		ok, err := whole.has(datadir.Database{Spc: f.Rel.Spc, DB: f.Rel.DB})
		if err != nil {
			return err
		}
		if !ok || unlogged[f.Rel] && f.Fork != pg.InitFork {
			continue
		}
		for blk, p := range st.pages {
			if blk < blocks[f] || p.IsNew() {
				continue
			}
			final.Extra++
			if len(final.First) < mismatchesMax {
				final.First = append(final.First, PageDifference{
					Name: f.Rel.String(), Fork: f.Fork.String(), Block: blk, Ours: p.LSN(),
					Bytes: fmt.Sprintf("the server's has %d blocks", blocks[f]),
				})
			}
		}
	}
	return nil
}
