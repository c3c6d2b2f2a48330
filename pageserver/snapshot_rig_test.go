package pageserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/slru"
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

// TestDeltasKept: delta layers stay as long as the window or a branch needs them, and copies of databases with them.
func TestDeltasKept(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	var c contents
	for i := range 10 { // a point an hour, and a delta layer from each to the next
		c.points = append(c.points, point{LSN: pg.LSN(100 + 100*i), State: fmt.Sprint("s", i), Made: now.Add(time.Duration(i-10) * time.Hour)})
		c.deltas = append(c.deltas, &layerObject{Name: fmt.Sprint("d", i), from: pg.LSN(100 + 100*i), LSN: pg.LSN(200 + 100*i)})
		c.retired = append(c.retired, &layerObject{Name: fmt.Sprint("copy", i), LSN: pg.LSN(150 + 100*i), since: pg.LSN(150 + 100*i), until: pg.LSN(160 + 100*i), copied: true})
	}
	head := point{LSN: 1100, State: "head", Made: now}
	for _, test := range []struct {
		h        History
		branches []Branch
		want     []int // delta layers, by number
	}{
		{History{Window: 100 * time.Hour}, nil, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{History{Window: 150 * time.Minute}, nil, []int{7, 8, 9}},
		{History{Window: 100 * time.Hour, BytesMax: 250}, nil, []int{7, 8, 9}},
		{History{Window: 150 * time.Minute}, []Branch{{Name: "b", LSN: 350}}, []int{2, 7, 8, 9}},
		{History{}, nil, nil},
		{History{}, []Branch{{Name: "b", LSN: 350}}, []int{2}},
	} {
		kept := c
		kept.prune(test.h, head, test.branches)
		var got []int
		for i, d := range c.deltas {
			has := slices.Contains(kept.deltas, d)
			if has {
				got = append(got, i)
			}
			if slices.Contains(kept.retired, c.retired[i]) != has {
				t.Errorf("%+v: the copy that delta layer %d leads over stays: %v, the layer: %v", test.h, i, !has, has)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v, branches %v: delta layers %v stay, want %v", test.h, test.branches, got, test.want)
		}
	}
}

// changingWAL is WAL whose bytes are of another history with each read.
type changingWAL struct{ reads byte }

func (*changingWAL) SegmentSize() int64 { return 16 << 20 }

func (w *changingWAL) ReadAt(_ context.Context, _ pg.LSN, dst []byte) (int, error) {
	w.reads++
	for i := range dst {
		dst[i] = w.reads
	}
	return len(dst), nil
}

// TestWALBehindHead: WAL that a promotion may replace is read afresh; only what pages have been made durable from is cached.
func TestWALBehindHead(t *testing.T) {
	const head = 3*walPart + walPart/2
	w := newWALReader(&changingWAL{}, newCache(1<<20), func() pg.Major { return pg.PG18 }, func() pg.LSN { return head })
	for start, cached := range map[pg.LSN]bool{2 * walPart: true, 3 * walPart: false, 4 * walPart: false} {
		first, err := w.part(context.Background(), start)
		if err != nil {
			t.Fatal(err)
		}
		b := first[0]
		again, err := w.part(context.Background(), start)
		if err != nil || (again[0] == b) != cached {
			t.Errorf("the part at %s: %d, then %d, cached should be %v (%v)", start, b, again[0], cached, err)
		}
	}
}

// TestSnapshotWhereHistoryBegins: at its first point nothing leads there any more; which pages of SLRUs exist is then what the delta layer begins with.
func TestSnapshotWhereHistoryBegins(t *testing.T) {
	ctx := context.Background()
	tl := importPages(t, Options{Store: objstore.NewMem(), History: History{Window: time.Hour}, WAL: noWAL{}}, 12)
	defer tl.Close()
	clock := time.Now()
	tl.flusher.now = func() time.Time { clock = clock.Add(10 * time.Minute); return clock } // else the point is thinned out
	const page = 3
	apply(t, tl, record(tl, wal.RMClog, 0, 0, binary.LittleEndian.AppendUint32(nil, page)))
	flush(t, tl)
	first := tl.ResumeLSN()
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 1, 3))
	flush(t, tl)
	f := &tl.flusher
	c := f.authority.contents
	c.deltas = c.deltas[1:]
	if err := f.authority.replace(ctx, f.authority.index, c); err != nil {
		t.Fatal(err)
	}
	s, err := tl.Snapshot(first)
	if err != nil {
		t.Fatal(err)
	}
	want := tl.SLRUPages(slru.CLOG)
	if got, err := s.SLRUPages(ctx, slru.CLOG); err != nil || len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if ok, err := s.SLRUPage(ctx, slru.CLOG, page, make([]byte, pg.BlockSize)); !ok || err != nil {
		t.Errorf("page %d: there %v, %v", page, ok, err)
	}
}
