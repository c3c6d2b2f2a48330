package admin

import (
	"context"
	"sync"

	"github.com/tarn-db/tarn/internal/pg"
)

// Marks holds how far each stage has come and wakes those who wait. The zero value is ready; all methods are safe for
// concurrent use.
type Marks struct {
	mu    sync.Mutex
	lsn   map[Stage]pg.LSN
	err   error         // set once nothing will move any more
	moved chan struct{} // closed and forgotten at each change; nil while nobody waits
}

// Advance moves a stage forward. A lower LSN than before is ignored.
//
// Invariant: a stage never moves back, so a satisfied wait stays satisfied.
func (m *Marks) Advance(stage Stage, lsn pg.LSN) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if lsn <= m.lsn[stage] {
		return
	}
	if m.lsn == nil {
		m.lsn = map[Stage]pg.LSN{}
	}
	m.lsn[stage] = lsn
	m.wake()
}

// Rewind forgets all positions, for a resync from a new base backup.
func (m *Marks) Rewind() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lsn, m.err = nil, nil
}

// Fail ends every wait that is not satisfied with err, now and later, until Rewind.
func (m *Marks) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
	m.wake()
}

func (m *Marks) wake() {
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

// At gives a stage's position.
func (m *Marks) At(stage Stage) pg.LSN {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lsn[stage]
}

// Wait returns nil once the stage has reached lsn, the error of Fail, or the context's.
func (m *Marks) Wait(ctx context.Context, stage Stage, lsn pg.LSN) error {
	for {
		m.mu.Lock()
		if m.lsn[stage] >= lsn {
			m.mu.Unlock()
			return nil
		}
		if m.err != nil {
			defer m.mu.Unlock()
			return m.err
		}
		if m.moved == nil {
			m.moved = make(chan struct{})
		}
		moved := m.moved
		m.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
