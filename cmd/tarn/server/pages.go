package server

import (
	"context"
	"path/filepath"

	"github.com/RoaringBitmap/roaring/v2"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/pageapi"
	"github.com/tarn-db/tarn/pageserver/snapshots"
)

// newSnapshots makes what the page service reads, and whose lock redo takes while it changes pages.
func (s *Server) newSnapshots() *snapshots.Source {
	return snapshots.New(snapshots.Options{
		Store: s.pageStore, Scratch: filepath.Join(s.cfg.DataDir, "past"), PastBytes: s.pastMemory() / snapshots.PastMax, Logger: s.log,
		Redone:     func() pg.LSN { return s.marks.At(admin.StageRedo) },
		Wait:       func(ctx context.Context, lsn pg.LSN) error { return s.WaitFor(ctx, admin.StageRedo, lsn) },
		TimelineAt: s.timelineAt, WAL: s.walOf,
	})
}

// walOf reads the WAL of the source that is attached, for a timeline of its pages.
func (s *Server) walOf(ctx context.Context, tl *pageserver.Timeline, start pg.LSN) (*wal.Reader, error) {
	ing := s.attachedTo()
	if ing == nil {
		return nil, errNoWAL
	}
	return wal.NewReader(wal.Options{
		Source: ing.Source(ctx), Start: start, Timeline: ing.Timeline(), SystemID: tl.SystemID(), SegmentSize: ing.Cluster().SegmentSize, Major: tl.Major(),
	})
}

// timelineAt is the WAL timeline of the last record before an LSN.
func (s *Server) timelineAt(lsn pg.LSN) pg.TimelineID {
	if ing := s.attachedTo(); ing != nil && lsn > 0 {
		return ing.History().At(lsn - 1)
	}
	return 0
}

var errNoWAL = fault.New(fault.LakeNotRead, "WAL is still being opened: try again in a moment")

// servePages opens the page service, if there is to be one, and returns its port or nil.
func (s *Server) servePages(ctx context.Context, g *errgroup.Group, adm *admin.Server) (*port, error) {
	if s.cfg.Pages.Listen == "" {
		return nil, nil
	}
	p, err := s.open("pages", s.cfg.Pages, "h2")
	if err != nil {
		return nil, err
	}
	srv := pageapi.New(pageapi.Options{Source: s.snaps, Allow: p.guard.AllowsHeader, Registerer: adm.Registerer(), Logger: s.log})
	g.Go(func() error { return srv.Serve(ctx, p) })
	g.Go(func() error { return s.snaps.Run(ctx) })
	s.log.Info("serving pages", "address", p.Addr().String(), "tls", p.guard.Secure())
	return p, nil
}

// guardedPages is what a cut reads. It reads beside the page service, and changes the timeline while nobody does.
type guardedPages struct {
	materialize.Pages
	snaps *snapshots.Source
}

// TakeDirty implements materialize.Pages.
func (p guardedPages) TakeDirty() map[pg.RelFileLocator]*roaring.Bitmap {
	p.snaps.Lock()
	defer p.snaps.Unlock()
	return p.Pages.TakeDirty()
}
