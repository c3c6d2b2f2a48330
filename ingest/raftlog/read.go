package raftlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/tarn-db/tarn/internal/pg"
)

// Bounds are the first byte the log holds and the one after its last committed byte; both zero before Reset.
func (l *Log) Bounds() (start, end pg.LSN) {
	s := l.fsm.get()
	return s.start, s.end
}

// CommitLSN is the end of committed WAL: each byte before it is durable on the quorum.
func (l *Log) CommitLSN() pg.LSN { return l.fsm.get().end }

// Timeline is the one the log holds; zero before Reset.
func (l *Log) Timeline() pg.TimelineID { return l.fsm.get().timeline }

// Cluster is the one the log belongs to; zero before Reset.
func (l *Log) Cluster() Cluster { return l.fsm.get().cluster }

// Epoch counts the starts of the log: what an earlier process still does carries a lower one.
func (l *Log) Epoch() uint64 { return l.fsm.get().epoch }

// Wait returns when CommitLSN has reached lsn.
func (l *Log) Wait(ctx context.Context, lsn pg.LSN) error { return l.fsm.wait(ctx, lsn, l.closed) }

// ReadAt copies committed WAL from lsn on into dst and returns how many bytes there were, at most len(dst). Errors wrap
// ErrTrimmed, ErrNotCommitted, or name the file that could not be read.
func (l *Log) ReadAt(lsn pg.LSN, dst []byte) (int, error) {
	s := l.fsm.get()
	if lsn < s.start {
		return 0, fmt.Errorf("%s: %w %s", lsn, ErrTrimmed, s.start)
	}
	if lsn >= s.end {
		return 0, ErrNotCommitted
	}
	if n := s.end - lsn; pg.LSN(len(dst)) > n {
		dst = dst[:n]
	}
	if err := l.fsm.segs.readAt(&s, lsn, dst); err != nil {
		if now, _ := l.Bounds(); lsn < now { // trimmed while we read
			return 0, fmt.Errorf("%s: %w %s", lsn, ErrTrimmed, now)
		}
		return 0, fmt.Errorf("local WAL at %s: %w", lsn, err)
	}
	return len(dst), nil
}

// snapshots takes a snapshot when enough WAL was committed since the last, or when the log was trimmed.
func (l *Log) snapshots() {
	defer l.wg.Done()
	last := l.fsm.get()
	for {
		select {
		case <-l.closed:
			return
		case <-l.kick:
		}
		s := l.fsm.get()
		if s.end-min(s.end, last.end) < pg.LSN(max(l.opt.SnapshotBytes, s.cluster.SegmentSize)) && s.start == last.start {
			continue
		}
		if err := l.settle(true); err == nil {
			last = s
		} // else the log grows until the next seal tries again; a failed fsync has stopped the voter
	}
}

func (l *Log) kickSnapshot() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// settle takes a snapshot and deletes the segment files it has no use for. When it returns nil the snapshot is durable,
// as is every byte it names. above keeps files behind the end, where appends go on beside it.
func (l *Log) settle(above bool) error {
	l.snapMu.Lock()
	defer l.snapMu.Unlock()
	s := l.fsm.get() // not younger than what the snapshot will hold
	err := l.guard(func() error { return l.raft.Snapshot().Error() })
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("raft snapshot: %w", err)
	}
	l.fsm.point("snapshotted")
	if err := l.fsm.segs.removeOutside(&s, above); err != nil {
		return fmt.Errorf("local WAL files: %w", err)
	}
	if !above {
		l.unsettled = false
	}
	return nil
}
