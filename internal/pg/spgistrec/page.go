package spgistrec

import "github.com/tarn-db/tarn/internal/pg"

// Opaque is a page's special area (SpGistPageOpaqueData).
//
//	0 flags uint16   2 nRedirection uint16   4 nPlaceholder uint16   6 spgist_page_id uint16
type Opaque []byte

// OpaqueSize is the size of the special area, bytes.
const OpaqueSize = 8

// pageID is SPGIST_PAGE_ID.
const pageID = 0xFF82

// Flags of a page.
const (
	PageLeaf  = 1 << 2 // SPGIST_LEAF
	PageNulls = 1 << 3 // SPGIST_NULLS
)

// InitPage makes an empty page (SpGistInitPage).
func InitPage(p pg.Page, flags uint16) {
	p.Init(OpaqueSize)
	o, _ := p.SpecialArea(OpaqueSize)
	le.PutUint16(o, flags)
	le.PutUint16(o[6:], pageID)
}

// PageOpaque returns the special area, ok false if the page is not one of SP-GiST.
func PageOpaque(p pg.Page) (o Opaque, ok bool) {
	o, ok = p.SpecialArea(OpaqueSize)
	return o, ok && le.Uint16(o[6:]) == pageID
}

// Redirections counts the page's REDIRECTs.
func (o Opaque) Redirections() uint16 { return le.Uint16(o[2:]) }

// Placeholders counts the page's PLACEHOLDERs.
func (o Opaque) Placeholders() uint16 { return le.Uint16(o[4:]) }

// AddRedirections changes nRedirection. As in Postgres nothing keeps it from wrapping: it is not what redo goes by.
func (o Opaque) AddRedirections(n int) { le.PutUint16(o[2:], uint16(int(o.Redirections())+n)) }

// AddPlaceholders changes nPlaceholder. As in Postgres nothing keeps it from wrapping: it is not what redo goes by.
func (o Opaque) AddPlaceholders(n int) { le.PutUint16(o[4:], uint16(int(o.Placeholders())+n)) }

// TupleState is tupstate, the lowest two bits of a tuple of any kind.
type TupleState uint8

// Tuple states (SPGIST_LIVE and others).
const (
	Live        TupleState = 0
	Redirect    TupleState = 1 // leads to where what was here has gone
	Dead        TupleState = 2 // cannot be removed because of links to it
	Placeholder TupleState = 3 // keeps the numbers of the tuples after it, and may be reused
)

// StateOf is the state of a tuple of any kind, which has at least one byte.
func StateOf(tuple []byte) TupleState { return TupleState(tuple[0] & 3) }

// LeafTuple is SpGistLeafTupleData and what follows.
//
//	0 uint32: 2 bits tupstate, 30 bits size in bytes   4 t_info uint16: 14 bits nextOffset, 2 flags   6 heapPtr 6 bytes   12 data
type LeafTuple []byte

// leafHeaderSize is sizeof(SpGistLeafTupleData), bytes.
const leafHeaderSize = 12

// SetNext links the tuple to the next one in its chain, or to none with 0 (SGLT_SET_NEXTOFFSET). It returns false, with nothing
// done, if it is not a Live tuple as long as it says: others are in no chain.
func (t LeafTuple) SetNext(next pg.OffsetNumber) bool {
	if len(t) < leafHeaderSize || StateOf(t) != Live || int(le.Uint32(t)>>2) != len(t) {
		return false
	}
	le.PutUint16(t[4:], le.Uint16(t[4:])&0xC000|uint16(next)&0x3FFF)
	return true
}

// InnerTuple is SpGistInnerTupleData and what follows: the prefix, then nNodes nodes.
//
//	0 uint32: 2 bits tupstate, 1 bit allTheSame, 13 bits nNodes, 16 bits prefixSize in bytes   4 size uint16   6 padding   8 prefix
//
// A node is an IndexTupleData: 0 t_tid 6 bytes, its downlink   6 t_info uint16: 13 bits size in bytes, 3 flags   8 label
type InnerTuple []byte

// innerHeaderSize is SGITHDRSZ, and nodeHeaderSize SGNTHDRSZ, bytes.
const (
	innerHeaderSize = 8
	nodeHeaderSize  = 8
)

// SetLink lets a node, counted from 0, lead to a tuple (spgUpdateNodeLink). It returns false, with nothing done, if there is no such
// node within the tuple, or it is not an inner tuple as long as it says.
func (t InnerTuple) SetLink(node uint16, to pg.TID) bool {
	if len(t) < innerHeaderSize || int(le.Uint16(t[4:])) != len(t) {
		return false
	}
	header := le.Uint32(t)
	at := innerHeaderSize + int(header>>16)
	if uint32(node) >= header>>3&0x1FFF {
		return false
	}
	for i := uint16(0); at+nodeHeaderSize <= len(t); i++ {
		if i == node {
			to.Put(t[at:])
			return true
		}
		size := int(le.Uint16(t[at+6:]) & 0x1FFF)
		if size < nodeHeaderSize {
			return false
		}
		at += size
	}
	return false
}

// DeadTuple is SpGistDeadTupleData, which takes the place of a tuple of either kind.
//
//	0 uint32: 2 bits tupstate, 30 bits size in bytes   4 t_info uint16   6 pointer 6 bytes   12 xid uint32
//
// pointer and xid have a meaning in a Redirect only: where to, and the transaction that moved it, 0 if none.
type DeadTuple [DeadTupleSize]byte

// DeadTupleSize is SGDTSIZE, bytes.
const DeadTupleSize = 16

// MakeRedirect makes a Redirect (spgFormDeadTuple).
func MakeRedirect(to pg.TID, xid pg.XID) (t DeadTuple) {
	le.PutUint32(t[:], uint32(Redirect)|DeadTupleSize<<2)
	to.Put(t[6:])
	le.PutUint32(t[12:], uint32(xid))
	return t
}

// MakeDead makes a tuple that is Dead or a Placeholder (spgFormDeadTuple).
func MakeDead(state TupleState) (t DeadTuple) {
	le.PutUint32(t[:], uint32(state)|DeadTupleSize<<2)
	pg.TID{Block: pg.InvalidBlock}.Put(t[6:])
	return t
}

// ForgetRedirect makes a Redirect a Placeholder, which keeps its XID. It returns false, with nothing done, if it is none.
func ForgetRedirect(t []byte) bool {
	if len(t) < DeadTupleSize || StateOf(t) != Redirect {
		return false
	}
	t[0] |= byte(Placeholder)
	pg.TID{Block: pg.InvalidBlock}.Put(t[6:])
	return true
}
