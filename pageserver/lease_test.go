package pageserver

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// leaseRig is a timeline without history, of which block 3 gets another version with each flush, and its clock.
type leaseRig struct {
	*Timeline
	t     *testing.T
	clock time.Time
	seen  []pg.LSN // where each version was flushed, from 0 on
}

const testLease = 10 * time.Minute

func newLeaseRig(t *testing.T) *leaseRig {
	r := &leaseRig{t: t, clock: time.Now()}
	r.Timeline = importPages(t, Options{Store: objstore.NewMem(), LeaseTime: testLease, WAL: noWAL{}}, 4)
	r.opened()
	r.seen = append(r.seen, r.ResumeLSN())
	r.pass(testLease)
	return r
}

// opened has the timeline go by the rig's clock from its opening on.
func (r *leaseRig) opened() {
	r.flusher.now = func() time.Time { return r.clock }
	r.flusher.leases.opened = r.clock
}

func (r *leaseRig) pass(d time.Duration) { r.clock = r.clock.Add(d) }

// next flushes the next version.
func (r *leaseRig) next() pg.LSN {
	r.t.Helper()
	apply(r.t, r.Timeline, fpi(r.nextLSN(), 0, testRel, len(r.seen), 3))
	flush(r.t, r.Timeline)
	r.seen = append(r.seen, r.ResumeLSN())
	return r.ResumeLSN()
}

// kept checks which of the versions can still be read as they were; what has gone is gone from the store too.
func (r *leaseRig) kept(when string, want ...int) {
	r.t.Helper()
	r.flusher.mu.Lock()
	for i := range r.flusher.removable {
		r.flusher.removable[i].after = time.Time{}
	}
	r.clean(context.Background())
	r.flusher.mu.Unlock()
	is := map[int]bool{}
	for _, v := range want {
		is[v] = true
	}
	for v, lsn := range r.seen {
		o := r.opts
		past, _, err := OpenPast(context.Background(), o, Target{LSN: lsn}, objstore.NewMem())
		if !is[v] {
			if _, snapErr := r.Snapshot(lsn); !errors.Is(err, ErrBeforeHistory) && past.RedoLSN() == lsn || snapErr == nil {
				r.t.Errorf("%s: version %d can be read: %v, %v", when, v, err, snapErr)
			}
			continue
		}
		if err != nil || past.RedoLSN() != lsn {
			r.t.Errorf("%s: version %d cannot be read: %v", when, v, err)
			continue
		}
		if from := r.WALFrom(); from > lsn {
			r.t.Errorf("%s: WAL is kept from %s on, version %d needs it from %s", when, from, v, lsn)
		}
		if got := pageVersion(r.t, past, testRel, 3); got != v {
			r.t.Errorf("%s: version %d reads as %d", when, v, got)
		}
	}
}

func (r *leaseRig) lease(lsn pg.LSN) time.Time {
	r.t.Helper()
	until, err := r.LeaseLSN(lsn)
	if err != nil || !until.Equal(r.clock.Add(testLease)) {
		r.t.Fatalf("a lease on %s until %v: %v", lsn, until, err)
	}
	return until
}

// TestLeases: garbage collection and merges keep what a lease needs until it ends, renewed or not; what is not leased goes.
func TestLeases(t *testing.T) {
	r := newLeaseRig(t)
	r.next()
	r.kept("not leased", 1)
	if _, err := r.LeaseLSN(r.seen[0]); !errors.Is(err, ErrBeforeHistory) {
		t.Errorf("a lease on what has gone: %v", err)
	}
	r.lease(r.seen[1])
	r.lease(r.next() + 1) // of no flush: the point before it is needed
	r.next()
	r.next()
	mergeAll(t, r.Timeline)
	r.next()
	r.kept("two leased", 1, 2, 5)
	if n := r.Leases(); n != 2 {
		t.Errorf("%d leases", n)
	}
	r.pass(testLease / 2)
	r.lease(r.seen[1])
	r.pass(testLease / 2)
	r.next()
	r.kept("one renewed", 1, 6)
	if n := r.Leases(); n != 1 {
		t.Errorf("%d leases, one was renewed", n)
	}
	r.pass(testLease / 2)
	r.next()
	r.kept("all ended", 7)
}

// TestLeasesAfterRestart: a process does not know the leases of the one before. It collects nothing until they have ended or were renewed.
func TestLeasesAfterRestart(t *testing.T) {
	r := newLeaseRig(t)
	r.lease(r.next())
	r.next()
	r.kept("leased", 1, 2)
	r.Timeline = reopen(t, r.Timeline)
	r.opened()
	if n := r.Leases(); n != 0 {
		t.Errorf("%d leases after a restart", n)
	}
	r.next()
	r.next()
	r.kept("just started", 1, 2, 3, 4)
	r.pass(testLease - time.Second)
	r.lease(r.seen[3])
	r.next()
	r.kept("not long ago", 1, 2, 3, 4, 5)
	r.pass(2 * time.Second)
	r.next()
	r.kept("those before have ended", 3, 6)
}

// TestLeasesBounded: there is a limit, which renewals do not count against; pages of no page service are not leased.
func TestLeasesBounded(t *testing.T) {
	r := newLeaseRig(t)
	lsn := r.next()
	for i := range LeasesMax {
		r.lease(lsn + pg.LSN(i))
	}
	if _, err := r.LeaseLSN(lsn + LeasesMax); fault.CodeOf(err) != fault.PageServiceBusy {
		t.Errorf("one too many: %v", err)
	}
	r.lease(lsn)
	r.pass(testLease)
	r.lease(lsn + LeasesMax)
	if n := r.Leases(); n != 1 {
		t.Errorf("%d leases when all others have ended", n)
	}
	other := importPages(t, Options{Store: objstore.NewMem()}, 1)
	if _, err := other.LeaseLSN(other.ResumeLSN()); fault.CodeOf(err) != fault.RequestBad {
		t.Errorf("a lease of pages that are not leased: %v", err)
	}
	_ = r.Close()
	if _, err := r.LeaseLSN(lsn); err == nil {
		t.Error("a lease of a closed timeline")
	}
}
