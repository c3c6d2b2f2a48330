package tidset

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// A TID set file, little-endian. Integers of chunks are unsigned LEB128 (encoding/binary's Uvarint) unless said otherwise.
//
//	 0  magic        8 bytes "TARNTIDS"
//	 8  version      u32: 1, or 2 of a file with lineage
//	12  length       u64: bytes of the whole file
//	20  spc db rel   u32 u32 u32
//	32  incarnation  u64: LSN
//	40  rows         u32
//	44  chunks       u32
//	48  crc          u32: CRC-32C of bytes 0-47 and of the index
//	52  index        chunks x 28 bytes: a block range can be read without the rest
//	      first block u32, last block u32, first position u32, blocks u32, offset u32 in the file, length u32, CRC-32C u32
//	    chunks, in block order, back to back to the file's end. Each has up to 1024 blocks, and for each block:
//	      block - previous block - 1 (not for the first block, which the index names)
//	      rows, 1-291
//	      first offset << 1: the rows' offsets are contiguous; or bitmap length in bytes << 1 | 1 and the bitmap: bit 0
//	      of byte 0 is offset 1, the last byte is not zero
//	    then runs of rows with one xmin until the chunk's rows are used up:
//	      rows in the run
//	      xmin - previous xmin as int32, zigzag (the first: - 0)
//	    version 2: lineage, from the chunks' end to the file's: runs until all rows are used up, then their CRC-32C u32
//	      rows in the run << 1 | 1 if they have row ids of their own; then, if so:
//	      the first row's id - the id after the last run's last, as int64, zigzag (the first: - 0)
//	      sequence number - the last run's that had one, as int64, zigzag (the first: - 0)
const (
	magic       = "TARNTIDS"
	version     = 1
	versionRows = 2 // with lineage
	headerSize  = 52
	indexSize   = 28
	chunkBlocks = 1024
)

// ErrVersion says the file was written by a newer tarn.
var ErrVersion = fault.New(fault.StoreNewer, "unknown version")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode appends the file's bytes to dst.
func (s *Set) Encode(dst []byte) []byte {
	base := len(dst)
	chunks := (len(s.blocks) + chunkBlocks - 1) / chunkBlocks
	dst = append(dst, magic...)
	if s.lineage != nil {
		dst = binary.LittleEndian.AppendUint32(dst, versionRows)
	} else {
		dst = binary.LittleEndian.AppendUint32(dst, version)
	}
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	for _, oid := range []pg.OID{s.source.Rel.Spc, s.source.Rel.DB, s.source.Rel.Rel} {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(oid))
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(s.source.Incarnation))
	dst = binary.LittleEndian.AppendUint32(dst, s.rows)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(chunks))
	dst = append(dst, make([]byte, 4+chunks*indexSize)...)
	for c := range chunks {
		lo, hi := c*chunkBlocks, min((c+1)*chunkBlocks, len(s.blocks))
		start := len(dst)
		dst = s.encodeChunk(dst, lo, hi)
		e := dst[base+headerSize+c*indexSize:]
		for i, v := range []uint32{s.blocks[lo], s.blocks[hi-1], s.first[lo], uint32(hi - lo), uint32(start - base),
			uint32(len(dst) - start), crcOf(dst[start:])} {
			binary.LittleEndian.PutUint32(e[4*i:], v)
		}
	}
	if s.lineage != nil {
		dst = append(dst, s.lineage...)
		dst = binary.LittleEndian.AppendUint32(dst, crcOf(s.lineage))
	}
	f := dst[base:]
	binary.LittleEndian.PutUint64(f[12:], uint64(len(f)))
	binary.LittleEndian.PutUint32(f[48:], headerCRC(f, chunks))
	return dst
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func headerCRC(f []byte, chunks int) uint32 {
	crc := crc32.Update(0, castagnoli, f[:48])
	return crc32.Update(crc, castagnoli, f[headerSize:headerSize+chunks*indexSize])
}

func (s *Set) encodeChunk(dst []byte, lo, hi int) []byte {
	for i := lo; i < hi; i++ {
		if i > lo {
			dst = binary.AppendUvarint(dst, uint64(s.blocks[i]-s.blocks[i-1]-1))
		}
		dst = binary.AppendUvarint(dst, uint64(s.end(i)-s.first[i]))
		if o := s.offsets[i]; o&run != 0 {
			dst = binary.AppendUvarint(dst, uint64(o&^run)<<1)
			continue
		}
		bm := s.bitmap(i)
		n := 8*len(bm) - bits.LeadingZeros64(bm[len(bm)-1])/8
		dst = binary.AppendUvarint(dst, uint64(n)<<1|1)
		for j := range n {
			dst = append(dst, byte(bm[j/8]>>(8*(j%8))))
		}
	}
	prev := pg.XID(0)
	for pos, end := s.first[lo], s.end(hi-1); pos < end; {
		r := s.runOf(pos)
		stop := end
		if r+1 < len(s.runStart) {
			stop = min(stop, s.runStart[r+1])
		}
		d := int32(s.runXmin[r] - prev)
		prev = s.runXmin[r]
		dst = binary.AppendUvarint(dst, uint64(stop-pos))
		dst = binary.AppendUvarint(dst, uint64(uint32(d<<1)^uint32(d>>31)))
		pos = stop
	}
	return dst
}

func corrupt(format string, args ...any) error {
	return &pg.CorruptError{What: "TID set: " + fmt.Sprintf(format, args...)}
}

// Decode reads a file. What it returns does not alias b.
func Decode(b []byte) (*Set, error) {
	if len(b) < headerSize || string(b[:8]) != magic {
		return nil, corrupt("%d bytes do not begin with %q and a header", len(b), magic)
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	if v := u32(8); v != version && v != versionRows {
		return nil, fmt.Errorf("TID set of version %d, this program reads up to %d: %w", v, versionRows, ErrVersion)
	}
	if n := binary.LittleEndian.Uint64(b[12:]); n != uint64(len(b)) {
		return nil, corrupt("file is %d bytes, its header says %d", len(b), n)
	}
	chunks := int(u32(44))
	if chunks > (len(b)-headerSize)/indexSize {
		return nil, corrupt("%d chunks in %d bytes", chunks, len(b))
	}
	if headerCRC(b, chunks) != u32(48) {
		return nil, corrupt("checksum of the header differs")
	}
	s := &Set{source: Source{
		Rel:         pg.RelFileLocator{Spc: pg.OID(u32(20)), DB: pg.OID(u32(24)), Rel: pg.OID(u32(28))},
		Incarnation: pg.LSN(binary.LittleEndian.Uint64(b[32:])),
	}}
	at := headerSize + chunks*indexSize
	for c := range chunks {
		e := headerSize + c*indexSize
		length := int(u32(e + 20))
		if int(u32(e+16)) != at || length > len(b)-at {
			return nil, corrupt("chunk %d is %d bytes at %d", c, length, u32(e+16))
		}
		body := b[at : at+length]
		if crcOf(body) != u32(e+24) {
			return nil, corrupt("checksum of chunk %d differs", c)
		}
		if u32(e+8) != s.rows || s.rows > 0 && u32(e) <= s.blocks[len(s.blocks)-1] {
			return nil, corrupt("chunk %d does not follow the one before", c)
		}
		if err := s.decodeChunk(body, u32(e), u32(e+12)); err != nil {
			return nil, fmt.Errorf("chunk %d: %w", c, err)
		}
		if s.blocks[len(s.blocks)-1] != u32(e+4) {
			return nil, corrupt("chunk %d ends at block %d, not %d", c, s.blocks[len(s.blocks)-1], u32(e+4))
		}
		at += length
	}
	if u32(8) == versionRows {
		if err := s.decodeLineage(b[at:]); err != nil {
			return nil, err
		}
		at = len(b)
	}
	if at != len(b) || s.rows != u32(40) {
		return nil, corrupt("%d rows in %d bytes, its header says %d in %d", s.rows, at, u32(40), len(b))
	}
	return s, nil
}

// cursor reads a chunk; the first mistake empties it and stays in bad.
type cursor struct {
	b   []byte
	bad bool
}

// uvarint reads a number of at most max.
func (c *cursor) uvarint(max uint64) uint32 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 || v > max {
		c.b, c.bad = nil, true
		return 0
	}
	c.b = c.b[n:]
	return uint32(v)
}

func (s *Set) decodeChunk(body []byte, block, blocks uint32) error {
	if blocks == 0 || blocks > chunkBlocks || pg.BlockNumber(block) == pg.InvalidBlock {
		return corrupt("%d blocks from %d", blocks, block)
	}
	c := &cursor{b: body}
	start := s.rows
	end := uint64(start)
	for i := range blocks {
		if i > 0 {
			next := uint64(block) + uint64(c.uvarint(1<<32-2)) + 1
			if next >= uint64(pg.InvalidBlock) {
				return corrupt("block %d", next)
			}
			block = uint32(next)
		}
		n := c.uvarint(pg.MaxHeapTuplesPerPage)
		var bm [maxWords]uint64
		if !c.offsets(n, &bm) {
			return corrupt("the offsets of block %d make no sense", block)
		}
		if end+uint64(n) > RowsMax {
			return corrupt("more than %d rows", uint32(RowsMax))
		}
		s.addBlock(block, uint32(end), n, bm[:])
		end += uint64(n)
	}
	xmin := uint32(0)
	for uint64(s.rows) < end {
		n := c.uvarint(end - uint64(s.rows))
		z := c.uvarint(1<<32 - 1)
		if c.bad || n == 0 {
			return corrupt("runs of xmin end after %d rows of %d", s.rows-start, end-uint64(start))
		}
		xmin += z>>1 ^ -(z & 1)
		s.addRun(pg.XID(xmin))
		s.rows += n
	}
	if len(c.b) > 0 {
		return corrupt("%d bytes too many", len(c.b))
	}
	return nil
}

// offsets reads the offsets of a block of n rows into bm.
func (c *cursor) offsets(n uint32, bm *[maxWords]uint64) bool {
	o := c.uvarint(2 * pg.MaxHeapTuplesPerPage)
	if c.bad || n == 0 {
		return false
	}
	if o&1 == 0 {
		low := o >> 1
		if low == 0 || low+n-1 > pg.MaxHeapTuplesPerPage {
			return false
		}
		for i := low - 1; i < low-1+n; i++ {
			bm[i/64] |= 1 << (i % 64)
		}
		return true
	}
	size := int(o >> 1)
	if size == 0 || size > 8*maxWords || size > len(c.b) || c.b[size-1] == 0 {
		return false
	}
	count := uint32(0)
	for i, v := range c.b[:size] {
		bm[i/8] |= uint64(v) << (8 * (i % 8))
		count += uint32(bits.OnesCount8(v))
	}
	c.b = c.b[size:]
	_, high := bounds(bm[:(size+7)/8])
	return count == n && high <= pg.MaxHeapTuplesPerPage
}
