package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// branches are the lakes of branches in a world, and what they must show.
type branches struct {
	*world
	lakes map[string]branch
	made  int
	// tables they began with, and of those the ones whose state was not known
	tables, unknown int
}

type branch struct {
	id    catalog.BranchID
	shown map[string][]int64
}

// create makes a branch at a publication that can be read, or between it and the next; then with a difference.
func (w *branches) create() {
	w.t.Helper()
	pubs := w.c.View().Publications()
	i := w.rng.IntN(len(pubs))
	lsn := pubs[i].LSN
	if i+1 < len(pubs) && pubs[i+1].LSN > lsn+1 && w.rng.IntN(2) == 0 {
		lsn++
	}
	w.made++
	b := branch{catalog.BranchID{Name: fmt.Sprintf("b%d", w.made), LSN: lsn, Created: w.clock.now()}, maps.Clone(w.shown[pubs[i].LSN])}
	bw := must(w.c.BeginBranch(w.t.Context(), b.id))(w.t)
	defer bw.Close()
	if err := w.c.Maintain(w.t.Context()); err != nil { // nothing of what it reads goes
		w.t.Fatal(err)
	}
	if bw.Exact() != (lsn == pubs[i].LSN) || bw.Base() != pubs[i].LSN {
		w.t.Fatalf("branch at %s begins with %s, exact %v; the publication is %s", lsn, bw.Base(), bw.Exact(), pubs[i].LSN)
	}
	head := must(bw.Begin(w.t.Context()))(w.t)
	w.tables += len(b.shown)
	begun := map[string][]int64{}
	for _, h := range head.Tables {
		begun[h.Name.Name] = b.shown[h.Name.Name]
		if h.State == nil {
			w.unknown++
		}
		if h.Damaged != nil || string(h.State) != w.states[h.ID][h.LSN] && (h.State != nil || !bw.Exact()) {
			w.t.Fatalf("branch at %s: table %s has the state %q (%v), it was published with %q", lsn, h.Name, h.State, h.Damaged, w.states[h.ID][h.LSN])
		}
	}
	w.unknown += len(b.shown) - len(begun)
	if !bw.Exact() {
		b.shown = begun // the others would be found in pages
		p := publication(lsn, w.difference(head, b.shown)...)
		if err := bw.Publish(w.t.Context(), p); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := bw.Finish(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.lakes[b.id.Name] = b
}

// difference adds rows to a table, drops another and creates a third.
func (w *branches) difference(head lake.Head, shown map[string][]int64) (changes []lake.TableChange) {
	add := func(t *laketest.Table, ch lake.TableChange) {
		file := w.insert(t, 2)
		shown[ch.Name.Name] = append(slices.Clone(shown[ch.Name.Name]), t.Files[file.Key].IDs...)
		ch.AddData = []lake.File{file}
		changes = append(changes, ch)
	}
	for i, h := range head.Tables {
		t := laketest.New(w.store, h.ID.Rel, h.Name)
		t.ID, t.UUID, t.Schema = h.ID, h.UUID, h.Schema
		switch i {
		case 0:
			add(t, t.Change())
		case 1:
			ch := t.Change()
			ch.Drop = true
			delete(shown, h.Name.Name)
			changes = append(changes, ch)
		}
	}
	t := laketest.New(w.store, 90000+pg.OID(w.made), name(fmt.Sprintf("own%d", w.made)))
	ch := t.Change()
	ch.Create, ch.Properties = true, map[string]string{lake.DeleteMode: "copy-on-write"}
	add(t, ch)
	return changes
}

func (w *branches) check() {
	w.t.Helper()
	ready := w.c.View().BranchLakes()
	if len(ready) != len(w.lakes) {
		w.t.Fatalf("%d lakes of branches, want %d", len(ready), len(w.lakes))
	}
	for _, b := range w.lakes {
		cut := must(w.c.View().Branch("app", b.id.Name))(w.t)
		got := map[string][]int64{}
		for _, n := range cut.Tables("public") {
			tv, _ := cut.Table("public", n)
			got[n] = readRows(w.t, w.store, w.c.View(), tv, w.all)
			slices.Sort(got[n])
			if md := string(must(w.c.View().Metadata(w.t.Context(), tv))(w.t)); !strings.Contains(md, fmt.Sprintf("%q:%q", "tarn.branch", b.id.Name)) {
				w.t.Errorf("table %s of branch %s does not say so: %s", n, b.id.Name, md)
			} else if strings.HasPrefix(n, "own") && !strings.Contains(md, `"write.delete.mode":"copy-on-write"`) {
				w.t.Errorf("table %s of branch %s has lost a property: %s", n, b.id.Name, md)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(b.shown) || cut.LSN != b.id.LSN {
			w.t.Fatalf("branch %s at %s:\n got %v at %s\nwant %v", b.id.Name, b.id.LSN, got, cut.LSN, b.shown)
		}
	}
}

func (w *branches) delete() {
	w.t.Helper()
	for n := range w.lakes {
		if err := w.c.DeleteBranch(w.t.Context(), n); err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.c.View().Branch("app", n); !errors.Is(err, catalog.ErrNoBranch) {
			w.t.Fatalf("branch %s after it was deleted: %v", n, err)
		}
		delete(w.lakes, n)
		return
	}
}

// TestBranchLakes: branches of random publications keep showing what they were made of, under publications, expiry, removal and restarts;
// once they are deleted nothing of them stays.
func TestBranchLakes(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &branches{world: newWorld(t, seed), lakes: map[string]branch{}}
			w.reopen()
			for i := range 100 {
				w.step()
				w.clock.advance(time.Duration(w.rng.IntN(12)) * time.Second)
				switch w.rng.IntN(8) {
				case 0:
					w.reopen()
				case 1, 2, 3:
					if err := w.c.Maintain(t.Context()); err != nil {
						t.Fatal(err)
					}
				case 4, 5:
					w.create()
				case 6:
					if len(w.lakes) > 6 {
						w.delete()
					}
				}
				if i%10 == 9 {
					w.check()
				}
			}
			if t.Logf("%d branches, %d tables, of %d the state was not known", w.made, w.tables, w.unknown); w.made < 10 || w.unknown > w.tables/20 {
				t.Error("too few branches, or too little known")
			}
			w.check()
			for len(w.lakes) > 0 {
				w.delete()
			}
			w.noLeaks()
		})
	}
}

// TestBranchOfWhatIsGone: a branch before the retained history begins with no table, or with the lake of another branch at its LSN; one
// ahead of the lake waits.
func TestBranchOfWhatIsGone(t *testing.T) {
	store, clock := objstore.NewMem(), &fakeClock{}
	options := func(o *catalog.Options) { o.Now, o.Grace = clock.now, time.Minute }
	c := open(t, store, options)
	if _, err := c.BeginBranch(t.Context(), catalog.BranchID{Name: "dev", LSN: 0x100}); !errors.Is(err, catalog.ErrNotBegun) {
		t.Errorf("a process that does not write: %v", err)
	}
	begin(t, c)
	a := laketest.New(store, 100, name("a"))
	for i := range 3 {
		ch := a.Change()
		ch.Create, ch.AddData = i == 0, []lake.File{must(a.Insert(t.Context(), int64(i)))(t)}
		publish(t, c, publication(pg.LSN(0x100*(i+1)), ch))
		clock.advance(time.Hour)
	}
	start := func(name string, lsn pg.LSN) (*catalog.BranchWriter, error) {
		w, err := c.BeginBranch(t.Context(), catalog.BranchID{Name: name, LSN: lsn})
		if w != nil {
			t.Cleanup(w.Close)
		}
		return w, err
	}
	var ahead *catalog.AheadError
	if _, err := start("ahead", 0x301); !errors.As(err, &ahead) {
		t.Errorf("a branch ahead of the lake: %v", err)
	}
	c.Reached(0x310)
	w := must(start("reached", 0x301))(t)
	if !w.Exact() {
		t.Errorf("nothing has changed since %s", w.Base())
	}
	if w = must(start("old", 0x100))(t); w.Exact() || w.Base() != 0 {
		t.Errorf("a branch of what expired begins with %s", w.Base())
	}
	ch := a.Change()
	ch.ID.Incarnation, ch.Create, ch.AddData = 0x100, true, []lake.File{must(a.Insert(t.Context(), 7))(t)}
	if err := errors.Join(w.Publish(t.Context(), publication(0x100, ch)), w.Finish(context.Background())); err != nil {
		t.Fatal(err)
	}
	if w = must(start("child", 0x100))(t); !w.Exact() {
		t.Errorf("a branch at the LSN of another begins with %s", w.Base())
	}
	if err := w.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	c = open(t, store, options)
	cut := must(c.View().Branch("app", "child"))(t)
	tv, _ := cut.Table("public", "a")
	if got := readRows(t, store, c.View(), tv, a.Files); !slices.Equal(got, []int64{7}) {
		t.Errorf("the branch of a branch shows %v", got)
	}
	why := errors.New("no pages")
	c.Pending(map[string]error{"late": nil, "bad": why})
	var notReady *catalog.NotReadyError
	if _, err := c.View().Branch("app", "late"); !errors.As(err, &notReady) || notReady.Err != nil {
		t.Errorf("a lake that is being made: %v", err)
	}
	if _, err := c.View().Branch("app", "bad"); !errors.Is(err, why) {
		t.Errorf("a lake that could not be made: %v", err)
	}
	if _, err := c.View().Branch("other", "child"); !errors.Is(err, catalog.ErrNoDatabase) {
		t.Errorf("another database: %v", err)
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), store: objstore.NewMem(), clock: &fakeClock{},
		all: map[string]*laketest.File{}, shown: map[pg.LSN]map[string][]int64{}, rel: 100, rowIDs: lineages{}, states: map[lake.TableID]map[pg.LSN]string{},
	}
}

// TestBranchRelease: what a branch's lake names stays while main has long let go of it; after the branch is deleted it stays for the grace
// time, and then what others need stays.
func TestBranchRelease(t *testing.T) {
	ctx := t.Context()
	store, clock := objstore.NewMem(), &fakeClock{}
	c := open(t, store, func(o *catalog.Options) { o.Now, o.Grace, o.SnapshotsMax = clock.now, time.Minute, 1 })
	begin(t, c)
	a, b := laketest.New(store, 100, name("a")), laketest.New(store, 101, name("b"))
	ca, cb := a.Change(), b.Change()
	ca.Create, cb.Create = true, true
	files := []lake.File{must(a.Insert(ctx, 1))(t), must(a.Insert(ctx, 2))(t), must(b.Insert(ctx, 3))(t)}
	ca.AddData, cb.AddData = files[:2], files[2:]
	publish(t, c, publication(0x100, ca, cb))
	for _, f := range files {
		must(store.Put(ctx, f.Key+".tids", []byte("x")))(t)
	}
	for _, branch := range []string{"dev", "other"} {
		w := must(c.BeginBranch(ctx, catalog.BranchID{Name: branch, LSN: 0x100}))(t)
		if err := w.Finish(ctx); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	ca, drop := a.Change(), b.Change()
	ca.RemoveData, drop.Drop = []string{files[0].Key}, true
	publish(t, c, publication(0x200, ca, drop))
	round := func() map[string]bool {
		t.Helper()
		clock.advance(61 * time.Second)
		if err := c.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
		there := map[string]bool{}
		for _, key := range keysUnder(t, store, "lake/") {
			there[key] = true
		}
		return there
	}
	expect := func(when string, there map[string]bool, want ...bool) {
		t.Helper()
		for i, f := range files {
			if there[f.Key] != want[i] || there[f.Key+".tids"] != want[i] {
				t.Errorf("%s: file %d is there: %v, want %v", when, i, there[f.Key], want[i])
			}
		}
	}
	round()
	expect("two branches", round(), true, true, true)
	if err := c.DeleteBranch(ctx, "dev"); err != nil {
		t.Fatal(err)
	}
	expect("one branch", round(), true, true, true)
	if err := c.DeleteBranch(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	if err := c.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		must(store.Head(ctx, f.Key))(t) // whoever reads the branch goes on
	}
	there := round()
	expect("no branch", there, false, true, false)
	if len(there) != 5 { // of table a: a data file, its companion, metadata.json, manifest list, manifest
		t.Errorf("still there: %v", slices.Sorted(maps.Keys(there)))
	}
}

// TestBranchIsNotOvertaken: what a branch's lake begins with stays while it is made, however long that takes; and a writer that sweeps what others
// left does not take what a branch that was just deleted let go of.
func TestBranchIsNotOvertaken(t *testing.T) {
	ctx := t.Context()
	store, clock := objstore.NewMem(), &fakeClock{}
	options := func(o *catalog.Options) { o.Now, o.Grace, o.SnapshotsMax = clock.now, time.Minute, 1 }
	c := open(t, store, options)
	begin(t, c)
	a := laketest.New(store, 100, name("a"))
	ch := a.Change()
	ch.Create, ch.AddData = true, []lake.File{must(a.Insert(ctx, 1))(t)}
	old := ch.AddData[0].Key
	publish(t, c, publication(0x100, ch))
	w := must(c.BeginBranch(ctx, catalog.BranchID{Name: "dev", LSN: 0x100}))(t)
	ch = a.Change()
	ch.RemoveData = []string{old}
	publish(t, c, publication(0x200, ch))
	round := func() {
		t.Helper()
		clock.advance(61 * time.Second)
		if err := c.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	round()
	round()
	if err := w.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	w.Close()
	round()
	must(store.Head(ctx, old))(t)
	time.Sleep(2100 * time.Millisecond) // what is there is older than the next epoch by more than the sweep's slack
	c = open(t, store, options)
	begin(t, c)
	clock.advance(61 * time.Second)
	if err := c.DeleteBranch(ctx, "dev"); err != nil {
		t.Fatal(err)
	}
	if err := c.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	must(store.Head(ctx, old))(t)
	round()
	if _, err := store.Head(ctx, old); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("%s after the grace time: %v", old, err)
	}
}
