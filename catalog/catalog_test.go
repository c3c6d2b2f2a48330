package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go/table"
	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

const systemID = 7_000_000_000_000_000_001

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func open(t *testing.T, store objstore.Store, change func(*catalog.Options)) *catalog.Catalog {
	t.Helper()
	opts := catalog.Options{Store: store, MaintainEvery: -1}
	if change != nil {
		change(&opts)
	}
	c, err := catalog.Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func begin(t *testing.T, c *catalog.Catalog) lake.Head {
	t.Helper()
	return must(c.Begin(context.Background()))(t)
}

func publication(lsn pg.LSN, changes ...lake.TableChange) lake.Publication {
	return lake.Publication{
		LSN: lsn, Timeline: 1, SystemID: systemID, CommitTime: time.Unix(1_700_000_000, 123_000), Tables: changes,
		State: []byte("state at " + lsn.String()),
	}
}

func publish(t *testing.T, c *catalog.Catalog, p lake.Publication) {
	t.Helper()
	if err := c.Publish(context.Background(), p); err != nil {
		t.Fatal(err)
	}
}

func name(n string) lake.TableName {
	return lake.TableName{Database: "app", Namespace: "public", Name: n}
}

func newest(t *testing.T, c *catalog.Catalog, n string) catalog.TableVersion {
	t.Helper()
	cut := must(c.View().Newest("app"))(t)
	tv, ok := cut.Table("public", n)
	if !ok {
		t.Fatalf("no table %s among %v", n, cut.Tables("public"))
	}
	return tv
}

func TestPublishAndReopen(t *testing.T) {
	ctx := context.Background()
	store := objstore.NewMem()
	c := open(t, store, nil)
	if h := begin(t, c); h.LSN != 0 || len(h.Tables) != 0 {
		t.Fatalf("an empty store has the head %+v", h)
	}
	a := laketest.New(store, 100, name("a"))
	ch := a.Change()
	ch.Create, ch.State = true, []byte("a is new")
	ch.Schema.Fields[1].Doc = "what it is called"
	ch.AddData = []lake.File{must(a.Insert(ctx, 1, 2, 3))(t)}
	publish(t, c, publication(0x100, ch))

	ch = a.Change()
	ch.State = slices.Repeat([]byte("large "), 20_000)
	ch.AddData = []lake.File{must(a.Insert(ctx, 4, 5))(t)}
	ch.AddDeletes = []lake.PositionDeletes{must(a.Delete(ctx, 2, 5))(t)}
	publish(t, c, publication(0x200, ch))
	publish(t, c, publication(0x300))

	if got, want := readRows(t, store, c.View(), newest(t, c, "a"), a.Files), []int64{1, 3, 4}; !slices.Equal(got, want) {
		t.Fatalf("read %v, want %v", got, want)
	}
	status := c.View().Tables()
	if len(status) != 1 || status[0].Rows != 3 || status[0].DataFiles != 2 || status[0].DeleteFiles != 1 || status[0].LSN != 0x200 {
		t.Fatalf("status %+v", status)
	}

	d := open(t, store, nil)
	h := begin(t, d)
	if h.LSN != 0x300 || h.SystemID != systemID || h.Timeline != 1 || string(h.State) != "state at 0/300" || len(h.Tables) != 1 {
		t.Fatalf("head %+v", h)
	}
	th := h.Tables[0]
	if th.LSN != 0x200 || len(th.Data) != 2 || th.Data[0].Rows != 3 || len(th.Deletes) != 1 || !th.Schema.Equal(a.Schema) || th.Schema.LastColumnID != 2 ||
		th.UUID != a.UUID || th.ID != a.ID || th.Name != a.Name || string(th.State) != string(ch.State) {
		t.Fatalf("table head %+v", th)
	}
	if err := c.Publish(ctx, publication(0x400)); !errors.Is(err, lake.ErrFenced) {
		t.Fatalf("the older writer published: %v", err)
	}
	publish(t, d, publication(0x400))
	if got := len(d.View().Publications()); got != 4 {
		t.Fatalf("%d publications, want 4", got)
	}
}

func TestSummaryAndMetadata(t *testing.T) {
	ctx := context.Background()
	store := objstore.NewMem()
	c := open(t, store, func(o *catalog.Options) { o.EngineVersion = "1.2.3" })
	begin(t, c)
	a := laketest.New(store, 100, name("a"))
	create := a.Change()
	create.Create = true
	publish(t, c, publication(0x100, create))
	operations := []string{"append"}
	step := func(op string, fill func(ch *lake.TableChange)) {
		t.Helper()
		ch := a.Change()
		fill(&ch)
		publish(t, c, publication(pg.LSN(0x100*(len(operations)+1)), ch))
		operations = append(operations, op)
	}
	f1 := must(a.Insert(ctx, 1, 2, 3))(t)
	step("append", func(ch *lake.TableChange) { ch.AddData = []lake.File{f1} })
	d1 := must(a.Delete(ctx, 1))(t)
	step("delete", func(ch *lake.TableChange) { ch.AddDeletes, ch.RowsDeleted = []lake.PositionDeletes{d1}, 1 })
	d2 := must(a.Delete(ctx, 2))(t)
	f2 := must(a.Insert(ctx, 7))(t)
	step("overwrite", func(ch *lake.TableChange) {
		ch.AddData, ch.AddDeletes, ch.RowsDeleted = []lake.File{f2}, []lake.PositionDeletes{d2}, 1
	})
	delete(a.Files, f1.Key)
	step("delete", func(ch *lake.TableChange) {
		ch.RemoveData, ch.RemoveDeletes = []string{f1.Key}, []string{d1.Key, d2.Key}
	})
	b := must(c.View().Metadata(ctx, newest(t, c, "a")))(t)
	meta := must(table.ParseMetadataBytes(b))(t)
	snaps := meta.Snapshots()
	for i, s := range snaps {
		if string(s.Summary.Operation) != operations[i] {
			t.Errorf("snapshot %d: operation %s, want %s", i, s.Summary.Operation, operations[i])
		}
		if s.SequenceNumber != int64(i+1) || i > 0 && (*s.ParentSnapshotID != snaps[i-1].SnapshotID || s.TimestampMs <= snaps[i-1].TimestampMs) {
			t.Errorf("snapshot %d: %+v", i, s)
		}
	}
	for key, want := range map[string]string{
		"tarn.lsn": "0/400", "tarn.timeline": "1", "tarn.system-id": "7000000000000000001", "tarn.commit-ts": "2023-11-14T22:13:20.000123Z",
		"engine-name": "tarn", "engine-version": "1.2.3", "added-data-files": "1", "added-records": "1", "total-records": "4",
		"total-data-files": "2", "total-delete-files": "2", "total-position-deletes": "2", "added-position-deletes": "1", "total-equality-deletes": "0",
	} {
		if got := snaps[3].Summary.Properties[key]; got != want {
			t.Errorf("summary %s is %q, want %q", key, got, want)
		}
	}
	if p := meta.Properties(); p["gc.enabled"] != "false" || p["write.delete.mode"] != "merge-on-read" {
		t.Errorf("properties %v", p)
	}
	if got := readRows(t, store, c.View(), newest(t, c, "a"), a.Files); !slices.Equal(got, []int64{7}) {
		t.Errorf("rows %v", got)
	}
}

func TestNamesAndHistory(t *testing.T) {
	store := objstore.NewMem()
	c := open(t, store, nil)
	begin(t, c)
	a, b := laketest.New(store, 100, name("a")), laketest.New(store, 101, name("b"))
	ca, cb := a.Change(), b.Change()
	ca.Create, cb.Create = true, true
	publish(t, c, publication(0x100, ca, cb))
	// The two swap names in one publication.
	ca, cb = a.Change(), b.Change()
	ca.Name, cb.Name = b.Name, a.Name
	publish(t, c, publication(0x200, ca, cb))
	// b, which is the table a now, goes; another comes under its name.
	drop := b.Change()
	drop.Drop = true
	again := laketest.New(store, 102, name("a"))
	cc := again.Change()
	cc.Create = true
	publish(t, c, publication(0x300, drop, cc))
	drop = a.Change()
	drop.Drop = true
	publish(t, c, publication(0x400, drop))

	check := func(c *catalog.Catalog) {
		t.Helper()
		for _, want := range []struct {
			lsn    pg.LSN
			tables map[string]lake.TableID
		}{
			{0x100, map[string]lake.TableID{"a": a.ID, "b": b.ID}},
			{0x1FF, map[string]lake.TableID{"a": a.ID, "b": b.ID}},
			{0x200, map[string]lake.TableID{"a": b.ID, "b": a.ID}},
			{0x300, map[string]lake.TableID{"a": again.ID, "b": a.ID}},
			{0x400, map[string]lake.TableID{"a": again.ID}},
		} {
			cut := must(c.View().At("app", want.lsn))(t)
			got := map[string]lake.TableID{}
			for _, n := range cut.Tables("public") {
				tv, _ := cut.Table("public", n)
				got[n] = tv.ID
			}
			if fmt.Sprint(got) != fmt.Sprint(want.tables) {
				t.Errorf("at %s: %v, want %v", want.lsn, got, want.tables)
			}
		}
		var ahead *catalog.AheadError
		if _, err := c.View().At("app", 0x401); !errors.As(err, &ahead) {
			t.Errorf("ahead of the head: %v", err)
		}
		var expired *catalog.ExpiredError
		if _, err := c.View().At("app", 0xFF); !errors.As(err, &expired) {
			t.Errorf("before the history: %v", err)
		}
		if _, err := c.View().At("other", 0x100); !errors.Is(err, catalog.ErrNoDatabase) {
			t.Errorf("another database: %v", err)
		}
	}
	check(c)
	check(open(t, store, nil))
}

func TestRefusals(t *testing.T) {
	ctx := context.Background()
	store := objstore.NewMem()
	c := open(t, store, nil)
	if err := c.Publish(ctx, publication(1)); !errors.Is(err, catalog.ErrNotBegun) {
		t.Fatalf("published without Begin: %v", err)
	}
	begin(t, c)
	a, b := laketest.New(store, 100, name("a")), laketest.New(store, 101, name("a"))
	ca, cb := a.Change(), b.Change()
	ca.Create, cb.Create = true, true
	publish(t, c, publication(0x100, ca))
	with := func(f func(ch *lake.TableChange)) lake.Publication {
		ch := a.Change()
		f(&ch)
		return publication(0x200, ch)
	}
	other := publication(0x200)
	other.SystemID++
	for want, p := range map[string]lake.Publication{
		"both named":           publication(0x200, cb),
		"at 0/100 already":     publication(0x80),
		"needs an LSN":         publication(0),
		"system identifier":    other,
		"created twice":        publication(0x200, ca),
		"is not in the lake":   publication(0x200, b.Change()),
		"changes twice":        publication(0x200, a.Change(), a.Change()),
		"is not live":          with(func(ch *lake.TableChange) { ch.RemoveData = []string{"lake/x"} }),
		"added twice":          with(func(ch *lake.TableChange) { ch.AddData = []lake.File{{Key: "lake/x"}, {Key: "lake/x"}} }),
		"has id 1":             with(func(ch *lake.TableChange) { ch.Schema.Fields = append(ch.Schema.Fields, ch.Schema.Fields[0]) }),
		"the change says oops": with(func(ch *lake.TableChange) { ch.UUID = "oops" }),
	} {
		err := c.Publish(ctx, p)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	publish(t, c, publication(0x200)) // and none of them did harm
}

// TestDurable: the head moves only once the files a publication names are durable, and not if they cannot be.
func TestDurable(t *testing.T) {
	store := objstore.NewFaulty(objstore.NewMem())
	c := open(t, store, nil)
	begin(t, c)
	a := laketest.New(store, 100, name("a"))
	ch := a.Change()
	ch.Create = true
	p := publication(0x100, ch)
	lost := errors.New("a file was lost")
	for _, want := range []error{lost, nil} {
		called := 0
		p.Durable = func() error {
			called++
			if n := store.Count(objstore.OpPutIfAbsent); n != 1 { // the epoch
				t.Errorf("%d log entries were put before the files were durable", n-1)
			}
			return want
		}
		if err := c.Publish(t.Context(), p); !errors.Is(err, want) || called != 1 {
			t.Fatalf("Publish: %v, Durable called %d times", err, called)
		}
		if got := len(c.View().Publications()); want != nil && got != 0 || want == nil && got != 1 {
			t.Errorf("%d publications", got)
		}
	}
}
