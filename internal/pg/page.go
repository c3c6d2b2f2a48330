package pg

import "encoding/binary"

// Page is one 8 KiB block. Layout of its header (storage/bufpage.h), all little-endian:
//
//	 0  pd_lsn       uint32 high, uint32 low: end of the last record that changed it
//	 8  pd_checksum  uint16
//	10  pd_flags     uint16
//	12  pd_lower     uint16: end of line pointers
//	14  pd_upper     uint16: start of tuples
//	16  pd_special   uint16
//	18  pd_pagesize_version uint16
//	20  pd_prune_xid uint32
//	24  line pointers, 4 bytes each
type Page []byte

// PageHeaderSize is SizeOfPageHeaderData.
const PageHeaderSize = 24

// Page flags (storage/bufpage.h).
const (
	PageHasFreeLines = 0x0001 // PD_HAS_FREE_LINES
	PageFull         = 0x0002 // PD_PAGE_FULL
	PageAllVisible   = 0x0004 // PD_ALL_VISIBLE
)

// LSN is the end of the last record that changed the page (PageGetLSN).
func (p Page) LSN() LSN {
	return LSN(binary.LittleEndian.Uint32(p))<<32 | LSN(binary.LittleEndian.Uint32(p[4:]))
}

// SetLSN stamps the page (PageSetLSN).
func (p Page) SetLSN(l LSN) {
	binary.LittleEndian.PutUint32(p, uint32(l>>32))
	binary.LittleEndian.PutUint32(p[4:], uint32(l))
}

func (p Page) u16(at int) uint16 { return binary.LittleEndian.Uint16(p[at:]) }
func (p Page) setU16(at int, v uint16) {
	binary.LittleEndian.PutUint16(p[at:], v)
}

func (p Page) Checksum() uint16     { return p.u16(8) }
func (p Page) SetChecksum(v uint16) { p.setU16(8, v) }
func (p Page) Flags() uint16        { return p.u16(10) }
func (p Page) SetFlags(v uint16)    { p.setU16(10, v) }
func (p Page) Lower() uint16        { return p.u16(12) }
func (p Page) SetLower(v uint16)    { p.setU16(12, v) }
func (p Page) Upper() uint16        { return p.u16(14) }
func (p Page) SetUpper(v uint16)    { p.setU16(14, v) }
func (p Page) Special() uint16      { return p.u16(16) }
func (p Page) SetSpecial(v uint16)  { p.setU16(16, v) }
func (p Page) PruneXID() XID        { return XID(binary.LittleEndian.Uint32(p[20:])) }
func (p Page) SetPruneXID(x XID)    { binary.LittleEndian.PutUint32(p[20:], uint32(x)) }

// IsNew says the page was never initialised (PageIsNew).
func (p Page) IsNew() bool { return p.Upper() == 0 }

// Init makes an empty page with a special area of that many bytes (PageInit).
func (p Page) Init(special int) {
	clear(p[:BlockSize])
	p.SetLower(PageHeaderSize)
	p.SetUpper(uint16(BlockSize - special))
	p.SetSpecial(uint16(BlockSize - special))
	p.setU16(18, BlockSize|4)
}

// SpecialArea returns the last size bytes of the page; ok is false if its special area is not these (PageGetSpecialSize).
func (p Page) SpecialArea(size int) (area []byte, ok bool) {
	at := BlockSize - size
	return p[at:BlockSize:BlockSize], int(p.Special()) == at
}

// NumItems is the count of line pointers (PageGetMaxOffsetNumber).
// It trusts pd_lower only as far as the page goes.
func (p Page) NumItems() int {
	l := int(p.Lower())
	if l <= PageHeaderSize || l > BlockSize {
		return 0
	}
	return (l - PageHeaderSize) / 4
}

// ItemID is a line pointer (ItemIdData): 15 bits offset, 2 bits state, 15 bits length.
type ItemID uint32

// Line pointer states (storage/itemid.h).
const (
	LPUnused   = 0
	LPNormal   = 1
	LPRedirect = 2
	LPDead     = 3
)

// MakeItemID packs a line pointer: offset and length in bytes, one of the states above.
func MakeItemID(off, state, length int) ItemID {
	return ItemID(uint32(off) | uint32(state)<<15 | uint32(length)<<17)
}
func (i ItemID) Offset() int { return int(i & 0x7FFF) }
func (i ItemID) State() int  { return int(i>>15) & 3 }
func (i ItemID) Len() int    { return int(i >> 17) }

// Item returns line pointer off, which counts from 1; the caller has checked off <= NumItems().
func (p Page) Item(off OffsetNumber) ItemID {
	return ItemID(binary.LittleEndian.Uint32(p[PageHeaderSize+4*(int(off)-1):]))
}

// SetItem stores line pointer off.
func (p Page) SetItem(off OffsetNumber, i ItemID) {
	binary.LittleEndian.PutUint32(p[PageHeaderSize+4*(int(off)-1):], uint32(i))
}

// Offsets is an array of line pointer numbers as it lies in a record, 2 bytes each.
type Offsets []byte

// Len is the count of offsets.
func (o Offsets) Len() int { return len(o) / 2 }

// At is offset i, from 0.
func (o Offsets) At(i int) OffsetNumber { return OffsetNumber(binary.LittleEndian.Uint16(o[2*i:])) }

// Tuple returns the bytes of a normal line pointer, or ok false when the pointer is not normal or runs off the page.
func (p Page) Tuple(off OffsetNumber) (t HeapTuple, ok bool) {
	if off < 1 || int(off) > p.NumItems() {
		return nil, false
	}
	i := p.Item(off)
	if i.State() != LPNormal || i.Len() < HeapTupleHeaderSize || i.Offset()+i.Len() > BlockSize {
		return nil, false
	}
	return HeapTuple(p[i.Offset() : i.Offset()+i.Len() : i.Offset()+i.Len()]), true
}

// MaxAlign rounds up to the 8-byte boundary (MAXALIGN).
func MaxAlign(n int) int { return (n + 7) &^ 7 }
