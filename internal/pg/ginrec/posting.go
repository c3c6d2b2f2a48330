package ginrec

import (
	"errors"

	"github.com/tarn-db/tarn/internal/pg"
)

// Item is a heap tuple's address as posting lists count it: block number << 11 | offset number.
type Item uint64

const (
	offsetBits = 11                           // MaxHeapTuplesPerPageBits
	itemMax    = Item(1)<<(32+offsetBits) - 1 // 43 bits
)

var (
	errItem    = errors.New("an item of a posting list is no heap tuple's address, or not above the one before it")
	errVarbyte = errors.New("a posting list ends within a number, or has one that is too long")
	errRoom    = errors.New("the posting list does not fit on the page")
)

// ItemOf reads an ItemPointerData.
func ItemOf(b []byte) Item {
	off := le.Uint16(b[4:])
	if off >= 1<<offsetBits {
		return 0 // no item, and refused by Encoder
	}
	return Item(pg.BlockIDAt(b))<<offsetBits | Item(off)
}

// segmentHeaderSize is offsetof(GinPostingList, bytes).
const segmentHeaderSize = 8

// SegmentSize is the length of the segment that b begins with, 0 if it is cut (SizeOfGinPostingList).
//
//	0 first ItemPointerData   6 nbytes uint16   8 differences to the item before, varbyte encoded, nbytes; a zero byte if nbytes is odd
func SegmentSize(b []byte) int {
	if len(b) < segmentHeaderSize {
		return 0
	}
	n := segmentHeaderSize + (int(le.Uint16(b[6:]))+1)&^1
	if n > len(b) {
		return 0
	}
	return n
}

// Decoder hands out the items of one segment (ginPostingListDecode).
type Decoder struct {
	rest []byte
	last Item
}

// Decode begins with a segment, as long as SegmentSize says, and returns its first item.
func Decode(segment []byte) (d Decoder, first Item) {
	first = ItemOf(segment)
	return Decoder{rest: segment[segmentHeaderSize : segmentHeaderSize+int(le.Uint16(segment[6:]))], last: first}, first
}

// Next returns the next item; ok is false behind the last. Seven bits a byte, low ones first, the high bit says that more follow:
// 43 bits take seven bytes (decode_varbyte).
func (d *Decoder) Next() (item Item, ok bool, err error) {
	if len(d.rest) == 0 {
		return 0, false, nil
	}
	var delta Item
	for i, c := range d.rest[:min(7, len(d.rest))] {
		delta |= Item(c&0x7F) << (7 * i)
		if c&0x80 == 0 {
			d.rest = d.rest[i+1:]
			d.last += delta
			if delta == 0 || d.last > itemMax {
				return 0, false, errItem
			}
			return d.last, true, nil
		}
	}
	return 0, false, errVarbyte
}

// Encoder writes a segment (ginCompressPostingList).
type Encoder struct {
	dst  []byte
	n    int // bytes written, 0 before the first item
	last Item
}

// Encode begins a segment in dst.
func Encode(dst []byte) Encoder { return Encoder{dst: dst} }

// Add appends an item, which must be above the one before.
func (e *Encoder) Add(item Item) error {
	if item&(1<<offsetBits-1) == 0 || item > itemMax || item <= e.last {
		return errItem
	}
	if e.n == 0 {
		if len(e.dst) < segmentHeaderSize {
			return errRoom
		}
		pg.PutBlockID(e.dst, pg.BlockNumber(item>>offsetBits))
		le.PutUint16(e.dst[4:], uint16(item&(1<<offsetBits-1)))
		e.n, e.last = segmentHeaderSize, item
		return nil
	}
	delta := item - e.last
	for delta > 0x7F && e.n < len(e.dst) {
		e.dst[e.n] = 0x80 | byte(delta&0x7F)
		delta >>= 7
		e.n++
	}
	if e.n == len(e.dst) {
		return errRoom
	}
	e.dst[e.n] = byte(delta)
	e.n++
	e.last = item
	return nil
}

// Finish ends the segment and returns its length in bytes, which is even.
func (e *Encoder) Finish() (int, error) {
	if e.n == 0 {
		return 0, errItem
	}
	le.PutUint16(e.dst[6:], uint16(e.n-segmentHeaderSize))
	if e.n%2 != 0 {
		if e.n == len(e.dst) {
			return 0, errRoom
		}
		e.dst[e.n] = 0
		e.n++
	}
	return e.n, nil
}
