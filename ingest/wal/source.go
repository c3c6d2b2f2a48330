package wal

import (
	"errors"

	"github.com/tarn-db/tarn/internal/pg"
)

// ErrNoMoreYet says that the source holds no WAL at the position asked for now and may later. A Reader that returns
// it has kept its state: call Next again when there is more.
var ErrNoMoreYet = errors.New("no more WAL yet")

// Source hands out WAL bytes. A byte it has once returned for a position never changes.
type Source interface {
	// Read copies WAL from lsn on into dst and returns how many bytes it had, at most len(dst); fewer is no error.
	// With none it returns ErrNoMoreYet, or io.EOF if there will never be more, or what went wrong.
	Read(lsn pg.LSN, dst []byte) (n int, err error)
}

// segmentSizer is a Source that knows its segment size, in bytes.
type segmentSizer interface{ SegmentSize() int64 }

// historian is a Source that knows how its newest timeline came about.
type historian interface{ History() pg.History }

// continuer is a Source over files whose tail may be stale: HasValidSegmentAfter says that WAL goes on in a later
// segment than the one holding lsn, so that what is wrong at lsn is damage and not the end.
type continuer interface{ HasValidSegmentAfter(lsn pg.LSN) bool }

// GoesOn looks behind an LSN, to the end of the next segment, for a page of WAL that was written after what is there: it has a
// header of its place, which a file that is used again does not, and does not lie wholly within a record begun before,
// which a crash may have left unfinished.
func GoesOn(s Source, lsn pg.LSN, segmentSize int64) (page pg.LSN, ok bool) {
	end := lsn.SegmentStart(segmentSize) + 2*pg.LSN(segmentSize)
	var b [LongPageHeaderSize]byte
	for at := pageStart(lsn) + PageSize; at < end; at += PageSize {
		if n, _ := s.Read(at, b[:]); n < len(b) {
			return 0, false
		}
		h, err := ParsePageHeader(b[:])
		within := h.Info&PageFirstIsContrecord != 0 && pg.MaxAlign(int(h.RemLen)) >= PageSize-h.Size()
		if err == nil && h.Addr == at && !within {
			return at, true
		}
	}
	return 0, false
}
