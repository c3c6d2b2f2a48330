// Package layer is the format of layers: immutable objects that hold a value for each of their keys. An image layer's are what the keys
// are at one LSN, a delta layer's how they came to that (package delta). It is pure: a Writer turns sorted values into bytes, Footer, Index and Group turn ranges of bytes back into values.
//
// A layer is a header, groups of about 16 neighbouring values, an index and a footer. All numbers are little-endian.
//
//	header, 16 bytes
//	  0 magic "TARNPGIM"   8 version uint16   10 kind uint16: 1 image layer, 2 delta layer   12 footer length uint32, bytes
//
//	group: zstd frame; S2 block if flag 4 is set; the bytes themselves if flag 2 is set; raw content:
//	  value lengths uint32 each   keys, 18 bytes each, only if flag 1 is set   values
//
//	index, zstd; per group, in key order:
//	  flags uint8: 1 keys are in the group, 2 not compressed, 4 S2 rather than zstd (from version 2 on)
//	  first key, 18 bytes
//	  flag 1:    last key, 18 bytes   count uvarint
//	  otherwise: all keys differ in their block only; runs uvarint, then per run
//	             blocks skipped uvarint (0 for the first)   blocks uvarint
//	  offset uvarint   stored length uvarint   raw length uvarint   CRC32C of the stored bytes uint32
//
//	footer, 64 bytes
//	  0 magic "TARNPGIX"   8 version uint16   10 kind uint16   12 CRC32C of the stored index uint32
//	  16 index offset uint64   24 stored length uint32   28 raw length uint32   32 groups uint32   36 zero uint32
//	  40 LSN uint64   48 values uint64   56 zero uint32   60 CRC32C of the 60 bytes before it uint32
//
// Groups may lie in any order in the object; the index has them in key order, and no two overlap.
package layer

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

const (
	headerMagic = "TARNPGIM"
	footerMagic = "TARNPGIX"

	// Image and Delta are the kinds of layers.
	Image Kind = 1
	Delta Kind = 2

	// Version is the format's version. All before it can be read.
	Version = 2
	// HeaderSize and FooterSize are the lengths of a layer's first and last part, bytes.
	HeaderSize = 16
	FooterSize = 64

	flagKeys = 1 // the keys are in the group: they differ in more than the block
	flagRaw  = 2 // the group is not compressed
	flagFast = 4 // the group is compressed with S2

	// groupPages is how many pages a group holds, and groupRawTarget how many bytes of other values.
	groupPages     = 16
	groupRawTarget = 64 << 10
	// ValueMax bounds one value, rawMax a group or an index before compression, bytes.
	ValueMax = 64 << 20
	rawMax   = 1 << 30
)

// Kind is what a layer's values are. The numbers are part of the format.
type Kind uint16

// ErrVersion: the layer was written by a newer tarn.
var ErrVersion = fault.New(fault.StoreNewer, "layer format version is not supported")

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

func corruptf(format string, args ...any) error {
	return &pg.CorruptError{What: "layer: " + fmt.Sprintf(format, args...)}
}

// decoder is shared: DecodeAll may run concurrently and stays within its destination's capacity.
var decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(rawMax), zstd.WithDecoderConcurrency(0),
		zstd.IgnoreChecksum(true))
})

// decompress returns exactly rawLen bytes, in dst if it is long enough; fast is for what S2 has compressed.
func decompress(stored []byte, rawLen int, fast bool, dst []byte) (out []byte, err error) {
	if cap(dst) < rawLen {
		dst = make([]byte, rawLen)
	}
	if fast {
		if n, err := s2.DecodedLen(stored); err != nil || n != rawLen { // else it takes memory of its own
			return nil, corruptf("S2 block of %d bytes, want %d: %v", n, rawLen, err)
		}
		out, err = s2.Decode(dst[:rawLen], stored)
	} else {
		dec, startErr := decoder()
		if startErr != nil {
			return nil, fmt.Errorf("cannot start zstd: %w", startErr)
		}
		out, err = dec.DecodeAll(stored, dst[:0:rawLen])
	}
	if err != nil {
		return nil, corruptf("%v", err)
	}
	if len(out) != rawLen {
		return nil, corruptf("%d bytes decompressed, want %d", len(out), rawLen)
	}
	return out, nil
}

// Footer is the last part of a layer.
type Footer struct {
	Kind        Kind
	LSN         pg.LSN
	Values      uint64
	Groups      int
	IndexOffset int64 // bytes from the layer's start
	IndexLength int   // bytes as stored
	indexRaw    int
	indexCRC    uint32
}

func appendHeader(dst []byte, kind Kind) []byte {
	dst = append(dst, headerMagic...)
	dst = le.AppendUint16(dst, Version)
	dst = le.AppendUint16(dst, uint16(kind))
	return le.AppendUint32(dst, FooterSize)
}

// CheckHeader checks the first HeaderSize bytes of a layer.
func CheckHeader(b []byte) error {
	if len(b) != HeaderSize || string(b[:8]) != headerMagic {
		return corruptf("header has no magic")
	}
	if err := checkVersion(le.Uint16(b[8:]), Kind(le.Uint16(b[10:]))); err != nil {
		return err
	}
	if n := le.Uint32(b[12:]); n != FooterSize {
		return corruptf("footer of %d bytes", n)
	}
	return nil
}

func checkVersion(version uint16, kind Kind) error {
	if version == 0 || version > Version {
		return fmt.Errorf("%w: version %d, this tarn reads up to %d: use a newer tarn", ErrVersion, version, Version)
	}
	if kind != Image && kind != Delta {
		return corruptf("kind %d", kind)
	}
	return nil
}

func (f *Footer) append(dst []byte) []byte {
	from := len(dst)
	dst = append(dst, footerMagic...)
	dst = le.AppendUint16(dst, Version)
	dst = le.AppendUint16(dst, uint16(f.Kind))
	dst = le.AppendUint32(dst, f.indexCRC)
	dst = le.AppendUint64(dst, uint64(f.IndexOffset))
	dst = le.AppendUint32(dst, uint32(f.IndexLength))
	dst = le.AppendUint32(dst, uint32(f.indexRaw))
	dst = le.AppendUint32(dst, uint32(f.Groups))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, uint64(f.LSN))
	dst = le.AppendUint64(dst, f.Values)
	dst = le.AppendUint32(dst, 0)
	return le.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli))
}

// ParseFooter reads the last FooterSize bytes of a layer of size bytes.
func ParseFooter(b []byte, size int64) (f Footer, err error) {
	if len(b) != FooterSize || string(b[:8]) != footerMagic {
		return f, corruptf("footer has no magic")
	}
	// The version comes before the checksum: another version may place it elsewhere.
	kind := Kind(le.Uint16(b[10:]))
	if err := checkVersion(le.Uint16(b[8:]), kind); err != nil {
		return f, err
	}
	if crc32.Checksum(b[:60], castagnoli) != le.Uint32(b[60:]) {
		return f, corruptf("footer: incorrect checksum")
	}
	f = Footer{
		Kind: kind, indexCRC: le.Uint32(b[12:]), IndexOffset: int64(le.Uint64(b[16:])), IndexLength: int(le.Uint32(b[24:])),
		indexRaw: int(le.Uint32(b[28:])), Groups: int(le.Uint32(b[32:])), LSN: pg.LSN(le.Uint64(b[40:])), Values: le.Uint64(b[48:]),
	}
	if f.IndexOffset < HeaderSize || f.IndexOffset+int64(f.IndexLength) != size-FooterSize || f.indexRaw > rawMax {
		return f, corruptf("index of %d bytes at %d in a layer of %d", f.IndexLength, f.IndexOffset, size)
	}
	return f, nil
}
