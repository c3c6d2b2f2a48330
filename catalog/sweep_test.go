package catalog_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/lake"
)

func keysUnder(t *testing.T, store objstore.Store, prefix string) (keys []string) {
	t.Helper()
	err := store.List(t.Context(), prefix, func(o objstore.ObjectInfo) error {
		keys = append(keys, o.Key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestRemoval: superseded files go once the grace time is over and not before; orphans of an earlier writer go, those of
// the present one and the companions of live files stay; a dropped table goes whole.
func TestRemoval(t *testing.T) {
	ctx := t.Context()
	store := objstore.NewMem()
	clock := &fakeClock{}
	options := func(o *catalog.Options) { o.Now, o.Grace, o.SnapshotsMax = clock.now, time.Minute, 1 }
	c := open(t, store, options)
	begin(t, c)
	a, b := laketest.New(store, 100, name("a")), laketest.New(store, 101, name("b"))
	ca, cb := a.Change(), b.Change()
	ca.Create, cb.Create = true, true
	old := must(a.Insert(ctx, 1))(t)
	ca.AddData = []lake.File{old}
	cb.AddData = []lake.File{must(b.Insert(ctx, 1))(t)}
	publish(t, c, publication(0x100, ca, cb))
	put := func(key string) string { must(store.Put(ctx, key, []byte("x")))(t); return key }
	put(old.Key + ".tids")
	orphan := put(a.ID.Root() + "/data/orphan.parquet")
	put(orphan + ".tids")
	put("lake/5/999-0000000000000001/data/never-published.parquet")
	put("catalog/state/orphan")
	time.Sleep(2100 * time.Millisecond)

	c = open(t, store, options)
	begin(t, c)
	a.Clear()
	ca, drop := a.Change(), b.Change()
	fresh := must(a.Insert(ctx, 2))(t)
	put(fresh.Key + ".tids")
	ca.ReplaceAll, ca.AddData = true, []lake.File{fresh}
	drop.Drop = true
	publish(t, c, publication(0x200, ca, drop))
	coming := put(a.ID.Root() + "/data/not-published-yet.parquet")

	maintain := func(c *catalog.Catalog) {
		t.Helper()
		if err := c.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	has := func(key string) bool { return slices.Contains(keysUnder(t, store, ""), key) }
	clock.advance(50 * time.Second)
	maintain(c)
	for _, key := range []string{old.Key, old.Key + ".tids", orphan} {
		if !has(key) {
			t.Errorf("%s went before its time", key)
		}
	}
	if len(keysUnder(t, store, b.ID.Root())) == 0 {
		t.Error("the dropped table went before its time")
	}
	clock.advance(15 * time.Second)
	maintain(c)
	for _, key := range []string{old.Key, old.Key + ".tids", orphan, orphan + ".tids", "catalog/state/orphan"} {
		if has(key) {
			t.Errorf("%s is still there", key)
		}
	}
	for _, key := range []string{fresh.Key, fresh.Key + ".tids", coming} {
		if !has(key) {
			t.Errorf("%s is gone", key)
		}
	}
	for _, prefix := range []string{b.ID.Root(), "lake/5/999"} {
		if left := keysUnder(t, store, prefix); len(left) > 0 {
			t.Errorf("still there: %v", left)
		}
	}
	// Of table a: the data file, its companion, the one to come, metadata.json, manifest list, manifest.
	if left := keysUnder(t, store, a.ID.Root()); len(left) != 6 {
		t.Errorf("table a keeps %s", strings.Join(left, "\n"))
	}
	var rows []int64
	for _, f := range []*laketest.Table{a} {
		rows = readRows(t, store, c.View(), newest(t, c, "a"), f.Files)
	}
	if !slices.Equal(rows, []int64{2}) {
		t.Errorf("rows %v", rows)
	}
	// A fenced writer removes nothing any more that others may need.
	d := open(t, store, options)
	begin(t, d)
	clock.advance(time.Hour)
	maintain(c)
	if got := readRows(t, store, d.View(), newest(t, d, "a"), a.Files); !slices.Equal(got, []int64{2}) {
		t.Errorf("rows %v", got)
	}
}

// TestCheckpoints: opening reads a bounded number of objects however long the log was, and history survives checkpoints.
func TestCheckpoints(t *testing.T) {
	store := objstore.NewFaulty(objstore.NewMem())
	clock := &fakeClock{}
	options := func(o *catalog.Options) { o.Now, o.Grace, o.CheckpointEvery = clock.now, time.Minute, 10 }
	c := open(t, store, options)
	begin(t, c)
	tbl := laketest.New(store, 100, name("a"))
	ch := tbl.Change()
	ch.Create = true
	publish(t, c, publication(1, ch))
	for i := range 300 {
		publish(t, c, publication(pgLSN(uint64(i+2))))
		clock.advance(time.Second)
		if err := c.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := store.Count(objstore.OpGet)
	d := open(t, store, options)
	if n := store.Count(objstore.OpGet) - before; n > 20 {
		t.Errorf("opening took %d gets", n)
	}
	if n := len(keysUnder(t, store, "catalog/")); n > 40 {
		t.Errorf("the catalog keeps %d objects", n)
	}
	pubs, want := d.View().Publications(), c.View().Publications()
	if len(pubs) != len(want) || len(pubs) < 55 || pubs[0] != want[0] {
		t.Errorf("%d publications after reopening, %d before; first %+v and %+v", len(pubs), len(want), pubs[0], want[0])
	}
	if cut, err := d.View().At("app", pubs[0].LSN); err != nil || len(cut.Tables("public")) != 1 {
		t.Errorf("the oldest publication: %v %v", cut, err)
	}
}

// TestSweepWaitsForSnapshots: a file of a snapshot that an earlier writer committed is no orphan as long as a
// metadata.json that lists the snapshot may be read, though the newest one has forgotten it.
func TestSweepWaitsForSnapshots(t *testing.T) {
	ctx := t.Context()
	store := objstore.NewMem()
	clock := &fakeClock{}
	options := func(o *catalog.Options) { o.Now, o.Grace = clock.now, time.Minute }
	c := open(t, store, options)
	begin(t, c)
	a := laketest.New(store, 100, name("a"))
	replace := func(lsn uint64) lake.File {
		ch := a.Change()
		ch.Create = lsn == 0x100
		ch.ReplaceAll = !ch.Create
		a.Clear()
		f := must(a.Insert(ctx, int64(lsn)))(t)
		ch.AddData = []lake.File{f}
		publish(t, c, publication(pgLSN(lsn), ch))
		return f
	}
	old := replace(0x100)
	clock.advance(time.Second)
	replace(0x200)
	time.Sleep(2100 * time.Millisecond)
	c = open(t, store, options)
	begin(t, c)
	clock.advance(30 * time.Second)
	replace(0x300)
	clock.advance(29500 * time.Millisecond)
	replace(0x400) // forgets the first snapshot
	for _, step := range []struct {
		wait time.Duration
		want bool
	}{{time.Second, true}, {50 * time.Second, true}, {10 * time.Second, false}} {
		clock.advance(step.wait)
		if err := c.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(keysUnder(t, store, ""), old.Key); got != step.want {
			t.Errorf("after %s the first file is there: %v, want %v", step.wait, got, step.want)
		}
	}
}
