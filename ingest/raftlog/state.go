package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// Cluster is what never changes in the life of a log.
type Cluster struct {
	SystemID    uint64 // from initdb
	SegmentSize int64  // bytes in a WAL segment
}

// state is the replicated state machine without its bytes.
type state struct {
	cluster  Cluster
	timeline pg.TimelineID
	epoch    uint64 // raised by each start of the log; a number seen in an old process is void in a newer one

	// Invariant: start <= end; every byte of [start, end) is committed, and in a local segment file.
	// Invariant: start is where a base put it or at the first byte of a segment.
	start, end pg.LSN
}

var (
	// ErrGap: the bytes appended begin after the log's end.
	ErrGap = fault.New(fault.WALGap, "WAL does not continue the log")
	// ErrDiverged: the bytes appended differ from those the log already holds at their position.
	ErrDiverged = fault.New(fault.Diverged, "WAL differs from what the log holds at the same position")
	// ErrForeign: another cluster's WAL, or another cluster's folder.
	ErrForeign = fault.New(fault.DataDirOther, "the data folder belongs to another cluster")
	// ErrNoBase: Reset has not yet said where the log begins.
	ErrNoBase = errors.New("the log has no beginning yet")
)

// AppendError says which bytes were refused and why; it unwraps to ErrGap, ErrDiverged, ErrForeign or ErrNoBase.
type AppendError struct {
	Start, Stop pg.LSN // of the bytes refused
	End         pg.LSN // of the log
	Err         error
}

func (e *AppendError) Error() string {
	return fmt.Sprintf("append %s-%s to a log that ends at %s: %v", e.Start, e.Stop, e.End, e.Err)
}

// Unwrap gives the reason.
func (e *AppendError) Unwrap() error { return e.Err }

// step is what applying an entry to the state asks of the segment files.
type step struct {
	next    state
	compare []byte // must equal the files' bytes from at on, else the entry is refused
	at      pg.LSN
	write   []byte // goes to the files at the old end
}

// stepEntry applies an entry to a state. It is deterministic: every voter decides the same.
func stepEntry(s state, e entry) (step, error) {
	refuse := func(err error) (step, error) {
		return step{}, &AppendError{Start: e.lsn, Stop: e.lsn + pg.LSN(len(e.payload)), End: s.end, Err: err}
	}
	if s.cluster != (Cluster{}) && s.cluster != e.cluster {
		return refuse(ErrForeign)
	}
	n := s
	n.cluster = e.cluster
	switch e.kind {
	case kindEpoch:
		n.epoch = max(s.epoch, uint64(e.lsn))
		return step{next: n}, nil
	case kindBase:
		n.timeline, n.start, n.end = e.timeline, e.lsn, e.lsn
		return step{next: n}, nil
	case kindTrim:
		if e.lsn > s.end {
			return refuse(ErrGap)
		}
		n.start = max(s.start, e.lsn.SegmentStart(s.cluster.SegmentSize))
		return step{next: n}, nil
	}
	return stepBatch(n, e, refuse)
}

// stepBatch applies WAL: bytes the log holds are compared, bytes it let go of are taken on trust, the rest is appended.
func stepBatch(s state, e entry, refuse func(error) (step, error)) (step, error) {
	stop := e.lsn + pg.LSN(len(e.payload))
	switch {
	case s.timeline == 0:
		return refuse(ErrNoBase)
	case e.timeline != s.timeline:
		return refuse(ErrDiverged)
	case e.lsn > s.end || stop < e.lsn:
		return refuse(ErrGap)
	case stop <= s.start:
		return step{next: s}, nil
	}
	st := step{next: s, at: max(e.lsn, s.start)}
	st.compare = e.payload[st.at-e.lsn : min(s.end, stop)-e.lsn]
	if stop > s.end {
		st.write = e.payload[s.end-e.lsn:]
		st.next.end = stop
	}
	return st, nil
}

// A snapshot of the state; the WAL itself is in segment files that were made durable before the snapshot was:
//
//	 0  magic    "tnRS"
//	 4  version  uint16 = 1
//	 6  zero     uint16
//	 8  length   uint32 = 64: of the whole snapshot
//	12  crc      uint32: CRC-32C of bytes 0-12 and 16 to the end
//	16  system   uint64
//	24  timeline uint32
//	28  segment  uint32: bytes in a WAL segment
//	32  epoch    uint64
//	40  start    uint64
//	48  end      uint64
//	56  zero     uint64
const (
	snapshotVersion = 1
	snapshotSize    = 64
)

var snapshotMagic = [4]byte{'t', 'n', 'R', 'S'}

func encodeSnapshot(s state) []byte {
	b := make([]byte, snapshotSize)
	copy(b, snapshotMagic[:])
	binary.LittleEndian.PutUint16(b[4:], snapshotVersion)
	binary.LittleEndian.PutUint32(b[8:], snapshotSize)
	binary.LittleEndian.PutUint64(b[16:], s.cluster.SystemID)
	binary.LittleEndian.PutUint32(b[24:], uint32(s.timeline))
	binary.LittleEndian.PutUint32(b[28:], uint32(s.cluster.SegmentSize))
	binary.LittleEndian.PutUint64(b[32:], s.epoch)
	binary.LittleEndian.PutUint64(b[40:], uint64(s.start))
	binary.LittleEndian.PutUint64(b[48:], uint64(s.end))
	binary.LittleEndian.PutUint32(b[12:], snapshotCRC(b))
	return b
}

func snapshotCRC(b []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, b[:12]), castagnoli, b[16:])
}

// decodeSnapshot checks and reads a snapshot. Errors are *pg.CorruptError.
func decodeSnapshot(b []byte) (state, error) {
	corrupt := func(what string, v any) (state, error) {
		return state{}, &pg.CorruptError{What: fmt.Sprintf("snapshot of the WAL log: %s %v", what, v)}
	}
	if len(b) < 8 || [4]byte(b[:4]) != snapshotMagic {
		return corrupt("no such file, bytes:", len(b))
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != snapshotVersion {
		return corrupt("format version unknown to this release:", v)
	}
	if len(b) != snapshotSize || binary.LittleEndian.Uint32(b[8:]) != snapshotSize {
		return corrupt("length", len(b))
	}
	if binary.LittleEndian.Uint32(b[12:]) != snapshotCRC(b) {
		return corrupt("checksum differs over", len(b))
	}
	s := state{
		cluster:  Cluster{SystemID: binary.LittleEndian.Uint64(b[16:]), SegmentSize: int64(binary.LittleEndian.Uint32(b[28:]))},
		timeline: pg.TimelineID(binary.LittleEndian.Uint32(b[24:])),
		epoch:    binary.LittleEndian.Uint64(b[32:]),
		start:    pg.LSN(binary.LittleEndian.Uint64(b[40:])),
		end:      pg.LSN(binary.LittleEndian.Uint64(b[48:])),
	}
	if s.start > s.end || !pg.ValidWALSegmentSize(s.cluster.SegmentSize) {
		return corrupt("fields make no sense:", s)
	}
	return s, nil
}
