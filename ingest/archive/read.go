package archive

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// readAhead is how much one request of a Reader brings, bytes.
const readAhead = 1 << 20

// Reader reads the archive forward. It belongs to one goroutine. It keeps one stretch of WAL in memory, so that small
// reads in order cost one request per MiB.
type Reader struct {
	archive *Archive
	ctx     context.Context
	start   pg.LSN // of buf
	buf     []byte
}

// NewReader makes a reader whose requests end with ctx.
func (a *Archive) NewReader(ctx context.Context) *Reader { return &Reader{archive: a, ctx: ctx} }

// ReadAt copies archived WAL from lsn on into dst, at most len(dst) bytes. Errors wrap ErrNotArchived, pg.ErrCorrupt or
// what the store said.
func (r *Reader) ReadAt(lsn pg.LSN, dst []byte) (int, error) {
	if lsn < r.start || lsn >= r.start+pg.LSN(len(r.buf)) {
		buf, err := r.archive.fetch(r.ctx, lsn, readAhead)
		if err != nil {
			return 0, fmt.Errorf("WAL archive at %s: %w", lsn, err)
		}
		r.start, r.buf = lsn, buf
	}
	return copy(dst, r.buf[lsn-r.start:]), nil
}

// ReadAt copies archived WAL from lsn on into dst, at most len(dst) bytes, by a request of its own: for reads here and there. It may be
// called at any time. Errors are those of Reader.ReadAt.
func (a *Archive) ReadAt(ctx context.Context, lsn pg.LSN, dst []byte) (int, error) {
	b, err := a.fetch(ctx, lsn, int64(len(dst)))
	if err != nil {
		return 0, fmt.Errorf("WAL archive at %s: %w", lsn, err)
	}
	return copy(dst, b), nil
}

// SegmentSize is the length of the archive's segments, bytes.
func (a *Archive) SegmentSize() int64 { return a.Base().SegmentSize }

// HistoryFile is the text of the history file of the archive's timeline, or of one that leads to it; empty of the first. A server's holds
// that of the timeline it came from, whole, and one line more.
func (a *Archive) HistoryFile(tli pg.TimelineID) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var kept strings.Builder
	for line := range strings.Lines(a.text) {
		if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
			if n, err := strconv.ParseUint(f[0], 10, 32); err != nil || pg.TimelineID(n) >= tli {
				continue
			}
		}
		kept.WriteString(line)
	}
	return kept.String()
}

// Source is what is archived now as WAL that ends there, for a wal.Reader.
func (a *Archive) Source(ctx context.Context) wal.Source { return source{a, a.NewReader(ctx)} }

type source struct {
	archive *Archive
	reader  *Reader
}

// History is how the archived timeline came about.
func (s source) History() pg.History { return s.archive.History() }

// Read copies archived WAL; io.EOF at the archive's end.
func (s source) Read(lsn pg.LSN, dst []byte) (int, error) {
	if lsn >= s.archive.ArchivedLSN() {
		return 0, io.EOF
	}
	return s.reader.ReadAt(lsn, dst)
}

// errMoved: the object that was looked for has given way to a longer one meanwhile.
var errMoved = errors.New("the object has given way to another")

// fetchTries bounds looking again after errMoved. An object gives way to one that holds all it held, so one more look
// finds it unless it is lost, or this is another process that reads far more slowly than WAL comes.
const fetchTries = 4

// fetch reads from lsn on, about length bytes.
func (a *Archive) fetch(ctx context.Context, lsn pg.LSN, length int64) ([]byte, error) {
	for range fetchTries {
		if b, err := a.fetchOnce(ctx, lsn, length); !errors.Is(err, errMoved) {
			return b, err
		}
	}
	if err := a.trimmed(ctx, lsn); err != nil {
		return nil, err
	}
	return nil, &pg.CorruptError{LSN: lsn, What: "the WAL archive has lost the object that held this"}
}

// fetchOnce reads from the sealed segment if there is one, else from the chunk that holds lsn. A segment in which the server
// went over to another timeline is whole under the newer one's name, once that is archived; the part before the switch is
// there under the older one's as well.
func (a *Archive) fetchOnce(ctx context.Context, lsn pg.LSN, length int64) ([]byte, error) {
	a.mu.Lock()
	base, h := a.base, a.history
	a.mu.Unlock()
	if end := a.ArchivedLSN(); lsn < base.LSN || lsn >= end {
		return nil, fmt.Errorf("%w: it holds %s to %s", ErrNotArchived, base.LSN, end)
	}
	oldest, newest := h.At(lsn), h.FileAt(lsn, base.SegmentSize)
	for _, tli := range h.Line() {
		if tli > newest || tli < oldest {
			continue
		}
		base.Timeline = tli
		if b, err := a.fetchFrom(ctx, base, lsn, length); !errors.Is(err, errMoved) {
			return before(h, tli, lsn, b), err
		}
	}
	return nil, errMoved
}

// before cuts what was read from lsn on off where its timeline was left: behind that, its objects hold what did not become
// history.
func before(h pg.History, tli pg.TimelineID, lsn pg.LSN, b []byte) []byte {
	if _, fork, ok := h.Next(tli); ok && fork < lsn+pg.LSN(len(b)) {
		return b[:fork-lsn]
	}
	return b
}

// fetchFrom reads from the objects of the base's timeline; errMoved if none of them holds lsn.
func (a *Archive) fetchFrom(ctx context.Context, base Base, lsn pg.LSN, length int64) ([]byte, error) {
	key := segmentKey(base.Timeline, lsn, base.SegmentSize)
	off := int64(lsn - lsn.SegmentStart(base.SegmentSize))
	n := min(base.SegmentSize-off, length)
	b, err := a.store.GetRange(ctx, key, off, n)
	if errors.Is(err, objstore.ErrNotFound) {
		return a.fetchChunk(ctx, base, lsn)
	}
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != n {
		return nil, &pg.CorruptError{LSN: lsn, What: fmt.Sprintf("object %s: %d bytes at %d, want %d", key, len(b), off, n)}
	}
	return b, checkPages(key, base, lsn, b)
}

// fetchChunk reads from lsn on out of the chunk that reaches furthest.
func (a *Archive) fetchChunk(ctx context.Context, base Base, lsn pg.LSN) ([]byte, error) {
	var key string
	var start, end pg.LSN
	err := a.store.List(ctx, tailPrefix(base.Timeline, lsn, base.SegmentSize), func(o objstore.ObjectInfo) error {
		s, e, sealed, ok := parseKey(o.Key, base.Timeline, base.SegmentSize)
		if ok && !sealed && s <= lsn && e > lsn && e > end {
			key, start, end = o.Key, s, e
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if key == "" {
		return nil, errMoved
	}
	b, _, err := a.store.Get(ctx, key)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, errMoved
	}
	if err != nil {
		return nil, err
	}
	head, wal, err := openObject(key, b, chunkMagic)
	if err != nil {
		return nil, err
	}
	want := base
	want.LSN = start
	if head != want || pg.LSN(len(wal)) != end-start {
		return nil, &pg.CorruptError{LSN: lsn, What: fmt.Sprintf("object %s holds %+v, %d bytes", key, head, len(wal))}
	}
	return wal[lsn-start:], nil
}

// checkPages compares the page headers (XLogPageHeaderData, access/xlog_internal.h) in b with where they should be: an
// object in the place of another is found before its records are read, whose own CRC guards the rest.
//
//	0 xlp_magic uint16   2 xlp_info uint16   4 xlp_tli uint32   8 xlp_pageaddr uint64
//
// A page of zeroes is one Postgres never reached before it switched segments.
func checkPages(key string, base Base, lsn pg.LSN, b []byte) error {
	for at := (lsn + pg.BlockSize - 1) &^ (pg.BlockSize - 1); at+16 <= lsn+pg.LSN(len(b)); at += pg.BlockSize {
		h := b[at-lsn:]
		magic, addr := binary.LittleEndian.Uint16(h), pg.LSN(binary.LittleEndian.Uint64(h[8:]))
		if magic == 0 && addr == 0 && at.SegmentStart(base.SegmentSize) != at {
			continue
		}
		if _, ok := pg.MajorOfWALMagic(magic); !ok || addr != at {
			return &pg.CorruptError{LSN: at, What: fmt.Sprintf("object %s: page with magic %04X says it is at %s", key, magic, addr)}
		}
	}
	return nil
}

// ReadBase says which cluster and timeline a store's archive is of, by two requests; ErrNoBase when it holds none.
func ReadBase(ctx context.Context, store objstore.Store) (Base, error) {
	a := &Archive{store: store}
	err := a.findBase(ctx)
	return a.base, err
}
