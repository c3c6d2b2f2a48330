package pageserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// moment is what a timeline was at an LSN.
type moment struct {
	lsn    pg.LSN
	digest string
}

// past goes over the WAL, with flushes, merges and restarts at random, and notes what the timeline is at some moments. Afterwards each
// that history still reaches is opened from the store, and must be what it was, page for page.
func (c *corpus) past(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 8))
	mem := objstore.NewFaulty(objstore.NewMem())
	o := Options{Store: mem, MemoryBytes: 32 << 20, ImageEvery: 1 + rng.IntN(100), Workers: int(seed % 3), History: History{Window: 200 * time.Hour}, WAL: c.archive(t)}
	clock := time.Now()
	tick := func() time.Time { clock = clock.Add(26 * time.Hour); return clock } // just beyond a part of the window: all points stay in it
	tl := c.importBase(t, o)
	var seen []moment
	merges := uint64(0)
	for ended := false; !ended; {
		tl.flusher.now = tick
		left := 1 + rng.IntN(60_000)
		_, ended = c.applyAll(t, tl, func(*wal.Record) bool {
			left--
			switch rng.IntN(30_000) {
			case 0, 1:
				_ = tl.StartFlush(context.Background())
			case 2: // what it could not write comes with the next
				mem.Inject(objstore.Fault{Op: objstore.OpPutStream, Contains: []string{"layers/", "deltas/"}[rng.IntN(2)], Err: objstore.ErrInjected, Times: 1})
				_ = tl.StartFlush(context.Background())
			case 3, 4:
				if tl.reached() {
					seen = append(seen, moment{tl.RedoLSN(), digest(t, tl)})
				}
			}
			return left <= 0
		})
		if !ended {
			merges += tl.Stats().Merges
			tl = reopen(t, tl)
		}
	}
	flush(t, tl)
	seen = append(seen, moment{tl.RedoLSN(), digest(t, tl)})
	oldest, _ := tl.HistoryFrom()
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
	points := len(tl.flusher.authority.points)
	reached, pages := 0, 0
	now, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	for i, m := range seen {
		past, _, err := OpenPast(context.Background(), o, Target{LSN: m.lsn}, objstore.NewMem())
		if m.lsn < oldest && errors.Is(err, ErrBeforeHistory) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		past.opts.Workers = i % 2
		from := past.RedoLSN()
		if err := past.Replay(context.Background(), c.records(t, from), Target{LSN: m.lsn}); err != nil {
			t.Fatal(err)
		}
		if got := digest(t, past); got != m.digest || past.RedoLSN() != m.lsn {
			t.Errorf("seed %d: %s from the point at %s: %s at %s, was %s", seed, m.lsn, from, got, past.RedoLSN(), m.digest)
		}
		reached++
		s, err := now.Snapshot(m.lsn + pg.LSN(i%3)) // which need not be where a record ends
		if err != nil && m.lsn < seen[len(seen)-1].lsn {
			t.Fatal(err)
		}
		if err == nil {
			pages += compareSnapshot(t, s, past)
		}
		if err := past.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d moments, %d within the history of %d points from %s on; %d merges; %d pages of snapshots", len(seen), reached, points, oldest, merges+tl.Stats().Merges, pages)
	if points < 2 || reached < 2 {
		t.Errorf("seed %d: nothing to compare", seed)
	}
	if _, _, err := OpenPast(context.Background(), o, Target{LSN: c.first()}, objstore.NewMem()); points >= 5 && !errors.Is(err, ErrBeforeHistory) {
		t.Errorf("seed %d: the base can still be read: %v", seed, err)
	}
	end := seen[len(seen)-1].lsn + 1<<30
	late, _, err := OpenPast(context.Background(), o, Target{LSN: end}, objstore.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	if err := late.Replay(context.Background(), c.records(t, late.RedoLSN()), Target{LSN: end}); !errors.Is(err, ErrBeyondWAL) {
		t.Errorf("an LSN behind the WAL: %v", err)
	}
	_ = late.Close()
}

// first is where the corpus's WAL begins at the latest.
func (c *corpus) first() pg.LSN { return max(c.start, 1) }

// digest is all pages that can be read at a barrier, and all else that a server needs beside them.
func digest(t *testing.T, tl *Timeline) string {
	t.Helper()
	ctx := context.Background()
	if err := tl.Barrier(); err != nil {
		t.Fatal(err)
	}
	h, pages := fnv.New128a(), 0
	for _, loc := range tl.Relations() {
		info, _ := tl.Relation(loc)
		fmt.Fprintln(h, loc, info.Created)
		for num := pg.MainFork; num <= pg.InitFork; num++ {
			n, exists, err := tl.NBlocks(ctx, loc, num)
			if err == nil {
				fmt.Fprintln(h, num, n, exists)
				err = tl.Scan(ctx, loc, num, 0, n, func(blk pg.BlockNumber, page pg.Page) error {
					pages++
					fmt.Fprintln(h, blk)
					_, err := h.Write(page)
					return err
				})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for k := slru.Kind(0); k < slru.Kinds; k++ {
		for _, run := range tl.SLRUPages(k) {
			for no := run.From; no < run.To; no++ {
				page, _, err := tl.SLRUPage(ctx, k, no)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintln(h, k, no, crcOf(page))
			}
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(tl.small), key.Key.Compare) {
		fmt.Fprintln(h, k, crcOf(tl.small[k]))
	}
	state, err := json.Marshal(tl.Cluster())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(h, "%s", state)
	return fmt.Sprintf("%x of %d pages", h.Sum(nil), pages)
}
