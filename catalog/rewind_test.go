package catalog_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestRewind: a publication below the head is one of a newer timeline, and from then on an LSN names what is of that history. A table
// that was dropped may come back, and the same is read from the store, whether of entries or of a checkpoint.
func TestRewind(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		store := objstore.NewMem()
		c := open(t, store, func(o *catalog.Options) {
			if checkpoint {
				o.CheckpointEvery = 2
			}
		})
		begin(t, c)
		a, b := laketest.New(store, 100, name("a")), laketest.New(store, 101, name("b"))
		ca, cb := a.Change(), b.Change()
		ca.Create, cb.Create = true, true
		publish(t, c, publication(0x100, ca))
		publish(t, c, publication(0x300, cb))
		drop := a.Change()
		drop.Drop = true
		publish(t, c, publication(0x400, drop))
		if err := c.Publish(context.Background(), publication(0x200)); err == nil || !strings.Contains(err.Error(), "at 0/400 already") {
			t.Fatalf("the same timeline went back: %v", err)
		}
		begin(t, c)
		of2 := func(lsn pg.LSN, changes ...lake.TableChange) lake.Publication {
			p := publication(lsn, changes...)
			p.Timeline++
			return p
		}
		gone := b.Change()
		gone.Drop = true
		back := laketest.New(store, 100, name("a"))
		back.ID.Incarnation = 0x400
		cc := back.Change()
		cc.Create = true
		publish(t, c, of2(0x200, gone, cc))
		names := func(c *catalog.Catalog, lsn pg.LSN, want ...string) {
			t.Helper()
			cut := must(c.View().At("app", lsn))(t)
			if got := cut.Tables("public"); strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("checkpoint %v, at %s: %v, want %v", checkpoint, lsn, got, want)
			}
		}
		check := func(c *catalog.Catalog) {
			t.Helper()
			names(c, 0x100, "a")
			names(c, 0x1FF, "a")
			names(c, 0x200, "a")
			if tv, _ := must(c.View().At("app", 0x1FF))(t).Table("public", "a"); tv.ID != a.ID {
				t.Errorf("before the fork it is %v, want the table of then", tv.ID)
			}
			if tv, _ := must(c.View().Newest("app"))(t).Table("public", "a"); tv.ID != back.ID {
				t.Errorf("it is %v, want the one that came back", tv.ID)
			}
			var ahead *catalog.AheadError
			if _, err := c.View().At("app", 0x300); !errors.As(err, &ahead) || ahead.Published != 0x200 {
				t.Errorf("an LSN of the former history: %v", err)
			}
			if h := c.View().Head(); h.LSN != 0x200 || h.Timeline != 2 {
				t.Errorf("head: %+v", h)
			}
		}
		check(c)
		if checkpoint {
			if err := c.Maintain(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		check(open(t, store, nil))
		// The new history goes on, over LSNs that the former one had.
		cb = laketest.New(store, 102, name("c")).Change()
		cb.Create = true
		publish(t, c, of2(0x350, cb))
		names(c, 0x300, "a")
		names(c, 0x350, "a", "c")
		names(open(t, store, nil), 0x350, "a", "c")
	}
}
