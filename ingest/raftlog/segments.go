package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/tarn-db/tarn/internal/pg"
)

// segmentHandlesMax bounds the segment files kept open.
const segmentHandlesMax = 8

// segmentKey names a segment file.
type segmentKey struct {
	timeline pg.TimelineID
	start    pg.LSN
	size     int64 // bytes
}

func (k segmentKey) name() string { return pg.WALFileName(k.timeline, k.start, k.size) }

// keyAt is the segment that holds lsn, and lsn's offset in it.
func (s *state) keyAt(lsn pg.LSN) (k segmentKey, off int64) {
	k = segmentKey{timeline: s.timeline, start: lsn.SegmentStart(s.cluster.SegmentSize), size: s.cluster.SegmentSize}
	return k, int64(lsn - k.start)
}

// segments are the local WAL files: named, sized and filled as Postgres's own, with zeroes behind the log's end. What is
// in them is durable only where a snapshot says so; until then the raft log holds it too.
type segments struct {
	dir string

	// mu orders file handles: readers and the one writer hold it shared while they use one, whoever closes one alone.
	mu   sync.RWMutex
	open map[segmentKey]*os.File

	dirtyMu sync.Mutex
	dirty   map[segmentKey]struct{} // written since they were last made durable

	buf []byte // equal's, used by the writer alone
}

func newSegments(dir string) *segments {
	return &segments{dir: dir, open: map[segmentKey]*os.File{}, dirty: map[segmentKey]struct{}{}}
}

// writeAt puts data at lsn, making files as it goes. It is not durable until sync.
func (g *segments) writeAt(s *state, lsn pg.LSN, data []byte) error {
	for len(data) > 0 {
		k, off := s.keyAt(lsn)
		n := int(min(int64(len(data)), k.size-off))
		g.mark(k)
		f, err := g.hold(k, true)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(data[:n], off)
		g.mu.RUnlock()
		if err != nil {
			return err
		}
		data, lsn = data[n:], lsn+pg.LSN(n)
	}
	return nil
}

// readAt fills dst from lsn on; the caller has bounded it to what the log holds.
func (g *segments) readAt(s *state, lsn pg.LSN, dst []byte) error {
	for len(dst) > 0 {
		k, off := s.keyAt(lsn)
		n := int(min(int64(len(dst)), k.size-off))
		f, err := g.hold(k, false)
		if err != nil {
			return err
		}
		_, err = f.ReadAt(dst[:n], off)
		g.mu.RUnlock()
		if err != nil {
			return err
		}
		dst, lsn = dst[n:], lsn+pg.LSN(n)
	}
	return nil
}

// equal compares data with what is stored at lsn.
func (g *segments) equal(s *state, lsn pg.LSN, data []byte) (bool, error) {
	if cap(g.buf) < len(data) {
		g.buf = make([]byte, max(len(data), EntryPayloadMax))
	}
	have := g.buf[:len(data)]
	if err := g.readAt(s, lsn, have); err != nil {
		return false, err
	}
	return bytes.Equal(have, data), nil
}

// hold gives an open segment file with mu held shared: the caller releases it. create makes a file that is not there.
func (g *segments) hold(k segmentKey, create bool) (*os.File, error) {
	for {
		g.mu.RLock()
		if f := g.open[k]; f != nil {
			return f, nil
		}
		g.mu.RUnlock()
		if err := g.load(k, create); err != nil {
			return nil, err
		}
	}
}

// load opens a file into the handle table, making room first.
func (g *segments) load(k segmentKey, create bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[k] != nil {
		return nil
	}
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(filepath.Join(g.dir, k.name()), flags, 0o600)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() != k.size {
		if create {
			err = f.Truncate(k.size) // a hole reads as zeroes, as the tail of Postgres's own files
		} else {
			err = fmt.Errorf("%s is %d bytes, want %d", k.name(), fi.Size(), k.size)
		}
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	for other, o := range g.open {
		if len(g.open) < segmentHandlesMax {
			break
		}
		delete(g.open, other)
		_ = o.Close() // the bytes written are the kernel's already; sync reopens the file
	}
	g.open[k] = f
	return nil
}

// mark notes that a file must be made durable before a snapshot names its bytes.
func (g *segments) mark(keys ...segmentKey) {
	g.dirtyMu.Lock()
	defer g.dirtyMu.Unlock()
	for _, k := range keys {
		g.dirty[k] = struct{}{}
	}
}

// collect hands over the files marked since the last collect.
func (g *segments) collect() []segmentKey {
	g.dirtyMu.Lock()
	defer g.dirtyMu.Unlock()
	keys := make([]segmentKey, 0, len(g.dirty))
	for k := range g.dirty {
		keys = append(keys, k)
	}
	clear(g.dirty)
	return keys
}

// sync makes files and their folder durable. It may run beside writes to them.
func (g *segments) sync(keys []segmentKey) error {
	for _, k := range keys {
		f, err := os.OpenFile(filepath.Join(g.dir, k.name()), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("%s: %w", k.name(), err)
		}
	}
	return syncDir(g.dir)
}

// check says whether each segment of [start, end) is there at its full size. Errors wrap pg.ErrCorrupt.
func (g *segments) check(s *state) error {
	for at := s.start; at < s.end; {
		k, _ := s.keyAt(at)
		fi, err := os.Stat(filepath.Join(g.dir, k.name()))
		if err != nil || fi.Size() != k.size {
			what := "is not of full size"
			if err != nil {
				what = "is missing"
			}
			return &pg.CorruptError{LSN: k.start, What: fmt.Sprintf("local WAL segment %s %s", k.name(), what)}
		}
		at = k.start + pg.LSN(k.size)
	}
	return nil
}

// removeOutside deletes the files that hold nothing of [start, end) of the state's timeline; above keeps those behind end,
// for a log that is being appended to.
func (g *segments) removeOutside(s *state, above bool) error {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return err
	}
	size := pg.LSN(s.cluster.SegmentSize)
	for _, e := range entries {
		tli, at, ok := pg.ParseWALFileName(e.Name(), s.cluster.SegmentSize)
		if !ok {
			continue
		}
		if tli == s.timeline && at+size > s.start && (above || at < s.end) {
			continue
		}
		g.mu.Lock()
		k := segmentKey{timeline: tli, start: at, size: s.cluster.SegmentSize}
		if f := g.open[k]; f != nil {
			delete(g.open, k)
			_ = f.Close()
		}
		err := os.Remove(filepath.Join(g.dir, e.Name()))
		g.mu.Unlock()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (g *segments) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for n, f := range g.open {
		errs = append(errs, f.Close())
		delete(g.open, n)
	}
	return errors.Join(errs...)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
