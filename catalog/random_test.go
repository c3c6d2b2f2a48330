package catalog_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

func pgLSN(n uint64) pg.LSN { return pg.LSN(n) }

// fakeClock is a clock that tests move.
type fakeClock struct{ offset atomic.Int64 }

func (c *fakeClock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *fakeClock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// world is a lake under random publications, and everything it must show.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	store  *objstore.Mem
	clock  *fakeClock
	c      *catalog.Catalog
	tables []*laketest.Table
	all    map[string]*laketest.File // every data file ever
	lsn    pg.LSN
	rel    pg.OID
	id     int64
	rowIDs lineages
	shown  map[pg.LSN]map[string][]int64
	states map[lake.TableID]map[pg.LSN]string // published with tables, by when they changed
}

func (w *world) reopen() {
	w.c = open(w.t, w.store, func(o *catalog.Options) {
		o.Now, o.Grace, o.CheckpointEvery, o.SnapshotsMax = w.clock.now, time.Minute, 7, 5
	})
	h := begin(w.t, w.c)
	if h.LSN != w.lsn || len(h.Tables) != len(w.tables) {
		w.t.Fatalf("head at %s with %d tables, want %s with %d", h.LSN, len(h.Tables), w.lsn, len(w.tables))
	}
	for _, th := range h.Tables {
		i := slices.IndexFunc(w.tables, func(t *laketest.Table) bool { return t.ID == th.ID })
		if i < 0 || len(th.Data) != len(w.tables[i].Files) || len(th.Deletes) != len(w.tables[i].Deletes) || th.Name != w.tables[i].Name {
			w.t.Fatalf("table head %+v", th)
		}
	}
}

func (w *world) insert(t *laketest.Table, n int) lake.File {
	ids := make([]int64, n)
	for i := range ids {
		w.id++
		ids[i] = w.id
	}
	f := must(t.Insert(context.Background(), ids...))(w.t)
	w.all[f.Key] = t.Files[f.Key]
	return f
}

// change makes a random change of one table.
func (w *world) change(t *laketest.Table) lake.TableChange {
	ctx := context.Background()
	if t.Format != lake.FormatV3 && w.rng.IntN(12) == 0 {
		return w.upgrade(t)
	}
	ch := t.Change()
	ch.Assigned = w.rowIDs.assigned(w.t, t.ID)
	switch w.rng.IntN(10) {
	case 0: // rename
		t.Name.Name = fmt.Sprintf("t%d-%d", t.ID.Rel, w.rng.IntN(3))
		ch.Name = t.Name
	case 1: // rewrite whole
		t.Clear()
		ch.ReplaceAll = true
		ch.AddData = append(ch.AddData, w.insert(t, 3))
	case 2: // compact: one file less its deletes into a new one
		for key, f := range t.Files {
			rows := []int64{}
			for i, id := range f.IDs {
				if !f.Deleted.Contains(uint32(i)) {
					rows = append(rows, id)
				}
			}
			delete(t.Files, key)
			ch.RemoveData = append(ch.RemoveData, key)
			if len(rows) > 0 {
				nf := must(t.Insert(ctx, rows...))(w.t)
				w.all[nf.Key] = t.Files[nf.Key]
				ch.AddData = append(ch.AddData, nf)
			}
			break
		}
	default:
		for range 1 + w.rng.IntN(3) {
			ch.AddData = append(ch.AddData, w.insert(t, 1+w.rng.IntN(4)))
		}
		if rows := t.Rows(); len(rows) > 0 && w.rng.IntN(2) == 0 {
			ids := []int64{rows[w.rng.IntN(len(rows))], rows[w.rng.IntN(len(rows))]}
			if t.Format == lake.FormatV3 {
				vectors, _, err := t.DeleteVectors(ctx, ids...)
				ch.AddVectors = must(vectors, err)(w.t)
			} else {
				ch.AddDeletes = append(ch.AddDeletes, must(t.Delete(ctx, ids...))(w.t))
			}
		}
	}
	return ch
}

// upgrade makes a table one of format version 3.
func (w *world) upgrade(t *laketest.Table) lake.TableChange {
	t.Format = lake.FormatV3
	ch := t.Change()
	ch.Assigned = w.rowIDs.assigned(w.t, t.ID)
	vectors, gone, err := t.DeleteVectors(context.Background())
	ch.AddVectors, ch.RemoveDeletes = must(vectors, err)(w.t), gone
	return ch
}

func (w *world) step() {
	w.lsn += pg.LSN(1 + w.rng.IntN(100))
	var changes []lake.TableChange
	if len(w.tables) < 5 || w.rng.IntN(10) == 0 {
		w.rel++
		t := laketest.New(w.store, w.rel, name(fmt.Sprintf("t%d", w.rel)))
		ch := t.Change()
		ch.Create = true
		w.tables = append(w.tables, t)
		changes = append(changes, ch)
	}
	for i := 0; i < len(w.tables); i++ {
		t := w.tables[i]
		switch n := w.rng.IntN(20); {
		case len(changes) > 0 && changes[0].ID == t.ID:
		case n == 0:
			ch := t.Change()
			ch.Drop = true
			changes = append(changes, ch)
			w.tables = slices.Delete(w.tables, i, i+1)
			i--
		case n < 12:
			changes = append(changes, w.change(t))
		}
	}
	for i := range changes {
		w.state(&changes[i])
	}
	publish(w.t, w.c, publication(w.lsn, changes...))
	shown := map[string][]int64{}
	for _, t := range w.tables {
		shown[t.Name.Name] = t.Rows()
	}
	w.shown[w.lsn] = shown
}

// state gives a change the table's state: now and then another one.
func (w *world) state(ch *lake.TableChange) {
	of := w.states[ch.ID]
	if of == nil {
		of = map[pg.LSN]string{}
		w.states[ch.ID] = of
	}
	state := fmt.Sprint("first of ", ch.ID)
	if n := len(of); n > 0 {
		state = of[slices.Max(slices.Collect(maps.Keys(of)))]
	}
	if w.rng.IntN(15) == 0 {
		state = fmt.Sprintf("%s at %s", ch.Name, w.lsn)
	}
	of[w.lsn], ch.State = state, []byte(state)
}

// check reads a cut with iceberg-go's planner.
func (w *world) check(c *catalog.Catalog, lsn pg.LSN) {
	w.t.Helper()
	cut := must(c.View().At("app", lsn))(w.t)
	got := map[string][]int64{}
	for _, n := range cut.Tables("public") {
		tv, _ := cut.Table("public", n)
		got[n] = readRows(w.t, w.store, c.View(), tv, w.all)
		w.rowIDs.check(w.t, w.store, c.View(), tv)
	}
	if fmt.Sprint(got) != fmt.Sprint(w.shown[lsn]) {
		w.t.Fatalf("at %s:\n got %v\nwant %v", lsn, got, w.shown[lsn])
	}
}

// TestRandomPublications publishes at random, with restarts, checkpoints, expiry and removal in between, and reads every
// retained publication back.
func TestRandomPublications(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed)
			w.reopen()
			follower := open(t, w.store, func(o *catalog.Options) { o.Now, o.Grace = w.clock.now, time.Minute })
			for i := range 120 {
				w.step()
				w.clock.advance(time.Duration(w.rng.IntN(8)) * time.Second)
				switch w.rng.IntN(8) {
				case 0:
					w.reopen()
				case 1, 2, 3:
					if err := w.c.Maintain(t.Context()); err != nil {
						t.Fatal(err)
					}
				case 4:
					if err := follower.Refresh(t.Context()); err != nil {
						t.Fatal(err)
					}
					w.check(follower, w.lsn)
				}
				if i%10 != 9 {
					continue
				}
				pubs := w.c.View().Publications()
				if pubs[len(pubs)-1].LSN != w.lsn {
					t.Fatalf("head %v", pubs[len(pubs)-1])
				}
				w.check(w.c, pubs[0].LSN)
				for range 4 {
					w.check(w.c, pubs[w.rng.IntN(len(pubs))].LSN)
				}
			}
			w.noLeaks()
		})
	}
}

// noLeaks: once the history is past its grace and a new writer has swept, the store holds what the newest metadata name,
// and no more than their few snapshots need.
func (w *world) noLeaks() {
	w.t.Helper()
	time.Sleep(2100 * time.Millisecond) // older than the next epoch by more than the sweep's slack
	w.reopen()
	for range 7 { // snapshots listed before the restart leave the metadata
		w.lsn++
		var changes []lake.TableChange
		for _, t := range w.tables {
			ch := t.Change()
			ch.AddData, ch.Assigned = []lake.File{w.insert(t, 1)}, w.rowIDs.assigned(w.t, t.ID)
			changes = append(changes, ch)
		}
		publish(w.t, w.c, publication(w.lsn, changes...))
	}
	for range 2 {
		w.clock.advance(2 * time.Minute)
		if err := w.c.Maintain(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
	live := map[string]bool{}
	for _, h := range begin(w.t, w.c).Tables {
		for _, v := range h.Vectors {
			live[v.Key] = true
		}
	}
	for _, t := range w.tables {
		for key := range t.Files {
			live[key] = true
		}
		for key := range t.Deletes {
			live[key] = true
		}
	}
	found, other := 0, 0
	_ = w.store.List(w.t.Context(), "lake/", func(o objstore.ObjectInfo) error {
		if live[o.Key] {
			found++
		} else {
			other++
		}
		return nil
	})
	if found != len(live) {
		w.t.Errorf("%d of %d live files are there", found, len(live))
	}
	// Per table: 5 snapshots with at most 2 new manifests and a list each, one metadata.json, and dead data files of
	// snapshots still listed.
	if most := len(w.tables) * 25; other > most {
		w.t.Errorf("%d other objects for %d tables, want at most %d", other, len(w.tables), most)
	}
	w.shown[w.lsn] = map[string][]int64{}
	for _, t := range w.tables {
		w.shown[w.lsn][t.Name.Name] = t.Rows()
	}
	w.check(w.c, w.lsn)
}
