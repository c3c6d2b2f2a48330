package pg

import (
	"encoding/binary"
	"fmt"
)

// TID is a tuple's physical address (ItemPointerData).
//
//	0 block: high half uint16, low half uint16   4 offset uint16
type TID struct {
	Block  BlockNumber
	Offset OffsetNumber
}

// TIDSize is sizeof(ItemPointerData), bytes.
const TIDSize = 6

func (t TID) String() string { return fmt.Sprintf("(%d,%d)", t.Block, t.Offset) }

// TIDAt reads the TID that b begins with.
func TIDAt(b []byte) TID {
	return TID{Block: BlockIDAt(b), Offset: OffsetNumber(binary.LittleEndian.Uint16(b[4:]))}
}

// Put stores the TID at the start of b.
func (t TID) Put(b []byte) {
	PutBlockID(b, t.Block)
	binary.LittleEndian.PutUint16(b[4:], uint16(t.Offset))
}

// BlockIDAt reads the block number of a TID or a downlink, which lies in halves (BlockIdGetBlockNumber).
func BlockIDAt(b []byte) BlockNumber {
	return BlockNumber(binary.LittleEndian.Uint16(b))<<16 | BlockNumber(binary.LittleEndian.Uint16(b[2:]))
}

// PutBlockID is the inverse (BlockIdSet).
func PutBlockID(b []byte, n BlockNumber) {
	binary.LittleEndian.PutUint16(b, uint16(n>>16))
	binary.LittleEndian.PutUint16(b[2:], uint16(n))
}
