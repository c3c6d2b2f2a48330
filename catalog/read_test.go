package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"github.com/apache/iceberg-go/table/dv"
	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/datafile"
)

// storeIO shows a Store to iceberg-go.
type storeIO struct {
	store objstore.Store
}

func (s storeIO) Open(name string) (iceio.File, error) {
	key, ok := s.store.Key(name)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	b, _, err := s.store.Get(context.Background(), key)
	return memFile{bytes.NewReader(b), name}, err
}

func (s storeIO) Remove(string) error { return fs.ErrPermission }

type memFile struct {
	*bytes.Reader
	name string
}

func (f memFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f memFile) Close() error               { return nil }
func (f memFile) Name() string               { return f.name }
func (f memFile) Mode() fs.FileMode          { return 0o444 }
func (f memFile) ModTime() time.Time         { return time.Time{} }
func (f memFile) IsDir() bool                { return false }
func (f memFile) Sys() any                   { return nil }

var _ io.ReaderAt = memFile{}

// plan plans a scan with iceberg-go.
func plan(t *testing.T, store objstore.Store, v catalog.View, tv catalog.TableVersion) []table.FileScanTask {
	t.Helper()
	ctx := context.Background()
	b, err := v.Metadata(ctx, tv)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := table.ParseMetadataBytes(b)
	if err != nil {
		t.Fatalf("iceberg-go refuses %s: %v\n%s", tv.Key, err, b)
	}
	tbl := table.New(table.Identifier{tv.Name.Namespace, tv.Name.Name}, meta, tv.URL, func(context.Context) (iceio.IO, error) { return storeIO{store}, nil }, nil)
	tasks, err := tbl.Scan().PlanFiles(ctx)
	if err != nil {
		t.Fatalf("plan %s: %v", tv.Key, err)
	}
	return tasks
}

// readRows plans a scan with iceberg-go, not with code of ours, and returns the ids it would read: those the model's data
// files hold, less the positions in the delete files that the planner attached to them.
func readRows(t *testing.T, store objstore.Store, v catalog.View, tv catalog.TableVersion, model map[string]*laketest.File) []int64 {
	t.Helper()
	ctx := context.Background()
	rows := []int64{}
	for _, task := range plan(t, store, v, tv) {
		key, _ := store.Key(task.File.FilePath())
		f := model[key]
		if f == nil {
			t.Fatalf("%s plans %s, which the model does not have", tv.Key, key)
		}
		if task.File.Count() != int64(len(f.IDs)) {
			t.Fatalf("%s: %d rows in the manifest, %d in the model", key, task.File.Count(), len(f.IDs))
		}
		deleted := roaring.New()
		for _, d := range task.DeleteFiles {
			dk, _ := store.Key(d.FilePath())
			raw, _, err := store.Get(ctx, dk)
			if err != nil {
				t.Fatal(err)
			}
			byPath, err := datafile.ReadPositionDeletes(raw)
			if err != nil {
				t.Fatal(err)
			}
			if bm := byPath[task.File.FilePath()]; bm != nil {
				deleted.Or(bm)
			}
		}
		for _, d := range task.DeletionVectorFiles {
			set, err := dv.ReadDV(storeIO{store}, d)
			if err != nil {
				t.Fatal(err)
			}
			for pos := range set.Positions() {
				deleted.Add(uint32(pos))
			}
		}
		for i, id := range f.IDs {
			if !deleted.Contains(uint32(i)) {
				rows = append(rows, id)
			}
		}
	}
	slices.Sort(rows)
	return rows
}

// TestReached: an LSN past the head can be asked for once it is known that nothing has changed up to it, and no longer
// when something was published since.
func TestReached(t *testing.T) {
	store := objstore.NewMem()
	c := open(t, store, nil)
	begin(t, c)
	tbl := laketest.New(store, 100, name("a"))
	ch := tbl.Change()
	ch.Create = true
	publish(t, c, publication(10, ch))
	var ahead *catalog.AheadError
	if _, err := c.View().At("app", 11); !errors.As(err, &ahead) {
		t.Fatal(err)
	}
	c.Reached(20)
	if cut, err := c.View().At("app", 20); err != nil || cut.LSN != 10 {
		t.Fatal(cut, err)
	}
	if _, err := c.View().At("app", 21); !errors.As(err, &ahead) {
		t.Error(err)
	}
	ch = tbl.Change()
	ch.Properties = map[string]string{"a": "b"}
	publish(t, c, publication(15, ch))
	if _, err := c.View().At("app", 20); !errors.As(err, &ahead) {
		t.Errorf("nothing is known of LSN 20 any more: %v", err)
	}
}
