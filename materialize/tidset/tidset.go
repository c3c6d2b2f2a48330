// Package tidset is the sidecar of a data file: which heap tuples its rows are, in row order. It answers, for a heap
// block, which (offset, xmin) the file holds and at which positions. It is pure.
package tidset

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/tarn-db/tarn/internal/pg"
)

// Source is the relation the rows came from: the file's numbers, and the LSN that tells it from an earlier relation
// with the same numbers.
type Source struct {
	Rel         pg.RelFileLocator
	Incarnation pg.LSN
}

// Set is immutable once made, and safe for concurrent use. A block of contiguous offsets costs 12 bytes of memory, any
// other up to 40 more; runs of rows with one xmin cost 8.
//
// Invariant: blocks is strictly ascending; first is too, and starts at 0; every block holds 1 to MaxHeapTuplesPerPage rows.
// Invariant: runStart is strictly ascending and starts at 0; neighbours in runXmin differ.
type Set struct {
	source   Source
	rows     uint32
	blocks   []uint32
	first    []uint32 // position of the block's first row
	offsets  []uint32 // run | first offset of a contiguous run, or index in words of a bitmap
	words    []uint64 // bitmaps: the number of words, then bit off-1 of them for each row's offset
	runStart []uint32 // position
	runXmin  []pg.XID
	lineage  []byte // runs as the file has them; nil if no row has a row id of its own
}

// run marks an entry of Set.offsets as a contiguous run.
const run = 1 << 31

// RowsMax bounds the rows of one file: positions are 32-bit.
const RowsMax = 1<<32 - 1

// Source names the relation.
func (s *Set) Source() Source { return s.source }

// Rows is the number of rows in the file.
func (s *Set) Rows() int64 { return int64(s.rows) }

// Len is the number of rows, as Rows.
func (s *Set) Len() int { return int(s.rows) }

// Blocks is the number of heap blocks rows came from.
func (s *Set) Blocks() int { return len(s.blocks) }

// MinBlock is the first block; pg.InvalidBlock of an empty set.
func (s *Set) MinBlock() pg.BlockNumber {
	if len(s.blocks) == 0 {
		return pg.InvalidBlock
	}
	return pg.BlockNumber(s.blocks[0])
}

// MaxBlock is the last block; pg.InvalidBlock of an empty set.
func (s *Set) MaxBlock() pg.BlockNumber {
	if len(s.blocks) == 0 {
		return pg.InvalidBlock
	}
	return pg.BlockNumber(s.blocks[len(s.blocks)-1])
}

// MemBytes is the memory the set holds.
func (s *Set) MemBytes() int64 {
	return int64(184 + 4*(cap(s.blocks)+cap(s.first)+cap(s.offsets)+cap(s.runStart)+cap(s.runXmin)) + 8*cap(s.words) + cap(s.lineage))
}

// EachBlock calls yield for every block in ascending order until it returns false.
func (s *Set) EachBlock(yield func(pg.BlockNumber) bool) {
	for _, b := range s.blocks {
		if !yield(pg.BlockNumber(b)) {
			return
		}
	}
}

// Block calls yield for every row from block b, in offset order, until it returns false. pos is the row's position in
// the file. It allocates nothing.
func (s *Set) Block(b pg.BlockNumber, yield func(off pg.OffsetNumber, pos uint32, xmin pg.XID) bool) {
	i, ok := slices.BinarySearch(s.blocks, uint32(b))
	if ok {
		s.each(i, yield)
	}
}

// Each calls yield for every row in file order until it returns false.
func (s *Set) Each(yield func(tid pg.TID, xmin pg.XID) bool) {
	for i, b := range s.blocks {
		more := true
		s.each(i, func(off pg.OffsetNumber, _ uint32, xmin pg.XID) bool {
			more = yield(pg.TID{Block: pg.BlockNumber(b), Offset: off}, xmin)
			return more
		})
		if !more {
			return
		}
	}
}

// each walks block i of the set.
func (s *Set) each(i int, yield func(off pg.OffsetNumber, pos uint32, xmin pg.XID) bool) {
	pos, end := s.first[i], s.end(i)
	r := s.runOf(pos)
	xmin := func() pg.XID {
		if r+1 < len(s.runStart) && s.runStart[r+1] <= pos {
			r++
		}
		return s.runXmin[r]
	}
	if o := s.offsets[i]; o&run != 0 {
		for off := pg.OffsetNumber(o &^ run); pos < end; off, pos = off+1, pos+1 {
			if !yield(off, pos, xmin()) {
				return
			}
		}
		return
	}
	for n, w := range s.bitmap(i) {
		for ; w != 0; w &= w - 1 {
			if !yield(pg.OffsetNumber(64*n+bits.TrailingZeros64(w)+1), pos, xmin()) {
				return
			}
			pos++
		}
	}
}

// bitmap is the words of block i, which is not a run.
func (s *Set) bitmap(i int) []uint64 {
	at := int(s.offsets[i])
	return s.words[at+1 : at+1+int(s.words[at])]
}

// end is the position after block i's last row.
func (s *Set) end(i int) uint32 {
	if i+1 < len(s.first) {
		return s.first[i+1]
	}
	return s.rows
}

// runOf is the index of the xmin run that holds position pos.
func (s *Set) runOf(pos uint32) int {
	i, ok := slices.BinarySearch(s.runStart, pos)
	if !ok {
		i--
	}
	return i
}

// Builder makes a Set from rows in TID order.
type Builder struct {
	set   Set
	block pg.BlockNumber
	last  pg.OffsetNumber
	bits  [maxWords]uint64 // offsets of the block at hand
	n     uint32           // rows of the block at hand

	lineage lineageWriter
}

const maxWords = (pg.MaxHeapTuplesPerPage + 63) / 64

// NewBuilder begins a set.
func NewBuilder(source Source) *Builder { return &Builder{set: Set{source: source}} }

// Rows is the number of rows added.
func (b *Builder) Rows() int64 { return int64(b.set.rows) }

// Add appends the next row of the data file. TIDs must be strictly ascending.
func (b *Builder) Add(tid pg.TID, xmin pg.XID) error {
	if tid.Offset < 1 || tid.Offset > pg.MaxHeapTuplesPerPage || tid.Block == pg.InvalidBlock {
		return &pg.CorruptError{Rel: b.set.source.Rel, Block: tid.Block, What: fmt.Sprintf("no heap tuple can be at %s", tid)}
	}
	if b.n > 0 && (tid.Block < b.block || tid.Block == b.block && tid.Offset <= b.last) {
		return fmt.Errorf("TID set of %s: %s after (%d,%d)", b.set.source.Rel, tid, b.block, b.last)
	}
	if b.set.rows == RowsMax {
		return fmt.Errorf("TID set of %s: more than %d rows in one file", b.set.source.Rel, uint32(RowsMax))
	}
	if b.n > 0 && tid.Block != b.block {
		b.endBlock()
	}
	b.block, b.last = tid.Block, tid.Offset
	b.bits[(tid.Offset-1)/64] |= 1 << ((tid.Offset - 1) % 64)
	b.n++
	b.set.addRun(xmin)
	b.set.rows++
	return nil
}

func (b *Builder) endBlock() {
	b.set.addBlock(uint32(b.block), b.set.rows-b.n, b.n, b.bits[:])
	b.bits, b.n = [maxWords]uint64{}, 0
}

// Finish gives the set; the builder is done with.
func (b *Builder) Finish() *Set {
	if b.n > 0 {
		b.endBlock()
	}
	b.set.lineage = b.lineage.finish(b.set.rows)
	return &b.set
}

// addBlock appends a block whose n offsets are the bits set in bm.
func (s *Set) addBlock(block, first, n uint32, bm []uint64) {
	s.blocks = append(s.blocks, block)
	s.first = append(s.first, first)
	for len(bm) > 0 && bm[len(bm)-1] == 0 {
		bm = bm[:len(bm)-1]
	}
	low, high := bounds(bm)
	if high-low+1 == n {
		s.offsets = append(s.offsets, run|low)
		return
	}
	s.offsets = append(s.offsets, uint32(len(s.words)))
	s.words = append(append(s.words, uint64(len(bm))), bm...)
}

// bounds gives the least and greatest offset in a bitmap that has some and no empty last word.
func bounds(bm []uint64) (low, high uint32) {
	for i, w := range bm {
		if w != 0 {
			low = uint32(64*i+bits.TrailingZeros64(w)) + 1
			break
		}
	}
	last := len(bm) - 1
	return low, uint32(64*last+63-bits.LeadingZeros64(bm[last])) + 1
}

// addRun notes the xmin of the row at position s.rows.
func (s *Set) addRun(xmin pg.XID) {
	if n := len(s.runXmin); n == 0 || s.runXmin[n-1] != xmin {
		s.runStart = append(s.runStart, s.rows)
		s.runXmin = append(s.runXmin, xmin)
	}
}
