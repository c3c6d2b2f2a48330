package export_test

import (
	"bytes"
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/datafile"
)

func get(t *testing.T, store objstore.Store, key string) []byte {
	t.Helper()
	b, _, err := store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// storeIO shows a Store to iceberg-go.
type storeIO struct{ store objstore.Store }

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

// read finds a table by its location alone, as Iceberg's HadoopTables does, plans with iceberg-go, and returns the ids of the rows
// that the plan leaves.
func (s *scene) read(target objstore.Store, root string) []int64 {
	t := s.t
	t.Helper()
	hint := string(get(t, target, path.Join(root, "metadata/version-hint.text")))
	key := path.Join(root, "metadata/v"+hint+".metadata.json")
	meta, err := table.ParseMetadataBytes(get(t, target, key))
	if err != nil {
		t.Fatal(err)
	}
	tbl := table.New(table.Identifier{"x"}, meta, target.URL(key), func(context.Context) (iceio.IO, error) { return storeIO{target}, nil }, nil)
	tasks, err := tbl.Scan().PlanFiles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := []int64{}
	for _, task := range tasks {
		location := task.File.FilePath()
		if !strings.HasPrefix(location, meta.Location()+"/") {
			t.Errorf("%s is not below %s", location, meta.Location())
		}
		key, _ := target.Key(location)
		if head, err := target.Head(t.Context(), key); err != nil || head.Size != task.File.FileSizeBytes() {
			t.Errorf("%s: %+v, %v", location, head, err)
		}
		deleted := roaring.New()
		for _, d := range task.DeleteFiles {
			dk, _ := target.Key(d.FilePath())
			byPath, err := datafile.ReadPositionDeletes(get(t, target, dk))
			if err != nil {
				t.Fatal(err)
			}
			if bm := byPath[location]; bm != nil {
				deleted.Or(bm)
			}
		}
		ids := s.files[path.Base(key)]
		if len(task.File.LowerBoundValues()) != 2 || len(task.File.UpperBoundValues()) != 2 || len(task.File.ValueCounts()) != 2 || len(task.File.NullValueCounts()) != 2 {
			t.Errorf("%s has lost statistics: %v", location, task.File)
		}
		if task.File.Count() != int64(len(ids)) {
			t.Errorf("%s has %d rows, want %d", location, task.File.Count(), len(ids))
		}
		for i, id := range ids {
			if !deleted.Contains(uint32(i)) {
				rows = append(rows, id)
			}
		}
	}
	slices.Sort(rows)
	return rows
}
