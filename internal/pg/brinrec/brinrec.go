// Package brinrec decodes the WAL records of BRIN, which are the same in all majors, and knows its metapage, its range map and the
// special area of its pages. It is pure.
//
// A record that is not exactly as long as its layout is refused: minor releases add to records without a new WAL
// magic, and a guess about what they added would become wrong pages.
package brinrec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record types: xl_info & OpMask (access/brin_xlog.h).
const (
	OpCreateIndex    = 0x00
	OpInsert         = 0x10
	OpUpdate         = 0x20
	OpSamepageUpdate = 0x30
	OpRevmapExtend   = 0x40
	OpDesummarize    = 0x50

	OpMask   = 0x70
	InitPage = 0x80 // XLOG_BRIN_INIT_PAGE, of OpInsert and OpUpdate: redo builds block 0 from nothing
)

// checkLength is the only way a decoder fails.
func checkLength(record string, b []byte, want int) error {
	if len(b) != want {
		return pg.BadLength(record, len(b), want)
	}
	return nil
}

var le = binary.LittleEndian

// CreateIndex is xl_brin_createidx. Block 0 is the metapage.
//
//	0 pagesPerRange uint32   4 version uint16
type CreateIndex struct {
	PagesPerRange uint32 // heap blocks
	Version       uint16
}

// DecodeCreateIndex reads an OpCreateIndex record's main data.
func DecodeCreateIndex(main []byte) (CreateIndex, error) {
	if err := checkLength("xl_brin_createidx", main, 6); err != nil {
		return CreateIndex{}, err
	}
	return CreateIndex{PagesPerRange: le.Uint32(main), Version: le.Uint16(main[4:])}, nil
}

// Range is the heap blocks one tuple summarizes, as records name them.
type Range struct {
	HeapBlock     pg.BlockNumber // its first
	PagesPerRange uint32         // heap blocks
}

// Insert is xl_brin_insert. Block 0 is the tuple's page and carries the tuple, block 1 the range map's.
//
//	0 heapBlk uint32   4 pagesPerRange uint32   8 offnum uint16
type Insert struct {
	Range
	Offset pg.OffsetNumber
}

// DecodeInsert reads an OpInsert record's main data.
func DecodeInsert(main []byte) (Insert, error) {
	if err := checkLength("xl_brin_insert", main, 10); err != nil {
		return Insert{}, err
	}
	return insert(main), nil
}

func insert(b []byte) Insert {
	return Insert{Range{pg.BlockNumber(le.Uint32(b)), le.Uint32(b[4:])}, pg.OffsetNumber(le.Uint16(b[8:]))}
}

// Update is xl_brin_update: the tuple moves to another page. Blocks 0 and 1 are as in Insert, block 2 is the page it leaves.
//
//	0 oldOffnum uint16   4 xl_brin_insert
type Update struct {
	OldOffset pg.OffsetNumber
	Insert
}

// DecodeUpdate reads an OpUpdate record's main data.
func DecodeUpdate(main []byte) (Update, error) {
	if err := checkLength("xl_brin_update", main, 14); err != nil {
		return Update{}, err
	}
	return Update{pg.OffsetNumber(le.Uint16(main)), insert(main[4:])}, nil
}

// SamepageUpdate is xl_brin_samepage_update. Block 0 is the page and carries the new tuple.
//
//	0 offnum uint16
type SamepageUpdate struct{ Offset pg.OffsetNumber }

// DecodeSamepageUpdate reads an OpSamepageUpdate record's main data.
func DecodeSamepageUpdate(main []byte) (SamepageUpdate, error) {
	if err := checkLength("xl_brin_samepage_update", main, 2); err != nil {
		return SamepageUpdate{}, err
	}
	return SamepageUpdate{pg.OffsetNumber(le.Uint16(main))}, nil
}

// RevmapExtend is xl_brin_revmap_extend. Block 0 is the metapage, block 1 the range map's new page.
//
//	0 targetBlk uint32
type RevmapExtend struct{ Target pg.BlockNumber }

// DecodeRevmapExtend reads an OpRevmapExtend record's main data.
func DecodeRevmapExtend(main []byte) (RevmapExtend, error) {
	if err := checkLength("xl_brin_revmap_extend", main, 4); err != nil {
		return RevmapExtend{}, err
	}
	return RevmapExtend{pg.BlockNumber(le.Uint32(main))}, nil
}

// Desummarize is xl_brin_desummarize. Block 0 is the range map's page, block 1 the tuple's.
//
//	0 pagesPerRange uint32   4 heapBlk uint32   8 regOffset uint16
type Desummarize struct {
	Range
	Offset pg.OffsetNumber
}

// DecodeDesummarize reads an OpDesummarize record's main data.
func DecodeDesummarize(main []byte) (Desummarize, error) {
	if err := checkLength("xl_brin_desummarize", main, 10); err != nil {
		return Desummarize{}, err
	}
	return Desummarize{Range{pg.BlockNumber(le.Uint32(main[4:])), le.Uint32(main)}, pg.OffsetNumber(le.Uint16(main[8:]))}, nil
}

// TupleRange is the first heap block of the range a tuple summarizes (BrinTuple's bt_blkno); ok is false when there is not even
// a tuple's header.
//
//	0 bt_blkno uint32   4 bt_info uint8   5 null bitmap and data
func TupleRange(tuple []byte) (heapBlock pg.BlockNumber, ok bool) {
	if len(tuple) < 5 {
		return 0, false
	}
	return pg.BlockNumber(le.Uint32(tuple)), true
}
