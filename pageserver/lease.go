package pageserver

import (
	"fmt"
	"sync"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// LeasesMax is how many LSNs may be leased at a time.
const LeasesMax = 1024

// leases are LSNs that garbage collection keeps until their time ends. They are in memory alone, so that one costs no write: after Open
// nothing is collected for as long as a lease lasts, in which whoever holds one of the process before renews it. One is given under
// flusher.mu, so that no index that does not know it comes after.
//
// Invariant: a lease that was given is known, or younger than opened + length.
type leases struct {
	length time.Duration // of each; 0: none are given
	opened time.Time

	mu    sync.Mutex
	until map[pg.LSN]time.Time
}

// LeaseLSN keeps what a snapshot of an LSN needs, layers and WAL, until the time it returns: Options.LeaseTime from now. Leasing an LSN again
// renews it. The WAL has reached the LSN. It is ErrBeforeHistory where history does not reach, and PageServiceBusy with LeasesMax others.
// It may be called at any time.
func (t *Timeline) LeaseLSN(lsn pg.LSN) (until time.Time, err error) {
	f := &t.flusher
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &f.leases
	if err := f.ctx.Err(); err != nil {
		return until, err
	}
	if l.length == 0 {
		return until, fault.New(fault.RequestBad, "these pages are not leased: the page service leases them")
	}
	if oldest, _ := t.HistoryFrom(); lsn < oldest {
		return until, fmt.Errorf("%w: a lease on %s was asked for, the oldest LSN is %s", ErrBeforeHistory, lsn, oldest)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(f.now())
	if _, ok := l.until[lsn]; !ok && len(l.until) >= LeasesMax {
		return until, fault.Errorf(fault.PageServiceBusy, "%d LSNs are leased already, as many as may be: read at one of those, or ask again when a lease has ended", LeasesMax)
	}
	until = f.now().Add(l.length)
	l.until[lsn] = until
	return until, nil
}

// Leases is how many LSNs are leased. It may be called at any time.
func (t *Timeline) Leases() int {
	l := &t.flusher.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(t.flusher.now())
	return len(l.until)
}

// expire forgets those whose time has ended. Under mu.
func (l *leases) expire(now time.Time) {
	for lsn, until := range l.until {
		if !now.Before(until) {
			delete(l.until, lsn)
		}
	}
}

// settling says that leases of a process before this one may still run.
func (l *leases) settling(now time.Time) bool { return now.Before(l.opened.Add(l.length)) }

// held adds the leases to the LSNs that branches keep.
func (l *leases) held(branches []Branch, now time.Time) []Branch {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	held := append([]Branch(nil), branches...)
	for lsn := range l.until {
		held = append(held, Branch{LSN: lsn})
	}
	return held
}
