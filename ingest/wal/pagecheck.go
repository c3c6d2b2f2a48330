package wal

import (
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// readPageHeader reads the header of the page at start and checks it against its place and the pages before it
// (XLogReaderValidatePageHeader).
func (r *Reader) readPageHeader(start pg.LSN) error {
	if r.hasPage && r.pageLSN == start {
		return nil
	}
	b, err := r.peek(start, ShortPageHeaderSize)
	if err != nil {
		return err
	}
	if b[2]&PageLongHeader != 0 {
		if b, err = r.peek(start, LongPageHeaderSize); err != nil {
			return err
		}
	}
	h, err := ParsePageHeader(b)
	if err != nil {
		return corruptf(start, "%v", err)
	}
	first := !r.hasPage && r.tli == 0 && !r.opts.Sparse
	if err := r.checkPage(start, h); err != nil {
		return err
	}
	r.page, r.pageLSN, r.hasPage, r.tli = h, start, true, h.Timeline
	if first {
		return r.checkSegment(start)
	}
	return nil
}

func (r *Reader) checkPage(start pg.LSN, h PageHeader) error {
	if h.Addr != start {
		return corruptf(start, "unexpected pageaddr %s", h.Addr)
	}
	if r.opts.Major != 0 && h.Major != r.opts.Major {
		return corruptf(start, "WAL page of PostgreSQL %d while reading %d", h.Major, r.opts.Major)
	}
	r.opts.Major = h.Major
	if h.Long() && r.opts.SegmentSize == 0 {
		r.opts.SegmentSize = h.SegmentSize
	}
	size := r.opts.SegmentSize
	switch {
	case size == 0:
		return fmt.Errorf("WAL segment size is not known at %s: name it, or start at a segment", start)
	case h.Long() && (h.SegmentSize != size || int64(start)%size != 0):
		return corruptf(start, "long page header of a segment of %d bytes, segments have %d", h.SegmentSize, size)
	case !h.Long() && int64(start)%size == 0:
		return corruptf(start, "first page of a segment without a long header")
	case h.Long() && r.opts.SystemID != 0 && h.SystemID != r.opts.SystemID:
		return &SystemIDError{LSN: start, Got: h.SystemID, Want: r.opts.SystemID}
	case r.opts.Timeline != 0 && h.Timeline > r.opts.Timeline:
		return &TimelineError{LSN: start, Got: h.Timeline, Want: r.opts.Timeline}
	case h.Timeline < r.tli:
		return &TimelineError{LSN: start, Got: h.Timeline, Want: r.tli}
	}
	// The page of a switch was begun before it, and is copied to the new timeline's segment as it is (XLogInitNewTimeline).
	if want := r.opts.History.At(start); len(r.opts.History.Ancestors) > 0 && h.Timeline != want {
		return &TimelineError{LSN: start, Got: h.Timeline, Want: want}
	}
	return nil
}

// checkSegment looks at the long header of the segment reading starts in, for its system identifier. A source that
// does not hold that page is believed until the next segment.
func (r *Reader) checkSegment(start pg.LSN) error {
	seg := start.SegmentStart(r.opts.SegmentSize)
	if r.opts.SystemID == 0 || seg == start {
		return nil
	}
	var b [LongPageHeaderSize]byte
	if n, _ := r.opts.Source.Read(seg, b[:]); n < len(b) {
		return nil
	}
	h, err := ParsePageHeader(b[:])
	if err != nil {
		return corruptf(seg, "%v", err)
	}
	if h.Long() && h.Addr == seg && h.SystemID != r.opts.SystemID {
		return &SystemIDError{LSN: seg, Got: h.SystemID, Want: r.opts.SystemID}
	}
	return nil
}
