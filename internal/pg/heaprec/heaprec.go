// Package heaprec decodes the WAL records of the heap managers, Heap and Heap2: one struct per record for all majors.
// It is pure; what differs between majors is decided here and nowhere above.
//
// A record that is not exactly as long as its own counts and flags say is refused: minor releases add to records
// without a new WAL magic, and a guess about what they added would become wrong pages. Every slice in a struct is a
// view into the bytes it was decoded from.
package heaprec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record types of the Heap manager: xl_info & OpMask (access/heapam_xlog.h).
const (
	OpInsert    = 0x00
	OpDelete    = 0x10
	OpUpdate    = 0x20
	OpTruncate  = 0x30
	OpHotUpdate = 0x40
	OpConfirm   = 0x50
	OpLock      = 0x60
	OpInplace   = 0x70

	OpMask   = 0x70
	InitPage = 0x80 // XLOG_HEAP_INIT_PAGE: redo builds the page from nothing
)

// Record types of the Heap2 manager. 0x10-0x30 changed their meaning in 17.
const (
	Op2Rewrite     = 0x00
	Op2Prune       = 0x10 // 15, 16: PRUNE; 17+: PRUNE_ON_ACCESS
	Op2Vacuum      = 0x20 // 15, 16: VACUUM; 17+: PRUNE_VACUUM_SCAN
	Op2Freeze      = 0x30 // 15, 16: FREEZE_PAGE; 17+: PRUNE_VACUUM_CLEANUP
	Op2Visible     = 0x40
	Op2MultiInsert = 0x50
	Op2LockUpdated = 0x60
	Op2NewCID      = 0x70
)

// Flags of Insert and MultiInsert (XLH_INSERT_*).
const (
	InsertAllVisibleCleared = 1 << 0
	InsertLastInMulti       = 1 << 1
	InsertIsSpeculative     = 1 << 2
	InsertContainsNewTuple  = 1 << 3
	InsertOnToastRelation   = 1 << 4
	InsertAllFrozenSet      = 1 << 5
)

// Flags of Update (XLH_UPDATE_*).
const (
	UpdateOldAllVisibleCleared = 1 << 0
	UpdateNewAllVisibleCleared = 1 << 1
	UpdateContainsOldTuple     = 1 << 2
	UpdateContainsOldKey       = 1 << 3
	UpdateContainsNewTuple     = 1 << 4
	UpdatePrefixFromOld        = 1 << 5
	UpdateSuffixFromOld        = 1 << 6
)

// Flags of Delete (XLH_DELETE_*).
const (
	DeleteAllVisibleCleared = 1 << 0
	DeleteContainsOldTuple  = 1 << 1
	DeleteContainsOldKey    = 1 << 2
	DeleteIsSuper           = 1 << 3
	DeleteIsPartitionMove   = 1 << 4
)

// LockAllFrozenCleared is XLH_LOCK_ALL_FROZEN_CLEARED, of Lock and LockUpdated.
const LockAllFrozenCleared = 1 << 0

// Infobits of Delete, Update, Lock and LockUpdated (XLHL_*).
const (
	InfobitXmaxIsMulti  = 0x01
	InfobitXmaxLockOnly = 0x02
	InfobitXmaxExclLock = 0x04
	InfobitXmaxKeyShr   = 0x08
	InfobitKeysUpdated  = 0x10
)

// Bits of the visibility map, and of Visible.Flags (access/visibilitymapdefs.h).
const (
	VMAllVisible = 0x01
	VMAllFrozen  = 0x02
	VMValidBits  = VMAllVisible | VMAllFrozen
)

var le = binary.LittleEndian

// TupleHeader is xl_heap_header: what a record keeps of a new tuple's header.
//
//	0 t_infomask2 uint16   2 t_infomask uint16   4 t_hoff uint8
type TupleHeader struct {
	Infomask2, Infomask uint16
	Hoff                uint8 // bytes
}

// TupleHeaderSize is SizeOfHeapHeader.
const TupleHeaderSize = 5

// DecodeTupleHeader reads a header from the start of b and returns what follows it.
func DecodeTupleHeader(b []byte) (h TupleHeader, rest []byte, err error) {
	if len(b) < TupleHeaderSize {
		return h, nil, pg.BadLength("xl_heap_header", len(b), TupleHeaderSize)
	}
	return TupleHeader{Infomask2: le.Uint16(b), Infomask: le.Uint16(b[2:]), Hoff: b[4]}, b[TupleHeaderSize:], nil
}

// Insert is xl_heap_insert. Block 0 carries a TupleHeader and the tuple from its null bitmap on.
//
//	0 offnum uint16   2 flags uint8
type Insert struct {
	Offset pg.OffsetNumber
	Flags  uint8
}

// Where the flags lie in a record's main data, for those who ask for nothing else.
const (
	InsertFlagsAt      = 2
	DeleteFlagsAt      = 7
	UpdateFlagsAt      = 7
	LockFlagsAt        = 7
	MultiInsertFlagsAt = 0
)

// DecodeInsert reads an OpInsert record's main data.
func DecodeInsert(main []byte) (Insert, error) {
	if len(main) != 3 {
		return Insert{}, pg.BadLength("xl_heap_insert", len(main), 3)
	}
	return Insert{Offset: pg.OffsetNumber(le.Uint16(main)), Flags: main[2]}, nil
}

// Delete is xl_heap_delete.
//
//	0 xmax uint32   4 offnum uint16   6 infobits_set uint8   7 flags uint8   8 old key or tuple for logical decoding
type Delete struct {
	Xmax     pg.XID
	Offset   pg.OffsetNumber
	Infobits uint8
	Flags    uint8
	Old      []byte // TupleHeader and tuple, when DeleteContainsOldTuple or DeleteContainsOldKey
}

// DecodeDelete reads an OpDelete record's main data.
func DecodeDelete(main []byte) (d Delete, err error) {
	if len(main) < 8 {
		return d, pg.BadLength("xl_heap_delete", len(main), 8)
	}
	d = Delete{Xmax: pg.XID(le.Uint32(main)), Offset: pg.OffsetNumber(le.Uint16(main[4:])), Infobits: main[6], Flags: main[7]}
	d.Old, err = oldTuple("xl_heap_delete", main[8:], d.Flags&(DeleteContainsOldTuple|DeleteContainsOldKey) != 0)
	return d, err
}

// oldTuple checks the old tuple that ends a Delete or Update: there if and only if the flags say so.
func oldTuple(record string, rest []byte, present bool) ([]byte, error) {
	switch {
	case present && len(rest) < TupleHeaderSize:
		return nil, pg.BadLength(record+"'s old tuple", len(rest), TupleHeaderSize)
	case !present && len(rest) != 0:
		return nil, pg.BadLength(record+"'s old tuple", len(rest), 0)
	case !present:
		return nil, nil
	}
	return rest, nil
}

// Update is xl_heap_update, of OpUpdate and OpHotUpdate. Block 0 is the new tuple's page and carries NewTuple's bytes;
// block 1 is the old tuple's page where that is another; later minors add the visibility map's pages as 2 and 3.
//
//	0 old_xmax uint32   4 old_offnum uint16   6 old_infobits_set uint8   7 flags uint8
//	8 new_xmax uint32  12 new_offnum uint16  14 old key or tuple for logical decoding
type Update struct {
	OldXmax     pg.XID
	OldOffset   pg.OffsetNumber
	OldInfobits uint8
	Flags       uint8
	NewXmax     pg.XID
	NewOffset   pg.OffsetNumber
	Old         []byte // TupleHeader and tuple, when UpdateContainsOldTuple or UpdateContainsOldKey
}

// DecodeUpdate reads an OpUpdate or OpHotUpdate record's main data.
func DecodeUpdate(main []byte) (u Update, err error) {
	if len(main) < 14 {
		return u, pg.BadLength("xl_heap_update", len(main), 14)
	}
	u = Update{
		OldXmax: pg.XID(le.Uint32(main)), OldOffset: pg.OffsetNumber(le.Uint16(main[4:])),
		OldInfobits: main[6], Flags: main[7],
		NewXmax: pg.XID(le.Uint32(main[8:])), NewOffset: pg.OffsetNumber(le.Uint16(main[12:])),
	}
	u.Old, err = oldTuple("xl_heap_update", main[14:], u.Flags&(UpdateContainsOldTuple|UpdateContainsOldKey) != 0)
	return u, err
}

// NewTuple is block 0's data in an Update: the new tuple less what it shares with the old one.
//
//	prefix length uint16 if UpdatePrefixFromOld, suffix length uint16 if UpdateSuffixFromOld, TupleHeader,
//	null bitmap and padding up to Hoff, then the column data between prefix and suffix
type NewTuple struct {
	Prefix, Suffix int // bytes of column data taken from the old tuple's start and end
	Header         TupleHeader
	Bitmap         []byte // header bytes from SizeofHeapTupleHeader to Hoff
	Data           []byte // column data between prefix and suffix
}

// DecodeNewTuple reads block 0's data of an Update with those flags.
func DecodeNewTuple(data []byte, flags uint8) (t NewTuple, err error) {
	if flags&UpdatePrefixFromOld != 0 {
		if len(data) < 2 {
			return t, pg.BadLength("xl_heap_update's prefix length", len(data), 2)
		}
		t.Prefix, data = int(le.Uint16(data)), data[2:]
	}
	if flags&UpdateSuffixFromOld != 0 {
		if len(data) < 2 {
			return t, pg.BadLength("xl_heap_update's suffix length", len(data), 2)
		}
		t.Suffix, data = int(le.Uint16(data)), data[2:]
	}
	if t.Header, data, err = DecodeTupleHeader(data); err != nil {
		return t, err
	}
	bitmap := int(t.Header.Hoff) - pg.HeapTupleHeaderSize
	if bitmap < 0 || bitmap > len(data) {
		return t, pg.BadLength("xl_heap_update's null bitmap", len(data), bitmap)
	}
	t.Bitmap, t.Data = data[:bitmap], data[bitmap:]
	return t, nil
}

// Confirm is xl_heap_confirm: a speculative insertion became real.
//
//	0 offnum uint16
type Confirm struct{ Offset pg.OffsetNumber }

// DecodeConfirm reads an OpConfirm record's main data.
func DecodeConfirm(main []byte) (Confirm, error) {
	if len(main) != 2 {
		return Confirm{}, pg.BadLength("xl_heap_confirm", len(main), 2)
	}
	return Confirm{Offset: pg.OffsetNumber(le.Uint16(main))}, nil
}

// Lock is xl_heap_lock and xl_heap_lock_updated, which have one layout.
//
//	0 xmax uint32   4 offnum uint16   6 infobits_set uint8   7 flags uint8
type Lock struct {
	Xmax     pg.XID // a MultiXactId if Infobits says so
	Offset   pg.OffsetNumber
	Infobits uint8
	Flags    uint8
}

// DecodeLock reads an OpLock or Op2LockUpdated record's main data.
func DecodeLock(main []byte) (Lock, error) {
	if len(main) != 8 {
		return Lock{}, pg.BadLength("xl_heap_lock", len(main), 8)
	}
	return Lock{Xmax: pg.XID(le.Uint32(main)), Offset: pg.OffsetNumber(le.Uint16(main[4:])), Infobits: main[6], Flags: main[7]}, nil
}

// Inplace is xl_heap_inplace: a tuple's column data overwritten outside transactions. Block 0 carries the new data.
//
//	0 offnum uint16, and since 18:   4 dbId uint32   8 tsId uint32   12 relcacheInitFileInval bool   16 nmsgs int32
//	20 nmsgs shared invalidation messages of 16 bytes
type Inplace struct{ Offset pg.OffsetNumber }

// DecodeInplace reads an OpInplace record's main data: the short form or the one with messages, told by length.
func DecodeInplace(main []byte) (Inplace, error) {
	switch {
	case len(main) == 2:
	case len(main) < 20:
		return Inplace{}, pg.BadLength("xl_heap_inplace", len(main), 2)
	default:
		n := le.Uint32(main[16:])
		if n > uint32(len(main)) || len(main) != 20+16*int(n) {
			return Inplace{}, pg.BadLength("xl_heap_inplace", len(main), 20+16*int(n))
		}
	}
	return Inplace{Offset: pg.OffsetNumber(le.Uint16(main))}, nil
}

// Truncate is xl_heap_truncate, for logical decoding only: the files change through Storage records.
//
//	0 dbId uint32   4 nrelids uint32   8 flags uint8   12 relids uint32 each
type Truncate struct {
	DB        pg.OID
	Flags     uint8
	Relations []byte // OIDs, 4 bytes each
}

// DecodeTruncate reads an OpTruncate record's main data.
func DecodeTruncate(main []byte) (Truncate, error) {
	if len(main) < 12 {
		return Truncate{}, pg.BadLength("xl_heap_truncate", len(main), 12)
	}
	n := le.Uint32(main[4:])
	if n > uint32(len(main)) || len(main) != 12+4*int(n) {
		return Truncate{}, pg.BadLength("xl_heap_truncate", len(main), 12+4*int(n))
	}
	return Truncate{DB: pg.OID(le.Uint32(main)), Flags: main[8], Relations: main[12:]}, nil
}
