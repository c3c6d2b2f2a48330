package journal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"
)

// Every object of the journal but state blobs is one frame, little-endian:
//
//	0        8         12          16         24
//	+--------+---------+-----------+----------+----------------+
//	| magic  | version | CRC-32C   | length   | body           |
//	| 8      | u32     | u32, body | u64,body | length bytes   |
//	+--------+---------+-----------+----------+----------------+
//
// Nothing follows the body. Bodies are JSON; those of checkpoints, segments and branches are one zstd frame of it.
const (
	frameHeader = 24

	magicEntry      = "TARNCLOG"
	magicCheckpoint = "TARNCCKP"
	magicSegment    = "TARNCSEG"
	magicBranch     = "TARNCBRA"

	// formatVersion is common to the four.
	formatVersion = 1

	// bodyBytesMax bounds what a body may unpack to.
	bodyBytesMax = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func frame(magic string, body []byte) []byte {
	b := make([]byte, frameHeader, frameHeader+len(body))
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint32(b[12:], checksum(body))
	binary.LittleEndian.PutUint64(b[16:], uint64(len(body)))
	return append(b, body...)
}

func unframe(key, magic string, b []byte) ([]byte, error) {
	if len(b) < frameHeader {
		return nil, fmt.Errorf("%w: %s has %d bytes, fewer than its header", ErrCorrupt, key, len(b))
	}
	if string(b[:8]) != magic {
		return nil, fmt.Errorf("%w: %s begins with %q, want %q", ErrCorrupt, key, b[:8], magic)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return nil, &VersionError{Key: key, Got: v, Want: formatVersion}
	}
	body := b[frameHeader:]
	if n := binary.LittleEndian.Uint64(b[16:]); n != uint64(len(body)) {
		return nil, fmt.Errorf("%w: %s has a body of %d bytes, its header says %d", ErrCorrupt, key, len(body), n)
	}
	if sum, want := checksum(body), binary.LittleEndian.Uint32(b[12:]); sum != want {
		return nil, fmt.Errorf("%w: %s has CRC %08x, its header says %08x", ErrCorrupt, key, sum, want)
	}
	return body, nil
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: a journal record does not marshal: " + err.Error())
	}
	return b
}

func unmarshal(key string, b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, key, err)
	}
	return nil
}

func encodeEntry(e *Entry) []byte { return frame(magicEntry, marshal(e)) }

func decodeEntry(key string, b []byte) (Entry, error) {
	var e Entry
	body, err := unframe(key, magicEntry, b)
	if err == nil {
		err = unmarshal(key, body, &e)
	}
	return e, err
}

func encodePacked(magic string, v any) []byte {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic("BUG: zstd options: " + err.Error())
	}
	return frame(magic, enc.EncodeAll(marshal(v), nil))
}

func decodePacked(key, magic string, b []byte, v any) error {
	body, err := unframe(key, magic, b)
	if err != nil {
		return err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(bodyBytesMax), zstd.WithDecoderConcurrency(1))
	if err != nil {
		panic("BUG: zstd options: " + err.Error())
	}
	defer dec.Close()
	plain, err := dec.DecodeAll(body, nil)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, key, err)
	}
	return unmarshal(key, plain, v)
}
