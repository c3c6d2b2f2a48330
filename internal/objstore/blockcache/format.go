package blockcache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// A block's file, named by the 32 hex digits of its identity, is a chunk for each 16 KiB of it, the last one shorter:
//
//	0  CRC32C uint32, little-endian: of the identity, of the chunk's number as uint32, of the bytes
//	4  bytes of the object as they are
//
// The identity is 16 bytes of the SHA-256 of the object's key, its ETag and the block's number. So a block that was renamed, a chunk of another
// place and a block of a former version of the object are as damaged as a flipped bit.
const (
	chunkBytes    = 16 << 10
	chunkOverhead = 4
)

// blockID is a block's identity.
type blockID [16]byte

func newBlockID(key, etag string, block int64) blockID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", key, etag, block))
	return blockID(sum[:])
}

func (id blockID) fileName() string { return hex.EncodeToString(id[:]) }

func parseFileName(name string) (id blockID, ok bool) {
	n, err := hex.Decode(id[:], []byte(name)[:min(len(name), 2*len(id))])
	return id, err == nil && n == len(id) && name == id.fileName()
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// errDamaged: a block's file is not what was written.
var errDamaged = errors.New("the checksum is incorrect or bytes are missing")

func chunkCRC(id *blockID, number int, data []byte) uint32 {
	crc := crc32.Checksum(id[:], castagnoli)
	crc = crc32.Update(crc, castagnoli, le.AppendUint32(nil, uint32(number)))
	return crc32.Update(crc, castagnoli, data)
}

// fileBytes is the size of the file of a block of size bytes.
func fileBytes(size int) int64 {
	return int64(size + (size+chunkBytes-1)/chunkBytes*chunkOverhead)
}

// appendChunks appends a block's file.
func appendChunks(dst []byte, id blockID, data []byte) []byte {
	for number := 0; len(data) > 0; number++ {
		n := min(len(data), chunkBytes)
		dst = le.AppendUint32(dst, chunkCRC(&id, number, data[:n]))
		dst, data = append(dst, data[:n]...), data[n:]
	}
	return dst
}

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// readChunks fills dst with the bytes at off of a block of size bytes from its file. It reads and checks the chunks they lie in, and
// no other ones.
//
// Invariant: 0 < len(dst), off+len(dst) <= size.
func readChunks(f io.ReaderAt, id blockID, size, off int, dst []byte) error {
	first, last := off/chunkBytes, (off+len(dst)-1)/chunkBytes
	end := min(size, (last+1)*chunkBytes) // of the last chunk, in the block
	stored := end - first*chunkBytes + (last-first+1)*chunkOverhead
	pooled := scratch.Get().(*[]byte)
	defer scratch.Put(pooled)
	if cap(*pooled) < stored {
		*pooled = make([]byte, stored)
	}
	buf := (*pooled)[:stored]
	n, err := f.ReadAt(buf, int64(first)*(chunkBytes+chunkOverhead))
	if n < stored {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("block %s: %w", id.fileName(), errDamaged)
		}
		return err
	}
	off -= first * chunkBytes
	for number := first; number <= last; number++ {
		crc := le.Uint32(buf)
		data := buf[chunkOverhead:min(len(buf), chunkOverhead+chunkBytes)]
		if chunkCRC(&id, number, data) != crc {
			return fmt.Errorf("block %s, chunk %d: %w", id.fileName(), number, errDamaged)
		}
		dst = dst[copy(dst, data[off:]):]
		off, buf = 0, buf[chunkOverhead+len(data):]
	}
	return nil
}
