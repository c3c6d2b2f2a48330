package server

import (
	"context"
	"errors"
	"testing"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// A resync's stage outlives the process, and what is not one is refused.
func TestResyncStage(t *testing.T) {
	ctx, store := context.Background(), objstore.NewMem()
	load := func() (resyncStage, error) {
		s := &Server{store: store}
		return s.stage, s.loadResync(ctx)
	}
	s := &Server{store: store}
	for _, stage := range []resyncStage{resyncCopy, resyncTables, resyncNone, resyncNone, resyncCopy} {
		if err := s.resyncAt(ctx, stage); err != nil {
			t.Fatal(err)
		}
		next := &Server{store: store}
		if err := next.loadResync(ctx); err != nil || next.stage != stage {
			t.Fatalf("stage %d came back as %d, %v", stage, next.stage, err)
		}
	}
	good := encodeResync(resyncCopy)
	newer := append([]byte(nil), good...)
	newer[8]++
	unknown := append([]byte(nil), good...)
	unknown[10] = 7
	for name, b := range map[string][]byte{"empty": nil, "cut": good[:15], "longer": append(good, 0), "newer": newer, "stage": unknown} {
		if _, err := store.Put(ctx, resyncKey, b); err != nil {
			t.Fatal(err)
		}
		if _, err := load(); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
