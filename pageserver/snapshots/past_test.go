package snapshots

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/pageapi"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// TestPast: former LSNs are redone once each, as many as are kept; one more takes the place of the one that has not been read for longest,
// or is refused while all are read.
func TestPast(t *testing.T) {
	r := newRig(t, false)
	r.run(t)
	snap, version := r.version(t, 0)
	if version != 2 || snap.LSN() != r.first+0x1000 {
		t.Errorf("the newest is version %d at %s", version, snap.LSN())
	}
	snap.Release()
	var open []pageapi.Snapshot
	for i := range PastMax {
		for range 2 {
			snap, version := r.version(t, r.first+pg.LSN(i))
			if open = append(open, snap); version != 1 {
				t.Errorf("version %d at the first LSN", version)
			}
		}
	}
	if n := r.opened.Load(); n != PastMax {
		t.Errorf("%d states opened for %d LSNs", n, PastMax)
	}
	if _, err := r.Open(t.Context(), pageapi.Position{LSN: r.first + 50}); fault.CodeOf(err) != fault.PageServiceBusy {
		t.Errorf("one LSN too many: %v", err)
	}
	for i := len(open) - 1; i >= 0; i-- {
		open[i].Release() // the last LSN's first: it has not been read for longest
	}
	snap, _ = r.version(t, r.first+50)
	snap.Release()
	for i := range PastMax - 1 {
		snap, _ := r.version(t, r.first+pg.LSN(i))
		snap.Release()
	}
	if n := r.opened.Load(); n != PastMax+1 {
		t.Errorf("%d states opened: one that was read lately went", n)
	}
	if left, err := os.ReadDir(r.scratch); len(left) != PastMax || err != nil {
		t.Errorf("%d states are kept: %v", len(left), err)
	}
	r.expire(time.Now().Add(pastIdle - time.Second))
	if len(r.pasts) != PastMax {
		t.Errorf("%d states are left before they are idle", len(r.pasts))
	}
	r.expire(time.Now().Add(pastIdle))
	if len(r.pasts) != 0 {
		t.Errorf("%d idle states are kept", len(r.pasts))
	}
}

// TestPassed: an LSN that history has passed, and that nobody has leased, is refused, and not answered with pages of another; who reads there
// already reads on.
func TestPassed(t *testing.T) {
	r := newRig(t, false)
	r.run(t)
	open, version := r.version(t, r.first)
	if version != 1 {
		t.Errorf("version %d at the first LSN", version)
	}
	if _, err := open.Lease(); fault.CodeOf(err) != fault.RequestBad {
		t.Errorf("a lease of pages that are not leased: %v", err)
	}
	r.Lock()
	wait := r.tl.StartFlush(t.Context())
	r.Unlock()
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(t.Context(), pageapi.Position{LSN: r.first}); fault.CodeOf(err) != fault.BeforeHistory {
		t.Errorf("where history has passed: %v", err)
	}
	err := open.Pages(t.Context(), []key.Key{key.OfBlock(testRel, pg.MainFork, 0)}, func(_ int, page []byte) error { version = page[5000]; return nil })
	if version != 1 || err != nil {
		t.Errorf("who reads there already reads version %d: %v", version, err)
	}
	open.Release()
}

// TestFormer: once pages have been flushed, layers answer for former LSNs, beside redo, also of which pages SLRUs have.
func TestFormer(t *testing.T) {
	r := newRig(t, true)
	r.run(t)
	r.Lock()
	wait := r.tl.StartFlush(t.Context())
	r.Unlock()
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	r.apply(t, 3)
	for i := range formerMax + 2 {
		snap, version := r.version(t, r.first+pg.LSN(i))
		if version != 1 || snap.Timeline() != 1 || snap.SystemID() != r.tl.SystemID() {
			t.Errorf("version %d of timeline %d before the first record", version, snap.Timeline())
		}
		if n, ok, err := snap.RelSize(t.Context(), testRel, pg.MainFork); n != 1 || !ok || err != nil {
			t.Errorf("the relation has %d blocks, %v, %v", n, ok, err)
		}
		r.apply(t, byte(4+i)) // redo does not wait for such a snapshot
		snap.Release()
	}
	if n := len(r.formers); n != formerMax {
		t.Errorf("%d former LSNs are held", n)
	}
	snap, version := r.version(t, r.first+0x1000)
	if version != 2 {
		t.Errorf("version %d where the flush was", version)
	}
	snap.Release()
	if n := r.opened.Load(); n != 0 {
		t.Errorf("%d states of the past opened where layers lead", n)
	}
	for i := range 2 { // one that begins at the first LSN tells what holds there, and leads on
		snap, _ := r.version(t, r.first+pg.LSN(i))
		runs, err := snap.SLRUPages(t.Context(), slru.CLOG)
		if err != nil || len(runs) != 1 || runs[0] != (slru.Run{From: 0, To: 1}) || r.opened.Load() != 0 {
			t.Errorf("pg_xact has pages %v at %s: %v; %d states of the past opened", runs, snap.LSN(), err, r.opened.Load())
		}
		err = snap.Pages(t.Context(), []key.Key{key.OfSLRU(pg.OID(slru.CLOG), 0)}, func(_ int, page []byte) error {
			if page[0] != 0x55 {
				t.Errorf("pg_xact begins with %x at %s", page[0], snap.LSN())
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		snap.Release()
	}
	r.Attach(nil)
	if len(r.formers) != 0 {
		t.Error("LSNs of a timeline that is not attached are held")
	}
}

// TestPastFails: what cannot be opened is tried again by who asks next; what cannot be read any more is opened anew.
func TestPastFails(t *testing.T) {
	r := newRig(t, false)
	r.run(t)
	r.fail.Store(true)
	if _, err := r.Open(t.Context(), pageapi.Position{LSN: r.first}); fault.CodeOf(err) != fault.StoreUnreachable {
		t.Errorf("open while the store is away: %v", err)
	}
	snap, _ := r.version(t, r.first)
	snap.(*snapshot).failed(context.Canceled) // a client that left
	other, _ := r.version(t, r.first)
	if n := r.opened.Load(); n != 2 {
		t.Errorf("%d states opened: a client's end counts as the state's", n)
	}
	snap.(*snapshot).failed(objstore.ErrNotFound)
	again, version := r.version(t, r.first)
	if n := r.opened.Load(); n != 3 || version != 1 {
		t.Errorf("%d states opened: a broken one is read on", n)
	}
	snap.Release()
	other.Release()
	last, _ := r.version(t, r.first)
	if n := r.opened.Load(); n != 3 {
		t.Errorf("%d states opened: the broken one took the new one with it", n)
	}
	again.Release()
	last.Release()
}

// TestPastOfAnother: after another timeline is attached, nothing is read of the former one's past.
func TestPastOfAnother(t *testing.T) {
	r := newRig(t, false)
	r.run(t)
	snap, _ := r.version(t, r.first)
	r.Attach(nil)
	if _, err := r.Open(t.Context(), pageapi.Position{LSN: r.first}); fault.CodeOf(err) != fault.LakeNotRead {
		t.Errorf("read of no timeline: %v", err)
	}
	r.Attach(r.tl)
	again, _ := r.version(t, r.first)
	if n := r.opened.Load(); n != 2 {
		t.Errorf("%d states opened: the former timeline's is read", n)
	}
	snap.Release()
	again.Release()
	r.held = make(chan struct{})
	asked := make(chan error, 1)
	go func() {
		_, err := r.Open(context.Background(), pageapi.Position{LSN: r.first + 1})
		asked <- err
	}()
	for r.opened.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	r.Attach(r.tl)
	close(r.held)
	if err := <-asked; fault.CodeOf(err) != fault.LakeNotRead {
		t.Errorf("a state that was opened while another timeline was attached: %v", err)
	}
}

// TestPastDeadline: who waits in vain hears so, and finds the state open later.
func TestPastDeadline(t *testing.T) {
	r := newRig(t, false)
	r.held = make(chan struct{})
	r.run(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Open(ctx, pageapi.Position{LSN: r.first}); fault.CodeOf(err) != fault.WaitTimeout {
		t.Errorf("open of what takes long: %v", err)
	}
	close(r.held)
	snap, _ := r.version(t, r.first)
	snap.Release()
	if n := r.opened.Load(); n != 1 {
		t.Errorf("%d states opened for one LSN", n)
	}
	r.stop()
	if _, err := r.Open(t.Context(), pageapi.Position{LSN: r.first}); err == nil {
		t.Error("opened after the end")
	}
	if _, err := r.openPast(t.Context(), r.tl, r.first); fault.CodeOf(err) != fault.ServerStopped {
		t.Errorf("opened after the end: %v", err)
	}
}

// TestGate: redo waits for snapshots of the newest that are open, and gets its turn before those that come after it.
func TestGate(t *testing.T) {
	r := newRig(t, false)
	r.run(t)
	snap, _ := r.version(t, 0)
	applied := make(chan struct{})
	go func() { r.apply(t, 3); close(applied) }()
	select {
	case <-applied:
		t.Fatal("a record was applied under an open snapshot")
	case <-time.After(50 * time.Millisecond):
	}
	// Once redo waits, a reader waits behind it.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if late, err := r.Open(ctx, pageapi.Position{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a snapshot was opened before redo had its turn: %v, %v", late, err)
	}
	snap.Release()
	<-applied
	snap, version := r.version(t, 0)
	if version != 3 {
		t.Errorf("version %d after redo had its turn", version)
	}
	snap.Release()
}
