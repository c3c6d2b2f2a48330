package pageserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// ofFork moves a record's blocks to another fork.
func ofFork(rec *wal.Record, num pg.ForkNumber) *wal.Record {
	for i := range rec.Blocks {
		rec.Blocks[i].Fork = num
	}
	return rec
}

// indexed gives the images of a record a special space, as the pages of indexes and sequences have one.
func indexed(rec *wal.Record, rel pg.RelFileLocator) *wal.Record {
	for i := range rec.Blocks {
		rec.Blocks[i].Rel = rel
		binary.LittleEndian.PutUint16(rec.Blocks[i].Image[16:], pg.BlockSize-16)
	}
	return rec
}

// TestFreeSpaceMap: images of a free space map are kept and copied, a truncation forgets what it says of blocks that are cut,
// and a record that names its pages without an image is none of its business. One that is not there is no one's problem.
func TestFreeSpaceMap(t *testing.T) {
	ctx := context.Background()
	tl := importPages(t, Options{Store: objstore.NewMem()}, 4)
	other := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 99}
	apply(t, tl, create(tl, other))
	apply(t, tl, truncate(tl, other, 0))
	if n, ok, err := tl.NBlocks(ctx, other, pg.FSMFork); n != 0 || ok || err != nil {
		t.Errorf("a map that was never made has %d blocks, %v, %v", n, ok, err)
	}
	rec := ofFork(fpi(tl.nextLSN(), 0, testRel, 1, 0, 1, 2, 3), pg.FSMFork)
	for i := range rec.Blocks {
		image := rec.Blocks[i].Image
		for at := pg.PageHeaderSize + 4; at < pg.BlockSize; at++ {
			image[at] = 9
		}
	}
	apply(t, tl, rec)
	hint := ofFork(fpi(tl.nextLSN(), 0, testRel, 2, 3), pg.FSMFork)
	hint.Info, hint.Blocks[0].HasImage, hint.Blocks[0].ApplyImage = xlrec.XLogFPIForHint, false, false
	apply(t, tl, hint)
	slot := func(tl *Timeline, rel pg.RelFileLocator, heap int) int {
		page, err := tl.Page(ctx, rel, pg.FSMFork, redo.FSMBlock(pg.BlockNumber(heap)))
		if err != nil {
			t.Fatal(err)
		}
		if page == nil {
			return -1
		}
		return int(page[pg.PageHeaderSize+4+pg.BlockSize/2-1+heap%redo.FSMPerPage])
	}
	copied := pg.RelFileLocator{Spc: 1663, DB: 6, Rel: testRel.Rel}
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 1, 4500))
	apply(t, tl, record(tl, wal.RMDbase, xlrec.DbaseCreateFileCopy, 0, u32s(6, 1663, 5, 1663)))
	check := func(what string, rel pg.RelFileLocator, blocks pg.BlockNumber, want map[int]int) {
		t.Helper()
		if n, _, err := tl.NBlocks(ctx, rel, pg.FSMFork); n != blocks || err != nil {
			t.Errorf("%s: %d blocks, want %d; %v", what, n, blocks, err)
		}
		for heap, want := range want {
			if got := slot(tl, rel, heap); got != want {
				t.Errorf("%s: heap block %d has %d, want %d", what, heap, got, want)
			}
		}
	}
	cut := truncate(tl, testRel, 4400)
	apply(t, tl, cut)
	for range 2 {
		check("cut", testRel, 4, map[int]int{0: 9, 4068: 9, 4069: 9, 4399: 9, 4400: 0, 8000: 0})
		check("copy", copied, 4, map[int]int{4399: 9, 4400: 9})
		flush(t, tl)
		tl = reopen(t, tl)
	}
	apply(t, tl, truncate(tl, testRel, redo.FSMPerPage))
	check("cut where a page ends", testRel, 3, map[int]int{0: 9, redo.FSMPerPage - 1: 9, redo.FSMPerPage: -1})
	if page, _ := tl.Page(ctx, testRel, pg.FSMFork, 2); page[pg.PageHeaderSize+4] != 9 {
		t.Error("a page that stays whole has changed")
	}
	_ = tl.Close()
}

// TestInitForks: what an unlogged relation is reset to is kept, its pages as they come.
func TestInitForks(t *testing.T) {
	ctx := context.Background()
	tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
	rel := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 300}
	rec := create(tl, rel)
	binary.LittleEndian.PutUint32(rec.Main[12:], uint32(pg.InitFork))
	apply(t, tl, rec, ofFork(indexed(fpi(tl.nextLSN()+0x80, 0, rel, 3, 0), rel), pg.InitFork))
	for range 2 {
		page, err := tl.Page(ctx, rel, pg.InitFork, 0)
		n, ok, _ := tl.NBlocks(ctx, rel, pg.InitFork)
		if err != nil || page == nil || n != 1 || !ok || !bytes.Contains(page, []byte("block 0 version 3")) {
			t.Errorf("%d blocks, %v, %v", n, ok, err)
		}
		if _, ok, _ := tl.NBlocks(ctx, rel, pg.MainFork); ok {
			t.Error("it has a main fork")
		}
		flush(t, tl)
		tl = reopen(t, tl)
	}
	apply(t, tl, commit(tl, 1001, rel))
	if _, ok, _ := tl.NBlocks(ctx, rel, pg.InitFork); ok {
		t.Error("it is dropped and has an init fork")
	}
	_ = tl.Close()
}

// TestDirtySetIsOfHeaps: no block of an index or a sequence gets into the dirty set or the list of a transaction: not by a
// record of its own manager, an image, a truncation, or a copy of its database.
func TestDirtySetIsOfHeaps(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 2)
	defer tl.Close()
	tl.TakeDirty()
	tl.Published()
	index := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 400}
	apply(t, tl, create(tl, index), indexed(fpi(tl.nextLSN()+0x80, 1001, index, 1, 0, 1, 2), index))
	for _, rmid := range []wal.RMID{wal.RMBtree, wal.RMHash, wal.RMGin, wal.RMGist, wal.RMSeq, wal.RMSpgist, wal.RMBrin, wal.RMGeneric, 130} {
		rec := indexed(fpi(tl.nextLSN(), 1001, index, 2, 1), index)
		rec.RMID, rec.Info = rmid, 0
		apply(t, tl, rec)
	}
	hint := indexed(fpi(tl.nextLSN(), 1001, index, 2, 1), index)
	hint.Info = xlrec.XLogFPIForHint
	apply(t, tl, hint)
	apply(t, tl, ofFork(fpi(tl.nextLSN(), 1001, testRel, 1, 0), pg.VMFork), ofFork(fpi(tl.nextLSN()+0x100, 1001, testRel, 1, 0), pg.FSMFork))
	apply(t, tl, truncate(tl, index, 1))
	if s := tl.Stats(); s.DirtyBlocks != 0 || s.OpenXIDs != 0 || len(tl.dirty) != 0 || s.Opaque != 0 {
		t.Errorf("%d dirty blocks, %d open transactions, %d dirty relations, %d opaque", s.DirtyBlocks, s.OpenXIDs, len(tl.dirty), s.Opaque)
	}
	if n, _, err := tl.NBlocks(context.Background(), index, pg.MainFork); n != 1 || err != nil {
		t.Errorf("the index has %d blocks, %v", n, err)
	}
	apply(t, tl, record(tl, wal.RMDbase, xlrec.DbaseCreateFileCopy, 0, u32s(6, 1663, 5, 1663)))
	var got []string
	for loc := range tl.dirty {
		got = append(got, loc.String())
	}
	if fmt.Sprint(got) != "[1663/6/16384]" {
		t.Errorf("dirty after the copy of a database: %v", got)
	}
	apply(t, tl, truncate(tl, testRel, 1))
	if d := tl.dirty[testRel]; d == nil || !d.Truncated || d.Blocks.GetCardinality() != 1 {
		t.Errorf("a heap that is cut: %+v", d)
	}
}

// TestCustomManagers: records of extensions' managers are followed by their images. Without one the relation is given up, that
// one alone, until it is made anew.
func TestCustomManagers(t *testing.T) {
	ctx := context.Background()
	tl := importPages(t, Options{Store: objstore.NewMem()}, 4)
	for i, rmid := range []wal.RMID{wal.RMCustomMin, 200, 255} {
		rel := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: pg.OID(500 + i)}
		custom := func(version int, image bool, blocks ...pg.BlockNumber) *wal.Record {
			rec := fpi(tl.nextLSN(), 1001, rel, version, blocks...)
			rec.RMID, rec.Info, rec.Main = rmid, 0xF3, []byte("anything")
			for i := range rec.Blocks {
				b := &rec.Blocks[i]
				if !image {
					b.HasImage, b.ApplyImage, b.Image, b.HasData, b.Data = false, false, nil, true, []byte("data")
				}
				b.WillInit = !image && i%2 == 1
			}
			return rec
		}
		bare := custom(1, true)
		bare.Blocks = nil
		apply(t, tl, bare)
		apply(t, tl, custom(1, true, 0, 1))
		apply(t, tl, custom(2, true, 1))
		if v, w := pageVersion(t, tl, rel, 0), pageVersion(t, tl, rel, 1); v != 1 || w != 2 || tl.Opaque(rel) {
			t.Errorf("manager %d: versions %d and %d, opaque %v", rmid, v, w, tl.Opaque(rel))
		}
		// One record of two relations, one of them by image.
		rec := custom(3, false, 0, 1)
		rec.Blocks = append(rec.Blocks, fpi(0, 0, testRel, 10+i, 2).Blocks...)
		rec.Blocks[2].ID = 2
		apply(t, tl, rec)
		apply(t, tl, custom(4, true, 0)) // too late
		for range 2 {
			if _, err := tl.Page(ctx, rel, 0, 0); !errors.Is(err, ErrOpaque) || !tl.Opaque(rel) {
				t.Errorf("manager %d: %v", rmid, err)
			}
			if v := pageVersion(t, tl, testRel, 2); v != 10+i {
				t.Errorf("manager %d: the rest has version %d", rmid, v)
			}
			flush(t, tl)
			tl = reopen(t, tl)
		}
		apply(t, tl, commit(tl, 1001, rel))
		apply(t, tl, create(tl, rel))
		apply(t, tl, custom(5, true, 0))
		if v := pageVersion(t, tl, rel, 0); v != 5 || tl.Opaque(rel) || tl.Stats().Opaque != 0 {
			t.Errorf("manager %d: made anew, version %d", rmid, v)
		}
	}
	_ = tl.Close()
}

// TestManyBlocks: records of as many blocks as there can be, in the least memory, with a store that has to be waited for.
func TestManyBlocks(t *testing.T) {
	store := objstore.NewFaulty(objstore.NewMem())
	tl := importPages(t, Options{Store: store, MemoryBytes: 32 << 20}, 1)
	defer tl.Close()
	index := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 400}
	const n, each = 400, 33
	store.Inject(objstore.Fault{Op: objstore.OpPutStream, Times: 3, Err: objstore.ErrInjected})
	for i := range n {
		var blocks []pg.BlockNumber
		for j := range each {
			blocks = append(blocks, pg.BlockNumber((i*each*7+j*5)%(n*each)))
		}
		apply(t, tl, indexed(fpi(tl.nextLSN(), 0, index, i, blocks...), index))
		if s := tl.Stats(); s.ResidentBytes > 24<<20 {
			t.Fatalf("record %d: %d bytes resident", i, s.ResidentBytes)
		}
	}
	if s := tl.Stats(); s.Flushes == 0 || s.Pages != n*each || s.DirtyBlocks != 0 {
		t.Errorf("%d flushes, %d pages, %d dirty blocks", s.Flushes, s.Pages, s.DirtyBlocks)
	}
}

// TestManyDrops: a commit that drops tens of thousands of relations, and a flush after one change to as many, cost what
// they change.
func TestManyDrops(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
	defer tl.Close()
	var rels []pg.RelFileLocator
	for i := range 30_000 {
		rels = append(rels, pg.RelFileLocator{Spc: 1663, DB: 5, Rel: pg.OID(20_000 + i)})
		apply(t, tl, create(tl, rels[i]))
	}
	flush(t, tl)
	apply(t, tl, fpi(tl.nextLSN(), 0, rels[7], 1, 0))
	if wait := tl.StartFlush(context.Background()); len(tl.flush.entries) > 8 || wait() != nil {
		t.Errorf("%d values for one page", len(tl.flush.entries))
	}
	apply(t, tl, commit(tl, 1001, rels...))
	flush(t, tl)
	if n := tl.Stats().Relations; n != 1 {
		t.Errorf("%d relations", n)
	}
}
