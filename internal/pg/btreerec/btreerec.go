// Package btreerec decodes the WAL records of the B-tree manager, one struct per record for all majors, and the parts of
// a B-tree page that are not every page's. It is pure; what differs between majors is decided here and nowhere above.
//
// A record that is not exactly as long as its own counts and tuples say is refused: a guess about what a later minor
// release adds would become wrong pages. Every slice in a struct is a view into the bytes it was decoded from.
package btreerec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record types of the Btree manager: xl_info & 0xF0 (access/nbtxlog.h).
const (
	OpInsertLeaf     = 0x00
	OpInsertUpper    = 0x10
	OpInsertMeta     = 0x20
	OpSplitL         = 0x30 // the new tuple goes to the left page
	OpSplitR         = 0x40 // the new tuple goes to the right page
	OpInsertPost     = 0x50 // the new tuple splits a posting list
	OpDedup          = 0x60
	OpDelete         = 0x70
	OpUnlinkPage     = 0x80
	OpUnlinkPageMeta = 0x90
	OpNewRoot        = 0xA0
	OpMarkHalfDead   = 0xB0
	OpVacuum         = 0xC0
	OpReusePage      = 0xD0 // names no blocks: a conflict for standbys only
	OpMetaCleanup    = 0xE0
)

var le = binary.LittleEndian

// Insert is xl_btree_insert, of INSERT_LEAF, INSERT_UPPER, INSERT_META and INSERT_POST. Block 0 is the page and carries the
// tuple, block 1 the left half of the child's split that the tuple completes (INSERT_UPPER and INSERT_META), block 2 the
// meta page (INSERT_META).
//
//	0 offnum uint16
type Insert struct {
	Offset pg.OffsetNumber
}

// DecodeInsert reads an insert record's main data.
func DecodeInsert(main []byte) (Insert, error) {
	if len(main) != 2 {
		return Insert{}, pg.BadLength("xl_btree_insert", len(main), 2)
	}
	return Insert{Offset: pg.OffsetNumber(le.Uint16(main))}, nil
}

// DecodeNewTuple reads block 0's data of an insert record but INSERT_POST: the tuple and nothing else.
func DecodeNewTuple(data []byte) (Tuple, error) {
	t, err := NewTuple(data)
	if err == nil && len(t) != len(data) {
		return nil, pg.BadLength("the new tuple", len(data), len(t))
	}
	return t, err
}

// DecodePostInsert reads block 0's data of an INSERT_POST record: where in the posting list before the tuple its TID
// belongs, counted in TIDs, and the tuple as it was before it swapped TIDs with the list.
//
//	0 postingoff uint16   2 tuple
func DecodePostInsert(data []byte) (postingOff int, t Tuple, err error) {
	if len(data) < 2 {
		return 0, nil, pg.BadLength("the posting list's offset", len(data), 2)
	}
	t, err = DecodeNewTuple(data[2:])
	return int(le.Uint16(data)), t, err
}

// Split is xl_btree_split. Block 0 is the page that is split and then the left half, block 1 the new right half with all
// its tuples, block 2 the page to the right of both, if any, block 3 the left half of the child's split that is completed
// (not on leaves).
//
//	0 level uint32   4 firstrightoff uint16   6 newitemoff uint16   8 postingoff uint16
type Split struct {
	Level      uint32          // 0 is a leaf
	FirstRight pg.OffsetNumber // of the page before the split: the first tuple that goes to the right half
	NewItem    pg.OffsetNumber // where the new tuple would be, had the page not been split
	PostingOff int             // TIDs; not 0 if the left half has a posting list that the new tuple splits
}

// DecodeSplit reads an OpSplitL or OpSplitR record's main data.
func DecodeSplit(main []byte) (Split, error) {
	if len(main) != 10 {
		return Split{}, pg.BadLength("xl_btree_split", len(main), 10)
	}
	return Split{
		Level: le.Uint32(main), FirstRight: pg.OffsetNumber(le.Uint16(main[4:])), NewItem: pg.OffsetNumber(le.Uint16(main[6:])),
		PostingOff: int(le.Uint16(main[8:])),
	}, nil
}

// DecodeSplitLeft reads block 0's data: the new tuple, if it goes to the left half or splits a posting list there, and the
// left half's high key. Each is MAXALIGNed.
func (s Split) DecodeSplitLeft(data []byte, newOnLeft bool) (newItem, highKey Tuple, err error) {
	rest := data
	if newOnLeft || s.PostingOff != 0 {
		if newItem, rest, err = NextTuple(rest); err != nil {
			return nil, nil, err
		}
	}
	if highKey, rest, err = NextTuple(rest); err != nil {
		return nil, nil, err
	}
	if len(rest) != 0 {
		return nil, nil, pg.BadLength("the left page's tuples", len(data), len(data)-len(rest))
	}
	return newItem, highKey, nil
}

// Intervals is an array of BTDedupInterval.
//
//	0 baseoff uint16   2 nitems uint16
type Intervals []byte

// Interval is a run of tuples that are merged into one with a posting list.
type Interval struct {
	Base pg.OffsetNumber
	N    int // tuples, Base and those after it
}

// Len is the count of intervals.
func (a Intervals) Len() int { return len(a) / 4 }

// At is interval i, from 0.
func (a Intervals) At(i int) Interval {
	return Interval{Base: pg.OffsetNumber(le.Uint16(a[4*i:])), N: int(le.Uint16(a[4*i+2:]))}
}

// DecodeDedup reads xl_btree_dedup and, from block 0's data, its intervals.
//
//	0 nintervals uint16
func DecodeDedup(main, data []byte) (Intervals, error) {
	if len(main) != 2 {
		return nil, pg.BadLength("xl_btree_dedup", len(main), 2)
	}
	if want := 4 * int(le.Uint16(main)); len(data) != want {
		return nil, pg.BadLength("xl_btree_dedup's intervals", len(data), want)
	}
	return data, nil
}

// HalfDead is xl_btree_mark_page_halfdead. Block 0 is the leaf, block 1 the parent of the subtree that goes.
//
//	0 poffset uint16   4 leafblk uint32   8 leftblk uint32   12 rightblk uint32   16 topparent uint32
type HalfDead struct {
	ParentOffset pg.OffsetNumber // the downlink on block 1 that goes
	Leaf         pg.BlockNumber  // block 0, again
	Left, Right  pg.BlockNumber  // the leaf's siblings
	TopParent    pg.BlockNumber  // the subtree's topmost page, InvalidBlock if the leaf is the whole of it
}

// DecodeHalfDead reads an OpMarkHalfDead record's main data.
func DecodeHalfDead(main []byte) (HalfDead, error) {
	if len(main) != 20 {
		return HalfDead{}, pg.BadLength("xl_btree_mark_page_halfdead", len(main), 20)
	}
	return HalfDead{
		ParentOffset: pg.OffsetNumber(le.Uint16(main)), Leaf: block(main[4:]), Left: block(main[8:]), Right: block(main[12:]),
		TopParent: block(main[16:]),
	}, nil
}

// Unlink is xl_btree_unlink_page. Block 0 is the page that goes, 1 its left sibling, if any, 2 its right sibling, 3 the
// subtree's half-dead leaf, if that is another page, 4 the meta page (UNLINK_PAGE_META).
//
//	 0 leftsib uint32   4 rightsib uint32   8 level uint32   16 safexid uint64
//	24 leafleftsib uint32   28 leafrightsib uint32   32 leaftopparent uint32
type Unlink struct {
	Left, Right pg.BlockNumber // siblings of block 0
	Level       uint32         // of block 0
	SafeXID     pg.FullXID     // the next transaction when the page was deleted

	LeafLeft, LeafRight pg.BlockNumber // siblings of block 3
	LeafTopParent       pg.BlockNumber // what block 3's high key points to from now on
}

// DecodeUnlink reads an OpUnlinkPage or OpUnlinkPageMeta record's main data.
func DecodeUnlink(main []byte) (Unlink, error) {
	if len(main) != 36 {
		return Unlink{}, pg.BadLength("xl_btree_unlink_page", len(main), 36)
	}
	return Unlink{
		Left: block(main), Right: block(main[4:]), Level: le.Uint32(main[8:]), SafeXID: pg.FullXID(le.Uint64(main[16:])),
		LeafLeft: block(main[24:]), LeafRight: block(main[28:]), LeafTopParent: block(main[32:]),
	}, nil
}

// NewRoot is xl_btree_newroot. Block 0 is the root, with its tuples as data unless it is a leaf, block 1 the left half of the
// old root's split, if there was one, block 2 the meta page.
//
//	0 rootblk uint32   4 level uint32
type NewRoot struct {
	Root  pg.BlockNumber // block 0, again
	Level uint32
}

// DecodeNewRoot reads an OpNewRoot record's main data.
func DecodeNewRoot(main []byte) (NewRoot, error) {
	if len(main) != 8 {
		return NewRoot{}, pg.BadLength("xl_btree_newroot", len(main), 8)
	}
	return NewRoot{Root: block(main), Level: le.Uint32(main[4:])}, nil
}

// ReusePage is xl_btree_reuse_page: a deleted page is about to become another one, which queries of a standby may not be
// ready for.
//
//	0 locator 3 x uint32   12 block uint32   16 snapshotConflictHorizon uint64   24 isCatalogRel bool (16 and later)
type ReusePage struct {
	Rel        pg.RelFileLocator
	Block      pg.BlockNumber
	Horizon    pg.FullXID
	CatalogRel bool
}

// DecodeReusePage reads an OpReusePage record's main data.
func DecodeReusePage(major pg.Major, main []byte) (ReusePage, error) {
	want := 24
	if major >= pg.PG16 {
		want = 25
	}
	if len(main) != want {
		return ReusePage{}, pg.BadLength("xl_btree_reuse_page", len(main), want)
	}
	return ReusePage{
		Rel:   pg.RelFileLocator{Spc: pg.OID(le.Uint32(main)), DB: pg.OID(le.Uint32(main[4:])), Rel: pg.OID(le.Uint32(main[8:]))},
		Block: block(main[12:]), Horizon: pg.FullXID(le.Uint64(main[16:])), CatalogRel: want == 25 && main[24] != 0,
	}, nil
}

func block(b []byte) pg.BlockNumber { return pg.BlockNumber(le.Uint32(b)) }
