package pageserver

import (
	"context"
	"errors"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/slru"
	"github.com/tarn-db/tarn/pageserver/verify"
)

// plantedFaults breaks what straight and crashes rely on, at the end of a corpus, and expects their checks to notice.
func (c *corpus) plantedFaults(t *testing.T) {
	ctx := context.Background()
	tl := c.importBase(t, Options{Store: objstore.NewMem(), MemoryBytes: 64 << 20})
	defer tl.Close()
	lk := lake{}
	consistent := 0 // records before the base is one
	total, _ := c.applyAll(t, tl, func(*wal.Record) bool {
		if tl.RedoLSN() < tl.ConsistentLSN() {
			consistent++
		}
		return false
	})
	_ = tl.Close()
	at, n := consistent+(total-consistent)*2/3, 0
	tl = c.importBase(t, Options{Store: objstore.NewMem(), MemoryBytes: 64 << 20})
	c.applyAll(t, tl, func(rec *wal.Record) bool {
		n++
		if n == at {
			if err := lk.publish(tl, tl.TakeDirty()); err != nil {
				t.Fatal(err)
			}
			tl.Published()
		}
		return false
	})
	// A dirty set that lacks what changed.
	kept := tl.TakeDirty()
	if err := lk.publish(tl, DirtySet{}); err != nil {
		t.Fatal(err)
	}
	if err := lk.check(tl); err == nil {
		t.Error("a publication without the dirty set was found right")
	}
	if err := lk.publish(tl, kept); err != nil {
		t.Fatal(err)
	}
	if err := lk.check(tl); err != nil {
		t.Error(err)
	}

	// A byte of a resident tuple, and a bit of the commit log.
	var id frameID
	for path, tids := range c.tids {
		f := tl.rels[locator(t, path)].forks[pg.MainFork].Load()
		if f != nil && len(tids) > 100 { // a table with rows on pages that redo has touched
			f.frames(0, func(_ pg.BlockNumber, resident frameID) {
				if _, ok := tl.arena.page(resident).Tuple(1); ok {
					id = resident
				}
			})
		}
	}
	if id == 0 {
		t.Fatal("no page of a table is resident")
	}
	page := tl.arena.page(id)
	page[page.Item(1).Offset()] ^= 0x10 // an xmin
	final, err := verify.ComparePages(ctx, c.final, func(f datadir.Fork, blk pg.BlockNumber, dst pg.Page) (bool, error) {
		p, err := tl.Page(ctx, f.Rel, f.Fork, blk)
		clear(dst)
		copy(dst, p)
		return !tl.Opaque(f.Rel), unlessOpaque(err)
	}, nil)
	if err != nil || final.Differ == 0 {
		t.Errorf("a byte of a page changed, and %d pages differ: %v", final.Differ, err)
	}
	clog := tl.slruFork(slru.CLOG)
	clog.frames(0, func(_ pg.BlockNumber, id frameID) { clear(tl.arena.page(id)) })
	tl.memo.Store(nil)
	if err := lk.check(tl); err == nil {
		t.Error("an empty commit log was not noticed")
	}
}

// unlessOpaque passes over relations whose pages are not known.
func unlessOpaque(err error) error {
	if errors.Is(err, ErrOpaque) {
		return nil
	}
	return err
}
