package pg

import (
	"fmt"
	"strconv"
)

// WAL segment sizes a server can be built with (--wal-segsize of initdb): powers of two from 1 MiB to 1 GiB.
const (
	WALSegmentSizeMin     = 1 << 20 // bytes
	WALSegmentSizeDefault = 1 << 24 // bytes
	WALSegmentSizeMax     = 1 << 30 // bytes
)

// ValidWALSegmentSize says whether a server can use segments of n bytes (IsValidWalSegSize).
func ValidWALSegmentSize(n int64) bool {
	return n >= WALSegmentSizeMin && n <= WALSegmentSizeMax && n&(n-1) == 0
}

// SegmentStart rounds down to the first byte of the segment of segSize bytes that holds l.
func (l LSN) SegmentStart(segSize int64) LSN { return l - l%LSN(segSize) }

// WALFileName names the segment of segSize bytes that holds l, as pg_wal does (XLogFileName): 24 hex digits.
func WALFileName(tli TimelineID, l LSN, segSize int64) string {
	perID := uint64(1<<32) / uint64(segSize)
	no := uint64(l) / uint64(segSize)
	return fmt.Sprintf("%08X%08X%08X", uint32(tli), uint32(no/perID), uint32(no%perID))
}

// ParseWALFileName is the inverse of WALFileName: the timeline and first byte of the segment (XLogFromFileName).
// ok is false for any other name, .partial and .history included.
func ParseWALFileName(name string, segSize int64) (tli TimelineID, start LSN, ok bool) {
	if len(name) != 24 {
		return 0, 0, false
	}
	var part [3]uint64
	for i := range part {
		s := name[8*i : 8*i+8]
		for _, c := range []byte(s) {
			if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'F') {
				return 0, 0, false
			}
		}
		part[i], _ = strconv.ParseUint(s, 16, 32) // eight hex digits always parse
	}
	perID := uint64(1<<32) / uint64(segSize)
	if part[2] >= perID {
		return 0, 0, false
	}
	return TimelineID(part[0]), LSN((part[1]*perID + part[2]) * uint64(segSize)), true
}
