package verify

import (
	"bytes"
	"context"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// Lookup reads one block as redo has it into dst, all zeros if there is none. It returns false when it does not know:
// the fork's pages were changed by a resource manager whose redo is not built.
type Lookup func(f datadir.Fork, blk pg.BlockNumber, dst pg.Page) (known bool, err error)

// PageDifference is one page that is not what the data directory holds.
type PageDifference struct {
	Name   string         `json:"relation"` // spc/db/rel
	Fork   string         `json:"fork"`
	Block  pg.BlockNumber `json:"block"`
	Ours   pg.LSN         `json:"lsn"`        // of redo's page
	Theirs pg.LSN         `json:"server_lsn"` // of the data directory's page
	Ranges []redo.Range   `json:"ranges"`
	Bytes  string         `json:"bytes,omitempty"` // the first range, ours and theirs, in hexadecimal
}

func (d PageDifference) String() string {
	return fmt.Sprintf("relation %s fork %s block %d (LSN %s, the server's %s) differs at bytes %v: %s",
		d.Name, d.Fork, d.Block, d.Ours, d.Theirs, d.Ranges, d.Bytes)
}

// Final is the comparison of pages with a data directory.
type Final struct {
	HeapPages int64            `json:"heap_pages"` // compared
	VMPages   int64            `json:"vm_pages"`   // compared, bit by bit
	Differ    int64            `json:"differ"`
	Unknown   int64            `json:"unknown"` // pages Lookup does not know
	First     []PageDifference `json:"first,omitempty"`
}

// OK says that pages were compared and none differed.
func (f *Final) OK() bool { return f.HeapPages > 0 && f.Differ == 0 }

// ComparePages compares every heap page and visibility map page in the data directory of a stopped server with what
// lookup has: heap pages masked as MaskHeap does, map pages but for their headers. Unlogged relations and free space maps are
// not in the WAL and are left out, and so are pages of indexes and sequences, which are told by their special space, and
// databases that are not whole.
func ComparePages(ctx context.Context, dataDir string, lookup Lookup) (Final, error) {
	dir, err := datadir.Open(dataDir)
	if err != nil {
		return Final{}, err
	}
	defer dir.Close()
	forks, err := dir.Forks()
	if err != nil {
		return Final{}, err
	}
	unlogged := map[pg.RelFileLocator]bool{}
	for _, f := range forks {
		if f.Fork == pg.InitFork {
			unlogged[f.Rel] = true
		}
	}
	whole, err := wholeDatabases(dir)
	if err != nil {
		return Final{}, err
	}
	c := comparer{dir: dir, lookup: lookup}
	for _, f := range forks {
		if unlogged[f.Rel] || f.Fork != pg.MainFork && f.Fork != pg.VMFork {
			continue
		}
		if f.Rel.DB != 0 && !whole[f.Rel.DB] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return c.final, err
		}
		if err := c.fork(f); err != nil {
			return c.final, err
		}
	}
	return c.final, nil
}

type comparer struct {
	dir          *datadir.Dir
	lookup       Lookup
	final        Final
	ours, theirs [pg.BlockSize]byte
	scratch      redo.Scratch
}

func (c *comparer) fork(f datadir.Fork) error {
	n, err := c.dir.Blocks(f)
	if err != nil {
		return err
	}
	for blk := range n {
		ours, theirs := pg.Page(c.ours[:]), pg.Page(c.theirs[:])
		if _, err := c.dir.ReadPage(f, blk, theirs); err != nil {
			return err
		}
		if f.Fork == pg.MainFork && !theirs.IsNew() && theirs.Special() != pg.BlockSize {
			return nil // an index or a sequence: so are its other pages
		}
		known, err := c.lookup(f, blk, ours)
		if err != nil {
			return err
		}
		if !known {
			c.final.Unknown++
			continue
		}
		c.page(f, blk, ours, theirs)
	}
	return nil
}

// page compares one page. A page the server extended or initialised without having put anything on it leaves no trace in
// the WAL and equals one that is not there.
func (c *comparer) page(f datadir.Fork, blk pg.BlockNumber, ours, theirs pg.Page) {
	var equal bool
	var diffs []redo.Range
	if f.Fork == pg.VMFork {
		c.final.VMPages++
		equal = bytes.Equal(ours[pg.PageHeaderSize:], theirs[pg.PageHeaderSize:])
		diffs = vmRange(ours, theirs)
	} else {
		c.final.HeapPages++
		if ours.IsNew() && theirs.NumItems() == 0 {
			return
		}
		equal, diffs = redo.CompareHeap(ours, theirs, blk, &c.scratch)
		// Images are compared in the middle of things, where these two may differ; at a clean stop they may not.
		if (ours.Flags()^theirs.Flags())&pg.PageAllVisible != 0 {
			equal, diffs = false, append(diffs, redo.Range{Offset: 10, Length: 2})
		}
		if ours.LSN() != theirs.LSN() {
			equal, diffs = false, append(diffs, redo.Range{Offset: 0, Length: 8})
		}
	}
	if equal {
		return
	}
	c.final.Differ++
	if len(c.final.First) < mismatchesMax {
		c.final.First = append(c.final.First, PageDifference{
			Name: f.Rel.String(), Fork: f.Fork.String(), Block: blk, Ours: ours.LSN(), Theirs: theirs.LSN(),
			Ranges: append([]redo.Range(nil), diffs...), Bytes: excerpt(ours, theirs, diffs),
		})
	}
}

// excerpt shows up to 16 bytes of the first range as they are before masking.
func excerpt(ours, theirs pg.Page, diffs []redo.Range) string {
	if len(diffs) == 0 {
		return ""
	}
	from := diffs[0].Offset
	to := from + min(diffs[0].Length, 16)
	return fmt.Sprintf("%x, the server's %x", ours[from:to], theirs[from:to])
}

// vmRange is the span of differing map bytes.
func vmRange(a, b pg.Page) []redo.Range {
	first, last := -1, -1
	for i := pg.PageHeaderSize; i < pg.BlockSize; i++ {
		if a[i] != b[i] {
			if last = i; first < 0 {
				first = i
			}
		}
	}
	if first < 0 {
		return nil
	}
	return []redo.Range{{Offset: first, Length: last + 1 - first}}
}

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
	clear(dst)
	if s.base != nil && st.base && blk < st.blocks {
		_, err := s.base.ReadPage(f, blk, dst)
		return true, err
	}
	return true, nil
}
