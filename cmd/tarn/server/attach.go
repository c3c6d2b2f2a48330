package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/ingest"
	"github.com/tarn-db/tarn/ingest/raftlog"
	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/progress"
	"github.com/tarn-db/tarn/materialize"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/pageapi"
)

// attached runs from the source to the lake until something ends it: the context, a resync, or an error that the state
// will show. fresh asks for a new base backup whatever the store holds.
func (s *Server) attached(ctx context.Context, fresh bool) error {
	s.setState(admin.StateAttaching, nil)
	opt := s.ingestOptions()
	var tl *pageserver.Timeline
	s.pages.Store(nil)
	if fresh {
		s.eng.Attach(nil)                  // what it held of the former pages is needed for the new ones
		err := s.resyncAt(ctx, resyncCopy) // first: from here on the pages in the store are not of the WAL's history
		if err == nil {
			err = ingest.Resync(ctx, opt)
		}
		if err != nil {
			return &stopError{admin.StateStopped, fault.Or(fault.ResyncFailed, fmt.Errorf("resync: %w", err))}
		}
	} else {
		var err error
		if tl, err = pageserver.Open(ctx, s.pageOptions()); err != nil && !errors.Is(err, pageserver.ErrNoTimeline) {
			return err
		}
	}
	if s.resyncStage() != resyncNone {
		if err := s.eng.Resync("", true); err != nil { // tables in error as well, whose rows are in the lake already
			return err
		}
	}
	s.pages.Store(tl)
	ing, err := ingest.Open(ctx, opt)
	if err != nil {
		if tl != nil {
			err = errors.Join(err, tl.Close())
		}
		if errors.Is(err, raftlog.ErrGap) { // the WAL between store and data folder is lost; so is it after a resync cut short
			err = &stopError{admin.StateWALGap, err}
		}
		return err
	}
	s.setIngest(ing)
	if fork := ing.Forked(); fork != nil {
		err := s.rewind(ctx, ing, tl, fork)
		s.setIngest(nil)
		return errors.Join(err, ing.Close())
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ing.Run(gctx) })
	g.Go(func() error { s.retain(gctx, ing); return nil })
	g.Go(func() error {
		err := s.follow(gctx, ing, tl)
		if gctx.Err() == nil && receivesOn(err) {
			s.stopped(err)
			<-gctx.Done()
		}
		return err
	})
	g.Go(func() error {
		select {
		case <-s.resync:
			return errResync
		case <-gctx.Done():
			return nil
		}
	})
	err = g.Wait()
	s.setIngest(nil)
	return errors.Join(err, ing.Close())
}

// receivesOn says whether WAL is received and archived on though the timeline has stopped: what cannot be read today may
// be put right tomorrow, and the source's slot must not hold WAL until then.
func receivesOn(err error) bool {
	var stop *stopError
	return errors.As(err, &stop) && stop.state == admin.StateCorrupt
}

func (s *Server) ingestOptions() ingest.Options {
	return ingest.Options{
		Source: receive.Source{URL: s.cfg.Source.URL}, Slot: s.cfg.Source.Slot, Synchronous: s.cfg.Source.Synchronous, DataDir: s.cfg.DataDir,
		Store: s.pageStore, Published: func() pg.LSN { return s.marks.At(admin.StagePublished) }, Durable: s.durable, Logger: s.log,
	}
}

// durable is the end of the WAL whose effects cannot be taken back: what is published, and what pages in the store hold. While
// tables are made anew from a base backup, the former rows do not count.
func (s *Server) durable() (lsn pg.LSN) {
	if tl := s.pages.Load(); tl != nil {
		lsn = max(tl.ResumeLSN(), tl.ConsistentLSN())
	}
	if eng := s.engine(); eng != nil && s.resyncStage() == resyncNone {
		lsn = max(lsn, eng.Published())
	}
	return lsn
}

func (s *Server) pageOptions() pageserver.Options {
	leaseTime := time.Duration(0)
	if s.cfg.Pages.Listen != "" { // nobody else can ask for one
		leaseTime = pageapi.LeaseTime
	}
	return pageserver.Options{
		Store: s.pageStore, MemoryBytes: s.pagesMemory(), Workers: pageserver.DefaultWorkers(), Logger: s.log,
		History: pageserver.History{Window: s.cfg.History.Window, BytesMax: int64(s.cfg.History.MaxWAL)}, WAL: sourceWAL{s}, LeaseTime: leaseTime,
	}
}

// sourceWAL is the WAL of whichever source is attached.
type sourceWAL struct{ s *Server }

// SegmentSize implements pageserver.WAL.
func (w sourceWAL) SegmentSize() int64 {
	if ing := w.s.attachedTo(); ing != nil {
		return ing.Cluster().SegmentSize
	}
	return 0
}

// ReadAt implements pageserver.WAL.
func (w sourceWAL) ReadAt(ctx context.Context, lsn pg.LSN, dst []byte) (int, error) {
	if ing := w.s.attachedTo(); ing != nil {
		return ing.ReadAt(ctx, lsn, dst)
	}
	return 0, fault.New(fault.ServerRefused, "no source is attached")
}

func (s *Server) setIngest(ing *ingest.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ing = ing
}

// follow redoes WAL from where the page store is, after a base backup if there is none.
func (s *Server) follow(ctx context.Context, ing *ingest.Service, tl *pageserver.Timeline) error {
	if tl == nil {
		var err error
		if tl, err = s.bootstrap(ctx, ing); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		s.pages.Store(tl)
	}
	defer tl.Close()
	if s.resyncStage() == resyncCopy {
		if err := s.resyncAt(ctx, resyncTables); err != nil {
			return &stopError{admin.StateStopped, fault.Or(fault.ResyncFailed, fmt.Errorf("resync: %w", err))}
		}
	}
	if id := ing.Cluster().SystemID; id != tl.SystemID() {
		return fault.Errorf(fault.StoreOther, "store %s holds pages of the cluster with system identifier %d, the source is %d: give another --store, or attach to the former source", s.cfg.Store, tl.SystemID(), id)
	}
	if !ing.History().Has(tl.WALTimeline()) {
		return &stopError{admin.StateDiverged, fault.Errorf(fault.Diverged, "pages are of WAL timeline %d and WAL is of %d: `tarn resync --all` copies the source anew", tl.WALTimeline(), ing.Timeline())}
	}
	if tl.ResumeLSN() < ing.Base() {
		return &stopError{admin.StateWALGap, fault.Errorf(fault.WALGap, "pages are at %s and WAL begins at %s: `tarn resync --all` copies the source anew", tl.ResumeLSN(), ing.Base())}
	}
	reader, err := wal.NewReader(wal.Options{
		Source: ing.Source(ctx), Start: tl.ResumeLSN(), Timeline: ing.Timeline(), SystemID: tl.SystemID(),
		SegmentSize: ing.Cluster().SegmentSize, Major: tl.Major(),
	})
	if err != nil {
		return err
	}
	s.eng.SetLCMonetary(ing.Status().Source.LCMonetary)
	s.eng.Attach(guardedPages{materialize.TimelinePages(tl), s.snaps})
	s.mu.Lock()
	if s.view.state = admin.StateStreaming; s.eng.Published() == 0 || !s.copied && s.eng.Published() < tl.ConsistentLSN() {
		s.view.state = admin.StateCopying // until the first cut
	}
	s.mu.Unlock()
	lastCommit, _ := tl.LastCommit()
	r := &redo{
		s: s, ing: ing, tl: tl, reader: reader, flushed: time.Now(), flushedAt: tl.ResumeLSN(),
		commits: commitTimes{after: max(lastCommit, s.eng.Published())},
	}
	tl.OnCommit(r.commits.note)
	s.snaps.Attach(tl)
	defer s.snaps.Attach(nil)
	defer r.close()
	return r.run(ctx)
}

// How long a base backup that broke off is left before the next begins.
const (
	backupPauseMin = time.Second
	backupPauseMax = time.Minute
)

// bootstrap copies the source's files into a new page store while WAL is received beside it. A copy takes hours where
// there is much to copy: one that the network or the store broke off begins anew.
func (s *Server) bootstrap(ctx context.Context, ing *ingest.Service) (*pageserver.Timeline, error) {
	patience := firstStream
	for pause := backupPauseMin; ; pause = min(2*pause, backupPauseMax) {
		s.setState(admin.StateCopying, nil)
		if err := s.awaitStream(ctx, ing, patience); err != nil {
			return nil, err
		}
		tl, err := s.copySource(ctx, ing)
		var attach *receive.AttachError
		if err == nil || ctx.Err() != nil || errors.As(err, &attach) || errors.Is(err, pg.ErrCorrupt) {
			return tl, err
		}
		s.log.Warn("the base backup broke off; beginning it anew", "error", err, "in", pause)
		s.setError(err)
		if !sleep(ctx, pause) {
			return nil, ctx.Err()
		}
		patience = forever
	}
}

// copySource is one base backup.
func (s *Server) copySource(ctx context.Context, ing *ingest.Service) (*pageserver.Timeline, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the import's upload when the backup breaks off
	defer cancel()
	info := ing.Status().Source
	imp, err := pageserver.NewImport(ctx, s.pageOptions(), pageserver.ImportInfo{Major: info.Major, SystemID: info.SystemID, Timeline: info.Timeline})
	if err != nil {
		return nil, err
	}
	defer imp.Abort() // nothing after Finish
	task := s.progress.Start("base backup", 0, progress.Bytes)
	backup, err := ing.BaseBackup(ctx, receive.BackupOptions{
		File:     func(f receive.BaseFile) error { return imp.File(ctx, f.Tablespace, f.Path, f.Size, f.Reader) },
		Progress: task.Set,
	})
	task.Done(err)
	if err != nil {
		return nil, err
	}
	s.log.Info("base backup is consistent", "start", backup.Start, "end", backup.End)
	return imp.Finish(ctx, backup.Start, backup.End)
}

// How long to wait for WAL to flow.
const (
	firstStream = 10 * time.Second // at a first attach: a walsender of our own that died may hold the slot
	forever     = 1<<63 - 1        // once it has flowed
)

// awaitStream returns once WAL flows, so that a source that refuses it is known before its files are copied.
func (s *Server) awaitStream(ctx context.Context, ing *ingest.Service, patience time.Duration) error {
	began := time.Now()
	for {
		st := ing.Status()
		var attach *receive.AttachError
		refused := errors.As(st.LastError, &attach)
		switch {
		case st.Connected:
			return nil
		case refused && (!attach.Temporary() || time.Since(began) > patience):
			return attach
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// archive implements materialize.Options.Archive over whichever source is attached.
func (s *Server) archive(ctx context.Context, lsn pg.LSN) error {
	ing := s.attachedTo()
	if ing == nil {
		return fault.New(fault.ServerRefused, "no source is attached")
	}
	return ing.ArchiveTo(ctx, lsn)
}

// copying shows whole-table copies, one task a table. Small ones are not worth a line.
func (s *Server) copying() func(lake.TableName, int64, int64) {
	const worth = 16384 // blocks
	var mu sync.Mutex
	tasks := map[lake.TableName]progress.Task{}
	return func(name lake.TableName, done, total int64) {
		if total < worth {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		t := tasks[name]
		if t == nil {
			t = s.progress.Start("copy of "+name.String(), total*pg.BlockSize, progress.Bytes)
			tasks[name] = t
		}
		t.Set(done*pg.BlockSize, total*pg.BlockSize)
		if done >= total {
			t.Done(nil)
			delete(tasks, name)
		}
	}
}

func (s *Server) interval() time.Duration { return s.cfg.Publish.Interval }

// wake lets the redo loop look around though no WAL came.
func (s *Server) wake() {
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}
