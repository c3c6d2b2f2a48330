// Package ingest is the service that brings WAL in: it attaches to a Postgres server, makes its WAL durable in a raft log,
// archives it in object storage, tells the server how far that went, and hands committed WAL to readers.
//
//	receive ──▶ raftlog ──▶ archive
//	   ▲ status    │ committed   │ archived
//	   └───────────┴─────────────┘
//
// Invariant: published <= archived <= committed <= received.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarn-db/tarn/ingest/archive"
	"github.com/tarn-db/tarn/ingest/raftlog"
	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// Options of the service.
type Options struct {
	Source receive.Source
	Slot   string // physical replication slot, made if it is not there; default tarn
	// Synchronous tells the server its WAL is flushed once it is committed here, so that tarn can be its synchronous
	// standby. Otherwise only once it is archived, so that a loss of DataDir never loses WAL the slot has let go.
	Synchronous bool
	DataDir     string
	Store       objstore.Store
	// Published gives the LSN published downstream, reported as applied; nil while nothing is.
	Published func() pg.LSN
	// Durable gives the end of the WAL whose effects are durable downstream, in pages or in the lake: a source that was promoted
	// below it cannot be followed. Nil while nothing is.
	Durable func() pg.LSN
	// TailInterval bounds how long committed WAL stays out of the store where nothing is published. Default 10 s.
	TailInterval time.Duration
	// RetainBytes of archived WAL are kept in DataDir for readers. Default 1 GiB.
	RetainBytes int64
	Logger      *slog.Logger // default drops everything

	yieldAfter time.Duration           // see yieldAfterDefault
	failpoint  func(name string) error // tests end the switch to another timeline in it
}

func (o *Options) setDefaults() error {
	if o.DataDir == "" || o.Store == nil {
		return errors.New("ingest: data_dir and store must be set")
	}
	if o.Slot == "" {
		o.Slot = "tarn"
	}
	if o.Published == nil {
		o.Published = func() pg.LSN { return 0 }
	}
	if o.Durable == nil {
		o.Durable = func() pg.LSN { return 0 }
	}
	if o.TailInterval == 0 {
		o.TailInterval = 10 * time.Second
	}
	if o.yieldAfter == 0 {
		o.yieldAfter = yieldAfterDefault
	}
	if o.RetainBytes == 0 {
		o.RetainBytes = 1 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return nil
}

// State is what the service does about its source.
type State string

// The states. Promoted and Forked end Run; the last three end the stream until someone acts: WAL that is here already is archived and
// served on.
const (
	Starting     State = "starting"
	Streaming    State = "streaming"
	Reconnecting State = "reconnecting" // the connection was lost, or the server does not answer
	Refused      State = "refused"      // the server answers and refuses; tried again, slowly
	Promoted     State = "promoted"     // the source went over to another timeline, which is about to be followed
	Forked       State = "forked"       // the source went over to another timeline, below what is durable downstream
	WALGap       State = "wal_gap"      // the server has removed WAL not received yet
	Diverged     State = "diverged"     // the server's history is not the one received
	Failed       State = "failed"       // local files cannot be written
)

func (s State) ended() bool {
	return s == WALGap || s == Diverged || s == Failed
}

// Status is a moment's view. LSNs are never ahead of the truth.
type Status struct {
	State          State
	Connected      bool
	Source         receive.Info
	ReceiveLSN     pg.LSN // end of WAL received
	CommitLSN      pg.LSN // end of WAL durable on the quorum
	ArchivedLSN    pg.LSN // end of WAL durable in the store
	ServerFlushLSN pg.LSN // end of WAL on the server when it last said so
	LastError      error  // what ended the last connection, or keeps the next from coming about; nil when all is well
	StoreError     error  // why the last upload failed; nil since one succeeded
}

// Service is an attached source. Open makes it, Run works it, Close ends it.
type Service struct {
	opt     Options
	log     *raftlog.Log
	archive *archive.Archive

	received    atomic.Uint64 // pg.LSN
	serverFlush atomic.Uint64 // pg.LSN
	fork        atomic.Uint64 // pg.LSN
	forked      *ForkError    // what Open has found
	ackWake     chan struct{} // an acknowledged position may have moved
	archiveKick chan struct{} // a segment is full
	tailKick    chan struct{} // the tail is wanted in the store now

	mu       sync.Mutex
	state    State
	info     receive.Info
	lastErr  error
	storeErr error
}

// Open opens what is durable, attaches to the source and makes the slot. It does not stream: Run does. A source that
// does not answer is no error once there is something to go on from. Refusals are *receive.AttachError; others wrap
// raftlog's, archive's or receive's errors.
func Open(ctx context.Context, opt Options) (*Service, error) {
	if err := opt.setDefaults(); err != nil {
		return nil, err
	}
	s := newService(opt)
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func newService(opt Options) *Service {
	return &Service{opt: opt, state: Starting,
		ackWake: make(chan struct{}, 1), archiveKick: make(chan struct{}, 1), tailKick: make(chan struct{}, 1)}
}

// Status is the moment's view.
func (s *Service) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{State: s.state, Connected: s.state == Streaming, Source: s.info, LastError: s.lastErr, StoreError: s.storeErr,
		ServerFlushLSN: pg.LSN(s.serverFlush.Load())}
	_, st.ArchivedLSN, st.CommitLSN = s.positions()
	st.ReceiveLSN = max(st.CommitLSN, pg.LSN(s.received.Load()))
	return st
}

// positions reads published, archived and committed in the order that keeps the invariant between them.
func (s *Service) positions() (published, archived, committed pg.LSN) {
	published = s.opt.Published()
	archived = s.archive.ArchivedLSN()
	committed = s.log.CommitLSN()
	if published > archived || archived > committed {
		panic(fmt.Sprintf("BUG: published %s, archived %s, committed %s", published, archived, committed))
	}
	return published, archived, committed
}

// Base is the first byte of WAL there is: a base backup whose start lies at or behind it can be redone.
func (s *Service) Base() pg.LSN { return s.archive.Base().LSN }

// Timeline is the one the WAL here is on.
func (s *Service) Timeline() pg.TimelineID { return s.log.Timeline() }

// Cluster is the one the WAL came from.
func (s *Service) Cluster() raftlog.Cluster { return s.log.Cluster() }

// CommitLSN is the end of WAL durable on the quorum; nothing downstream may see WAL beyond it.
func (s *Service) CommitLSN() pg.LSN { return s.log.CommitLSN() }

// WaitCommit returns when CommitLSN has reached lsn.
func (s *Service) WaitCommit(ctx context.Context, lsn pg.LSN) error { return s.log.Wait(ctx, lsn) }

// ArchiveTo returns when every byte before lsn is durable in the store. Call it before each publication.
func (s *Service) ArchiveTo(ctx context.Context, lsn pg.LSN) error {
	err := s.archive.ArchiveTo(ctx, lsn)
	s.noteStore(err)
	return err
}

// TrimArchive gives up archived WAL in whole segments before keep, and returns how many objects were deleted.
func (s *Service) TrimArchive(ctx context.Context, keep pg.LSN) (int, error) {
	return s.archive.Trim(ctx, keep)
}

// PublishedMoved tells that Published has a new value, so that the server hears of it soon.
func (s *Service) PublishedMoved() { wake(s.ackWake) }

// BaseBackup copies the source's files while Run streams; see receive.BaseBackup.
func (s *Service) BaseBackup(ctx context.Context, opt receive.BackupOptions) (receive.Backup, error) {
	return receive.BaseBackup(ctx, s.opt.Source, opt)
}

// Close ends the service after Run has returned. What is committed stays.
func (s *Service) Close() error {
	if s.log == nil {
		return nil
	}
	return s.log.Close()
}

func (s *Service) setState(state State, err error) {
	s.mu.Lock()
	changed := s.state != state
	s.state, s.lastErr = state, err
	s.mu.Unlock()
	switch {
	case err != nil && (changed || state.ended()):
		s.opt.Logger.Warn("source", "state", string(state), "error", err)
	case changed:
		s.opt.Logger.Info("source", "state", string(state), "commit_lsn", s.log.CommitLSN().String())
	}
}

func (s *Service) noteStore(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storeErr = err
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
