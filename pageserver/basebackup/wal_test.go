package basebackup

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// tailSource is the segments of a tail as a source of WAL.
type tailSource struct {
	tail     walTail
	segments []walSegment
}

func (s *tailSource) Read(lsn pg.LSN, dst []byte) (int, error) {
	for _, seg := range s.segments {
		end := seg.start + pg.LSN(s.tail.segmentSize)
		if lsn < seg.start || lsn >= end {
			continue
		}
		n := min(len(dst), int(end-lsn))
		clear(dst[:n])
		for _, p := range seg.pages {
			for i, b := range p.data {
				if at := p.addr + pg.LSN(i); at >= lsn && at < lsn+pg.LSN(n) {
					dst[at-lsn] = b
				}
			}
		}
		return n, nil
	}
	return 0, io.EOF
}

// TestTail: wherever the checkpoint lies, a reader finds it from itself, from the head of its page and from that of its segment's
// last page before it; and nothing behind it.
func TestTail(t *testing.T) {
	for _, major := range []pg.Major{pg.PG15, pg.PG16, pg.PG17, pg.PG18} {
		for _, size := range []int64{1 << 20, 16 << 20, 1 << 30} {
			for _, off := range []int64{0, 8, 40, 48, 4096, 8064, 8072, 8080, 8128, 8160, 8168, 8176, 8184, 8192, 8200, 8216, size / 2, size - 8192,
				size - 120, size - 128, size - 64, size - 24, size - 8} {
				lsn := pg.LSN(7<<30 + off)
				if off == 8 || off == 8200 {
					continue // within a header: no record ends there
				}
				w := walTail{major: major, systemID: 77, timeline: 3, segmentSize: size, start: recordStart(lsn, size)}
				w.checkPoint = xlrec.CheckPoint{Redo: w.start, TimelineID: 3, PrevTimelineID: 3, WALLevel: 1, NextXID: 5<<32 | 1000}
				if major < pg.PG17 {
					w.checkPoint.WALLevel = xlrec.WALLevelUnknown
				}
				if err := w.found(w.start, w.start&^(wal.PageSize-1)); err != nil {
					t.Errorf("PostgreSQL %d, segments of %d, at %s: %v", major, size, lsn, err)
				}
			}
		}
	}
}

func (w *walTail) found(from ...pg.LSN) error {
	for _, start := range from {
		segments := w.segments()
		if planted != nil {
			var pages []walPage
			for _, s := range segments {
				for _, p := range s.pages {
					if p.addr >= w.start&^(wal.PageSize-1) {
						pages = append(pages, p)
					}
				}
			}
			planted(pages)
		}
		r, err := wal.NewReader(wal.Options{Source: &tailSource{*w, segments}, Start: start, SystemID: 77, Timeline: 3, Major: w.major, SegmentSize: w.segmentSize})
		if err != nil {
			return err
		}
		rec, err := r.Next()
		if err != nil {
			return fmt.Errorf("from %s: %w", start, err)
		}
		cp, err := xlrec.DecodeCheckPoint(w.major, rec.Main)
		if err != nil || cp != w.checkPoint || rec.LSN != w.start || rec.End != w.end() || rec.RMID != wal.RMXLog || rec.Info != xlrec.XLogCheckpointShutdown {
			return fmt.Errorf("from %s: %+v, %+v, %w", start, rec, cp, err)
		}
		if rec, err := r.Next(); !errors.Is(err, pg.ErrCorrupt) && !errors.Is(err, io.EOF) {
			return fmt.Errorf("something follows: %+v, %w", rec, err)
		}
	}
	segments := w.segments()
	last := segments[len(segments)-1].start
	if n := float64(int64(w.end())-int64(last)) / float64(w.segmentSize); n >= preallocate || len(segments) > 2 && len(segments[1].pages) == 0 {
		return fmt.Errorf("%d segments, the last is used up to %v", len(segments), n)
	}
	return nil
}

// TestTailPlanted: a reader that comes from the head of a page refuses a header that does not say where the record is, and any reader
// one that does not go on with the record.
func TestTailPlanted(t *testing.T) {
	at := func(off pg.LSN) walTail {
		w := walTail{major: pg.PG17, systemID: 77, timeline: 3, segmentSize: 1 << 20, start: 7<<30 + off}
		w.checkPoint = xlrec.CheckPoint{Redo: w.start, TimelineID: 3, PrevTimelineID: 3, WALLevel: 1, NextXID: 5<<32 | 1000}
		return w
	}
	for _, c := range []struct {
		name  string
		off   pg.LSN
		plant func(pages []walPage)
	}{
		{"before the record", 4096, func(p []walPage) { p[0].data[16] += 8 }},
		{"not said to continue one", 4096, func(p []walPage) { p[0].data[2] &^= wal.PageFirstIsContrecord }},
		{"the rest", 8192 - 64, func(p []walPage) { p[1].data[16]++ }},
		{"the rest not said", 8192 - 64, func(p []walPage) { p[1].data[2] = 0 }},
		{"of another segment", 1<<20 - 64, func(p []walPage) { p[1].data[26]++ }},
		{"the record", 4096, func(p []walPage) { p[0].data[4096+40]++ }},
	} {
		w := at(c.off)
		if err := w.found(w.start &^ (wal.PageSize - 1)); err != nil {
			t.Errorf("%s: before it is planted: %v", c.name, err)
		}
		planted = c.plant
		if err := w.found(w.start &^ (wal.PageSize - 1)); err == nil {
			t.Errorf("%s: not seen", c.name)
		}
		planted = nil
	}
}

// planted changes the pages of what tailSource reads.
var planted func(pages []walPage)
