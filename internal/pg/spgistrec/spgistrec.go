// Package spgistrec decodes the WAL records of SP-GiST, one struct per record for all majors, and knows the tuples and the special
// area of its pages. It is pure; what differs between majors is decided here and nowhere above.
//
// A record that is not exactly as long as its own counts, flags and tuples say is refused: minor releases add to records
// without a new WAL magic, and a guess about what they added would become wrong pages. Every slice in a struct is a
// view into the bytes it was decoded from.
package spgistrec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record types: xl_info & 0xF0 (access/spgxlog.h). 0x00, the creation of an index, has not been written since 11.
const (
	OpAddLeaf        = 0x10
	OpMoveLeafs      = 0x20
	OpAddNode        = 0x30
	OpSplitTuple     = 0x40
	OpPickSplit      = 0x50
	OpVacuumLeaf     = 0x60
	OpVacuumRoot     = 0x70
	OpVacuumRedirect = 0x80
)

var le = binary.LittleEndian

// cursor reads what records of SP-GiST hold besides numbers.
type cursor struct{ pg.Cursor }

func newCursor(name string, main []byte) cursor { return cursor{pg.NewCursor(name, main)} }

func (c *cursor) offset() pg.OffsetNumber     { return pg.OffsetNumber(c.U16()) }
func (c *cursor) offsets(n uint16) pg.Offsets { return c.Bytes(2 * int(n)) }

// leaf takes a leaf tuple, as long as its header says.
func (c *cursor) leaf() LeafTuple {
	if len(c.Rest()) < leafHeaderSize {
		c.Fail("a leaf tuple is cut short")
		return nil
	}
	return c.tuple(int(le.Uint32(c.Rest()) >> 2))
}

// leafs takes n leaf tuples.
func (c *cursor) leafs(n int) Leafs {
	all := c.Rest()
	for range n {
		c.leaf()
	}
	return Leafs(all[:len(all)-len(c.Rest())])
}

// inner takes an inner tuple, as long as its header says.
func (c *cursor) inner() InnerTuple {
	if len(c.Rest()) < innerHeaderSize {
		c.Fail("an inner tuple is cut short")
		return nil
	}
	return c.tuple(int(le.Uint16(c.Rest()[4:])))
}

// tuple takes size bytes. Tuples of either kind are multiples of MAXALIGN and leave room for a dead tuple in their place.
func (c *cursor) tuple(size int) []byte {
	if size < DeadTupleSize || size != pg.MaxAlign(size) {
		c.Fail("a tuple of %d bytes", size)
		return nil
	}
	return c.Bytes(size)
}

// State is spgxlogState: what redo must know of the index to leave dead tuples behind.
//
//	0 redirectXid (before 16: myXid) uint32   4 isBuild bool   5 three bytes of padding
type State struct {
	RedirectXID pg.XID
	IsBuild     bool // never set since 11, whose builds log whole pages instead
}

func (c *cursor) state() State {
	s := State{RedirectXID: pg.XID(c.U32()), IsBuild: c.Bool()}
	c.Skip(3)
	return s
}

// Leafs yields the leaf tuples of a record, which lie in it side by side.
type Leafs []byte

// Next hands out the next tuple; ok is false behind the last.
func (l *Leafs) Next() (t LeafTuple, ok bool) {
	if len(*l) == 0 {
		return nil, false
	}
	size := le.Uint32(*l) >> 2
	t = LeafTuple((*l)[:size:size])
	*l = (*l)[size:]
	return t, true
}
