package export_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/export"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/scrub"
	"github.com/tarn-db/tarn/materialize/lake"
)

// scene is a lake with a table of some publications, and what a reader of each has to see.
type scene struct {
	t     *testing.T
	store objstore.Store
	cat   *catalog.Catalog
	a     *laketest.Table
	files map[string][]int64 // ids of every data file ever, by base name
	at    map[pg.LSN][]int64 // rows
}

func newScene(t *testing.T, store objstore.Store) *scene {
	t.Helper()
	cat, err := catalog.Open(t.Context(), catalog.Options{Store: store, MaintainEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cat.Close() })
	if _, err := cat.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &scene{
		t: t, store: store, cat: cat, files: map[string][]int64{}, at: map[pg.LSN][]int64{},
		a: laketest.New(store, 100, lake.TableName{Database: "app", Namespace: "public", Name: "a"}),
	}
	ch := s.a.Change()
	ch.Create = true
	s.publish(0x100, ch, []int64{1, 2, 3}, nil)
	s.publish(0x200, s.a.Change(), []int64{4, 5}, []int64{2, 5})
	s.publish(0x300, s.a.Change(), []int64{6, 7, 8}, []int64{1, 6})
	return s
}

func (s *scene) publish(lsn pg.LSN, ch lake.TableChange, insert, remove []int64) {
	s.t.Helper()
	if len(insert) > 0 {
		f, err := s.a.Insert(s.t.Context(), insert...)
		if err != nil {
			s.t.Fatal(err)
		}
		ch.AddData = []lake.File{f}
		s.files[path.Base(f.Key)] = insert
		if _, err := s.store.Put(s.t.Context(), f.Key+".tids", []byte("not read here")); err != nil {
			s.t.Fatal(err)
		}
	}
	if len(remove) > 0 {
		d, err := s.a.Delete(s.t.Context(), remove...)
		if err != nil {
			s.t.Fatal(err)
		}
		ch.AddDeletes = []lake.PositionDeletes{d}
	}
	p := lake.Publication{LSN: lsn, Timeline: 1, SystemID: 7, CommitTime: time.Unix(1_700_000_000, 0), Tables: []lake.TableChange{ch}}
	if err := s.cat.Publish(s.t.Context(), p); err != nil {
		s.t.Fatal(err)
	}
	s.at[lsn] = s.a.Rows()
}

func (s *scene) export(target export.Target, at pg.LSN) (export.Report, error) {
	return export.Run(s.t.Context(), s.cat, export.Options{Table: "app.public.a", At: at, Target: target})
}

func keysUnder(t *testing.T, store objstore.Store, prefix string) (keys []string) {
	t.Helper()
	err := store.List(t.Context(), prefix, func(o objstore.ObjectInfo) error { keys = append(keys, o.Key); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func removeAll(t *testing.T, store objstore.Store, prefix string) {
	t.Helper()
	for _, key := range keysUnder(t, store, prefix) {
		if err := store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExport: an export of each publication has its rows, in the same store and in others.
func TestExport(t *testing.T) {
	dir := func() objstore.Store {
		d, err := objstore.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for name, stores := range map[string][2]objstore.Store{
		"into the same folder": {dir(), nil}, "into another folder": {dir(), dir()}, "from memory to a folder": {objstore.NewMem(), dir()},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, stores[0])
			for lsn, want := range s.at {
				target := export.Target{Store: stores[0], Root: fmt.Sprintf("exports/a-%x", uint64(lsn))}
				if stores[1] != nil {
					target.Store = stores[1]
				}
				r, err := s.export(target, min(lsn+1, 0x300))
				if err != nil || r.LSN != lsn || r.Rows != int64(len(want)) || r.Location != target.Store.URL(target.Root) {
					t.Fatalf("export at %s: %+v, %v", lsn, r, err)
				}
				if streams := name == "from memory to a folder"; (r.StreamedBytes > 0) != streams {
					t.Errorf("%d bytes were streamed", r.StreamedBytes)
				}
				if got := s.read(target.Store, target.Root); !slices.Equal(got, want) {
					t.Errorf("the export at %s has %v, want %v", lsn, got, want)
				}
			}
		})
	}
}

// TestIndependence: an export reads the same when every object of the lake is gone, and the lake is whole when every object of the
// export is.
func TestIndependence(t *testing.T) {
	s := newScene(t, objstore.NewMem())
	target := export.Target{Store: s.store, Root: "exports/app.public.a"}
	if _, err := s.export(target, 0); err != nil {
		t.Fatal(err)
	}
	for _, key := range keysUnder(t, s.store, target.Root+"/data/") {
		source := s.a.ID.Root() + "/data/" + path.Base(key)
		if same := bytes.Equal(get(t, s.store, key), get(t, s.store, source)); same == strings.Contains(key, "deletes") {
			t.Errorf("%s is the same as in the lake: %v", key, same)
		}
	}
	s.scrub(0)
	lakeOf := keysUnder(t, s.store, "lake/")
	for _, o := range []string{"lake/", "catalog/"} {
		removeAll(t, s.store, o)
	}
	if got := s.read(s.store, target.Root); !slices.Equal(got, s.at[0x300]) {
		t.Errorf("without the lake the export has %v, want %v", got, s.at[0x300])
	}
	again := newScene(t, objstore.NewMem())
	if _, err := again.export(export.Target{Store: again.store, Root: target.Root}, 0); err != nil {
		t.Fatal(err)
	}
	removeAll(t, again.store, "exports/")
	again.scrub(0)
	if n := len(keysUnder(t, again.store, "lake/")); n != len(lakeOf) {
		t.Errorf("the lake has %d objects, want %d", n, len(lakeOf))
	}
}

// scrub checks the lake's objects.
func (s *scene) scrub(orphans int64) {
	s.t.Helper()
	rep := &scrub.Report{}
	if err := catalog.Scrub(s.t.Context(), s.store, false, rep); err != nil || rep.Lost+rep.Damaged+rep.Orphans != orphans {
		s.t.Errorf("scrub: %+v, %v", rep, err)
	}
}

// TestStopped: a table in error is not said to be newer than it is.
func TestStopped(t *testing.T) {
	s := newScene(t, objstore.NewMem())
	ch := s.a.Change()
	ch.State = []byte(`{"version": 1, "error": "a page cannot be read", "error_at": "0/300"}`)
	s.publish(0x400, ch, nil, nil)
	r, err := s.export(export.Target{Store: s.store, Root: "exports/a"}, 0)
	if err != nil || r.LSN != 0x300 || r.Stopped != "a page cannot be read" {
		t.Errorf("a table in error since 0/400 is exported as %+v, %v", r, err)
	}
	if r, err = s.export(export.Target{Store: s.store, Root: "exports/b"}, 0x200); err != nil || r.LSN != 0x200 || r.Stopped != "" {
		t.Errorf("before its error it is exported as %+v, %v", r, err)
	}
	ch.State = []byte(`{"version": 99}`)
	s.publish(0x500, ch, nil, nil)
	if _, err := s.export(export.Target{Store: s.store, Root: "exports/c"}, 0); err == nil {
		t.Error("a state of a later version was passed over")
	}
}

// TestTaken: an export never mixes with what is there.
func TestTaken(t *testing.T) {
	s := newScene(t, objstore.NewMem())
	target := export.Target{Store: s.store, Root: "exports/a"}
	if _, err := s.export(target, 0); err != nil {
		t.Fatal(err)
	}
	before := keysUnder(t, s.store, "exports/")
	if _, err := s.export(target, 0); fault.CodeOf(err) != fault.ExportTaken {
		t.Errorf("a second export to one place: %v", err)
	}
	if after := keysUnder(t, s.store, "exports/"); !slices.Equal(before, after) {
		t.Errorf("it left %q of %q", after, before)
	}
	// One whose name is but the beginning of another's, or goes on from it, is another place.
	for _, root := range []string{"exports/a2", "exports/b2", "exports/b"} {
		if _, err := s.export(export.Target{Store: s.store, Root: root}, 0); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.export(export.Target{Store: s.store, Root: "exports"}, 0); fault.CodeOf(err) != fault.ExportTaken {
		t.Errorf("an export around another: %v", err)
	}
}

// TestRace: of several exports to one place one is made, and it is whole.
func TestRace(t *testing.T) {
	s := newScene(t, objstore.NewMem())
	target := export.Target{Store: s.store, Root: "exports/a"}
	results := make(chan error)
	for range 8 {
		go func() {
			_, err := s.export(target, 0)
			results <- err
		}()
	}
	made := 0
	for range 8 {
		if err := <-results; err == nil {
			made++
		} else if fault.CodeOf(err) != fault.ExportTaken {
			t.Error(err)
		}
	}
	if got := s.read(s.store, target.Root); made > 1 || !slices.Equal(got, s.at[0x300]) {
		t.Errorf("%d exports were made, rows %v", made, got)
	}
}

// overtaken is a store in which another export is made between the look and the note.
type overtaken struct {
	objstore.Store
	other func()
}

func (o *overtaken) PutIfAbsent(ctx context.Context, key string, data []byte) (objstore.ObjectInfo, error) {
	if other := o.other; other != nil {
		o.other = nil
		other()
	}
	return o.Store.PutIfAbsent(ctx, key, data)
}

// TestOvertaken: an export that ended between the look at a place and the note stays as it is.
func TestOvertaken(t *testing.T) {
	s := newScene(t, objstore.NewMem())
	store := &overtaken{Store: s.store, other: func() {
		if _, err := s.export(export.Target{Store: s.store, Root: "exports/a"}, 0); err != nil {
			t.Error(err)
		}
	}}
	if _, err := s.export(export.Target{Store: store, Root: "exports/a"}, 0x100); fault.CodeOf(err) != fault.ExportTaken {
		t.Errorf("an export over one just made: %v", err)
	}
	if got := s.read(s.store, "exports/a"); !slices.Equal(got, s.at[0x300]) || slices.Contains(keysUnder(t, s.store, "exports/"), "exports/a/tarn-export.json") {
		t.Errorf("the first has %v", got)
	}
}

// TestWrongRequests: each is told by name.
func TestWrongRequests(t *testing.T) {
	s := newScene(t, objstore.NewMem())
	for _, c := range []struct {
		table string
		at    pg.LSN
		code  fault.Code
	}{
		{"app.public.b", 0, fault.TableUnknown}, {"app.a", 0, fault.TableUnknown}, {"a", 0, fault.TableUnknown}, {"", 0, fault.TableUnknown},
		{"other.public.a", 0, fault.TableUnknown}, {"app.public.a", 0x301, fault.LSNNotKept}, {"app.public.a", 0xFF, fault.LSNNotKept},
	} {
		_, err := export.Run(t.Context(), s.cat, export.Options{Table: c.table, At: c.at, Target: export.Target{Store: s.store, Root: "exports/x"}})
		if fault.CodeOf(err) != c.code {
			t.Errorf("export %q at %s: %v", c.table, c.at, err)
		}
	}
	if keys := keysUnder(t, s.store, "exports/"); len(keys) > 0 {
		t.Errorf("left %q", keys)
	}
}

// TestCrash ends an export at each of its operations, as kill -9 does, and as a store that fails does: a table is there whole or
// not at all, and what is left keeps the next export from mixing with it.
func TestCrash(t *testing.T) {
	for _, killed := range []bool{true, false} {
		whole := 0
		for n := 0; ; n++ {
			s := newScene(t, objstore.NewMem())
			faulty := objstore.NewFaulty(s.store)
			rule := objstore.Fault{Skip: n, Err: objstore.ErrInjected}
			if !killed {
				rule.Times = 1
			}
			hits := faulty.Inject(rule)
			target := export.Target{Store: faulty, Root: "exports/a"}
			_, err := s.export(target, 0)
			s.scrub(0)
			left := keysUnder(t, s.store, "exports/")
			table := slices.Contains(left, "exports/a/metadata/v1.metadata.json")
			switch {
			case table && slices.Contains(left, "exports/a/metadata/version-hint.text"):
				whole++
				if got := s.read(s.store, "exports/a"); !slices.Equal(got, s.at[0x300]) {
					t.Fatalf("operation %d: rows %v, want %v", n, got, s.at[0x300])
				}
			case err == nil:
				t.Fatalf("operation %d: done, and there is no table among %q", n, left)
			case !killed && len(left) > 0:
				t.Fatalf("operation %d: it failed with %v and left %q", n, err, left)
			}
			if len(left) > 0 {
				if _, err := s.export(export.Target{Store: s.store, Root: "exports/a"}, 0); fault.CodeOf(err) != fault.ExportTaken {
					t.Fatalf("operation %d: a second export over %q: %v", n, left, err)
				}
			}
			if hits() == 0 {
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("killed %v: %d operations, whole after %d of them", killed, n, whole)
				break
			}
		}
	}
}

// TestCancelled: Ctrl-C leaves nothing.
func TestCancelled(t *testing.T) {
	s := newScene(t, objstore.NewMem())
	ctx, cancel := context.WithCancel(t.Context())
	_, err := export.Run(ctx, s.cat, export.Options{
		Table: "app.public.a", Target: export.Target{Store: s.store, Root: "exports/a"}, Workers: 1,
		Progress: func(done, _ int64) {
			if done > 0 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if keys := keysUnder(t, s.store, "exports/"); len(keys) > 0 {
		t.Errorf("left %q", keys)
	}
}

// TestDamage: what is not as the metadata says is not exported.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(s *scene, key string) bool{
		"a data file is cut": func(s *scene, key string) bool {
			return !strings.Contains(key, "deletes") && s.put(key, func(b []byte) []byte { return b[:len(b)-1] })
		},
		"a delete file is changed": func(s *scene, key string) bool {
			return strings.Contains(key, "deletes") && s.put(key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		},
		"a data file is gone": func(s *scene, key string) bool {
			return !strings.Contains(key, "deletes") && s.store.Delete(s.t.Context(), key) == nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, objstore.NewMem())
			keys := keysUnder(t, s.store, s.a.ID.Root()+"/data/")
			if !slices.ContainsFunc(keys, func(key string) bool { return damage(s, key) }) {
				t.Fatal("nothing was damaged")
			}
			_, err := s.export(export.Target{Store: s.store, Root: "exports/a"}, 0)
			if code := fault.CodeOf(err); code != fault.StoreDamaged && code != fault.Corrupt && code != fault.ExportPassed {
				t.Errorf("%s: %v", code, err)
			}
			if left := keysUnder(t, s.store, "exports/"); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

func (s *scene) put(key string, change func([]byte) []byte) bool {
	_, err := s.store.Put(s.t.Context(), key, change(bytes.Clone(get(s.t, s.store, key))))
	return err == nil
}
