package catalog_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestDamagedTable: a table whose objects are lost or damaged holds no other up, keeps what is left of it, and is whole
// again once a change has replaced all of it.
func TestDamagedTable(t *testing.T) {
	ctx := t.Context()
	for _, part := range []string{".metadata.json", "/snap-", "-m0.avro", "catalog/state/"} {
		for _, damage := range []string{"lost", "cut", "overwritten"} {
			t.Run(part+" "+damage, func(t *testing.T) {
				store := objstore.NewMem()
				clock := &fakeClock{}
				options := func(o *catalog.Options) { o.Now, o.Grace = clock.now, time.Minute }
				c := open(t, store, options)
				begin(t, c)
				a, b := laketest.New(store, 100, name("a")), laketest.New(store, 101, name("b"))
				ca, cb := a.Change(), b.Change()
				ca.Create, cb.Create = true, true
				ca.AddData = []lake.File{must(a.Insert(ctx, 1))(t)}
				cb.AddData = []lake.File{must(b.Insert(ctx, 2))(t)}
				ca.State = bytes.Repeat([]byte("large enough for an object"), 4000)
				publish(t, c, publication(0x100, ca, cb))
				hurt := ""
				for _, key := range keysUnder(t, store, "") {
					if strings.Contains(key, part) && (strings.HasPrefix(key, a.ID.Root()) || strings.HasPrefix(part, "catalog")) {
						hurt = key
					}
				}
				data, _, err := store.Get(ctx, hurt)
				if err != nil {
					t.Fatal(err)
				}
				switch damage {
				case "lost":
					err = store.Delete(ctx, hurt)
				case "cut":
					_, err = store.Put(ctx, hurt, data[:len(data)/2])
				case "overwritten":
					_, err = store.Put(ctx, hurt, []byte("{}"))
				}
				if err != nil {
					t.Fatal(err)
				}

				c = open(t, store, options)
				head := begin(t, c)
				if ha, hb := head.Tables[0], head.Tables[1]; ha.Damaged == nil || hb.Damaged != nil || ha.UUID != a.UUID {
					t.Fatalf("a: %v, b: %v", ha.Damaged, hb.Damaged)
				}
				before := newest(t, c, "a")
				if part != "catalog/state/" {
					ca = a.Change()
					ca.AddData = []lake.File{{Key: a.ID.Root() + "/data/x", Rows: 1, Bytes: 1}}
					if err := c.Publish(ctx, publication(0x180, ca)); err == nil {
						t.Error("a damaged table took a file beside those it has lost")
					}
				}
				ca, cb = a.Change(), b.Change()
				ca.State, cb.AddData = []byte("it is in error"), []lake.File{must(b.Insert(ctx, 3))(t)}
				publish(t, c, publication(0x200, ca, cb))
				if got := newest(t, c, "a"); got.Key != before.Key {
					t.Errorf("the damaged table moved from %s to %s", before.Key, got.Key)
				}
				if got := readRows(t, store, c.View(), newest(t, c, "b"), b.Files); !slices.Equal(got, []int64{2, 3}) {
					t.Errorf("rows of b: %v", got)
				}
				for range 2 {
					clock.advance(2 * time.Minute)
					if err := c.Maintain(ctx); err != nil {
						t.Fatal(err)
					}
				}
				for key := range a.Files {
					if _, err := store.Head(ctx, key); err != nil {
						t.Errorf("data of the damaged table: %v", err)
					}
				}

				a.Clear()
				ca = a.Change()
				ca.ReplaceAll, ca.AddData, ca.State = true, []lake.File{must(a.Insert(ctx, 5))(t)}, []byte("written anew")
				publish(t, c, publication(0x300, ca))
				c = open(t, store, options)
				if head = begin(t, c); head.Tables[0].Damaged != nil || string(head.Tables[0].State) != "written anew" {
					t.Errorf("after it was replaced: %v", head.Tables[0].Damaged)
				}
				if got := readRows(t, store, c.View(), newest(t, c, "a"), a.Files); !slices.Equal(got, []int64{5}) {
					t.Errorf("rows of a: %v", got)
				}
			})
		}
	}
}
