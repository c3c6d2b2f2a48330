package raftlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/tarn-db/tarn/internal/pg"
)

// machine is the raft.BatchingFSM: state in memory, bytes in segment files. raft calls Apply, Snapshot and Restore from
// one goroutine, Persist from another.
type machine struct {
	segs      *segments
	failpoint func(name string) // tests end the process in it; nil otherwise
	sealed    func()            // called when the end has passed into another segment
	// unrestored is why the last Restore failed: raft says only that it did. Read once raft has given up.
	unrestored error

	mu      sync.RWMutex
	state   state
	failed  error         // a local file could not be written: this voter is out until it starts again
	changed chan struct{} // closed when state moves or failed is set; nil while nobody waits
}

func (m *machine) point(name string) {
	if m.failpoint != nil {
		m.failpoint(name)
	}
}

// Apply is raft.FSM's; the response is nil or an error.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch is raft.BatchingFSM's. The entries are durable in the raft log; the segment files get them without fsync.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	m.mu.RLock()
	s, failed := m.state, m.failed
	m.mu.RUnlock()
	was := s
	out := make([]any, len(logs))
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		if failed != nil {
			out[i] = failed
			continue
		}
		next, err, ioErr := m.apply(s, l.Data)
		if ioErr != nil {
			failed = fmt.Errorf("local WAL files: %w", ioErr)
			err = failed
		}
		if err != nil {
			out[i] = err
			continue
		}
		s = next
	}
	m.publish(s, failed)
	if s.cluster.SegmentSize > 0 && s.end.SegmentStart(s.cluster.SegmentSize) != was.end.SegmentStart(s.cluster.SegmentSize) {
		m.sealed()
	}
	return out
}

// apply decides one entry and does to the files what it asks. refused is the entry's own fault, ioErr this machine's.
func (m *machine) apply(s state, data []byte) (next state, refused, ioErr error) {
	e, err := decodeEntry(data)
	if err != nil {
		return s, err, nil
	}
	st, err := stepEntry(s, e)
	if err != nil {
		return s, err, nil
	}
	if len(st.compare) > 0 {
		same, err := m.segs.equal(&s, st.at, st.compare)
		if err != nil {
			return s, nil, err
		}
		if !same {
			return s, &AppendError{Start: st.at, Stop: st.at + pg.LSN(len(st.compare)), End: s.end, Err: ErrDiverged}, nil
		}
	}
	if len(st.write) > 0 {
		if err := m.segs.writeAt(&st.next, s.end, st.write); err != nil {
			return s, nil, err
		}
		m.point("written")
	}
	return st.next, nil, nil
}

// publish makes the state visible and wakes who waits for it.
func (m *machine) publish(s state, failed error) {
	m.mu.Lock()
	m.state = s
	if failed != nil {
		m.failed = failed
	}
	m.wake()
	m.mu.Unlock()
}

// wake ends every wait; the caller holds mu.
func (m *machine) wake() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// fail takes this voter out until it starts again.
func (m *machine) fail(err error) {
	m.mu.Lock()
	s := m.state
	m.failed = err
	m.mu.Unlock()
	_ = s
}

func (m *machine) get() state {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state
}

// wait returns when the end has reached lsn.
func (m *machine) wait(ctx context.Context, lsn pg.LSN, closed <-chan struct{}) error {
	for {
		m.mu.Lock()
		if m.state.end >= lsn {
			m.mu.Unlock()
			return nil
		}
		if m.failed != nil {
			defer m.mu.Unlock()
			return m.failed
		}
		if m.changed == nil {
			m.changed = make(chan struct{})
		}
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-closed:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Snapshot is raft.FSM's: it only notes what Persist must make durable.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.failed != nil {
		return nil, m.failed
	}
	if m.state.timeline == 0 {
		return nil, raft.ErrNothingNewToSnapshot
	}
	return &snapshot{m: m, state: m.state, dirty: m.segs.collect()}, nil
}

// Restore is raft.FSM's: the state a snapshot names. Its bytes are in the segment files already.
func (m *machine) Restore(r io.ReadCloser) error {
	m.unrestored = m.restore(r)
	return m.unrestored
}

func (m *machine) restore(r io.ReadCloser) error {
	b, err := io.ReadAll(io.LimitReader(r, snapshotSize+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	s, err := decodeSnapshot(b)
	if err != nil {
		return err
	}
	if err := m.segs.check(&s); err != nil {
		return err
	}
	m.publish(s, nil)
	return nil
}

// snapshot is a state on its way to a file.
type snapshot struct {
	m     *machine
	state state
	dirty []segmentKey
	done  bool // the files are durable, and so is the snapshot
}

// Persist makes the segment files durable, then the snapshot that names them. FileSnapshotStore's sink fsyncs the
// file at Close and puts it in place by a rename; only then does raft cut the log.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	s.m.point("before-segment-sync")
	if err := s.m.segs.sync(s.dirty); err != nil {
		// Which pages a failed fsync lost cannot be known: nothing may be cut from the log again before a restart.
		s.m.fail(fmt.Errorf("local WAL files: %w", err))
		return err
	}
	s.m.point("after-segment-sync")
	if _, err := sink.Write(encodeSnapshot(s.state)); err != nil {
		return err
	}
	s.m.point("before-snapshot-close")
	if err := sink.Close(); err != nil {
		return err
	}
	s.done = true
	return nil
}

// Release is raft.FSMSnapshot's. A snapshot that came to nothing leaves its files to the next.
func (s *snapshot) Release() {
	if !s.done {
		s.m.segs.mark(s.dirty...)
	}
}
