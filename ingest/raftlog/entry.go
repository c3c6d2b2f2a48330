package raftlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/tarn-db/tarn/internal/pg"
)

// A raft entry of this log, all integers little-endian:
//
//	 0  magic    "tnRL"
//	 4  version  uint16 = 1
//	 6  kind     uint8: 1 epoch, 2 base, 3 batch, 4 trim
//	 7  zero     uint8
//	 8  length   uint32: bytes of payload after the header
//	12  crc      uint32: CRC-32C of bytes 0-12 and 16 to the end
//	16  system   uint64: the cluster's system identifier
//	24  timeline uint32
//	28  segment  uint32: bytes in a WAL segment
//	32  lsn      uint64: epoch: the epoch; base: where the log begins; batch: of the first byte; trim: the new start
//	40  payload: the WAL bytes of a batch, nothing else has one
const (
	entryVersion    = 1
	entryHeaderSize = 40
)

var entryMagic = [4]byte{'t', 'n', 'R', 'L'}

// EntryPayloadMax bounds the WAL in one entry: small enough that several are in flight, big enough that the cost of an
// entry is lost in that of its fsync.
const EntryPayloadMax = 256 << 10 // bytes

type entryKind uint8

const (
	kindEpoch entryKind = 1
	kindBase  entryKind = 2
	kindBatch entryKind = 3
	kindTrim  entryKind = 4
)

// entry is a decoded raft entry.
type entry struct {
	kind     entryKind
	cluster  Cluster
	timeline pg.TimelineID
	lsn      pg.LSN // or the epoch
	payload  []byte // aliases what was decoded
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealEntry fills in the header in front of b[entryHeaderSize:], the payload.
func sealEntry(b []byte, e entry) {
	copy(b, entryMagic[:])
	binary.LittleEndian.PutUint16(b[4:], entryVersion)
	b[6], b[7] = byte(e.kind), 0
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-entryHeaderSize))
	binary.LittleEndian.PutUint64(b[16:], e.cluster.SystemID)
	binary.LittleEndian.PutUint32(b[24:], uint32(e.timeline))
	binary.LittleEndian.PutUint32(b[28:], uint32(e.cluster.SegmentSize))
	binary.LittleEndian.PutUint64(b[32:], uint64(e.lsn))
	binary.LittleEndian.PutUint32(b[12:], entryCRC(b))
}

func entryCRC(b []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, b[:12]), castagnoli, b[16:])
}

// encodeEntry makes an entry without payload.
func encodeEntry(e entry) []byte {
	b := make([]byte, entryHeaderSize)
	sealEntry(b, e)
	return b
}

// decodeEntry checks and reads an entry. Errors are *pg.CorruptError.
func decodeEntry(b []byte) (entry, error) {
	if len(b) < entryHeaderSize || [4]byte(b[:4]) != entryMagic {
		return entry{}, &pg.CorruptError{What: fmt.Sprintf("raft entry of %d bytes: no entry of a WAL log", len(b))}
	}
	e := entry{kind: entryKind(b[6]), timeline: pg.TimelineID(binary.LittleEndian.Uint32(b[24:])),
		lsn: pg.LSN(binary.LittleEndian.Uint64(b[32:])), payload: b[entryHeaderSize:],
		cluster: Cluster{SystemID: binary.LittleEndian.Uint64(b[16:]), SegmentSize: int64(binary.LittleEndian.Uint32(b[28:]))}}
	corrupt := func(what string, v any) (entry, error) {
		return entry{}, &pg.CorruptError{LSN: e.lsn, What: fmt.Sprintf("raft entry: %s %v", what, v)}
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != entryVersion {
		return corrupt("format version unknown to this release:", v)
	}
	if n := binary.LittleEndian.Uint32(b[8:]); int64(n) != int64(len(e.payload)) || n > EntryPayloadMax {
		return corrupt("length", n)
	}
	if binary.LittleEndian.Uint32(b[12:]) != entryCRC(b) {
		return corrupt("checksum differs over", len(b))
	}
	if e.kind < kindEpoch || e.kind > kindTrim {
		return corrupt("kind", e.kind)
	}
	if (e.kind == kindBatch) != (len(e.payload) > 0) {
		return corrupt("payload of", len(e.payload))
	}
	return e, nil
}
