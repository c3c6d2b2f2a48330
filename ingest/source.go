package ingest

import (
	"context"
	"errors"

	"github.com/tarn-db/tarn/ingest/archive"
	"github.com/tarn-db/tarn/ingest/raftlog"
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

var _ wal.Source = (*Source)(nil)

// Source reads committed WAL: from the data folder, and from the store what the folder has let go. It belongs to one
// goroutine.
type Source struct {
	log     *raftlog.Log
	archive *archive.Archive
	store   *archive.Reader
}

// Source makes a reader of committed WAL; requests to the store end with ctx.
func (s *Service) Source(ctx context.Context) *Source {
	return &Source{log: s.log, archive: s.archive, store: s.archive.NewReader(ctx)}
}

// Read is wal.Source's: wal.ErrNoMoreYet at the commit LSN; wait for more with Service.WaitCommit.
func (r *Source) Read(lsn pg.LSN, dst []byte) (int, error) {
	n, err := r.log.ReadAt(lsn, dst)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, raftlog.ErrNotCommitted):
		return 0, wal.ErrNoMoreYet
	case errors.Is(err, raftlog.ErrTrimmed):
		return r.store.ReadAt(lsn, dst)
	}
	return 0, err
}

// ReadAt copies committed WAL from lsn on into dst, at most len(dst) bytes: for reads here and there, from any goroutine.
func (s *Service) ReadAt(ctx context.Context, lsn pg.LSN, dst []byte) (int, error) {
	n, err := s.log.ReadAt(lsn, dst)
	if errors.Is(err, raftlog.ErrTrimmed) {
		return s.archive.ReadAt(ctx, lsn, dst)
	}
	return n, err
}

// SegmentSize is the server's, in bytes.
func (r *Source) SegmentSize() int64 { return r.log.Cluster().SegmentSize }

// History is how the timeline of the WAL here came about.
func (r *Source) History() pg.History { return r.archive.History() }
