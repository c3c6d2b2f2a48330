package spgistrec

import "github.com/tarn-db/tarn/internal/pg"

// Downlink is the node of an inner tuple that a record lets lead elsewhere.
type Downlink struct {
	Offset pg.OffsetNumber // the inner tuple; 0 if the record changes no downlink
	Node   uint16          // from 0
}

// AddLeaf is spgxlogAddLeaf. Block 0 is the leaf page, block 1 the parent's page if the record changes its downlink.
//
//	0 newPage bool   1 storesNulls bool   2 offnumLeaf uint16   4 offnumHeadLeaf uint16   6 offnumParent uint16   8 nodeI uint16
//	10 leaf tuple
type AddLeaf struct {
	NewPage, StoresNulls bool
	Offset               pg.OffsetNumber // where the tuple goes
	Head                 pg.OffsetNumber // first of the chain it joins; 0 if it starts one; Offset if it replaces a DEAD tuple
	Parent               Downlink
	Tuple                LeafTuple
}

// DecodeAddLeaf reads an OpAddLeaf record's main data.
func DecodeAddLeaf(main []byte) (r AddLeaf, err error) {
	c := newCursor("spgxlogAddLeaf", main)
	r.NewPage, r.StoresNulls = c.Bool(), c.Bool()
	r.Offset, r.Head = c.offset(), c.offset()
	r.Parent = Downlink{c.offset(), c.U16()}
	r.Tuple = c.leaf()
	return r, c.Done()
}

// MoveLeafs is spgxlogMoveLeafs. Block 0 is the page the chain leaves, block 1 where it goes, block 2 the parent's page.
//
//	0 nMoves uint16   2 newPage bool   3 replaceDead bool   4 storesNulls bool   5 a byte of padding   6 offnumParent uint16
//	8 nodeI uint16   10 two bytes of padding   12 State
//	20 offsets: nMoves deleted, then nMoves+1 inserted, or 1 with replaceDead; as many leaf tuples as are inserted
type MoveLeafs struct {
	NewPage, StoresNulls bool
	Parent               Downlink
	State                State
	Delete               pg.Offsets // on block 0; a redirection takes the place of the first
	Insert               pg.Offsets // on block 1, never empty; the last is the head of the chain
	Tuples               Leafs
}

// DecodeMoveLeafs reads an OpMoveLeafs record's main data.
func DecodeMoveLeafs(main []byte) (r MoveLeafs, err error) {
	c := newCursor("spgxlogMoveLeafs", main)
	n := c.U16()
	r.NewPage = c.Bool()
	replaceDead := c.Bool()
	r.StoresNulls = c.Bool()
	c.Skip(1)
	r.Parent = Downlink{c.offset(), c.U16()}
	c.Skip(2)
	r.State = c.state()
	inserted := int(n) + 1
	if replaceDead {
		inserted = 1
	}
	r.Delete, r.Insert = c.offsets(n), c.Bytes(2*inserted)
	r.Tuples = c.leafs(inserted)
	return r, c.Done()
}

// Head is the new place of the chain's first tuple on block 1.
func (r *MoveLeafs) Head() pg.OffsetNumber { return r.Insert.At(r.Insert.Len() - 1) }

// AddNode is spgxlogAddNode: an inner tuple with one more node replaces another. Block 0 is the old tuple's page. Without
// a block 1 the new one takes its place there; else it goes to block 1, and block 2 is the parent's page if it is neither.
//
//	0 offnum uint16   2 offnumNew uint16   4 newPage bool   5 parentBlk int8   6 offnumParent uint16   8 nodeI uint16
//	10 two bytes of padding   12 State   20 inner tuple
type AddNode struct {
	Offset    pg.OffsetNumber // of the old tuple
	NewOffset pg.OffsetNumber // of the new one on block 1
	NewPage   bool
	ParentID  int8 // the block reference whose page holds the parent, -1 if the parent stays as it is
	Parent    Downlink
	State     State
	Tuple     InnerTuple
}

// DecodeAddNode reads an OpAddNode record's main data.
func DecodeAddNode(main []byte) (r AddNode, err error) {
	c := newCursor("spgxlogAddNode", main)
	r.Offset, r.NewOffset, r.NewPage, r.ParentID = c.offset(), c.offset(), c.Bool(), int8(c.U8())
	if r.ParentID < -1 || r.ParentID > 2 {
		c.Fail("there is no such place for the parent")
	}
	r.Parent = Downlink{c.offset(), c.U16()}
	c.Skip(2)
	r.State = c.state()
	r.Tuple = c.inner()
	return r, c.Done()
}

// SplitTuple is spgxlogSplitTuple: a prefix tuple replaces an inner tuple on block 0, and the postfix tuple it leads to is added on
// block 1, or on block 0 too.
//
//	0 offnumPrefix uint16   2 offnumPostfix uint16   4 newPage bool   5 postfixBlkSame bool   6 prefix and postfix inner tuples
type SplitTuple struct {
	PrefixOffset, PostfixOffset pg.OffsetNumber
	NewPage                     bool // the postfix tuple's
	SamePage                    bool
	Prefix, Postfix             InnerTuple
}

// DecodeSplitTuple reads an OpSplitTuple record's main data.
func DecodeSplitTuple(main []byte) (r SplitTuple, err error) {
	c := newCursor("spgxlogSplitTuple", main)
	r.PrefixOffset, r.PostfixOffset = c.offset(), c.offset()
	r.NewPage, r.SamePage = c.Bool(), c.Bool()
	r.Prefix, r.Postfix = c.inner(), c.inner()
	return r, c.Done()
}

// PickSplit is spgxlogPickSplit: a chain of leaf tuples becomes several below a new inner tuple. Block 0 is the page the chain
// was on, unless that is the root, which is then block 2; block 1 another page for the new leaf tuples, if there is one;
// block 2 the inner tuple's page; block 3 its parent's, if there is a parent and it is on another page.
//
//	 0 isRootSplit bool   1 a byte of padding   2 nDelete uint16   4 nInsert uint16   6 initSrc bool   7 initDest bool
//	 8 offnumInner uint16   10 initInner bool   11 storesNulls bool   12 innerIsParent bool   13 a byte of padding
//	14 offnumParent uint16   16 nodeI uint16   18 two bytes of padding   20 State
//	28 offsets: nDelete deleted, nInsert inserted; nInsert bytes, 0 for block 0 and 1 for block 1; inner tuple; leaf tuples
type PickSplit struct {
	RootSplit                    bool
	InitSrc, InitDest, InitInner bool // build block 0, 1, 2 from nothing
	StoresNulls                  bool
	InnerIsParent                bool // the parent is on block 2
	Inner                        pg.OffsetNumber
	Parent                       Downlink
	State                        State
	Delete                       pg.Offsets // on block 0; a redirection takes the place of the first
	Insert                       pg.Offsets
	OnDest                       []byte // for each inserted tuple: 1 if it goes to block 1, else 0
	Tuple                        InnerTuple
	Tuples                       Leafs
}

// DecodePickSplit reads an OpPickSplit record's main data.
func DecodePickSplit(main []byte) (r PickSplit, err error) {
	c := newCursor("spgxlogPickSplit", main)
	r.RootSplit = c.Bool()
	c.Skip(1)
	deleted, inserted := c.U16(), c.U16()
	r.InitSrc, r.InitDest = c.Bool(), c.Bool()
	r.Inner = c.offset()
	r.InitInner, r.StoresNulls, r.InnerIsParent = c.Bool(), c.Bool(), c.Bool()
	c.Skip(1)
	r.Parent = Downlink{c.offset(), c.U16()}
	c.Skip(2)
	r.State = c.state()
	r.Delete, r.Insert = c.offsets(deleted), c.offsets(inserted)
	r.OnDest = c.Bytes(int(inserted))
	for _, b := range r.OnDest {
		if b > 1 {
			c.Fail("a tuple goes to neither of two pages")
		}
	}
	r.Tuple = c.inner()
	r.Tuples = c.leafs(int(inserted))
	return r, c.Done()
}
