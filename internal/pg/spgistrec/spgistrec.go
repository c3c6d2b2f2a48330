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

// cursor walks one record's main data. The first read past the end, or of a value that cannot be, is kept in bad, and later reads
// return nothing: a decoder checks once, in done.
type cursor struct {
	rest []byte
	bad  string
}

// bytes takes the next n bytes, or nil when there are fewer.
func (c *cursor) bytes(n int) []byte {
	if n > len(c.rest) || c.bad != "" {
		c.fail("it is too short")
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) fail(what string) {
	if c.bad == "" {
		c.bad = what
	}
}

func (c *cursor) u16() uint16 {
	if b := c.bytes(2); b != nil {
		return le.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.bytes(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

// bool reads a C bool, which is 0 or 1.
func (c *cursor) bool() bool {
	b := c.bytes(1)
	if b != nil && b[0] > 1 {
		c.fail("a bool is neither 0 nor 1")
	}
	return b != nil && b[0] == 1
}

func (c *cursor) offset() pg.OffsetNumber     { return pg.OffsetNumber(c.u16()) }
func (c *cursor) offsets(n uint16) pg.Offsets { return c.bytes(2 * int(n)) }
func (c *cursor) skip(n int)                  { c.bytes(n) }
func (c *cursor) done(record string) error {
	switch {
	case c.bad != "":
		return pg.Corruptf("%s: %s", record, c.bad)
	case len(c.rest) != 0:
		return pg.Corruptf("%s: %d bytes are left over", record, len(c.rest))
	}
	return nil
}

// leaf takes a leaf tuple, as long as its header says.
func (c *cursor) leaf() LeafTuple {
	if len(c.rest) < leafHeaderSize || c.bad != "" {
		c.fail("a leaf tuple is cut short")
		return nil
	}
	return c.tuple(int(le.Uint32(c.rest) >> 2))
}

// leafs takes n leaf tuples.
func (c *cursor) leafs(n int) Leafs {
	all := c.rest
	for range n {
		c.leaf()
	}
	return Leafs(all[:len(all)-len(c.rest)])
}

// inner takes an inner tuple, as long as its header says.
func (c *cursor) inner() InnerTuple {
	if len(c.rest) < innerHeaderSize || c.bad != "" {
		c.fail("an inner tuple is cut short")
		return nil
	}
	return c.tuple(int(le.Uint16(c.rest[4:])))
}

// tuple takes size bytes. Tuples of either kind are multiples of MAXALIGN and leave room for a dead tuple in their place.
func (c *cursor) tuple(size int) []byte {
	if size < DeadTupleSize || size != pg.MaxAlign(size) {
		c.fail("a tuple has an impossible size")
		return nil
	}
	return c.bytes(size)
}

// State is spgxlogState: what redo must know of the index to leave dead tuples behind.
//
//	0 redirectXid (before 16: myXid) uint32   4 isBuild bool   5 three bytes of padding
type State struct {
	RedirectXID pg.XID
	IsBuild     bool // never set since 11, whose builds log whole pages instead
}

func (c *cursor) state() State {
	s := State{RedirectXID: pg.XID(c.u32()), IsBuild: c.bool()}
	c.skip(3)
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
