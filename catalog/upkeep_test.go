package catalog_test

import (
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestUpkeep: what is counted is what the store shows: snapshots that left the metadata, and objects that are gone.
func TestUpkeep(t *testing.T) {
	store := objstore.NewMem()
	now := time.Unix(1_700_000_000, 0)
	c := open(t, store, func(o *catalog.Options) { o.SnapshotsMax, o.Now = 10, func() time.Time { return now } })
	begin(t, c)
	tbl := laketest.New(store, 100, name("a"))
	ch := tbl.Change()
	ch.Create = true
	publish(t, c, publication(1, ch))
	for i := range 30 {
		ch := tbl.Change()
		f, err := tbl.Insert(t.Context(), int64(i))
		if err != nil {
			t.Fatal(err)
		}
		ch.AddData = []lake.File{f}
		now = now.Add(time.Second)
		publish(t, c, publication(pg.LSN(i+2), ch))
	}
	all, tables := c.Upkeep()
	u := tables[tbl.ID]
	if u.Snapshots != 10 || u.SnapshotsExpired != 21 || u.Manifests != 1 || u.ManifestsRewritten != 29 || all.Effort != u.Effort {
		t.Errorf("after 31 publications: %+v of %+v", u, all)
	}
	tv := newest(t, c, "a")
	head, err := store.Head(t.Context(), tv.Key)
	if err != nil || u.MetadataBytes <= head.Size || u.MetadataBytes > head.Size+100_000 {
		t.Errorf("%d bytes of metadata, metadata.json has %d: %v", u.MetadataBytes, head.Size, err)
	}
	if all.ObjectsWaiting == 0 || all.ObjectsRemoved != 0 {
		t.Errorf("before their time: %+v", all)
	}
	before := len(keysUnder(t, store, ""))
	now = now.Add(2 * time.Hour)
	if err := c.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, _ = c.Upkeep()
	if gone := before - len(keysUnder(t, store, "")); all.ObjectsRemoved+all.OrphansRemoved != int64(gone) || gone == 0 || all.ObjectsWaiting != 0 || all.Rounds != 1 || all.Failures != 0 || all.Took <= 0 {
		t.Errorf("%d objects are gone, and the count says %+v", gone, all)
	}
	ch = tbl.Change()
	ch.Drop = true
	publish(t, c, publication(100, ch))
	if _, tables := c.Upkeep(); len(tables) != 0 {
		t.Errorf("a dropped table is shown: %+v", tables)
	}
}
