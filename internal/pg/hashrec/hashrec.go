// Package hashrec decodes the WAL records of hash indexes (access/hash_xlog.h): one struct per record for all majors.
//
// A decoder takes the main data, or a block's data, whole and must consume it exactly; what is shorter or longer, or holds a
// value that cannot be, is a *pg.CorruptError, never a guess: a minor release may add to a record without a new WAL magic. Slices in
// a result are views of the record.
package hashrec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record types: the upper half of xl_info (XLOG_HASH_*).
const (
	OpInitMetaPage      = 0x00
	OpInitBitmapPage    = 0x10
	OpInsert            = 0x20
	OpAddOvflPage       = 0x30
	OpSplitAllocatePage = 0x40
	OpSplitPage         = 0x50
	OpSplitComplete     = 0x60
	OpMovePageContents  = 0x70
	OpSqueezePage       = 0x80
	OpDelete            = 0x90
	OpSplitCleanup      = 0xA0
	OpUpdateMetaPage    = 0xB0
	OpVacuumOnePage     = 0xC0
)

var le = binary.LittleEndian

// None checks the main data, or a block's, of a record that has none.
func None(data []byte) error {
	if len(data) != 0 {
		return pg.BadLength("data", len(data), 0)
	}
	return nil
}

// Uint32 reads a block's data that is one number: a bucket, or the number of a bit.
func Uint32(data []byte) (uint32, error) {
	if len(data) != 4 {
		return 0, pg.BadLength("data", len(data), 4)
	}
	return le.Uint32(data), nil
}

// Offsets reads a block's data that is line pointer numbers and nothing else.
func Offsets(data []byte) (pg.Offsets, error) {
	if len(data)%2 != 0 {
		return nil, pg.Corruptf("%d bytes of line pointer numbers", len(data))
	}
	return pg.Offsets(data), nil
}

// InitMetaPage is xl_hash_init_meta_page. Block 0 is the metapage.
//
//	0 num_tuples float64   8 procid uint32   12 ffactor uint16
type InitMetaPage struct {
	TuplesBits uint64 // the estimate of tuples, the bits of a float64
	ProcID     pg.OID
	FillFactor uint16 // tuples per bucket
}

// DecodeInitMetaPage reads an OpInitMetaPage record's main data.
func DecodeInitMetaPage(main []byte) (r InitMetaPage, err error) {
	c := pg.NewCursor("xl_hash_init_meta_page", main)
	r = InitMetaPage{TuplesBits: c.U64(), ProcID: pg.OID(c.U32()), FillFactor: c.U16()}
	return r, c.Done()
}

// InitBitmapPage is xl_hash_init_bitmap_page. Block 0 is the bitmap page, block 1 the metapage.
//
//	0 bmsize uint16
type InitBitmapPage struct {
	BitmapSize uint16 // bytes
}

// DecodeInitBitmapPage reads an OpInitBitmapPage record's main data.
func DecodeInitBitmapPage(main []byte) (r InitBitmapPage, err error) {
	c := pg.NewCursor("xl_hash_init_bitmap_page", main)
	r = InitBitmapPage{BitmapSize: c.U16()}
	return r, c.Done()
}

// Insert is xl_hash_insert. Block 0 is the page and carries the index tuple, block 1 the metapage.
//
//	0 offnum uint16
type Insert struct{ Offset pg.OffsetNumber }

// DecodeInsert reads an OpInsert record's main data.
func DecodeInsert(main []byte) (r Insert, err error) {
	c := pg.NewCursor("xl_hash_insert", main)
	r = Insert{Offset: pg.OffsetNumber(c.U16())}
	return r, c.Done()
}

// AddOvflPage is xl_hash_add_ovfl_page. Block 0 is the new overflow page and carries its bucket; 1 the page before it; 2,
// if there, the bitmap page, with the bit to set; 3, if there, a new bitmap page; 4 the metapage, with its new first free bit.
//
//	0 bmsize uint16   2 bmpage_found bool
type AddOvflPage struct {
	BitmapSize uint16 // bytes
	Recycled   bool   // bmpage_found: the page was free in the bitmap, the index has not grown
}

// DecodeAddOvflPage reads an OpAddOvflPage record's main data.
func DecodeAddOvflPage(main []byte) (r AddOvflPage, err error) {
	c := pg.NewCursor("xl_hash_add_ovfl_page", main)
	r = AddOvflPage{BitmapSize: c.U16(), Recycled: c.Bool()}
	return r, c.Done()
}

// UpdateMetaPage is xl_hash_update_meta_page. Block 0 is the metapage.
//
//	0 ntuples float64
type UpdateMetaPage struct {
	TuplesBits uint64 // the count of tuples, the bits of a float64
}

// DecodeUpdateMetaPage reads an OpUpdateMetaPage record's main data.
func DecodeUpdateMetaPage(main []byte) (r UpdateMetaPage, err error) {
	c := pg.NewCursor("xl_hash_update_meta_page", main)
	r = UpdateMetaPage{TuplesBits: c.U64()}
	return r, c.Done()
}
