// Package gistrec decodes the WAL records of GiST, one struct per record for all majors, and knows the special area of its pages.
// It is pure; what differs between majors is decided here and nowhere above.
//
// A record that is not exactly as long as its own counts and tuples say is refused: minor releases add to records
// without a new WAL magic, and a guess about what they added would become wrong pages. Every slice in a struct is a
// view into the bytes it was decoded from.
package gistrec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record types: xl_info & 0xF0 (access/gistxlog.h). 0x40 and 0x50 are not written any more.
const (
	OpPageUpdate = 0x00
	OpDelete     = 0x10
	OpPageReuse  = 0x20 // names no block: for hot standby
	OpPageSplit  = 0x30
	OpPageDelete = 0x60
	OpAssignLSN  = 0x70 // names no block: makes the WAL move on (gistGetFakeLSN)
)

var le = binary.LittleEndian

// PageUpdate is gistxlogPageUpdate. Block 0 is the page; block 1, if the record inserts the downlink that completes a split, is the
// left half of that. Main data and block 0's:
//
//	0 ntodelete uint16   2 ntoinsert uint16
//	ntodelete offsets uint16 each, then ntoinsert tuples
type PageUpdate struct {
	Gone pg.Offsets // rising
	New  pg.IndexTuples
	// Replaces says that one tuple takes the place of one: it keeps its number (PageIndexTupleOverwrite).
	Replaces bool
}

// CheckPageUpdate refuses the main data of what is no OpPageUpdate record; block 1 needs no more.
func CheckPageUpdate(main []byte) error {
	if len(main) != 4 {
		return pg.BadLength("gistxlogPageUpdate", len(main), 4)
	}
	return nil
}

// DecodePageUpdate reads an OpPageUpdate record; data is block 0's data.
func DecodePageUpdate(main, data []byte) (u PageUpdate, err error) {
	if err := CheckPageUpdate(main); err != nil {
		return u, err
	}
	gone, inserted := int(le.Uint16(main)), int(le.Uint16(main[2:]))
	if len(data) < 2*gone {
		return u, pg.BadLength("gistxlogPageUpdate's offsets", len(data), 2*gone)
	}
	u.Gone, u.Replaces = data[:2*gone], gone == 1 && inserted == 1
	u.New, err = pg.DecodeIndexTuples("gistxlogPageUpdate", data[2*gone:], inserted)
	return u, err
}

// Delete is gistxlogDelete: dead tuples of block 0 make room for new ones.
//
//	15:   0 latestRemovedXid uint32   4 ntodelete uint16   6 offsets uint16 each
//	16+:  0 snapshotConflictHorizon uint32   4 ntodelete uint16   6 isCatalogRel bool   8 offsets uint16 each
type Delete struct {
	Horizon    pg.XID
	CatalogRel bool
	Gone       pg.Offsets // rising
}

// DecodeDelete reads an OpDelete record's main data.
func DecodeDelete(major pg.Major, main []byte) (d Delete, err error) {
	head := 6
	if major >= pg.PG16 {
		head = 8
	}
	if len(main) < head {
		return d, pg.BadLength("gistxlogDelete", len(main), head)
	}
	if want := head + 2*int(le.Uint16(main[4:])); len(main) != want {
		return d, pg.BadLength("gistxlogDelete", len(main), want)
	}
	d.Horizon, d.Gone = pg.XID(le.Uint32(main)), main[head:]
	if major >= pg.PG16 {
		d.CatalogRel = main[6] != 0
	}
	return d, nil
}

// PageSplit is gistxlogPageSplit. Blocks 1 to Pages are the pages, built from nothing, the first where the page was that is split;
// block 0, if the split also inserts the downlink that completes another one level below, is the left half of that.
// Each page has in its block's data its tuples, read by DecodeSplitTuples.
//
//	0 origrlink uint32   8 orignsn uint64   16 origleaf bool   18 npage uint16   20 markfollowright bool
type PageSplit struct {
	RightLink   pg.BlockNumber // of the page before
	NSN         pg.LSN         // of the page before
	Leaf        bool
	Pages       int
	FollowRight bool // all pages but the last wait for their right neighbour's downlink
}

// DecodePageSplit reads an OpPageSplit record's main data.
func DecodePageSplit(main []byte) (PageSplit, error) {
	if len(main) != 24 {
		return PageSplit{}, pg.BadLength("gistxlogPageSplit", len(main), 24)
	}
	return PageSplit{
		RightLink: pg.BlockNumber(le.Uint32(main)), NSN: pg.LSN(le.Uint64(main[8:])), Leaf: main[16] != 0,
		Pages: int(le.Uint16(main[18:])), FollowRight: main[20] != 0,
	}, nil
}

// DecodeSplitTuples reads the data of one of a PageSplit's pages.
//
//	0 count int32   4 tuples
func DecodeSplitTuples(data []byte) (pg.IndexTuples, error) {
	if len(data) < 4 {
		return nil, pg.BadLength("gistxlogPageSplit's page", len(data), 4)
	}
	n := le.Uint32(data)
	if int64(n) > int64(len(data)/pg.IndexTupleHeaderSize) {
		return nil, pg.BadLength("gistxlogPageSplit's page", len(data), 4+pg.IndexTupleHeaderSize)
	}
	return pg.DecodeIndexTuples("gistxlogPageSplit", data[4:], int(n))
}

// PageDelete is gistxlogPageDelete. Block 0 is the page, an empty leaf; block 1 its parent.
//
//	0 deleteXid uint64   8 downlinkOffset uint16
type PageDelete struct {
	XID      uint64 // with its epoch (FullTransactionId): scans that began before it is past may still come by
	Downlink pg.OffsetNumber
}

// DecodePageDelete reads an OpPageDelete record's main data.
func DecodePageDelete(main []byte) (PageDelete, error) {
	if len(main) != 10 {
		return PageDelete{}, pg.BadLength("gistxlogPageDelete", len(main), 10)
	}
	return PageDelete{XID: le.Uint64(main), Downlink: pg.OffsetNumber(le.Uint16(main[8:]))}, nil
}
