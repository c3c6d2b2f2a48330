package redo

import (
	"encoding/binary"
	"errors"

	"github.com/tarn-db/tarn/internal/pg"
)

// maxIndexTuplesPerPage is MaxIndexTuplesPerPage: an index tuple has a header of 8 bytes and at least 8 more, and a line pointer.
const maxIndexTuplesPerPage = (pg.BlockSize - pg.PageHeaderSize) / (16 + 4)

var (
	errItem   = errors.New("there is no such line pointer")
	errOrder  = errors.New("the line pointers to delete do not rise, or are not there")
	errItemIn = errors.New("a line pointer points outside the page's tuples, or to an odd place")
)

// item returns the bytes of a line pointer that has storage, whatever its state.
func item(p pg.Page, off pg.OffsetNumber) ([]byte, error) {
	if err := checkPointers(p); err != nil {
		return nil, err
	}
	if off < 1 || int(off) > p.NumItems() {
		return nil, errItem
	}
	i := p.Item(off)
	if i.Len() == 0 || i.Offset() < int(p.Upper()) || i.Offset()+i.Len() > int(p.Special()) {
		return nil, errItemIn
	}
	return p[i.Offset() : i.Offset()+i.Len() : i.Offset()+i.Len()], nil
}

// insertItem puts an item at line pointer off, which must be at most one past the last; those from off on move up by one
// (PageAddItemExtended without flags).
func insertItem(p pg.Page, data []byte, off pg.OffsetNumber) error {
	if err := checkPointers(p); err != nil {
		return err
	}
	limit := p.NumItems() + 1
	if off < 1 || int(off) > limit {
		return errOffset
	}
	end := int(p.Upper())
	lower, upper := pg.PageHeaderSize+4*limit, end-pg.MaxAlign(len(data))
	if len(data) == 0 || lower > upper {
		return errNoRoom
	}
	at := pg.PageHeaderSize + 4*(int(off)-1)
	copy(p[at+4:lower], p[at:lower-4])
	copy(placeItem(p, len(data), off, lower, upper, end), data)
	return nil
}

// appendItem puts an item behind the last line pointer.
func appendItem(p pg.Page, data []byte) error {
	return insertItem(p, data, pg.OffsetNumber(p.NumItems()+1))
}

// appendTuples puts index tuples behind the last line pointer.
func appendTuples(p pg.Page, tuples pg.IndexTuples) error {
	for t, ok := tuples.Next(); ok; t, ok = tuples.Next() {
		if err := appendItem(p, t); err != nil {
			return atLine(err, pg.OffsetNumber(p.NumItems()+1))
		}
	}
	return nil
}

// overwriteUnused puts an item at line pointer off, which must be unused or one past the last
// (PageAddItemExtended with PAI_OVERWRITE).
func overwriteUnused(p pg.Page, data []byte, off pg.OffsetNumber) error {
	room, err := roomAt(p, len(data), off)
	copy(room, data)
	return err
}

// storedItem is a line pointer whose item the PageIndex functions may move: within the tuples, at an aligned place.
// size is MAXALIGNed.
func storedItem(p pg.Page, off pg.OffsetNumber) (at, size int, err error) {
	if off < 1 || int(off) > p.NumItems() {
		return 0, 0, errItem
	}
	i := p.Item(off)
	at, size = i.Offset(), pg.MaxAlign(i.Len())
	if size == 0 || at < int(p.Upper()) || at+size > int(p.Special()) || at != pg.MaxAlign(at) {
		return 0, 0, errItemIn
	}
	return at, size, nil
}

// deleteItem takes an item away; later line pointers move down by one, and tuples below it move up (PageIndexTupleDelete).
func deleteItem(p pg.Page, off pg.OffsetNumber) error {
	if err := alignedPointers(p); err != nil {
		return err
	}
	at, size, err := storedItem(p, off)
	if err != nil {
		return err
	}
	lower := int(p.Lower())
	line := pg.PageHeaderSize + 4*(int(off)-1)
	copy(p[line:], p[line+4:lower])
	clear(p[lower-4 : lower])
	p.SetLower(uint16(lower - 4))
	shiftTuples(p, at, size)
	return nil
}

// deleteItemKeepingNumbers takes an item away and leaves the numbers of the others as they are: its line pointer becomes unused, or
// goes if it is the last (PageIndexTupleDeleteNoCompact).
func deleteItemKeepingNumbers(p pg.Page, off pg.OffsetNumber) error {
	if err := alignedPointers(p); err != nil {
		return err
	}
	at, size, err := storedItem(p, off)
	if err != nil {
		return err
	}
	p.SetItem(off, 0)
	if int(off) == p.NumItems() {
		p.SetLower(p.Lower() - 4)
	}
	shiftTuples(p, at, size)
	return nil
}

// shiftTuples closes the gap of size bytes at at: the tuples below it move up, and the line pointers with them.
// A negative size makes a gap below at instead.
func shiftTuples(p pg.Page, at, size int) {
	upper := int(p.Upper())
	copy(p[upper+size:], p[upper:at])
	if size > 0 {
		clear(p[upper : upper+size])
	}
	p.SetUpper(uint16(upper + size))
	lines := p[pg.PageHeaderSize:p.Lower()]
	for ; len(lines) >= 4; lines = lines[4:] {
		lp := pg.ItemID(binary.LittleEndian.Uint32(lines))
		if lp.Len() != 0 && lp.Offset() <= at {
			binary.LittleEndian.PutUint32(lines, uint32(pg.MakeItemID(lp.Offset()+size, lp.State(), lp.Len())))
		}
	}
}

// replaceItem puts another item in the place of one, whose tuple grows or shrinks (PageIndexTupleOverwrite). The state of the line
// pointer stays.
func replaceItem(p pg.Page, off pg.OffsetNumber, data []byte) error {
	if err := alignedPointers(p); err != nil {
		return err
	}
	at, size, err := storedItem(p, off)
	if err != nil {
		return err
	}
	want := pg.MaxAlign(len(data))
	if len(data) == 0 || want > size+int(p.Upper())-int(p.Lower()) {
		return errNoRoom
	}
	if want != size {
		shiftTuples(p, at, size-want)
	}
	at += size - want
	p.SetItem(off, pg.MakeItemID(at, p.Item(off).State(), len(data)))
	copy(p[at:], data)
	clear(p[at+len(data) : at+want])
	return nil
}

// deleteItems takes the items with these numbers away, which rise (PageIndexMultiDelete). As in Postgres up to two of them
// go one by one, which leaves the tuples in the order they lie in; more of them order the tuples by line pointer.
func deleteItems(p pg.Page, gone pg.Offsets) error {
	n := gone.Len()
	if n <= 2 {
		for i := n - 1; i >= 0; i-- {
			if err := deleteItem(p, gone.At(i)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := alignedPointers(p); err != nil {
		return err
	}
	var c compaction
	if err := c.gatherBut(p, gone); err != nil {
		return err
	}
	// The line pointers that stay, moved together before their tuples are.
	next, kept := 0, 0
	lower := int(p.Lower())
	for i := range p.NumItems() {
		if next < n && i == int(gone.At(next))-1 {
			next++
			continue
		}
		copy(p[pg.PageHeaderSize+4*kept:][:4], p[pg.PageHeaderSize+4*i:][:4])
		kept++
	}
	p.SetLower(uint16(pg.PageHeaderSize + 4*kept))
	from := int(p.Upper())
	to := c.move(p)
	clear(p[p.Lower():lower])
	clear(p[from:to])
	p.SetUpper(uint16(to))
	return nil
}

// gatherBut reads the line pointers of an index page but for those in gone, numbered as they will be when those are away.
func (c *compaction) gatherBut(p pg.Page, gone pg.Offsets) error {
	n, next, total := p.NumItems(), 0, 0
	c.lines, c.presorted = n, true
	previous := int(p.Special())
	if n > maxIndexTuplesPerPage {
		return errNoRoom
	}
	for off := pg.OffsetNumber(1); int(off) <= n; off++ {
		at, size, err := storedItem(p, off)
		if err != nil {
			return err
		}
		if next < gone.Len() && off == gone.At(next) {
			next++
			continue
		}
		c.presorted = c.presorted && at < previous
		previous, total = at, total+size
		c.tuples[c.n] = storedTuple{uint16(at), uint16(size), uint16(c.n)}
		c.n++
	}
	if next != gone.Len() {
		return errOrder
	}
	// Tuples that overlap could add up to more than there is.
	if total > int(p.Special())-int(p.Upper()) {
		return errNoRoom
	}
	return nil
}
