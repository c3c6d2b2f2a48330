// Package raftlog makes WAL durable on a quorum: batches of WAL are entries of a raft log, a committed entry is durable
// WAL. One voter is the embedded default.
//
// The raft log is the durable truth. Committed WAL is copied to local segment files, named as in pg_wal, which readers
// read; those are fsynced only before a raft snapshot that names them, and then the raft log is cut. A restart takes the
// snapshot and replays the log over the tail.
package raftlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

var (
	// ErrClosed: the log is closed, or closing.
	ErrClosed = errors.New("the WAL log is closed")
	// ErrLocked: another process has the folder open.
	ErrLocked = fault.New(fault.DataDirInUse, "another process uses this data folder")
	// ErrTrimmed: the position lies before the log's start; the archive has it.
	ErrTrimmed = errors.New("WAL before the log's start")
	// ErrNotCommitted: the position lies at or behind the log's end.
	ErrNotCommitted = errors.New("WAL that is not committed yet")
)

// Options of a log.
type Options struct {
	// Dir is the data folder; the log owns its subfolders raft and wal.
	Dir string
	// Cluster that the folder must belong to; zero accepts what is there.
	Cluster Cluster
	// InFlightBytes bounds WAL that Append has taken and that is not committed; it blocks at the bound. Default 16 MiB.
	InFlightBytes int
	// SnapshotBytes of WAL are committed between snapshots, at least a segment. Default 64 MiB: what a restart replays.
	SnapshotBytes int64
	// RaftSegmentBytes is the file size of the raft log. Default 64 MiB.
	RaftSegmentBytes int
	// LogOutput takes warnings of the raft library; nil drops them.
	LogOutput io.Writer

	failpoint func(name string) // tests end the process in it
}

// Log is the WAL of one cluster. Append, Flush, Restart and Reset belong to one goroutine, everything else may be called
// from any.
type Log struct {
	opt    Options
	lock   *os.File
	meta   metadb.BoltMetaDB // the raft log's own; its Close leaves it open and locked, so it is closed here
	wal    *raftwal.WAL
	raft   *raft.Raft
	fsm    *machine
	closed chan struct{}
	wg     sync.WaitGroup
	gate   sync.RWMutex  // held shared by each call into raft, alone by Close: raft answers nothing after its shutdown
	kick   chan struct{} // asks for a snapshot

	snapMu sync.Mutex // one snapshot at a time
	// unsettled: a base was written and no snapshot since; used by the goroutine that appends.
	unsettled bool
	append    appender
}

// voterID is the only voter's name; with three, each has its own and the transport is a network's.
const voterID = "local"

// Open opens the log, or makes an empty one that Reset must give a beginning. What it finds is complete: every byte
// whose Append was ever reported committed is there. Errors wrap ErrLocked, ErrForeign or pg.ErrCorrupt.
func Open(opt Options) (*Log, error) {
	if opt.InFlightBytes == 0 {
		opt.InFlightBytes = 16 << 20
	}
	if opt.SnapshotBytes == 0 {
		opt.SnapshotBytes = 64 << 20
	}
	if opt.RaftSegmentBytes == 0 {
		opt.RaftSegmentBytes = 64 << 20
	}
	if opt.LogOutput == nil {
		opt.LogOutput = io.Discard
	}
	if err := opt.makeDirs(); err != nil {
		return nil, err
	}
	l := &Log{opt: opt, closed: make(chan struct{}), kick: make(chan struct{}, 1)}
	if err := l.open(); err != nil {
		return nil, errors.Join(opt.named(err), l.Close())
	}
	return l, nil
}

// named says where an error of Open is and, of damage, what to do about it.
func (o *Options) named(err error) error {
	err = fmt.Errorf("WAL log in %s: %w", o.Dir, err)
	if errors.Is(err, pg.ErrCorrupt) || errors.Is(err, raftwal.ErrCorrupt) {
		err = fmt.Errorf("%w: keep its folders raft and wal elsewhere and remove them there, to go on from the store and the slot", err)
	}
	return err
}

func (o *Options) raftDir() string    { return filepath.Join(o.Dir, "raft") }
func (o *Options) walDir() string     { return filepath.Join(o.Dir, "wal") }
func (o *Options) raftLogDir() string { return filepath.Join(o.raftDir(), "log") }

// makeDirs makes the folders and their entries durable: what is fsynced in a folder that a power cut takes away is lost.
func (o *Options) makeDirs() error {
	// raft's library makes the folder of snapshots itself, and does not fsync what it lies in.
	for _, d := range []string{o.Dir, o.walDir(), o.raftLogDir(), filepath.Join(o.raftDir(), "snapshots")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	// The folder that data_dir lies in may be closed to us; whoever made data_dir there answers for that entry.
	if err := syncDir(filepath.Dir(o.Dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return errors.Join(syncDir(o.Dir), syncDir(o.raftDir()))
}

func (l *Log) open() error {
	if err := l.flock(); err != nil {
		return err
	}
	l.fsm = &machine{segs: newSegments(l.opt.walDir()), failpoint: l.opt.failpoint, sealed: l.kickSnapshot}
	if err := l.startRaft(); err != nil {
		return err
	}
	s := l.fsm.get()
	if l.opt.Cluster != (Cluster{}) && s.cluster != (Cluster{}) && s.cluster != l.opt.Cluster {
		return fmt.Errorf("%w: it holds system %d (segments of %d bytes), the source is system %d (%d)",
			ErrForeign, s.cluster.SystemID, s.cluster.SegmentSize, l.opt.Cluster.SystemID, l.opt.Cluster.SegmentSize)
	}
	l.append.run(l)
	if err := l.apply(entry{kind: kindEpoch, cluster: s.cluster, lsn: pg.LSN(s.epoch + 1)}); err != nil {
		return err
	}
	if s.timeline != 0 {
		// A base replayed from the log may have been the last thing that happened: see Reset.
		if err := l.settle(false); err != nil {
			return err
		}
	}
	l.wg.Add(1)
	go l.snapshots()
	return nil
}

// flock keeps a second process out; the kernel releases it with the process.
func (l *Log) flock() (err error) {
	if l.lock, err = os.OpenFile(filepath.Join(l.opt.raftDir(), "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err = syscall.Flock(int(l.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// startRaft opens log and snapshots, makes this the only voter where they are empty, and returns once it leads and has
// applied everything committed.
func (l *Log) startRaft() error {
	logger := hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: l.opt.LogOutput})
	logDir := l.opt.raftLogDir()
	err := finishRotation(logDir, l.opt.RaftSegmentBytes)
	if err != nil {
		return fmt.Errorf("raft log: %w", err)
	}
	if l.wal, err = raftwal.Open(logDir, raftwal.WithMetaStore(&l.meta),
		raftwal.WithSegmentSize(l.opt.RaftSegmentBytes), raftwal.WithLogger(logger)); err != nil {
		return fmt.Errorf("raft log: %w", err)
	}
	// One is kept: an older one would name bytes the log no longer carries on from.
	snaps, err := raft.NewFileSnapshotStoreWithLogger(l.opt.raftDir(), 1, logger)
	if err != nil {
		return fmt.Errorf("raft snapshots: %w", err)
	}
	if err := l.checkContinuous(snaps); err != nil {
		return err
	}
	if err := l.checkReadable(); err != nil {
		return err
	}
	addr, transport := raft.NewInmemTransport(voterID)
	existing, err := raft.HasExistingState(l.wal, l.wal, snaps)
	if err != nil {
		return fmt.Errorf("raft state: %w", err)
	}
	conf := l.raftConfig(logger)
	if !existing {
		voters := raft.Configuration{Servers: []raft.Server{{ID: voterID, Address: addr}}}
		if err := raft.BootstrapCluster(conf, l.wal, l.wal, snaps, transport, voters); err != nil {
			return fmt.Errorf("raft bootstrap: %w", err)
		}
	}
	if l.raft, err = raft.NewRaft(conf, l.fsm, l.wal, l.wal, snaps, transport); err != nil {
		return fmt.Errorf("raft: %w", errors.Join(l.fsm.unrestored, err))
	}
	return l.lead(context.Background())
}

func (l *Log) raftConfig(logger hclog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = voterID
	c.Logger = logger
	// Nobody else votes, so these only delay the start.
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	c.CommitTimeout = 5 * time.Millisecond
	c.BatchApplyCh = true
	c.MaxAppendEntries = 64
	// Snapshots are taken when segments seal, not by raft's own count; all they name is in segment files by then.
	c.SnapshotThreshold, c.SnapshotInterval = math.MaxUint64, 24*time.Hour
	c.TrailingLogs = 8
	c.NoLegacyTelemetry = true
	return c
}

// checkContinuous refuses a log that does not carry on from the newest snapshot: a hole would be a silent loss.
func (l *Log) checkContinuous(snaps raft.SnapshotStore) error {
	list, err := snaps.List()
	if err != nil {
		return fmt.Errorf("raft snapshots: %w", err)
	}
	first, err := l.wal.FirstIndex()
	if err != nil {
		return fmt.Errorf("raft log: %w", err)
	}
	var snapshotted uint64
	if len(list) > 0 {
		snapshotted = list[0].Index
	}
	if first > snapshotted+1 {
		return &pg.CorruptError{What: fmt.Sprintf("the raft log begins at entry %d, its newest snapshot ends at %d", first, snapshotted)}
	}
	return nil
}

// checkReadable refuses a log with an entry that cannot be read, where raft would panic, or is not what was written, which
// the state machine would pass over as if it had never been committed.
func (l *Log) checkReadable() error {
	first, err := l.wal.FirstIndex()
	last, lastErr := l.wal.LastIndex()
	if err = errors.Join(err, lastErr); err != nil {
		return fmt.Errorf("raft log: %w", err)
	}
	var e raft.Log
	for i := first; first != 0 && i <= last; i++ {
		if err := l.wal.GetLog(i, &e); err != nil {
			return &pg.CorruptError{What: fmt.Sprintf("entry %d of the raft log cannot be read: %v", i, err)}
		}
		if e.Type != raft.LogCommand {
			continue
		}
		if _, err := decodeEntry(e.Data); err != nil {
			return err
		}
	}
	return nil
}

// leadWithin bounds how long a voter may be without a leader; alone it leads within a tenth of a second, unless its log
// cannot be written.
const leadWithin = 15 * time.Second

// lead waits until this voter leads and has applied all that is committed.
func (l *Log) lead(ctx context.Context) error {
	for deadline := time.Now().Add(leadWithin); ; {
		err := l.guard(func() error { return l.raft.Barrier(0).Error() })
		if err == nil || errors.Is(err, ErrClosed) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the raft log takes no entries (is the disk full?): %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.closed:
			return ErrClosed
		case <-time.After(5 * time.Millisecond): // not the leader yet; raft offers no future for it
		}
	}
}

// apply puts one entry without payload through raft and returns the state machine's verdict. When it returns nil the
// entry is durable.
func (l *Log) apply(e entry) error {
	return l.guard(func() error {
		f := l.raft.Apply(encodeEntry(e), 0)
		if err := f.Error(); err != nil {
			return fmt.Errorf("raft: %w", err)
		}
		err, _ := f.Response().(error)
		return err
	})
}

// guard makes a call into raft, or ErrClosed.
func (l *Log) guard(call func() error) error {
	l.gate.RLock()
	defer l.gate.RUnlock()
	select {
	case <-l.closed:
		return ErrClosed
	default:
		return call()
	}
}

// Close ends the log once the goroutine that appends is done. What was appended and not flushed is lost, as in a crash;
// what was flushed is committed first.
func (l *Log) Close() error {
	select {
	case <-l.closed:
		return nil
	default:
		close(l.closed)
	}
	l.gate.Lock() // waits for the calls under way; later ones see closed
	//lint:ignore SA2001 an empty critical section is the point
	l.gate.Unlock()
	var errs []error
	l.append.close()
	if l.raft != nil {
		errs = append(errs, l.raft.Shutdown().Error())
	}
	l.wg.Wait()
	if l.wal != nil {
		errs = append(errs, l.wal.Close())
	}
	errs = append(errs, l.meta.Close())
	if l.fsm != nil {
		errs = append(errs, l.fsm.segs.close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}
