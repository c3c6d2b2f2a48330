package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"slices"
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

// sparkFiles are the files Spark takes of a folder, and the LSN of their list, as CompactibleFileStreamLog finds them: the distance of the
// two newest .compact objects is the interval, which has to divide the number after the newest, or that is no .compact object.
func sparkFiles(store objstore.Store, root string) (files []string, lsn string, err error) {
	prefix := root + "/data/_spark_metadata/"
	var numbers []int
	err = store.List(context.Background(), prefix, func(o objstore.ObjectInfo) error {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(o.Key, prefix), ".compact"))
		numbers = append(numbers, n)
		return err
	})
	if err != nil || len(numbers) == 0 {
		return nil, "", err
	}
	slices.Sort(numbers)
	newest := numbers[len(numbers)-1]
	if len(numbers) > 1 && (newest+1)%(newest-numbers[len(numbers)-2]) != 0 {
		return nil, "", fmt.Errorf("Spark looks for %d, and there are %v", newest, numbers)
	}
	b, _, err := store.Get(context.Background(), fmt.Sprintf("%s%d.compact", prefix, newest))
	if err != nil {
		return nil, "", err
	}
	lines := strings.Split(string(b), "\n")
	if lines[0] != "v1" {
		return nil, "", fmt.Errorf("version %q", lines[0])
	}
	for _, line := range lines[1:] {
		var f struct {
			Path, Action, LSN string
			Size              int64
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			return nil, "", err
		}
		key, _ := store.Key(f.Path)
		info, err := store.Head(context.Background(), key)
		if err != nil || info.Size != f.Size || f.Action != "add" {
			return nil, "", fmt.Errorf("%s: %v, %d bytes, listed as %s with %d", f.Path, err, info.Size, f.Action, f.Size)
		}
		files, lsn = append(files, f.Path), f.LSN
	}
	slices.Sort(files)
	return files, lsn, nil
}

func manifestFiles(t *testing.T, store objstore.Store, root string) []string {
	t.Helper()
	b, _, err := store.Get(t.Context(), root+"/data/_symlink_format_manifest/manifest")
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		t.Fatal(err)
	}
	files := strings.Fields(string(b))
	slices.Sort(files)
	return files
}

// listedTable is a table with the property, and what it should be read as.
type listedTable struct {
	*laketest.Table
	store objstore.Store
}

func (l *listedTable) change(parquet bool) lake.TableChange {
	ch := l.Change()
	ch.Properties = map[string]string{lake.ParquetProperty: strconv.FormatBool(parquet)}
	return ch
}

func (l *listedTable) locations() (out []string) {
	for key := range l.Files {
		out = append(out, l.store.URL(key))
	}
	slices.Sort(out)
	return out
}

// lists counts Spark's.
func (l *listedTable) lists(t *testing.T) (n int) {
	t.Helper()
	if err := l.store.List(t.Context(), l.ID.Root()+"/data/_spark_metadata/", func(objstore.ObjectInfo) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// awaitList waits for the list of an LSN. Every list that is there meanwhile must be one that Spark finds.
func (l *listedTable) awaitList(t *testing.T, lsn pg.LSN) []string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		files, at, err := sparkFiles(l.store, l.ID.Root())
		if err != nil {
			t.Fatal(err)
		}
		if at == lsn.String() {
			return files
		}
		if time.Now().After(deadline) {
			t.Fatalf("the list is of %s, want %s", at, lsn)
		}
	}
}

// TestListing: the lists name the files of the newest publication, and those alone; a table without rows has a file without rows. Former lists,
// and what they name, stay for the grace time.
func TestListing(t *testing.T) {
	store, clock := objstore.NewMem(), &fakeClock{}
	c := open(t, store, func(o *catalog.Options) { o.Now = clock.now })
	begin(t, c)
	a := &listedTable{laketest.New(store, 1, name("a")), store}
	plain := laketest.New(store, 2, name("plain"))
	ch, other := a.change(true), plain.Change()
	ch.Create, other.Create = true, true
	publish(t, c, publication(0x100, ch, other))
	if files := a.awaitList(t, 0x100); len(files) != 1 || !strings.Contains(files[0], "0-none-1.parquet") {
		t.Errorf("a table without rows: %v", files)
	}
	var former []string
	for lsn := pg.LSN(0x200); lsn <= 0x900; lsn += 0x100 {
		ch := a.change(true)
		if len(a.Files) > 2 { // one leaves
			for key := range a.Files {
				ch.RemoveData = []string{key}
				delete(a.Files, key)
				break
			}
		}
		ch.AddData = []lake.File{must(a.Insert(t.Context(), int64(lsn)))(t)}
		publish(t, c, publication(lsn, ch))
		if lsn%0x200 == 0 {
			continue // two publications for one list, or two
		}
		if files, want := a.awaitList(t, lsn), a.locations(); !slices.Equal(files, want) {
			t.Errorf("at %s: %v, want %v", lsn, files, want)
		}
		former = a.locations()
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if files, want := manifestFiles(t, store, a.ID.Root()), a.locations(); !slices.Equal(files, want) {
		t.Errorf("manifest %v, want %v", files, want)
	}
	for _, location := range former {
		key, _ := store.Key(location)
		if _, err := store.Head(t.Context(), key); err != nil {
			t.Errorf("a file of a former list: %v", err)
		}
	}
	if files, _, err := sparkFiles(store, plain.ID.Root()); err != nil || len(files) != 0 {
		t.Errorf("a table without the property: %v, %v", files, err)
	}
	clock.advance(2 * time.Hour)
	if err := c.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files, at, err := sparkFiles(store, a.ID.Root()); err != nil || at != "0/900" || !slices.Equal(files, a.locations()) {
		t.Errorf("after the grace time: %v at %s, %v", files, at, err)
	}
	if n := a.lists(t); n != 2 {
		t.Errorf("%d lists after the grace time, want the two newest", n)
	}
}

// TestListingOverRestarts: a process that ended before its lists, one that finds old ones, and a table that loses the property.
func TestListingOverRestarts(t *testing.T) {
	mem := objstore.NewMem()
	store := objstore.NewFaulty(mem)
	store.Inject(objstore.Fault{Op: objstore.OpPut, Contains: "_spark_metadata", Times: 1 << 30, Err: objstore.ErrInjected})
	first := open(t, store, func(o *catalog.Options) { o.Retries = []time.Duration{} })
	begin(t, first)
	a := &listedTable{laketest.New(mem, 1, name("a")), mem}
	ch := a.change(true)
	ch.Create = true
	publish(t, first, publication(0x100, ch))
	ch = a.change(true)
	ch.AddData = []lake.File{must(a.Insert(t.Context(), 1))(t)}
	publish(t, first, publication(0x200, ch))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		time.Sleep(2100 * time.Millisecond) // objects younger than a writer are not swept
		clock := &fakeClock{}
		c := open(t, mem, func(o *catalog.Options) { o.Now = clock.now })
		begin(t, c)
		lsn := pg.LSN(0x200 + round<<8)
		if files, want := a.awaitList(t, lsn), a.locations(); !slices.Equal(files, want) {
			t.Errorf("round %d: %v, want %v", round, files, want)
		}
		for deadline := time.Now().Add(30 * time.Second); c.Listings()[a.ID].LSN != lsn; time.Sleep(time.Millisecond) { // by this process
			if time.Now().After(deadline) {
				t.Fatalf("lists %v", c.Listings())
			}
		}
		clock.advance(2 * time.Hour)
		if err := c.Maintain(t.Context()); err != nil { // sweeps
			t.Fatal(err)
		}
		a.awaitList(t, lsn)
		if n := a.lists(t); n != 2 {
			t.Errorf("%d lists after the sweep, want the two newest", n)
		}
		ch := a.change(true)
		ch.AddData = []lake.File{must(a.Insert(t.Context(), int64(lsn)))(t)}
		publish(t, c, publication(lsn+0x100, ch))
		if files, want := a.awaitList(t, lsn+0x100), a.locations(); !slices.Equal(files, want) {
			t.Errorf("round %d: %v, want %v", round, files, want)
		}
		if round < 2 {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		publish(t, c, publication(lsn+0x200, a.change(false)))
		clock.advance(2 * time.Hour)
		if err := c.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if files, _, err := sparkFiles(mem, a.ID.Root()); err != nil || len(files)+len(manifestFiles(t, mem, a.ID.Root())) != 0 {
			t.Errorf("without the property: %v, %v", files, err)
		}
		if got := must(store.Head(t.Context(), slices.Sorted(maps.Keys(a.Files))[0]))(t); got.Size == 0 {
			t.Error("a data file went with the lists")
		}
	}
}
