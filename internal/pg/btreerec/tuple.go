package btreerec

import "github.com/tarn-db/tarn/internal/pg"

// Tuple is an index tuple of a B-tree, cut to its own size (IndexTupleData).
//
//	0 t_tid: block high uint16, block low uint16, offset uint16   6 t_info uint16   8 null bitmap, columns
//
// t_info holds the size in its lower 13 bits. With the bit altTID t_tid is no heap TID: of a pivot (a high key or a tuple
// of an inner page) the block is the downlink and the offset the count of columns; of a tuple with a posting list the
// block is where in the tuple the list begins, in bytes, and the offset is the count of TIDs with the bit isPosting.
type Tuple []byte

const (
	// TupleSizeMax is BTMaxItemSize, bytes.
	TupleSizeMax = 2704
	// postingMax is the largest count of TIDs in a posting list (BT_OFFSET_MASK).
	postingMax = 0x0FFF

	altTID    = 0x2000 // INDEX_ALT_TID_MASK
	isPosting = 0x2000 // BT_IS_POSTING
)

// NewTuple cuts a tuple off the start of b. It is at least its header.
func NewTuple(b []byte) (Tuple, error) {
	n, err := pg.IndexTupleSize(b)
	return Tuple(b[:n:n]), err
}

// NextTuple takes the tuple at the start of b, with its padding to MAXALIGN, and returns what follows it.
func NextTuple(b []byte) (t Tuple, rest []byte, err error) {
	if t, err = NewTuple(b); err != nil {
		return nil, nil, err
	}
	n := pg.MaxAlign(len(t))
	if n > len(b) {
		return nil, nil, pg.BadLength("an index tuple", len(b), n)
	}
	return Tuple(b[:n:n]), b[n:], nil
}

func (t Tuple) setOffset(v uint16) { le.PutUint16(t[4:], v) }
func (t Tuple) setInfo(v uint16)   { le.PutUint16(t[6:], v) }
func (t Tuple) info() uint16       { return le.Uint16(t[6:]) }
func (t Tuple) offset() uint16     { return le.Uint16(t[4:]) }

// IsPivot is BTreeTupleIsPivot.
func (t Tuple) IsPivot() bool { return t.info()&altTID != 0 && t.offset()&isPosting == 0 }

// IsPosting is BTreeTupleIsPosting.
func (t Tuple) IsPosting() bool { return t.info()&altTID != 0 && t.offset()&isPosting != 0 }

// DownLink is the child's block, or what is stored in its place.
func (t Tuple) DownLink() pg.BlockNumber { return pg.BlockIDAt(t) }

// SetDownLink is BTreeTupleSetDownLink.
func (t Tuple) SetDownLink(b pg.BlockNumber) { pg.PutBlockID(t, b) }

// Heap takes a tuple of a leaf that is no pivot apart: its key, with the header, and its heap TIDs, one after the other.
// ok is false if it is none, or its posting list does not lie in it.
func (t Tuple) Heap() (key Tuple, tids []byte, ok bool) {
	if t.info()&altTID == 0 {
		return t, t[:pg.TIDSize:pg.TIDSize], true
	}
	at, n := int(t.DownLink()), int(t.offset()&postingMax)
	if !t.IsPosting() || n < 2 || at < pg.IndexTupleHeaderSize || at > len(t) || len(t)-at < n*pg.TIDSize {
		return nil, nil, false
	}
	return t[:at:at], t[at : at+n*pg.TIDSize : at+n*pg.TIDSize], true
}

// SetPosting makes a tuple one with n TIDs, which begin behind keySize bytes (BTreeTupleSetPosting), and gives it its
// size.
func (t Tuple) SetPosting(n, keySize int) {
	t.SetDownLink(pg.BlockNumber(keySize))
	t.setOffset(uint16(n) | isPosting)
	t.setInfo(t.info()&^pg.IndexSizeMask | altTID | uint16(len(t)))
}

// SetPlain makes a tuple one with a single TID and gives it its size.
func (t Tuple) SetPlain(tid []byte) {
	copy(t, tid[:pg.TIDSize])
	t.setInfo(t.info()&^(pg.IndexSizeMask|altTID) | uint16(len(t)))
}

// TopParentKey is the high key of a half-dead leaf: a pivot without columns that points to the top of the subtree that goes
// (BTreeTupleSetTopParent).
func TopParentKey(parent pg.BlockNumber) (key [pg.IndexTupleHeaderSize]byte) {
	t := Tuple(key[:])
	t.SetDownLink(parent)
	t.setInfo(pg.IndexTupleHeaderSize | altTID)
	return key
}
