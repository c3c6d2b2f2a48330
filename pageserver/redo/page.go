package redo

import (
	"encoding/binary"
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
	errNotOurs   = errors.New("the page does not end as the pages of this resource manager do")
)

// checkPointers is the sanity check PageAddItemExtended begins with.
func checkPointers(p pg.Page) error {
	l, u, s := p.Lower(), p.Upper(), p.Special()
	if l < pg.PageHeaderSize || l > u || u > s || s > pg.BlockSize {
		return errPointers
	}
	return nil
}

// alignedPointers is the sanity check PageRepairFragmentation and the PageIndex functions begin with.
func alignedPointers(p pg.Page) error {
	if err := checkPointers(p); err != nil {
		return err
	}
	if s := int(p.Special()); s != pg.MaxAlign(s) {
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

// addItem makes room on a heap page for size bytes at line pointer off and returns them, to be filled
// (PageAddItemExtended with PAI_OVERWRITE | PAI_IS_HEAP).
func addItem(p pg.Page, size int, off pg.OffsetNumber) (pg.HeapTuple, error) {
	if off > pg.MaxHeapTuplesPerPage {
		return nil, errOffset
	}
	return roomAt(p, size, off)
}

// roomAt makes room for size bytes at line pointer off, which must be unused or one past the last, and returns them, to be filled
// (PageAddItemExtended with PAI_OVERWRITE).
func roomAt(p pg.Page, size int, off pg.OffsetNumber) ([]byte, error) {
	if err := checkPointers(p); err != nil {
		return nil, err
	}
	limit, lower := p.NumItems()+1, int(p.Lower())
	switch {
	case off < 1 || int(off) > limit:
		return nil, errOffset
	case int(off) == limit:
		lower = pg.PageHeaderSize + 4*limit
	case p.Item(off).State() != pg.LPUnused || p.Item(off).Len() != 0:
		return nil, errUsed
	}
	end := int(p.Upper())
	upper := end - pg.MaxAlign(size)
	if size == 0 || lower > upper {
		return nil, errNoRoom
	}
	return placeItem(p, size, off, lower, upper, end), nil
}

// placeItem gives line pointer off size bytes at upper, up to end with their padding, and returns them, to be filled.
func placeItem(p pg.Page, size int, off pg.OffsetNumber, lower, upper, end int) []byte {
	p.SetLower(uint16(lower))
	p.SetUpper(uint16(upper))
	p.SetItem(off, pg.MakeItemID(upper, pg.LPNormal, size))
	clear(p[upper+size : end])
	return p[upper : upper+size : upper+size]
}

// repack moves the tuples together towards the special area, in line pointer order from the end of the page, drops
// trailing unused line pointers and zeroes what became free (PageRepairFragmentation and compactify_tuples, both of
// whose ways leave the tuples in this order).
func repack(p pg.Page) error {
	if err := alignedPointers(p); err != nil {
		return err
	}
	var c compaction
	if err := c.gather(p); err != nil {
		return err
	}
	upper := c.move(p)
	lower := pg.PageHeaderSize + 4*c.last
	p.SetLower(uint16(lower))
	p.SetUpper(uint16(upper))
	clear(p[lower:upper])
	setFreeLines(p, c.unused > c.lines-c.last)
	return nil
}

// compaction is the tuples of a page that is being repacked (itemIdCompactData).
type compaction struct {
	tuples    [maxIndexTuplesPerPage]storedTuple // no page holds more
	n         int
	lines     int  // line pointers
	last      int  // the last one in use
	unused    int  // how many are not
	presorted bool // tuples lie in line pointer order from the end
}

type storedTuple struct {
	at, size uint16 // size is MAXALIGNed
	line     uint16 // line pointer, from 0
}

// gather reads the line pointers. When it returns no error all tuples lie between the line pointers and the special area,
// and their sizes fit there.
func (c *compaction) gather(p pg.Page) error {
	upper, special := int(p.Upper()), int(p.Special())
	lines := p[pg.PageHeaderSize : pg.PageHeaderSize+4*p.NumItems()]
	c.lines, c.presorted = len(lines)/4, true
	previous, total := special, 0
	for i := 0; len(lines) >= 4; i, lines = i+1, lines[4:] {
		lp := pg.ItemID(binary.LittleEndian.Uint32(lines))
		if lp.State() == pg.LPUnused {
			clear(lines[:4])
			c.unused++
			continue
		}
		c.last = i + 1
		if lp.Len() == 0 {
			continue
		}
		at, size := lp.Offset(), pg.MaxAlign(lp.Len())
		if at < upper || at+size > special || c.n == len(c.tuples) {
			return errStorage
		}
		c.presorted = c.presorted && at < previous
		previous, total = at, total+size
		c.tuples[c.n] = storedTuple{uint16(at), uint16(size), uint16(i)}
		c.n++
	}
	// Tuples that overlap could add up to more than there is.
	if total > special-int(p.Lower()) {
		return errNoRoom
	}
	return nil
}

// move places the tuples and returns the new upper. Those that move by the same distance and lie side by side move as one.
func (c *compaction) move(p pg.Page) int {
	upper, tuples := int(p.Special()), c.tuples[:c.n]
	for len(tuples) > 0 && int(tuples[0].at)+int(tuples[0].size) == upper { // in place already
		upper -= int(tuples[0].size)
		tuples = tuples[1:]
	}
	if len(tuples) == 0 {
		return upper
	}
	source := p
	if !c.presorted {
		// A tuple may have to go where another still lies: they move out of a copy.
		var held [pg.BlockSize]byte
		low := int(p.Upper())
		copy(held[low:], p[low:p.Special()])
		source = held[:]
	}
	from, size := int(tuples[0].at)+int(tuples[0].size), 0 // the run [from, from+size) goes to [upper, upper+size)
	for _, t := range tuples {
		if int(t.at)+int(t.size) != from { // a gap: the run ends
			copy(p[upper:upper+size], source[from:from+size])
			size = 0
		}
		from, size = int(t.at), size+int(t.size)
		upper -= int(t.size)
		line := p[pg.PageHeaderSize+4*int(t.line):][:4]
		lp := pg.ItemID(binary.LittleEndian.Uint32(line))
		binary.LittleEndian.PutUint32(line, uint32(pg.MakeItemID(upper, lp.State(), lp.Len())))
	}
	copy(p[upper:upper+size], source[from:from+size])
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

// atLine adds the line pointer to a page error, if there is one.
func atLine(err error, off pg.OffsetNumber) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("line pointer %d: %w", off, err)
}
