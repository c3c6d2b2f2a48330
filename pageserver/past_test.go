package pageserver

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// openAt opens the point for an LSN without WAL behind it.
func openAt(t testing.TB, o Options, lsn pg.LSN) *Timeline {
	t.Helper()
	tl, _, err := OpenPast(context.Background(), o, Target{LSN: lsn}, objstore.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tl.Close() })
	return tl
}

// mergeAll merges all layers into one.
func mergeAll(t testing.TB, tl *Timeline) {
	t.Helper()
	alive, in := tl.directory(), *tl.layers.Load()
	l, err := tl.mergeInto(context.Background(), in, alive, true)
	if err == nil {
		err = tl.replaceLayers(context.Background(), in, l, alive.lsn)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestPoints: every point that is kept can be read as it was, relations dropped since included, after merges and restarts, and what
// is done with it leaves the timeline and other points alone.
func TestPoints(t *testing.T) {
	o := Options{Store: objstore.NewMem(), History: History{Window: time.Hour}}
	tl := importPages(t, o, 8)
	clock := time.Now()
	tl.flusher.now = func() time.Time { clock = clock.Add(10 * time.Minute); return clock } // else the points are thinned out
	other := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 99}
	type state struct {
		lsn               pg.LSN
		test, other, size int
	}
	var states []state
	note := func(s state) {
		t.Helper()
		flush(t, tl)
		s.lsn = tl.ResumeLSN()
		states = append(states, s)
	}
	note(state{test: 0, other: -1, size: 8})
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 1, 3))
	apply(t, tl, fpi(tl.nextLSN(), 0, other, 1, 0))
	note(state{test: 1, other: 1, size: 8})
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 2, 3, 11))
	note(state{test: 2, other: 1, size: 12})
	apply(t, tl, commit(tl, 1001, other))
	apply(t, tl, truncate(tl, testRel, 2))
	note(state{test: -1, other: -1, size: 2})
	mergeAll(t, tl)
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 5, 3))
	note(state{test: 5, other: -1, size: 4})
	check := func(what string) {
		t.Helper()
		for i, s := range states {
			past := openAt(t, tl.opts, s.lsn+1)
			got := state{lsn: past.RedoLSN(), test: pageVersion(t, past, testRel, 3), other: pageVersion(t, past, other, 0)}
			n, _, err := past.NBlocks(context.Background(), testRel, pg.MainFork)
			if got.size = int(n); err != nil || got != s {
				t.Errorf("%s: point %d: %+v, want %+v (%v)", what, i, got, s, err)
			}
			// The past can be gone on from without the timeline noticing.
			apply(t, past, fpi(past.nextLSN(), 0, testRel, 70+i, 3))
			flush(t, past)
			if v := pageVersion(t, past, testRel, 3); v != 70+i {
				t.Errorf("%s: point %d: changed to %d", what, i, v)
			}
		}
	}
	check("as written")
	mergeAll(t, tl)
	check("after a merge of all")
	tl = reopen(t, tl)
	check("after a restart")
	if past := openAt(t, tl.opts, tl.ResumeLSN()); len(*past.layers.Load()) != len(*tl.layers.Load()) {
		t.Errorf("the newest point has %d layers, the timeline %d", len(*past.layers.Load()), len(*tl.layers.Load()))
	}
	tl.flusher.mu.Lock()
	named := len(tl.flusher.authority.named())
	tl.flusher.mu.Unlock()
	if want := 5 + 4 + 1; named < want {
		t.Errorf("the index names %d objects, want %d at least", named, want)
	}
	// Without history, the next flush lets all of it go.
	tl.opts.History = History{}
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 6, 3))
	flush(t, tl)
	c := tl.flusher.authority.contents
	if len(c.points)+len(c.retired) != 0 {
		t.Errorf("%d points, %d retired layers are left", len(c.points), len(c.retired))
	}
	if _, _, err := OpenPast(context.Background(), o, Target{LSN: states[3].lsn}, objstore.NewMem()); !errors.Is(err, ErrBeforeHistory) {
		t.Errorf("a point that was let go: %v", err)
	}
	if v := pageVersion(t, openAt(t, o, tl.ResumeLSN()), testRel, 3); v != 6 {
		t.Errorf("the newest point has version %d", v)
	}
}

// TestKeep: which points stay.
func TestKeep(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	const mb = 1 << 20
	at := func(mib int, ago time.Duration) point { return point{LSN: pg.LSN(mib * mb), Made: now.Add(-ago)} }
	day := History{Window: 24 * time.Hour}
	for what, c := range map[string]struct {
		h      History
		points []point
		head   point
		want   string
	}{
		"none without a window":            {History{}, []point{at(1, time.Hour)}, at(2, 0), "[]"},
		"the base, however small":          {day, []point{at(1, time.Minute)}, at(2, 0), "[1]"},
		"those near each other are one":    {day, []point{at(1, 9*time.Minute), at(2, 6*time.Minute), at(3, 3*time.Minute)}, at(4, 0), "[1]"},
		"not over much WAL":                {day, []point{at(1, 9*time.Minute), at(400, 6*time.Minute), at(700, 3*time.Minute)}, at(900, 0), "[1 400]"},
		"not over much time":               {day, []point{at(1, 5*time.Hour), at(2, 3*time.Hour), at(3, time.Hour)}, at(4, 0), "[1 2]"},
		"one before the window":            {day, []point{at(1, 50*time.Hour), at(2, 30*time.Hour), at(3, 20*time.Hour)}, at(4, 0), "[2 3]"},
		"only while the next is within":    {day, []point{at(1, 50*time.Hour), at(2, 30*time.Hour)}, at(4, 26*time.Hour), "[1 2]"},
		"an idle day leaves the last":      {day, []point{at(1, 50*time.Hour)}, at(4, 0), "[1]"},
		"bytes: one before them":           {History{Window: 24 * time.Hour, BytesMax: 1000 * mb}, []point{at(1, 9*time.Hour), at(700, 6*time.Hour), at(1400, 3*time.Hour)}, at(2000, 0), "[700 1400]"},
		"bytes: the newest alone reaches":  {History{Window: 24 * time.Hour, BytesMax: 100 * mb}, []point{at(1, 9*time.Hour), at(700, 6*time.Hour)}, at(2000, 0), "[700]"},
		"bytes: exactly so many":           {History{Window: 24 * time.Hour, BytesMax: 1300 * mb}, []point{at(1, 9*time.Hour), at(700, 6*time.Hour)}, at(2000, 0), "[700]"},
		"points of an index of version 1":  {day, []point{{LSN: 5 * mb}}, at(900, 0), "[5]"},
		"and they go when the window does": {day, []point{{LSN: 5 * mb}, at(700, 30*time.Hour)}, at(900, 0), "[700]"},
	} {
		var got []int
		for _, p := range c.h.keep(c.points, c.head, nil) {
			got = append(got, int(p.LSN/mb))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, want %s", what, got, c.want)
		}
	}
}

// TestTargets: which records are applied.
func TestTargets(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
	at := func(s int) time.Time { return time.Date(2026, 11, 26, 12, 0, s, 0, time.UTC) }
	committed := func(s int) wal.Record {
		r := commit(tl, 1001)
		main := pg.TimestampOf(at(s))
		for i := range 8 {
			r.Main[i] = byte(main >> (8 * i))
		}
		return *r
	}
	recs := []wal.Record{*create(tl, testRel), committed(10), *create(tl, testRel), committed(20), *create(tl, testRel), committed(15)}
	for i := range recs {
		recs[i].LSN, recs[i].End = pg.LSN(0x1000*(i+1)), pg.LSN(0x1000*(i+2))
	}
	for _, c := range []struct {
		to   Target
		want int
	}{
		{Target{}, 6}, {Target{LSN: 0x1FFF}, 0}, {Target{LSN: 0x2000}, 1}, {Target{LSN: 0x2001}, 1}, {Target{LSN: 0x7000}, 6},
		{Target{Time: at(9)}, 1}, {Target{Time: at(10)}, 3}, {Target{Time: at(19)}, 3}, {Target{Time: at(20)}, 6},
	} {
		if n, err := before(recs, c.to); n != c.want || err != nil {
			t.Errorf("%s: %d records, want %d: %v", c.to, n, c.want, err)
		}
	}
	for _, c := range []struct {
		to         Target
		seen       pg.LSN
		consistent pg.LSN
		want       error
	}{
		{Target{}, tl.redoLSN, tl.redoLSN, nil}, {Target{LSN: tl.redoLSN + 8}, tl.redoLSN + 8, tl.redoLSN, nil},
		{Target{LSN: tl.redoLSN + 8}, tl.redoLSN + 7, tl.redoLSN, ErrBeyondWAL}, {Target{}, tl.redoLSN, tl.redoLSN + 1, ErrBeforeHistory},
	} {
		tl.consistent = c.consistent
		if err := tl.arrived(c.to, c.seen); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s with WAL to %s, consistent from %s on: %v", c.to, c.seen, c.consistent, err)
		}
	}
	recs[1].Main = recs[1].Main[:4]
	if _, err := before(recs, Target{Time: at(9)}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a commit cut short: %v", err)
	}
}
