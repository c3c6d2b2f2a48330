// Package ginrec decodes the WAL records of the GIN manager, one struct per record for all majors (15 to 18 have one layout),
// and knows how GIN's pages and compressed posting lists are laid out. It is pure.
//
// A record that is not exactly as long as its own counts say is refused, and so is one with a flag or an action that is not
// known: a guess about what it means would become wrong pages. Every slice in a struct is a view into the bytes it was
// decoded from.
package ginrec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record types: xl_info & 0xF0 (access/ginxlog.h).
const (
	OpCreatePostingTree  = 0x10 // CREATE_PTREE
	OpInsert             = 0x20
	OpSplit              = 0x30
	OpVacuumPage         = 0x40 // an image of block 0 and nothing else
	OpDeletePage         = 0x50
	OpUpdateMetaPage     = 0x60
	OpInsertListPage     = 0x70
	OpDeleteListPages    = 0x80 // DELETE_LISTPAGE
	OpVacuumDataLeafPage = 0x90 // no main data; block 0 carries a Recompress
)

// Flags of Insert and Split.
const (
	flagIsData    = 0x01 // GIN_INSERT_ISDATA
	flagIsLeaf    = 0x02 // GIN_INSERT_ISLEAF
	flagSplitRoot = 0x04 // GIN_SPLIT_ROOT
)

// badValue refuses a record for a value that no server writes.
func badValue(record, field string, got int) error {
	return pg.Corruptf("%s: %s %d", record, field, got)
}

var le = binary.LittleEndian

// CreatePostingTree is ginxlogCreatePostingTree: block 0 becomes the root and only leaf of a posting tree.
//
//	0 size uint32   4 compressed posting lists, size bytes
type CreatePostingTree struct{ Segments []byte }

// DecodeCreatePostingTree reads an OpCreatePostingTree record's main data.
func DecodeCreatePostingTree(main []byte) (CreatePostingTree, error) {
	if len(main) < 4 {
		return CreatePostingTree{}, pg.BadLength("ginxlogCreatePostingTree", len(main), 4)
	}
	size := le.Uint32(main)
	if size > PostingSizeMax {
		return CreatePostingTree{}, badValue("ginxlogCreatePostingTree", "size", int(size))
	}
	if len(main) != 4+int(size) {
		return CreatePostingTree{}, pg.BadLength("ginxlogCreatePostingTree", len(main), 4+int(size))
	}
	return CreatePostingTree{Segments: main[4:]}, nil
}

// Insert is ginxlogInsert. Block 0 is the page inserted to and carries an InsertEntry, or for a posting tree (Data) a Recompress
// on a leaf and an InsertPosting above. Above the leaves the new item is a downlink that finishes the split of block 1.
//
//	0 flags uint16, and above the leaves:   2 left child BlockIdData   6 right child BlockIdData
type Insert struct {
	Data, Leaf  bool
	Left, Right pg.BlockNumber // InvalidBlock on a leaf
}

// DecodeInsert reads an OpInsert record's main data.
func DecodeInsert(main []byte) (r Insert, err error) {
	if len(main) < 2 {
		return r, pg.BadLength("ginxlogInsert", len(main), 2)
	}
	flags := le.Uint16(main)
	if flags&^(flagIsData|flagIsLeaf) != 0 {
		return r, badValue("ginxlogInsert", "flags", int(flags))
	}
	r = Insert{Data: flags&flagIsData != 0, Leaf: flags&flagIsLeaf != 0, Left: pg.InvalidBlock, Right: pg.InvalidBlock}
	if r.Leaf {
		if len(main) != 2 {
			return r, pg.BadLength("ginxlogInsert of a leaf", len(main), 2)
		}
		return r, nil
	}
	if len(main) != 10 {
		return r, pg.BadLength("ginxlogInsert with children", len(main), 10)
	}
	r.Left, r.Right = pg.BlockIDAt(main[2:]), pg.BlockIDAt(main[6:])
	return r, nil
}

// InsertEntry is ginxlogInsertEntry: what an Insert brings to a page of the entry tree.
//
//	0 offset uint16   2 isDelete bool   4 index tuple
type InsertEntry struct {
	Offset pg.OffsetNumber
	Delete bool // the tuple at Offset goes first
	Tuple  []byte
}

// DecodeInsertEntry reads block 0's data of an Insert into the entry tree.
func DecodeInsertEntry(data []byte) (InsertEntry, error) {
	if len(data) < 4 {
		return InsertEntry{}, pg.BadLength("ginxlogInsertEntry", len(data), 4)
	}
	size, err := pg.IndexTupleSize(data[4:])
	if err != nil {
		return InsertEntry{}, err
	}
	if len(data) != 4+size {
		return InsertEntry{}, pg.BadLength("ginxlogInsertEntry", len(data), 4+size)
	}
	return InsertEntry{Offset: pg.OffsetNumber(le.Uint16(data)), Delete: data[2] != 0, Tuple: data[4:]}, nil
}

// InsertPosting is ginxlogInsertDataInternal: what an Insert brings to a page above a posting tree's leaves.
//
//	0 offset uint16   2 PostingItem
type InsertPosting struct {
	Offset pg.OffsetNumber
	Item   []byte // PostingItemSize bytes
}

// DecodeInsertPosting reads block 0's data of an Insert above a posting tree's leaves.
func DecodeInsertPosting(data []byte) (InsertPosting, error) {
	if len(data) != 2+PostingItemSize {
		return InsertPosting{}, pg.BadLength("ginxlogInsertDataInternal", len(data), 2+PostingItemSize)
	}
	return InsertPosting{Offset: pg.OffsetNumber(le.Uint16(data)), Item: data[2:]}, nil
}

// Split is ginxlogSplit. Blocks 0, 1 and, when the root is split, 2 come as images; block 3 is the child whose split the
// insertion that made this one finishes, if not Leaf.
//
//	0 locator, 3 uint32   12 rrlink uint32   16 leftChildBlkno uint32   20 rightChildBlkno uint32   24 flags uint16   26 padding
type Split struct{ Data, Leaf, Root bool }

// DecodeSplit reads an OpSplit record's main data.
func DecodeSplit(main []byte) (Split, error) {
	if len(main) != 28 {
		return Split{}, pg.BadLength("ginxlogSplit", len(main), 28)
	}
	flags := le.Uint16(main[24:])
	if flags&^(flagIsData|flagIsLeaf|flagSplitRoot) != 0 {
		return Split{}, badValue("ginxlogSplit", "flags", int(flags))
	}
	return Split{Data: flags&flagIsData != 0, Leaf: flags&flagIsLeaf != 0, Root: flags&flagSplitRoot != 0}, nil
}

// DeletePage is ginxlogDeletePage: block 0 leaves the posting tree, block 1 is its parent and block 2 its left sibling.
//
//	0 parentOffset uint16   4 rightLink uint32   8 deleteXid uint32
type DeletePage struct {
	ParentOffset pg.OffsetNumber
	RightLink    pg.BlockNumber
	DeleteXID    pg.XID
}

// DecodeDeletePage reads an OpDeletePage record's main data.
func DecodeDeletePage(main []byte) (DeletePage, error) {
	if len(main) != 12 {
		return DeletePage{}, pg.BadLength("ginxlogDeletePage", len(main), 12)
	}
	return DeletePage{
		ParentOffset: pg.OffsetNumber(le.Uint16(main)), RightLink: pg.BlockNumber(le.Uint32(main[4:])), DeleteXID: pg.XID(le.Uint32(main[8:])),
	}, nil
}
