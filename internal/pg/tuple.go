package pg

import "encoding/binary"

// HeapTuple is a heap tuple as it lies on a page. Header (access/htup_details.h):
//
//	 0 t_xmin uint32   4 t_xmax uint32   8 t_cid / t_xvac uint32
//	12 t_ctid: block high uint16, block low uint16, offset uint16
//	18 t_infomask2 uint16   20 t_infomask uint16   22 t_hoff uint8   23 null bitmap
type HeapTuple []byte

// HeapTupleHeaderSize is SizeofHeapTupleHeader.
const HeapTupleHeaderSize = 23

// t_infomask bits (access/htup_details.h).
const (
	HeapHasNull       = 0x0001
	HeapHasVarWidth   = 0x0002
	HeapHasExternal   = 0x0004
	HeapXmaxKeyShrLck = 0x0010
	HeapComboCID      = 0x0020
	HeapXmaxExclLock  = 0x0040
	HeapXmaxLockOnly  = 0x0080
	HeapXmaxShrLock   = HeapXmaxExclLock | HeapXmaxKeyShrLck
	HeapLockMask      = HeapXmaxShrLock | HeapXmaxExclLock | HeapXmaxKeyShrLck
	HeapXminCommitted = 0x0100
	HeapXminInvalid   = 0x0200
	HeapXminFrozen    = HeapXminCommitted | HeapXminInvalid
	HeapXmaxCommitted = 0x0400
	HeapXmaxInvalid   = 0x0800
	HeapXmaxIsMulti   = 0x1000
	HeapUpdated       = 0x2000
	HeapMovedOff      = 0x4000
	HeapMovedIn       = 0x8000
	HeapXactMask      = 0xFFF0
)

// t_infomask2 bits.
const (
	HeapNattsMask   = 0x07FF
	HeapKeysUpdated = 0x2000
	HeapHotUpdated  = 0x4000
	HeapOnlyTuple   = 0x8000
	Heap2XactMask   = 0xE000
)

func (t HeapTuple) Xmin() XID             { return XID(binary.LittleEndian.Uint32(t)) }
func (t HeapTuple) SetXmin(x XID)         { binary.LittleEndian.PutUint32(t, uint32(x)) }
func (t HeapTuple) Xmax() XID             { return XID(binary.LittleEndian.Uint32(t[4:])) }
func (t HeapTuple) SetXmax(x XID)         { binary.LittleEndian.PutUint32(t[4:], uint32(x)) }
func (t HeapTuple) Infomask2() uint16     { return binary.LittleEndian.Uint16(t[18:]) }
func (t HeapTuple) SetInfomask2(v uint16) { binary.LittleEndian.PutUint16(t[18:], v) }
func (t HeapTuple) Infomask() uint16      { return binary.LittleEndian.Uint16(t[20:]) }
func (t HeapTuple) SetInfomask(v uint16)  { binary.LittleEndian.PutUint16(t[20:], v) }
func (t HeapTuple) Hoff() int             { return int(t[22]) }

// Natts is the number of columns the tuple stores (HeapTupleHeaderGetNatts); later columns are read as missing.
func (t HeapTuple) Natts() int { return int(t.Infomask2() & HeapNattsMask) }

// Ctid is t_ctid: the newer version's address, or the tuple's own.
func (t HeapTuple) Ctid() TID { return TIDAt(t[12:]) }

// SetCtid stores t_ctid.
func (t HeapTuple) SetCtid(c TID) { c.Put(t[12:]) }
