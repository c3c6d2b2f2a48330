package redo

import (
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// errPage says why a page cannot take a change; the caller adds the place.
var (
	errPointers  = errors.New("the page's lower, upper and special pointers are out of order")
	errOffset    = errors.New("the line pointer to use is beyond the page's first unused one")
	errUsed      = errors.New("the line pointer to use is in use")
	errNoRoom    = errors.New("the tuple does not fit on the page")
	errNotNormal = errors.New("the line pointer is not a tuple's")
	errStorage   = errors.New("a line pointer points outside the page's tuples")
)

// checkPointers is the sanity check PageAddItemExtended and PageRepairFragmentation begin with.
func checkPointers(p pg.Page) error {
	l, u, s := p.Lower(), p.Upper(), p.Special()
	if l < pg.PageHeaderSize || l > u || u > s || s > pg.BlockSize {
		return errPointers
	}
	return nil
}

// tuple returns the tuple at off, or an error where redo in Postgres panics with "invalid lp".
func tuple(p pg.Page, off pg.OffsetNumber) (pg.HeapTuple, error) {
	t, ok := p.Tuple(off)
	if !ok {
		return nil, errNotNormal
	}
	return t, nil
}

// addItem makes room for size bytes at line pointer off and returns them, to be filled
// (PageAddItemExtended with PAI_OVERWRITE | PAI_IS_HEAP).
func addItem(p pg.Page, size int, off pg.OffsetNumber) (pg.HeapTuple, error) {
	if err := checkPointers(p); err != nil {
		return nil, err
	}
	limit, lower := p.NumItems()+1, int(p.Lower())
	switch {
	case off < 1 || int(off) > limit || off > pg.MaxHeapTuplesPerPage:
		return nil, errOffset
	case int(off) == limit:
		lower = pg.PageHeaderSize + 4*limit
	case p.Item(off).State() != pg.LPUnused || p.Item(off).Len() != 0:
		return nil, errUsed
	}
	end := int(p.Upper())
	upper := end - pg.MaxAlign(size)
	if lower > upper {
		return nil, errNoRoom
	}
	p.SetLower(uint16(lower))
	p.SetUpper(uint16(upper))
	p.SetItem(off, pg.MakeItemID(upper, pg.LPNormal, size))
	clear(p[upper+size : end])
	return pg.HeapTuple(p[upper : upper+size : upper+size]), nil
}

// repack moves the tuples together towards the special area, in line pointer order from the end of the page, drops
// trailing unused line pointers and zeroes what became free (PageRepairFragmentation and compactify_tuples, both of
// whose ways leave the tuples in this order).
func repack(p pg.Page) error {
	if err := checkPointers(p); err != nil {
		return err
	}
	n, lower, upper, special := p.NumItems(), int(p.Lower()), int(p.Upper()), int(p.Special())
	if special != pg.MaxAlign(special) {
		return errPointers
	}
	last, total, unused, presorted, previous := 0, 0, 0, true, special
	for i := 1; i <= n; i++ {
		lp := p.Item(pg.OffsetNumber(i))
		if lp.State() == pg.LPUnused {
			p.SetItem(pg.OffsetNumber(i), 0)
			unused++
			continue
		}
		last = i
		if lp.Len() == 0 {
			continue
		}
		at, size := lp.Offset(), pg.MaxAlign(lp.Len())
		if at < upper || at+size > special {
			return errStorage
		}
		presorted = presorted && at < previous
		previous, total = at, total+size
	}
	// Tuples that overlap could add up to more than there is: from here on upper stays above the line pointers.
	if total > special-lower {
		return errNoRoom
	}
	upper = compact(p, n, presorted)
	lower = pg.PageHeaderSize + 4*last
	p.SetLower(uint16(lower))
	p.SetUpper(uint16(upper))
	clear(p[lower:upper])
	setFreeLines(p, unused > n-last)
	return nil
}

// compact places the tuples and returns the new upper. repack has checked each line pointer and the sum of sizes.
func compact(p pg.Page, n int, presorted bool) int {
	if !presorted {
		return compactUnsorted(p, n)
	}
	// Tuples lie in line pointer order from the end: those that move by the same distance move as one (compactify_tuples).
	upper := int(p.Special())
	from, to := upper, upper // the run [from, ...) gathered last goes to [to, ...)
	size := 0
	for i := 1; i <= n; i++ {
		off := pg.OffsetNumber(i)
		lp := p.Item(off)
		if lp.Len() == 0 {
			continue
		}
		at, length := lp.Offset(), pg.MaxAlign(lp.Len())
		if at+length != from { // a gap: the run ends
			if from != to {
				copy(p[to:to+size], p[from:from+size])
			}
			size = 0
		}
		upper -= length
		from, to, size = at, upper, size+length
		if at != upper {
			p.SetItem(off, pg.MakeItemID(upper, lp.State(), lp.Len()))
		}
	}
	if from != to {
		copy(p[to:to+size], p[from:from+size])
	}
	return upper
}

// compactUnsorted moves out of a copy: a tuple may have to go where another still lies.
func compactUnsorted(p pg.Page, n int) int {
	var from [pg.BlockSize]byte
	copy(from[p.Upper():], p[p.Upper():p.Special()])
	upper := int(p.Special())
	for i := 1; i <= n; i++ {
		off := pg.OffsetNumber(i)
		lp := p.Item(off)
		if lp.Len() == 0 {
			continue
		}
		at, size := lp.Offset(), pg.MaxAlign(lp.Len())
		upper -= size
		copy(p[upper:upper+size], from[at:at+size])
		p.SetItem(off, pg.MakeItemID(upper, lp.State(), lp.Len()))
	}
	return upper
}

// truncateLines drops trailing unused line pointers but never the first (PageTruncateLinePointerArray).
func truncateLines(p pg.Page) error {
	if err := checkPointers(p); err != nil {
		return err
	}
	n := p.NumItems()
	keep := n
	for keep > 1 && p.Item(pg.OffsetNumber(keep)).State() == pg.LPUnused {
		keep--
	}
	free := false
	for i := keep; i >= 1 && !free; i-- {
		free = p.Item(pg.OffsetNumber(i)).State() == pg.LPUnused
	}
	lower := pg.PageHeaderSize + 4*keep
	if n == 0 {
		return nil
	}
	clear(p[lower:p.Lower()])
	p.SetLower(uint16(lower))
	setFreeLines(p, free)
	return nil
}

func setFreeLines(p pg.Page, on bool) { setFlag(p, pg.PageHasFreeLines, on) }

func setFlag(p pg.Page, flag uint16, on bool) {
	if on {
		p.SetFlags(p.Flags() | flag)
	} else {
		p.SetFlags(p.Flags() &^ flag)
	}
}

// setPrunable notes that xid left something to prune behind (PageSetPrunable).
func setPrunable(p pg.Page, xid pg.XID) {
	if old := p.PruneXID(); old == pg.InvalidXID || xid.Precedes(old) {
		p.SetPruneXID(xid)
	}
}

// atLine adds the line pointer to a page error.
func atLine(err error, off pg.OffsetNumber) string {
	return fmt.Sprintf("line pointer %d: %v", off, err)
}
