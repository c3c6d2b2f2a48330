package archive

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
)

// Keys of the archive, beside each other under wal/:
//
//	wal/<tli>/<segment>                     a sealed segment, bit-identical to the server's file
//	wal/<tli>/<segment>.tail/<start>-<end>  a chunk of a segment that is not sealed yet
//	wal/<tli>/<tli>.history                 the timeline's history file, bit-identical to the server's
//	wal/base/<sequence>                     a base: where the archive begins; the highest sequence counts
//
// tli is 8 hex digits, segment is pg_wal's file name, start, end and sequence are 16 hex digits, all upper case.
const (
	prefix     = "wal/"
	basePrefix = prefix + "base/"
)

func timelinePrefix(tli pg.TimelineID) string { return fmt.Sprintf("%s%08X/", prefix, uint32(tli)) }

func segmentKey(tli pg.TimelineID, l pg.LSN, segSize int64) string {
	return timelinePrefix(tli) + pg.WALFileName(tli, l, segSize)
}

func tailPrefix(tli pg.TimelineID, l pg.LSN, segSize int64) string {
	return segmentKey(tli, l, segSize) + ".tail/"
}

func chunkKey(tli pg.TimelineID, start, end pg.LSN, segSize int64) string {
	return fmt.Sprintf("%s%016X-%016X", tailPrefix(tli, start, segSize), uint64(start), uint64(end))
}

func historyKey(tli pg.TimelineID) string { return timelinePrefix(tli) + pg.HistoryFileName(tli) }

func baseKey(seq uint64) string { return fmt.Sprintf("%s%016X", basePrefix, seq) }

// Immutable says whether the object of a key is written once: a sealed segment. It is written again after a resync alone, by the
// archive's one writer.
func Immutable(key string) bool {
	rest, ok := strings.CutPrefix(key, prefix)
	tli, name, _ := strings.Cut(rest, "/")
	return ok && len(tli) == 8 && len(name) == 24 && strings.Trim(tli+name, "0123456789ABCDEF") == ""
}

// parseHex16 reads 16 upper case hex digits.
func parseHex16(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil && len(s) == 16 && s == strings.ToUpper(s)
}

// parseKey reads the key of a segment or a chunk of the timeline.
func parseKey(key string, tli pg.TimelineID, segSize int64) (start, end pg.LSN, sealed, ok bool) {
	name, ok := strings.CutPrefix(key, timelinePrefix(tli))
	if !ok {
		return 0, 0, false, false
	}
	name, chunk, isChunk := strings.Cut(name, ".tail/")
	of, segStart, ok := pg.ParseWALFileName(name, segSize)
	if !ok || of != tli {
		return 0, 0, false, false
	}
	segEnd := segStart + pg.LSN(segSize)
	if !isChunk {
		return segStart, segEnd, true, true
	}
	from, to, _ := strings.Cut(chunk, "-")
	s, ok1 := parseHex16(from)
	e, ok2 := parseHex16(to)
	start, end = pg.LSN(s), pg.LSN(e)
	if !ok1 || !ok2 || start < segStart || start >= end || end > segEnd {
		return 0, 0, false, false
	}
	return start, end, false, true
}

// Base says which WAL an archive holds, and from where on.
type Base struct {
	SystemID    uint64
	Timeline    pg.TimelineID // the newest
	SegmentSize int64         // bytes
	LSN         pg.LSN        // first byte, at the start of a segment
}

// A chunk and a base object share a header, little-endian:
//
//	 0  magic    "tnWC" chunk, "tnWB" base
//	 4  version  uint16 = 1; of a base with a history, 2
//	 6  zero     uint16
//	 8  length   uint32: bytes after the header
//	12  crc      uint32: CRC-32C of bytes 0-12 and 16 to the end
//	16  system   uint64
//	24  timeline uint32
//	28  segment  uint32: bytes in a WAL segment
//	32  lsn      uint64: of the first byte of WAL
//	40  chunk: WAL; base: nothing, or from version 2 on the timeline's history file
const (
	objectVersion    = 1
	historyVersion   = 2
	objectHeaderSize = 40
)

var (
	chunkMagic = [4]byte{'t', 'n', 'W', 'C'}
	baseMagic  = [4]byte{'t', 'n', 'W', 'B'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func objectCRC(b []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, b[:12]), castagnoli, b[16:])
}

// sealObject fills in the header in front of b[objectHeaderSize:].
func sealObject(b []byte, magic [4]byte, o Base) {
	copy(b, magic[:])
	binary.LittleEndian.PutUint16(b[4:], objectVersion)
	if magic == baseMagic && len(b) > objectHeaderSize {
		binary.LittleEndian.PutUint16(b[4:], historyVersion)
	}
	binary.LittleEndian.PutUint16(b[6:], 0)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-objectHeaderSize))
	binary.LittleEndian.PutUint64(b[16:], o.SystemID)
	binary.LittleEndian.PutUint32(b[24:], uint32(o.Timeline))
	binary.LittleEndian.PutUint32(b[28:], uint32(o.SegmentSize))
	binary.LittleEndian.PutUint64(b[32:], uint64(o.LSN))
	binary.LittleEndian.PutUint32(b[12:], objectCRC(b))
}

// openObject checks and reads a chunk or base, and gives what follows the header. Errors are *pg.CorruptError.
func openObject(key string, b []byte, magic [4]byte) (o Base, rest []byte, err error) {
	corrupt := func(what string, v any) (Base, []byte, error) {
		return Base{}, nil, &pg.CorruptError{LSN: o.LSN, What: fmt.Sprintf("object %s: %s %v", key, what, v)}
	}
	if len(b) < objectHeaderSize || [4]byte(b[:4]) != magic {
		return corrupt("no such object, bytes:", len(b))
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != objectVersion && (v != historyVersion || magic != baseMagic) {
		return corrupt("format version unknown to this release:", v)
	}
	o = Base{SystemID: binary.LittleEndian.Uint64(b[16:]), Timeline: pg.TimelineID(binary.LittleEndian.Uint32(b[24:])),
		SegmentSize: int64(binary.LittleEndian.Uint32(b[28:])), LSN: pg.LSN(binary.LittleEndian.Uint64(b[32:]))}
	if n := binary.LittleEndian.Uint32(b[8:]); int64(n) != int64(len(b)-objectHeaderSize) {
		return corrupt("length", n)
	}
	if binary.LittleEndian.Uint32(b[12:]) != objectCRC(b) {
		return corrupt("checksum differs over", len(b))
	}
	if !pg.ValidWALSegmentSize(o.SegmentSize) {
		return corrupt("segment size", o.SegmentSize)
	}
	return o, b[objectHeaderSize:], nil
}
