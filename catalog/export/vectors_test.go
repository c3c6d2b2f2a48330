package export_test

import (
	"slices"
	"testing"

	"github.com/tarn-db/tarn/catalog/export"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestExportVectors: a table of format version 3 is exported in version 2, with the rows that its deletion vectors leave.
func TestExportVectors(t *testing.T) {
	store := objstore.NewMem()
	s := newScene(t, store)
	s.a.Format = lake.FormatV3
	ch := s.a.Change()
	vectors, gone, err := s.a.DeleteVectors(t.Context(), 3, 7)
	if err != nil || len(vectors) < 3 {
		t.Fatal(vectors, err)
	}
	ch.AddVectors, ch.RemoveDeletes = vectors, gone
	s.publish(0x400, ch, nil, nil)
	target := export.Target{Store: store, Root: "exports/v3"}
	rep, err := s.export(target, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []int64{4, 8}
	if got := s.read(store, target.Root); !slices.Equal(got, want) || rep.Rows != 2 || rep.DeleteFiles != 1 {
		t.Errorf("got %v, want %v: %+v", got, want, rep)
	}
}
