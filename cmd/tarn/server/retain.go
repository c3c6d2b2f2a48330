package server

import (
	"context"
	"time"

	"github.com/tarn-db/tarn/ingest"
	"github.com/tarn-db/tarn/internal/pg"
)

const (
	// walGrace is how long archived WAL stays once history has moved on: a verb that reads the store may still be at it.
	walGrace = 10 * time.Minute
	// retainEvery is how often it is looked for.
	retainEvery = time.Minute
)

// retention remembers from where on WAL was needed, and since when.
type retention struct {
	marks []retentionMark // rising in both
}

type retentionMark struct {
	from pg.LSN
	at   time.Time
}

// due notes that WAL is needed from an LSN on, and returns from where on it was already needed walGrace ago: what lies before may
// go. It is 0 as long as that is not known.
//
// Invariant: it never returns more than the least LSN noted within walGrace.
func (r *retention) due(now time.Time, from pg.LSN) pg.LSN {
	for n := len(r.marks); n > 0 && r.marks[n-1].from > from; n = len(r.marks) { // history was taken back
		r.marks = r.marks[:n-1]
	}
	if n := len(r.marks); n == 0 || r.marks[n-1].from < from {
		r.marks = append(r.marks, retentionMark{from, now})
	}
	for len(r.marks) > 1 && now.Sub(r.marks[1].at) >= walGrace {
		r.marks = r.marks[1:]
	}
	if now.Sub(r.marks[0].at) < walGrace {
		return 0
	}
	return r.marks[0].from
}

// retain deletes archived WAL that history.window and the branches need no more. Without a window that is all but what the next start
// would read.
func (s *Server) retain(ctx context.Context, ing *ingest.Service) {
	var r retention
	for sleep(ctx, retainEvery) {
		tl := s.pages.Load()
		if tl == nil || s.resyncStage() != resyncNone {
			continue
		}
		keep := r.due(time.Now(), tl.WALFrom())
		if keep <= ing.Base() {
			continue
		}
		switch n, err := ing.TrimArchive(ctx, keep); {
		case ctx.Err() != nil:
		case err != nil:
			s.log.Warn("archived WAL that is not needed any more could not be deleted; trying again", "error", err)
		case n > 0:
			s.log.Info("archived WAL that is not needed any more is deleted", "objects", n, "wal_begins", ing.Base())
		}
	}
}
