package pageserver

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// TestRewind: a timeline that is taken back is what it was at the point before, with the history before that, and goes on from there
// with other WAL, over merges and restarts.
func TestRewind(t *testing.T) {
	ctx := context.Background()
	o := Options{Store: objstore.NewMem(), History: History{Window: 100 * time.Hour}, WAL: noWAL{}}
	tl := importPages(t, o, 8)
	clock := time.Now()
	tl.flusher.now = func() time.Time { clock = clock.Add(20 * time.Hour); return clock } // else the points are thinned out
	other := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 99}
	type state struct {
		lsn               pg.LSN
		test, other, size int
	}
	see := func(tl *Timeline) (s state) {
		n, _, err := tl.NBlocks(ctx, testRel, pg.MainFork)
		if err != nil {
			t.Fatal(err)
		}
		return state{tl.RedoLSN(), pageVersion(t, tl, testRel, 3), pageVersion(t, tl, other, 0), int(n)}
	}
	var states []state
	note := func() {
		flush(t, tl)
		states = append(states, see(tl))
	}
	note()
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 1, 3))
	apply(t, tl, fpi(tl.nextLSN(), 0, other, 1, 0))
	note()
	mergeAll(t, tl) // what the first point is made of is needed for it alone
	branch := func(name, parent string, lsn pg.LSN) {
		t.Helper()
		if _, err := tl.CreateBranch(ctx, name, parent, lsn); err != nil {
			t.Fatal(err)
		}
	}
	fork := tl.RedoLSN() + 50
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 2, 3, 11))
	apply(t, tl, commit(tl, 1001, other))
	note()
	branch("kept", MainBranch, fork)
	branch("lost", MainBranch, fork+1)
	branch("child", "lost", states[1].lsn)
	mergeAll(t, tl)
	apply(t, tl, truncate(tl, testRel, 2))
	note()
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds nothing to do
		r, err := Rewind(ctx, o, fork)
		if err != nil || r.LSN != states[1].lsn || len(r.Branches) > 1 || len(r.Branches) == 1 && r.Branches[0].Name != "lost" {
			t.Fatalf("%+v %v", r, err)
		}
	}
	if _, err := Rewind(ctx, o, states[0].lsn-1); !errors.Is(err, ErrBeforeHistory) {
		t.Fatal(err)
	}
	tl, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { tl.Close() }()
	if got := see(tl); got != states[1] {
		t.Fatalf("%+v, want %+v", got, states[1])
	}
	names := func() (list []string) {
		for _, b := range tl.Branches() {
			list = append(list, b.Name+" of "+b.Parent)
		}
		return list
	}
	if got := names(); !slices.Equal(got, []string{"child of main", "kept of main"}) {
		t.Error(got)
	}
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 7, 3, 9))
	flush(t, tl)
	tl = reopen(t, tl)
	mergeAll(t, tl)
	if got := see(tl); got.test != 7 || got.size != 10 || got.other != states[1].other {
		t.Errorf("gone on: %+v", got)
	}
	for _, s := range states[:2] {
		if got := see(openAt(t, o, s.lsn)); got != s {
			t.Errorf("before the fork: %+v, want %+v", got, s)
		}
	}
	for _, d := range tl.flusher.authority.deltas {
		if d.from < states[1].lsn && d.LSN > states[1].lsn {
			t.Errorf("a delta layer from %s to %s leads over the point", d.from, d.LSN)
		}
	}
}
