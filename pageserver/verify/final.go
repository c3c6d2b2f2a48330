package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/gistrec"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// Lookup reads one block as redo has it into dst, all zeros if there is none. It returns false when it does not know:
// the fork's pages were changed by a resource manager whose redo is not built.
type Lookup func(f datadir.Fork, blk pg.BlockNumber, dst pg.Page) (known bool, err error)

// PageDifference is one page that is not what the data directory holds.
type PageDifference struct {
	Name   string         `json:"relation"` // spc/db/rel, or the file
	Fork   string         `json:"fork"`
	Block  pg.BlockNumber `json:"block"`
	Ours   pg.LSN         `json:"lsn"`        // of redo's page
	Theirs pg.LSN         `json:"server_lsn"` // of the data directory's page
	Ranges []redo.Range   `json:"ranges"`
	Bytes  string         `json:"bytes,omitempty"` // the first range, ours and theirs, in hexadecimal
}

func (d PageDifference) String() string {
	if d.Fork == "" {
		return fmt.Sprintf("%s page %d: %s", d.Name, d.Block, d.Bytes)
	}
	return fmt.Sprintf("relation %s fork %s block %d (LSN %s, the server's %s) differs at bytes %v: %s",
		d.Name, d.Fork, d.Block, d.Ours, d.Theirs, d.Ranges, d.Bytes)
}

// FinalPages is the part of the figures that the pages of one resource manager, or the files of one kind, have.
type FinalPages struct {
	Pages   int64 `json:"pages"` // compared
	Differ  int64 `json:"differ"`
	Unknown int64 `json:"unknown,omitempty"` // Lookup does not know them, or nobody knows what may differ on them
}

// Final is the comparison of pages with a data directory.
type Final struct {
	HeapPages int64                 `json:"heap_pages"` // compared
	VMPages   int64                 `json:"vm_pages"`   // compared, bit by bit
	ByRmgr    map[string]FinalPages `json:"by_rmgr"`
	Files     map[string]FinalPages `json:"files,omitempty"` // beside the relations: transaction logs by page, maps, control file
	Differ    int64                 `json:"differ"`
	Unknown   int64                 `json:"unknown"`
	LostWAL   int64                 `json:"lost_wal"` // pages of WAL that a crash has lost
	Extra     int64                 `json:"extra"`    // pages redo has and the server has not
	Orphans   int64                 `json:"orphans"`  // forks that no catalog names: left out
	First     []PageDifference      `json:"first,omitempty"`

	FirstOrphans []string `json:"first_orphans,omitempty"` // spc/db/rel and fork
}

// OK says that pages were compared and none differed.
func (f *Final) OK() bool { return f.HeapPages > 0 && f.Differ == 0 && f.Extra == 0 }

func (f *Final) differ(d PageDifference) {
	f.Differ++
	if len(f.First) < mismatchesMax {
		f.First = append(f.First, d)
	}
}

// ComparePages compares every page in the data directory of a stopped server with what lookup has, masked as the pages of its
// resource manager are, map pages but for their headers. Unlogged relations and free space maps are not in the WAL and are
// left out, and so are databases that are not whole, and, counted, files that no catalog names. hints, if not nil, is for each block the LSNs
// that hints may have left on the server's page.
func ComparePages(ctx context.Context, dataDir string, lookup Lookup, hints func(f datadir.Fork, blk pg.BlockNumber) []pg.LSN) (Final, error) {
	dir, err := openStopped(dataDir)
	if err != nil {
		return Final{}, err
	}
	defer dir.Close()
	c := comparer{dir: dir, major: dir.Major(), lookup: lookup, hints: hints}
	return c.all(ctx)
}

type comparer struct {
	dir          *stoppedDir
	major        pg.Major
	lookup       Lookup
	atMost       func(f datadir.Fork, blk pg.BlockNumber) pg.Page  // fork.atMost of a map page; nil: the WAL holds every map page
	ends         []pg.LSN                                          // of all records, rising; nil: not known
	hints        func(f datadir.Fork, blk pg.BlockNumber) []pg.LSN // nil: hints give pages no LSN but redo's
	final        Final
	byRmgr       map[wal.RMID]*FinalPages
	ours, theirs [pg.BlockSize]byte
	scratch      redo.Scratch
}

// all compares every fork.
func (c *comparer) all(ctx context.Context) (Final, error) {
	forks, err := c.dir.loggedForks()
	if err != nil {
		return Final{}, err
	}
	if forks, err = withoutOrphans(c.dir, forks, &c.final); err != nil {
		return Final{}, err
	}
	c.byRmgr = map[wal.RMID]*FinalPages{}
	for _, f := range forks {
		if err := ctx.Err(); err != nil {
			return c.finish(), err
		}
		if err := c.fork(f); err != nil {
			return c.finish(), err
		}
	}
	return c.finish(), nil
}

// finish adds up what is kept in pieces.
func (c *comparer) finish() Final {
	c.final.ByRmgr = map[string]FinalPages{}
	for rmid, n := range c.byRmgr {
		c.final.ByRmgr[rmid.String()] = *n
		c.final.Unknown += n.Unknown
	}
	return c.final
}

func (c *comparer) fork(f datadir.Fork) error {
	n, err := c.dir.Blocks(f)
	if err != nil {
		return err
	}
	rmid, told := wal.RMHeap, f.Fork == pg.VMFork
	for blk := range n {
		ours, theirs := pg.Page(c.ours[:]), pg.Page(c.theirs[:])
		if _, err := c.dir.ReadPage(f, blk, theirs); err != nil {
			return err
		}
		if !told && !theirs.IsNew() {
			rmid, told = managerOf(theirs), true
		}
		known, err := c.lookup(f, blk, ours)
		if err != nil {
			return err
		}
		count := c.byRmgr[rmid]
		if count == nil {
			count = &FinalPages{}
			c.byRmgr[rmid] = count
		}
		if !known {
			count.Unknown++
			continue
		}
		equal, diffs, err := c.page(rmid, f, blk, ours, theirs)
		switch {
		case errors.Is(err, redo.ErrNoMask):
			count.Unknown++
		case err != nil:
			return err
		case !equal:
			count.Differ++
			c.final.differ(PageDifference{
				Name: f.Rel.String(), Fork: f.Fork.String(), Block: blk, Ours: ours.LSN(), Theirs: theirs.LSN(),
				Ranges: append([]redo.Range(nil), diffs...), Bytes: excerpt(ours, theirs, diffs),
			})
			fallthrough
		default:
			count.Pages++
			switch {
			case f.Fork == pg.VMFork:
				c.final.VMPages++
			case rmid == wal.RMHeap:
				c.final.HeapPages++
			}
		}
	}
	return nil
}

// page compares one page.
func (c *comparer) page(rmid wal.RMID, f datadir.Fork, blk pg.BlockNumber, ours, theirs pg.Page) (bool, []redo.Range, error) {
	if f.Fork == pg.VMFork {
		if c.atMost != nil {
			if most := c.atMost(f, blk); most != nil {
				for i := pg.PageHeaderSize; i < pg.BlockSize; i++ {
					ours[i] |= theirs[i] & most[i]
				}
			}
		}
		return bytes.Equal(ours[pg.PageHeaderSize:], theirs[pg.PageHeaderSize:]), vmRange(ours, theirs), nil
	}
	if ours.IsNew() && theirs.NumItems() == 0 && c.untraced(theirs.LSN()) {
		return true, nil, nil
	}
	switch {
	case rmid == wal.RMSeq:
		unfetch(ours, theirs)
	case rmid == wal.RMSpgist && blk == 0:
		forgetLastUsed(ours)
		forgetLastUsed(theirs)
	case rmid == wal.RMGist:
		forgetDeleted(ours)
		forgetDeleted(theirs)
	}
	equal, diffs, err := redo.Compare(rmid, ours, theirs, blk, &c.scratch)
	if err != nil {
		return false, nil, err
	}
	// Images are compared in the middle of things, where these two may differ; at a clean stop they may not.
	if rmid == wal.RMHeap && (ours.Flags()^theirs.Flags())&pg.PageAllVisible != 0 {
		equal, diffs = false, append(diffs, redo.Range{Offset: 10, Length: 2})
	}
	if rmid == wal.RMGist && !ours.IsNew() && !sameSplit(ours, theirs) {
		equal, diffs = false, append(diffs, redo.Range{Offset: pg.BlockSize - gistrec.OpaqueSize, Length: gistrec.OpaqueSize})
	}
	hinted := c.hints != nil && slices.Contains(c.hints(f, blk), theirs.LSN())
	if ours.LSN() != theirs.LSN() && !c.unstamped(rmid, f, theirs.LSN()) && !hinted {
		equal, diffs = false, append(diffs, redo.Range{Offset: 0, Length: 8})
	}
	return equal, diffs, nil
}

// untraced says that a page without anything on it may have no trace in the WAL, by its LSN: it was extended by and initialised, which
// is not logged; or it ends the buckets that a hash index has grown by (_hash_alloc_buckets), which are written before their WAL, and a
// crash has lost that: no record ends there, for its place is another's now.
//
// A page that holds something is never without WAL in a file that a catalog names: what a build or a rewrite writes before its WAL is
// named by its commit, and that is behind it. Files of transactions that a crash has cut off are left out (withoutOrphans).
func (c *comparer) untraced(lsn pg.LSN) bool {
	n := len(c.ends)
	if lsn == 0 || n == 0 {
		return true
	}
	_, ok := slices.BinarySearch(c.ends, lsn)
	if ok || lsn < c.ends[0] || lsn > c.ends[n-1] {
		return false
	}
	c.final.LostWAL++
	return true
}

// unstamped says that a server's page may have this LSN instead of its record's: before 17 some pages are written first and then logged,
// which gives them their LSN. These are what a sorted build makes of a GiST index (gist_indexsortbuild), and init forks that do not go
// through the buffers (btbuildempty, spgbuildempty, blbuildempty).
func (c *comparer) unstamped(rmid wal.RMID, f datadir.Fork, lsn pg.LSN) bool {
	switch {
	case c.major >= pg.PG17:
		return false
	case rmid == wal.RMGist:
		return lsn == gistrec.BuildLSN && f.Fork == pg.MainFork
	case rmid == wal.RMBtree || rmid == wal.RMSpgist || rmid == wal.RMGeneric:
		return lsn == 0 && f.Fork == pg.InitFork
	}
	return false
}

// unfetch takes out of two pages of a sequence what may differ while values it has logged are still to be given out
// (nextval_internal): the WAL holds the last of them, the server's page the last one given out.
func unfetch(ours, theirs pg.Page) {
	a, ok := ours.Tuple(1)
	b, ok2 := theirs.Tuple(1)
	if !ok || !ok2 || a.Hoff()+17 > len(a) || b.Hoff()+17 > len(b) {
		return
	}
	a, b = a[a.Hoff():], b[b.Hoff():] // last_value int64, log_cnt int64, is_called bool
	if binary.LittleEndian.Uint64(a[8:]) == 0 && binary.LittleEndian.Uint64(b[8:]) != 0 {
		copy(a, b[:17])
	}
}

// forgetLastUsed clears the part of an SP-GiST metapage that is a mere memo of pages with room, which is never logged
// (SpGistLUPCache): after a magic number, 8 pairs of block and free bytes.
func forgetLastUsed(p pg.Page) { clear(p[pg.PageHeaderSize+4 : pg.PageHeaderSize+4+8*8]) }

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
