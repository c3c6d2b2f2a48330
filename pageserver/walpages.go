package pageserver

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// WAL is where records are read again: an archive.Archive. It is safe for concurrent use.
type WAL interface {
	// ReadAt copies WAL from lsn on into dst, at most len(dst) bytes.
	ReadAt(ctx context.Context, lsn pg.LSN, dst []byte) (int, error)
	SegmentSize() int64 // bytes; 0 while there is none
}

var errNoWAL = fault.New(fault.LakeNotRead, "WAL is still being opened: try again in a moment")

// walPart is how much WAL is read and cached at once, bytes; a segment is a multiple of it.
const walPart = 64 << 10

// walReader reads records here and there, through a cache. It is safe for concurrent use.
type walReader struct {
	wal    WAL
	cache  *cache
	id     uint64 // of what it caches
	major  func() pg.Major
	head   func() pg.LSN // WAL up to here stays as it is: pages of there are durable
	unused sync.Pool     // of *recordReader
}

func newWALReader(w WAL, c *cache, major func() pg.Major, head func() pg.LSN) *walReader {
	return &walReader{wal: w, cache: c, id: layerIDs.Add(1), major: major, head: head}
}

// recordReader is for one goroutine. Its requests end with ctx.
type recordReader struct {
	*wal.Reader
	from *walReader
	ctx  context.Context
}

// reader is a recordReader, to be given back by put.
func (w *walReader) reader(ctx context.Context) (*recordReader, error) {
	if r, ok := w.unused.Get().(*recordReader); ok {
		r.ctx = ctx
		return r, nil
	}
	r := &recordReader{from: w, ctx: ctx}
	size := w.wal.SegmentSize()
	if size == 0 {
		return nil, errNoWAL
	}
	var err error
	// What timeline a page is of is the archive's to know: it has what became history only.
	r.Reader, err = wal.NewReader(wal.Options{Source: r, Start: 1 << 13, SegmentSize: size, Major: w.major(), Sparse: true})
	return r, err
}

func (w *walReader) put(r *recordReader) {
	r.ctx = nil
	w.unused.Put(r)
}

// record reads the record that begins at lsn. It is valid until the next call.
func (r *recordReader) record(lsn pg.LSN) (*wal.Record, error) {
	r.Seek(lsn)
	rec, err := r.Next()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, wal.ErrNoMoreYet):
		return nil, &pg.CorruptError{LSN: lsn, What: "the WAL archive ends within the record"}
	case err != nil:
		return nil, err
	case rec.LSN != lsn:
		return nil, &pg.CorruptError{LSN: lsn, What: "no record begins where a delta layer says"}
	}
	return rec, nil
}

// Read implements wal.Source.
func (r *recordReader) Read(lsn pg.LSN, dst []byte) (int, error) {
	start := lsn &^ (walPart - 1)
	part, err := r.from.part(r.ctx, start)
	if err != nil {
		return 0, err
	}
	if int(lsn-start) >= len(part) {
		return 0, io.EOF
	}
	return copy(dst, part[lsn-start:]), nil
}

// part reads the part that begins at start as far as there is WAL. It is cached if it is whole, for others grow, and if it cannot become
// another history's.
func (w *walReader) part(ctx context.Context, start pg.LSN) ([]byte, error) {
	ck := cacheKey{w.id, int(start / walPart)}
	if b, ok := w.cache.get(ck); ok {
		return b.([]byte), nil
	}
	b := make([]byte, walPart)
	for n := 0; n < len(b); {
		m, err := w.wal.ReadAt(ctx, start+pg.LSN(n), b[n:])
		if err != nil && n == 0 {
			return nil, err
		}
		if n += m; err != nil || m == 0 {
			return b[:n], nil
		}
	}
	if start+walPart <= w.head() {
		w.cache.put(ck, b, walPart)
	}
	return b, nil
}
