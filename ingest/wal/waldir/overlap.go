package waldir

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

// Last is the first byte behind the newest segment.
func (s *Source) Last() pg.LSN { return s.starts[len(s.starts)-1] + pg.LSN(s.opts.SegmentSize) }

// CheckOverlaps compares the files that hold the same WAL from an LSN on: a .partial one beside the whole one, and the files of two
// timelines that share the segment of a switch. Where they do not agree the error is a *pg.CorruptError that names both.
func (s *Source) CheckOverlaps(from pg.LSN) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("list WAL folder: %w", err)
	}
	for _, e := range entries {
		tli, start, _, ok := s.parse(e.Name())
		if !ok || !s.allowed(tli, start) || s.files[start].name == e.Name() || start+pg.LSN(s.opts.SegmentSize) <= from {
			continue
		}
		end := start + pg.LSN(s.opts.SegmentSize)
		if _, fork, ok := s.history.Next(tli); ok {
			end = min(end, fork)
		} else if tli != s.opts.Timeline {
			continue // of a timeline nobody knows the end of
		}
		if err := s.compareFiles(start, end, s.files[start].name, e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// compareFiles compares two files of the segment that begins at start as far as end. What one of them has not written yet is no
// difference: a page without a header of its address, or zeros at the end of a page.
func (s *Source) compareFiles(start, end pg.LSN, a, b string) error {
	f, err := os.Open(filepath.Join(s.dir, a))
	if err != nil {
		return err
	}
	defer f.Close()
	g, err := os.Open(filepath.Join(s.dir, b))
	if err != nil {
		return err
	}
	defer g.Close()
	var x, y [wal.PageSize]byte
	for at := start; at < end; at += wal.PageSize {
		n, errX := f.ReadAt(x[:], int64(at-start))
		m, errY := g.ReadAt(y[:], int64(at-start))
		for _, err := range []error{errX, errY} {
			if err != nil && err != io.EOF {
				return fmt.Errorf("read WAL at %s: %w", at, err)
			}
		}
		n = min(n, m, int(end-at))
		if !isPage(x[:n], at) || !isPage(y[:n], at) {
			continue
		}
		n = min(len(bytes.TrimRight(x[:n], "\x00")), len(bytes.TrimRight(y[:n], "\x00")))
		if !bytes.Equal(x[:n], y[:n]) {
			return &pg.CorruptError{LSN: at, What: fmt.Sprintf("WAL segments %s and %s in %s differ in what both hold", a, b, s.dir)}
		}
	}
	return nil
}

// isPage says that a page has a header of its place.
func isPage(b []byte, at pg.LSN) bool {
	if len(b) < wal.LongPageHeaderSize {
		return false
	}
	h, err := wal.ParsePageHeader(b)
	return err == nil && h.Addr == at
}
