package catalog_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

func hinted(o *catalog.Options) {
	o.VersionHint = func(n lake.TableName) bool { return n.Name != "plain" }
}

// folder is what lies in a table's metadata folder.
func folder(t *testing.T, store objstore.Store, root string) (hint string, versions []string) {
	t.Helper()
	prefix := root + "/metadata/"
	err := store.List(context.Background(), prefix, func(o objstore.ObjectInfo) error {
		if name := strings.TrimPrefix(o.Key, prefix); name[0] == 'v' && strings.HasSuffix(name, ".json") {
			versions = append(versions, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := store.Get(context.Background(), prefix+"version-hint.text")
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		t.Fatal(err)
	}
	return string(b), versions
}

// TestVersionHint: after a publication the folder names the very metadata that the catalog names; the former version stays
// for the grace time, and tables that are not to have signposts have none.
func TestVersionHint(t *testing.T) {
	store, clock := objstore.NewMem(), &fakeClock{}
	set := func(o *catalog.Options) { hinted(o); o.Now = clock.now }
	c := open(t, store, set)
	begin(t, c)
	a, plain := laketest.New(store, 1, name("a")), laketest.New(store, 2, name("plain"))
	create := func(tbl *laketest.Table) lake.TableChange {
		ch := tbl.Change()
		ch.Create = true
		return ch
	}
	publish(t, c, publication(0x100, create(a), create(plain)))
	for lsn := pg.LSN(0x200); lsn <= 0x400; lsn += 0x100 {
		awaitHint(t, store, a.ID.Root(), strconv.Itoa(int(lsn>>8)-1))
		ch := a.Change()
		ch.AddData = []lake.File{must(a.Insert(t.Context(), int64(lsn)))(t)}
		publish(t, c, publication(lsn, ch))
	}
	if err := c.Close(); err != nil { // which puts what is due
		t.Fatal(err)
	}
	hint, versions := folder(t, store, a.ID.Root())
	want := must(c.View().Metadata(t.Context(), newest(t, c, "a")))(t)
	got, _, err := store.Get(t.Context(), a.ID.Root()+"/metadata/v4.metadata.json")
	if hint != "4" || len(versions) != 4 || err != nil || string(got) != string(want) {
		t.Errorf("hint %q, versions %v, %v", hint, versions, err)
	}
	if hint, versions := folder(t, store, plain.ID.Root()); hint != "" || versions != nil {
		t.Errorf("a table without: hint %q, versions %v", hint, versions)
	}

	clock.advance(2 * time.Hour)
	if err := c.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if hint, versions := folder(t, store, a.ID.Root()); hint != "4" || len(versions) != 1 || versions[0] != "v4.metadata.json" {
		t.Errorf("after the grace time: hint %q, versions %v", hint, versions)
	}
}

func awaitHint(t *testing.T, store objstore.Store, root, want string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		hint, _ := folder(t, store, root)
		if hint == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("hint %q, want %q", hint, want)
		}
	}
}

// TestVersionHintLost: a process that ended before its signposts, and one that comes back to a damaged one, are put right by
// the next start; what the table then no longer wants is swept.
func TestVersionHintLost(t *testing.T) {
	store := objstore.NewMem()
	first := open(t, store, nil) // writes none, as if it had ended too early
	begin(t, first)
	a := laketest.New(store, 1, name("a"))
	ch := a.Change()
	ch.Create = true
	publish(t, first, publication(0x100, ch))
	if _, err := store.Put(t.Context(), a.ID.Root()+"/metadata/version-hint.text", []byte("99")); err != nil {
		t.Fatal(err)
	}
	second := open(t, store, hinted)
	begin(t, second)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if hint, versions := folder(t, store, a.ID.Root()); hint != "1" || len(versions) != 1 {
		t.Errorf("after a start: hint %q, versions %v", hint, versions)
	}

	time.Sleep(2100 * time.Millisecond) // objects younger than a writer are not swept
	for _, keep := range []bool{true, false} {
		clock := &fakeClock{}
		c := open(t, store, func(o *catalog.Options) {
			if o.Now = clock.now; keep {
				hinted(o)
			}
		})
		begin(t, c)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		clock.advance(2 * time.Hour)
		if err := c.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if hint, versions := folder(t, store, a.ID.Root()); (hint == "1") != keep || (len(versions) == 1) != keep {
			t.Errorf("wanted %v: hint %q, versions %v", keep, hint, versions)
		}
		time.Sleep(2100 * time.Millisecond)
	}
}

// TestVersionHintFails: a store that takes no signposts holds up no publication, and the next one puts them right.
func TestVersionHintFails(t *testing.T) {
	mem := objstore.NewMem()
	store := objstore.NewFaulty(mem)
	hits := store.Inject(objstore.Fault{Op: objstore.OpPut, Contains: "version-hint", Times: 1, Err: objstore.ErrInjected})
	c := open(t, store, func(o *catalog.Options) { hinted(o); o.Retries = []time.Duration{} })
	begin(t, c)
	a := laketest.New(store, 1, name("a"))
	ch := a.Change()
	ch.Create = true
	publish(t, c, publication(0x100, ch))
	for deadline := time.Now().Add(30 * time.Second); hits() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if hint, _ := folder(t, mem, a.ID.Root()); hint != "" {
		t.Errorf("hint %q", hint)
	}
	ch = a.Change()
	ch.AddData = []lake.File{must(a.Insert(t.Context(), 1))(t)}
	publish(t, c, publication(0x200, ch))
	awaitHint(t, mem, a.ID.Root(), "2")
}
