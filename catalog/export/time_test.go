package export_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog/export"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/s3test"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestExportTime measures what an export costs by way of copying, and without its files: TARN_TIMES=1. The figures are in
// docs/rfcs/2026-11-26-export.md.
func TestExportTime(t *testing.T) {
	if os.Getenv("TARN_TIMES") == "" {
		t.Skip("TARN_TIMES is not set")
	}
	dir := func() objstore.Store {
		d, err := objstore.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	srv := s3test.New(t, "lake")
	stores := map[string]objstore.Store{"folder": dir(), "S3": srv.Open(t, "lake", "tarn")}
	const files, size = 64, 8 << 20
	for name, store := range stores {
		s := newScene(t, store)
		ch := s.a.Change()
		for i := range files {
			f := lake.File{Key: fmt.Sprintf("%s/data/%06d.parquet", s.a.ID.Root(), i), Rows: 1000, Bytes: size}
			b := make([]byte, size)
			_, _ = rand.Read(b) // never fails
			if _, err := store.Put(t.Context(), f.Key, b); err != nil {
				t.Fatal(err)
			}
			ch.AddData = append(ch.AddData, f)
		}
		if err := s.cat.Publish(t.Context(), lake.Publication{LSN: 0x400, Timeline: 1, SystemID: 7, Tables: []lake.TableChange{ch}}); err != nil {
			t.Fatal(err)
		}
		for to, target := range map[string]export.Target{
			"the same store": {Store: store, Root: "exports/a"}, "another folder": {Store: dir()}, "another prefix of the bucket": {Store: srv.Open(t, "lake", "other-"+name)},
		} {
			began := time.Now()
			r, err := s.export(target, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s to %s: %s for %d files of %d MiB, %d MiB through tarn", name, to, time.Since(began).Round(time.Millisecond), r.DataFiles, r.Bytes>>20, r.StreamedBytes>>20)
		}
		began := time.Now()
		if _, err := s.export(export.Target{Store: store, Root: "exports/small"}, 0x300); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s, metadata and three small files: %s", name, time.Since(began).Round(time.Millisecond))
	}
}
