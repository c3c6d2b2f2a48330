// Package waldir reads WAL from a folder of segment files: a server's pg_wal, what pg_receivewal wrote, or an archive.
package waldir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// Options say how a folder is read.
type Options struct {
	// Timeline is the newest timeline to read; 0 takes the newest in the folder. Its .history file, if there, says
	// which older timelines lead to it.
	Timeline pg.TimelineID
	// SegmentSize in bytes; 0 takes it from a segment's header.
	SegmentSize int64
	// Follow makes the end of the folder wal.ErrNoMoreYet in place of io.EOF: files may still grow and appear.
	Follow bool
}

// ErrNoSegments says that a folder holds no WAL.
var ErrNoSegments = fault.New(fault.WALFolder, "no WAL segments")

// Source is a wal.Source over segment files, with .partial ones where there is no whole one.
type Source struct {
	dir     string
	opts    Options
	history pg.History
	files   map[pg.LSN]segment // best file of each segment, by first byte
	starts  []pg.LSN           // of files, rising

	open      *os.File
	openStart pg.LSN
	openEnd   pg.LSN // where the bytes of the open file end to count: at its end, or where its timeline was left
}

type segment struct {
	name string
	tli  pg.TimelineID
}

// Open lists the folder and finds the segment size.
func Open(dir string, o Options) (*Source, error) {
	s := &Source{dir: dir, opts: o}
	if o.SegmentSize != 0 && !pg.ValidWALSegmentSize(o.SegmentSize) {
		return nil, fmt.Errorf("WAL segment size %d is not a power of two from 1 MiB to 1 GiB", o.SegmentSize)
	}
	if err := s.scan(); err != nil {
		return nil, err
	}
	if len(s.starts) == 0 {
		return nil, fmt.Errorf("%w in %s", ErrNoSegments, dir)
	}
	return s, nil
}

// Close releases the open segment.
func (s *Source) Close() error {
	if s.open == nil {
		return nil
	}
	f := s.open
	s.open = nil
	return f.Close()
}

// SegmentSize is the size of the folder's segments in bytes.
func (s *Source) SegmentSize() int64 { return s.opts.SegmentSize }

// Timeline is the newest timeline that is read.
func (s *Source) Timeline() pg.TimelineID { return s.opts.Timeline }

// History is how that timeline came about, as its .history file says.
func (s *Source) History() pg.History { return s.history }

// First is the first byte of the oldest segment from which segments follow each other without a gap to the newest
// valid one.
func (s *Source) First() pg.LSN {
	i := len(s.starts) - 1
	for i > 0 && s.starts[i]-s.starts[i-1] == pg.LSN(s.opts.SegmentSize) {
		i--
	}
	return s.starts[i]
}

// Read implements wal.Source. Bytes of a segment that a server has not written yet read as they lie in the file.
func (s *Source) Read(lsn pg.LSN, dst []byte) (int, error) {
	start := lsn.SegmentStart(s.opts.SegmentSize)
	if s.open == nil || s.openStart != start {
		if err := s.openSegment(start); err != nil {
			return 0, err
		}
	}
	// Behind the switch a file of a former timeline holds what did not become history: records that are whole and follow
	// each other, so that nothing else would tell them.
	if lsn >= s.openEnd {
		return 0, s.missing(start)
	}
	dst = dst[:min(pg.LSN(len(dst)), s.openEnd-lsn)]
	n, err := s.open.ReadAt(dst, int64(lsn-start))
	if n > 0 {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read WAL at %s: %w", lsn, err)
	}
	// A shorter file is what a copy of a growing segment looks like; its whole form may have come since.
	if err := s.Close(); err != nil {
		return 0, err
	}
	return 0, s.end()
}

func (s *Source) end() error {
	if s.opts.Follow {
		return wal.ErrNoMoreYet
	}
	return io.EOF
}

// missing says what it means that there is no file for a segment, or none of the timeline wanted.
func (s *Source) missing(start pg.LSN) error {
	if n := len(s.starts); n > 0 && s.starts[n-1] > start {
		return &pg.CorruptError{LSN: start, What: fmt.Sprintf("WAL segment %s is not in %s, later ones are",
			pg.WALFileName(s.history.FileAt(start, s.opts.SegmentSize), start, s.opts.SegmentSize), s.dir)}
	}
	return s.end()
}

func (s *Source) openSegment(start pg.LSN) error {
	if err := s.Close(); err != nil {
		return err
	}
	seg, ok := s.files[start]
	if !ok || s.opts.Follow {
		if err := s.scan(); err != nil {
			return err
		}
		seg, ok = s.files[start]
	}
	if !ok {
		return s.missing(start)
	}
	f, err := os.Open(filepath.Join(s.dir, seg.name))
	if errors.Is(err, fs.ErrNotExist) { // renamed from .partial or removed since the scan
		return s.end()
	}
	if err != nil {
		return fmt.Errorf("open WAL segment: %w", err)
	}
	s.open, s.openStart, s.openEnd = f, start, start+pg.LSN(s.opts.SegmentSize)
	if _, fork, ok := s.history.Next(seg.tli); ok {
		s.openEnd = min(s.openEnd, fork)
	}
	return nil
}

// HasValidSegmentAfter says that a segment after the one holding lsn begins as its name promises. A server's recycled
// segments do not: they still carry the address they were first written for.
func (s *Source) HasValidSegmentAfter(lsn pg.LSN) bool {
	for i := len(s.starts) - 1; i >= 0 && s.starts[i] > lsn; i-- {
		if h, err := s.header(s.files[s.starts[i]].name); err == nil && h.Addr == s.starts[i] {
			return true
		}
	}
	return false
}

func (s *Source) header(name string) (h wal.PageHeader, err error) {
	f, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		return h, err
	}
	defer f.Close()
	var b [wal.LongPageHeaderSize]byte
	if _, err := io.ReadFull(f, b[:]); err != nil {
		return h, err
	}
	return wal.ParsePageHeader(b[:])
}

// scan lists the folder: per segment the file of the newest timeline in the history, whole before .partial.
func (s *Source) scan() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("list WAL folder: %w", err)
	}
	if s.opts.SegmentSize == 0 {
		s.findSegmentSize(entries)
	}
	if s.opts.SegmentSize == 0 {
		return fmt.Errorf("%w with a valid header in %s", ErrNoSegments, s.dir)
	}
	if s.opts.Timeline == 0 {
		for _, e := range entries {
			if tli, _, _, ok := s.parse(e.Name()); ok {
				s.opts.Timeline = max(s.opts.Timeline, tli)
			}
		}
	}
	if s.history.Timeline == 0 {
		if s.history, err = readHistory(s.dir, s.opts.Timeline); err != nil {
			return err
		}
	}
	s.files = make(map[pg.LSN]segment)
	for _, e := range entries {
		if tli, start, partial, ok := s.parse(e.Name()); ok && s.allowed(tli, start) {
			old, exists := s.files[start]
			if !exists || tli > old.tli || tli == old.tli && !partial {
				s.files[start] = segment{name: e.Name(), tli: tli}
			}
		}
	}
	s.starts = s.starts[:0]
	for start := range s.files {
		s.starts = append(s.starts, start)
	}
	sort.Slice(s.starts, func(i, j int) bool { return s.starts[i] < s.starts[j] })
	return nil
}

func (s *Source) parse(name string) (tli pg.TimelineID, start pg.LSN, partial, ok bool) {
	name, partial = strings.CutSuffix(name, ".partial")
	tli, start, ok = pg.ParseWALFileName(name, s.opts.SegmentSize)
	return tli, start, partial, ok
}

// allowed says a segment of tli is part of the history that ends in the wanted timeline.
func (s *Source) allowed(tli pg.TimelineID, start pg.LSN) bool {
	if tli == s.opts.Timeline {
		return true
	}
	if len(s.history.Ancestors) == 0 {
		return tli < s.opts.Timeline
	}
	_, fork, ok := s.history.Next(tli)
	return ok && start < fork
}

// findSegmentSize takes the size from the first header that is valid; the names alone do not tell it.
func (s *Source) findSegmentSize(entries []fs.DirEntry) {
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".partial")
		if _, _, ok := pg.ParseWALFileName(name, pg.WALSegmentSizeMin); !ok {
			continue
		}
		if h, err := s.header(e.Name()); err == nil && h.Long() {
			s.opts.SegmentSize = h.SegmentSize
			return
		}
	}
}
