package server

import (
	"context"
	"errors"
	"testing"

	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// A resync's stage outlives the process, and what is not one is refused.
func TestResyncStage(t *testing.T) {
	ctx, store := context.Background(), objstore.NewMem()
	load := func() (resyncStage, error) {
		s := &Server{store: store}
		err := s.loadResync(ctx)
		return s.resyncStage(), err
	}
	s := &Server{store: store}
	for _, stage := range []resyncStage{resyncCopy, resyncTables, resyncNone, resyncNone, resyncCopy} {
		if err := s.resyncAt(ctx, stage); err != nil {
			t.Fatal(err)
		}
		next := &Server{store: store}
		if err := next.loadResync(ctx); err != nil || next.resyncStage() != stage {
			t.Fatalf("stage %d came back as %d, %v", stage, next.resyncStage(), err)
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

// What is asked for while another resync ends is not taken away with it, and is durable when it is promised.
func TestResyncAsked(t *testing.T) {
	ctx, store := context.Background(), objstore.NewFaulty(objstore.NewMem())
	s := &Server{store: store, cfg: &config.Config{}, resync: make(chan struct{}, 1)}
	left := func() resyncStage {
		next := &Server{store: store}
		if err := next.loadResync(ctx); err != nil {
			t.Fatal(err)
		}
		return next.resyncStage()
	}
	if err := s.Resync(ctx, "", true); err != nil || left() != resyncCopy {
		t.Fatalf("asked for: %v, stage %d", err, left())
	}
	for _, step := range []struct{ to, want resyncStage }{
		{resyncTables, resyncCopy}, {resyncNone, resyncCopy}, // of the one before
		{resyncCopy, resyncCopy}, {resyncTables, resyncTables}, {resyncNone, resyncNone},
	} {
		if err := s.resyncAt(ctx, step.to); err != nil || left() != step.want {
			t.Fatalf("after stage %d: %v, stage %d", step.to, err, left())
		}
	}
	store.Inject(objstore.Fault{Op: objstore.OpPut, Err: errors.New("store is down")})
	if err := s.Resync(ctx, "", true); err == nil || left() != resyncNone {
		t.Errorf("promised without a note: %v", err)
	}
}
