package pageserver

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// noWAL is an archive that nobody may ask.
type noWAL struct{}

func (noWAL) SegmentSize() int64 { return 16 << 20 }

func (noWAL) ReadAt(context.Context, pg.LSN, []byte) (int, error) {
	return 0, errors.New("WAL is not needed here")
}

// TestSnapshotOfTruncations: what truncations leave of a map's last page is there at each LSN, though no record holds it: also of those
// noted while a flush was under way that failed.
func TestSnapshotOfTruncations(t *testing.T) {
	ctx := context.Background()
	store := objstore.NewFaulty(objstore.NewMem())
	tl := importPages(t, Options{Store: store, History: History{Window: time.Hour}, WAL: noWAL{}}, 12)
	defer tl.Close()
	clock := time.Now()
	tl.flusher.now = func() time.Time { clock = clock.Add(10 * time.Minute); return clock } // else points are thinned out, and their images go
	bits := ofFork(fpi(tl.nextLSN(), 0, testRel, 1, 0), pg.VMFork)
	for i := pg.PageHeaderSize; i < pg.BlockSize; i++ {
		bits.Blocks[0].Image[i] = 0xFF
	}
	apply(t, tl, bits)
	flush(t, tl)
	type state struct {
		lsn    pg.LSN
		blocks pg.BlockNumber
		page   []byte
	}
	var states []state
	note := func() {
		t.Helper()
		page, err := tl.Page(ctx, testRel, pg.VMFork, 0)
		n, _, err2 := tl.NBlocks(ctx, testRel, pg.MainFork)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		states = append(states, state{tl.RedoLSN(), n, bytes.Clone(page)})
	}
	note()
	cut := func(n uint32) {
		t.Helper()
		apply(t, tl, truncate(tl, testRel, n))
		note()
	}
	cut(9)
	store.Inject(objstore.Fault{Op: objstore.OpPutStream, Contains: deltasFolder, Latency: 100 * time.Millisecond, Err: objstore.ErrInjected, Times: 1})
	wait := tl.StartFlush(ctx)
	cut(7)
	// A frame that is given to another page while the flush is under way is listed twice among those that have changed.
	gone, other := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 98}, pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 99}
	apply(t, tl, fpi(tl.nextLSN(), 0, other, 1, 0, 1, 2))
	apply(t, tl, fpi(tl.nextLSN(), 0, gone, 1, 0))
	apply(t, tl, commit(tl, 1001, gone))
	bits = ofFork(fpi(tl.nextLSN(), 0, other, 1, 0), pg.VMFork)
	for i := pg.PageHeaderSize; i < pg.BlockSize; i++ {
		bits.Blocks[0].Image[i] = 0xFF
	}
	apply(t, tl, bits)
	if err := wait(); !errors.Is(err, objstore.ErrInjected) {
		t.Fatalf("a flush that cannot write: %v", err)
	}
	cut(5)
	cut(3)
	apply(t, tl, truncate(tl, other, 1))
	others, err := tl.Page(ctx, other, pg.VMFork, 0)
	if err != nil {
		t.Fatal(err)
	}
	others = bytes.Clone(others)
	flush(t, tl)
	last := tl.ResumeLSN()
	apply(t, tl, ofFork(fpi(tl.nextLSN(), 0, testRel, 2, 0), pg.VMFork))
	flush(t, tl)
	mergeAll(t, tl)
	page := make([]byte, pg.BlockSize)
	for i, want := range states {
		s, err := tl.Snapshot(want.lsn)
		if err != nil {
			t.Fatal(err)
		}
		ok, err := s.Page(ctx, testRel, pg.VMFork, 0, page)
		if !ok || err != nil || !bytes.Equal(page, want.page) {
			t.Errorf("state %d: the page differs (%v): %v", i, ok, err)
		}
		if n, _, err := s.NBlocks(ctx, testRel, pg.MainFork); n != want.blocks || err != nil {
			t.Errorf("state %d: %d blocks, want %d: %v", i, n, want.blocks, err)
		}
		if i > 0 && bytes.Equal(want.page, states[i-1].page) {
			t.Errorf("state %d is the one before", i)
		}
	}
	// Not by the image of the flush: by what the delta layer has.
	s, err := tl.Snapshot(last)
	if err != nil {
		t.Fatal(err)
	}
	s.layers = newLayerSet((*s.layers)[1:])
	if ok, err := s.Page(ctx, other, pg.VMFork, 0, page); !ok || err != nil || !bytes.Equal(page, others) {
		t.Errorf("a page in a frame that was listed twice differs (%v): %v", ok, err)
	}
	if _, err := tl.Snapshot(tl.ResumeLSN() + 1); !errors.Is(err, ErrNotFlushed) {
		t.Errorf("behind the last flush: %v", err)
	}
	if _, err := tl.Snapshot(1); !errors.Is(err, ErrBeforeHistory) {
		t.Errorf("before history: %v", err)
	}
	// Without the layer that leads there.
	tl.flusher.mu.Lock()
	c := tl.flusher.authority.contents
	c.deltas = c.deltas[len(c.deltas)-1:]
	err = tl.flusher.authority.replace(ctx, tl.flusher.authority.index, c)
	tl.flusher.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tl.Snapshot(states[2].lsn); !errors.Is(err, ErrNotInDeltas) {
		t.Errorf("where no delta layer leads: %v", err)
	}
}

// TestIndexOfCopies: a copy of a database that was merged away at the LSN it was made at is in the index, and can be read from it. Of
// other layers that would be damage.
func TestIndexOfCopies(t *testing.T) {
	l := *importPages(t, Options{Store: objstore.NewMem()}, 1).flusher.authority.layers[0]
	l.until = l.since
	for _, l.copied = range []bool{false, true} {
		back, err := layerObjects(indexLayers([]*layerObject{&l}))
		if l.copied != (err == nil && len(back) == 1 && back[0].copied && back[0].until == l.since) {
			t.Errorf("copied %v: %v", l.copied, err)
		}
	}
}
