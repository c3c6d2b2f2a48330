// Package server runs every part of tarn in one process: it attaches to the source, receives WAL, redoes it, publishes
// tables and serves the catalog and the admin API. It is wiring: what each part does is in its own package.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/ingest"
	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/objstore/blockcache"
	"github.com/tarn-db/tarn/internal/progress"
	"github.com/tarn-db/tarn/materialize"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/snapshots"
)

// Options are what Run needs beside the configuration.
type Options struct {
	Config   *config.Config
	Logger   *slog.Logger
	Progress progress.Sink
	Version  string
	// Reload asks for certificates and tokens to be read again at once; nil for never.
	Reload <-chan os.Signal
}

// Server is the running whole. It implements admin.Source.
type Server struct {
	cfg      *config.Config
	log      *slog.Logger
	progress progress.Sink
	version  string

	store     objstore.Store
	pageStore objstore.Store    // store, through the cache if there is one
	cache     *blockcache.Store // nil if nothing is cached
	cat       *catalog.Catalog
	eng       *materialize.Engine // set by the pipeline alone, under mu; nil until the lake has been read
	lakeOpen  bool                // eng has its local files open; under mu
	marks     admin.Marks
	fresh     *admin.FreshnessTracker
	endpoints admin.Endpoints // set before anything is served

	resync chan struct{} // asks for a new base backup
	note   resyncNote    // of the resync asked for or under way
	nudge  chan struct{} // wakes the redo loop without WAL

	pages atomic.Pointer[pageserver.Timeline] // the page store attached; nil if there is none
	snaps *snapshots.Source                   // of it, for the page service
	lakes branchLakes                         // of branches

	mu     sync.Mutex // guards what follows
	ing    *ingest.Service
	source admin.SourceInfo
	view   view
	copied bool // the initial copy is published
	fpw    *fullPageWrites
}

// Run runs until the context ends or something fails that only an operator can put right before a start: a source that
// refuses us, a store that is not ours. What fails later (a corrupt record, a gap in WAL) is shown in the status while
// the catalog goes on serving.
func Run(ctx context.Context, o Options) error {
	s := &Server{
		cfg: o.Config, log: o.Logger, progress: o.Progress, version: o.Version, fresh: admin.NewFreshnessTracker(),
		resync: make(chan struct{}, 1), nudge: make(chan struct{}, 1), lakes: newBranchLakes(), view: view{state: admin.StateAttaching},
	}
	s.limitMemory()
	var err error
	if s.store, err = objstore.Open(ctx, s.cfg.Store, objstore.Options{S3: s.cfg.S3}); err != nil {
		return err
	}
	defer s.store.Close()
	defer s.openCache()()
	if s.cat, err = catalog.Open(ctx, catalog.Options{
		Store: s.store, Logger: s.log, EngineVersion: s.version, CacheBytes: s.catalogMemory(),
		VersionHint: func(n lake.TableName) bool { return s.cfg.Tables.For(n.Database, n.Namespace, n.Name).VersionHint },
	}); err != nil {
		return err
	}
	defer s.cat.Close()
	s.snaps = s.newSnapshots()
	g, gctx := errgroup.WithContext(ctx)
	if err := s.listen(gctx, g, o.Reload); err != nil {
		return err
	}
	g.Go(func() error { return s.pipeline(gctx) })
	g.Go(func() error { s.makeBranchLakes(gctx); return nil })
	return g.Wait()
}

// errResync: an operator asked for a new base backup.
var errResync = errors.New("resync asked for")

// fatal ends the process where it could not go on: as after kill -9, the next start continues.
func (s *Server) fatal(err error) {
	s.log.Error("tarn ends", "error", err)
	os.Exit(1)
}

// pipeline runs source to lake, again from a new base backup whenever one is asked for, and again from what is published
// when the source was promoted.
func (s *Server) pipeline(ctx context.Context) (err error) {
	if err := s.readLake(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.closeLake()) }()
	if err := s.eng.CheckFormats(); err != nil {
		return err
	}
	if err := s.loadResync(ctx); err != nil {
		return err
	}
	followed, pause := false, resyncPauseMin
	wait := func() bool { // ever longer; false when the context has ended
		d := pause
		pause = min(2*pause, resyncPauseMax)
		return sleep(ctx, d)
	}
	for fresh := s.resyncStage() == resyncCopy; ; s.marks.Rewind() {
		err := s.attached(ctx, fresh)
		var rewinding *rewindError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case forked(err) || errors.As(err, &rewinding):
			if rewinding != nil {
				s.retrying(err, pause)
				if !wait() {
					return ctx.Err()
				}
			} else {
				pause = resyncPauseMin
			}
			// What was redone behind the fork is forgotten as a crash forgets it, the engine's part included.
			if err := s.rereadLake(ctx); err != nil {
				return err
			}
			fresh, followed = s.resyncStage() == resyncCopy, true
			continue
		case errors.Is(err, errResync):
			pause = resyncPauseMin
		case errors.Is(err, pageserver.ErrTornCopy):
			s.setState(admin.StateCopying, err)
			s.log.Warn("the base backup is of no use; taking another", "error", err, "in", pause)
			if !wait() {
				return ctx.Err()
			}
		case followed && !fresh && !isStop(err): // the new primary may be away again, or its pg_hba.conf lack a line: no reason to end
			s.retrying(err, pause)
			if !wait() {
				return ctx.Err()
			}
			continue
		case !fresh && refusal(err):
			return err
		case fresh && passing(err): // it was asked for, so it is done once the source is back
			s.retrying(err, pause)
			if !wait() {
				return ctx.Err()
			}
		default:
			s.stopped(err)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.resync:
			}
			pause = resyncPauseMin
		}
		s.log.Info("starting again from a new base backup")
		fresh, followed = true, false
	}
}

// forked says that the source's history has left the one here, or that nothing durable here lies behind the fork any more: attaching
// anew goes on from there.
func forked(err error) bool {
	var promoted *ingest.PromotedError
	var fork *ingest.ForkError
	return !isStop(err) && (errors.Is(err, errRewound) || errors.As(err, &promoted) || errors.As(err, &fork))
}

// How long a resync waits for a source that is away, between tries.
const (
	resyncPauseMin = time.Second
	resyncPauseMax = 30 * time.Second
)

// retrying shows why the source is not attached to yet.
func (s *Server) retrying(err error, pause time.Duration) {
	s.setState(admin.StateAttaching, err)
	s.log.Warn("the source cannot be attached to anew yet; trying again", "error", err, "in", pause)
}

// passing says whether time alone may cure an error: the source is away, or has no room for us now.
func passing(err error) bool {
	var attach *receive.AttachError
	return errors.As(err, &attach) && attach.Temporary()
}

// sleep waits, or returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// refusal says whether an error can only be put right before a start: the server says so and ends. After a resync was
// asked for nothing is: what is published is served on.
func refusal(err error) bool {
	var attach *receive.AttachError
	return !isStop(err) || errors.As(err, &attach)
}

// isStop says whether an error has a state of its own, which is shown until an operator acts.
func isStop(err error) bool {
	var stop *stopError
	return errors.As(err, &stop)
}

// stopError is a failure of the running pipeline: the process lives on, what is published is served, and the status
// says why nothing moves.
type stopError struct {
	state admin.State
	err   error
}

func (e *stopError) Error() string { return e.err.Error() }
func (e *stopError) Unwrap() error { return e.err }

// stopped shows why nothing moves.
func (s *Server) stopped(err error) {
	state := admin.StateStopped
	var stop *stopError
	if errors.As(err, &stop) {
		state = stop.state
	}
	s.setState(state, err)
	s.marks.Fail(fmt.Errorf("%s: %w", state, err))
	s.log.Error("the timeline has stopped; what is published is served on", "state", state, "error", err)
}
