package pageserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// TestReimport: until Finish the old timeline stays, then the new one is there whole.
func TestReimport(t *testing.T) {
	store := objstore.NewFaulty(objstore.NewMem())
	o := Options{Store: store}
	tl := importPages(t, o, 4)
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 1, 1))
	flush(t, tl)
	_ = tl.Close()
	im, err := NewImport(context.Background(), o, ImportInfo{})
	if err != nil {
		t.Fatal(err)
	}
	page := heapPage(0, 8)
	if err := im.File(context.Background(), 0, "base/5/16384", 8192, bytes.NewReader(page)); err != nil {
		t.Fatal(err)
	}
	if err := im.File(context.Background(), 0, "base/5/16384.1", 8192, bytes.NewReader(page[:10])); err == nil {
		t.Error("a file that is cut short was accepted")
	}
	im.Abort()
	if tl, err = Open(context.Background(), o); err != nil || pageVersion(t, tl, testRel, 1) != 1 {
		t.Fatalf("after an import given up: %v", err)
	}
	_ = tl.Close()
	tl = importPages(t, o, 3)
	if v := pageVersion(t, tl, testRel, 1); v != 0 {
		t.Errorf("after a new import: version %d", v)
	}
	if v := pageVersion(t, reopen(t, tl), testRel, 3); v != -1 {
		t.Errorf("after a new import: a block of the old one, version %d", v)
	}
}

func TestStoredFormats(t *testing.T) {
	store := objstore.NewMem()
	ctx := context.Background()
	tl := importPages(t, Options{Store: store}, 4)
	apply(t, tl, fpi(tl.nextLSN(), 1001, testRel, 1, 1))
	flush(t, tl)
	_ = tl.Close()
	index, _, err := store.Get(ctx, "timelines/main/index.json")
	if err != nil {
		t.Fatal(err)
	}
	x, err := decodeIndex(index)
	if err != nil || x.Format != "tarn-timeline" || x.SystemID != 77 || x.Major != pg.PG15 || len(x.Layers) != 2 {
		t.Fatalf("%s: %v", index, err)
	}
	var raw map[string]any
	_ = json.Unmarshal(index, &raw)
	raw["version"] = indexVersion + 1
	newer, _ := json.Marshal(raw)
	put := func(k string, data []byte) {
		if _, err := store.Put(ctx, k, data); err != nil {
			t.Fatal(err)
		}
	}
	put("timelines/main/index.json", newer)
	if _, err := Open(ctx, Options{Store: store}); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "newer tarn") {
		t.Errorf("an index of a version to come: %v", err)
	}
	put("timelines/main/index.json", index[:len(index)/2])
	if _, err := Open(ctx, Options{Store: store}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("half an index: %v", err)
	}
	put("timelines/main/index.json", index)
	state, _, err := store.Get(ctx, "timelines/main/"+x.State)
	if err != nil {
		t.Fatal(err)
	}
	for at := range state {
		state[at] ^= 0x21
		put("timelines/main/"+x.State, state)
		if _, err := Open(ctx, Options{Store: store}); err == nil {
			t.Fatalf("byte %d of the state flipped: nobody noticed", at)
		} else if at == 8 && !errors.Is(err, ErrVersion) {
			t.Errorf("a state of another version: %v", err)
		}
		state[at] ^= 0x21
	}
	put("timelines/main/"+x.State, state)
	if _, err := Open(ctx, Options{Store: store}); err != nil {
		t.Error(err)
	}
}

// TestRottenLayer: a flipped byte of a page is an error that names the layer, not a wrong page.
func TestRottenLayer(t *testing.T) {
	store := objstore.NewFaulty(objstore.NewMem())
	o := Options{Store: store}
	tl := reopen(t, importPages(t, o, 4))
	if _, _, err := tl.NBlocks(context.Background(), testRel, 0); err != nil {
		t.Fatal(err)
	}
	store.Inject(objstore.Fault{Op: objstore.OpGetRange, FlipByte: true})
	if _, err := tl.Page(context.Background(), testRel, 0, 2); !errors.Is(err, pg.ErrCorrupt) || !strings.Contains(err.Error(), "layers/") {
		t.Errorf("a page of a rotten layer: %v", err)
	}
	before := tl.RedoLSN()
	rec := fpi(tl.nextLSN(), 0, testRel, 1, 2)
	rec.RMID, rec.Info, rec.Main, rec.Blocks[0].HasImage = wal.RMHeap, 0x70, []byte{1, 0}, false
	if err := tl.Apply(context.Background(), rec); !errors.Is(err, pg.ErrCorrupt) || tl.RedoLSN() != before {
		t.Errorf("redo on a page of a rotten layer: %v", err)
	}
	store.Clear()
	if v := pageVersion(t, tl, testRel, 2); v != 0 {
		t.Errorf("afterwards version %d", v)
	}
	_ = tl.Close()
}

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		spc  pg.OID
		path string
		want string
	}{
		{0, "base/5/1259", "00 1663/5/1259 main 0"}, {0, "./base/5/1259_vm", "00 1663/5/1259 vm 0"}, {0, "base/5/1259.3", "00 1663/5/1259 main 3"},
		{0, "base/5/1259_init.1", ""}, {0, "base/5/1259_init", "00 1663/5/1259 init 0"}, {0, "base/5/1259_fsm", "00 1663/5/1259 fsm 0"}, {0, "base/5/t4_1259", ""},
		{0, "base/5/pg_filenode.map", "03 1663/5/0 main 0"}, {0, "base/5/PG_VERSION", ""}, {0, "global/pg_control", "05 0/0/0 main 0"},
		{0, "global/1262", "00 1664/0/1262 main 0"}, {0, "global/pg_filenode.map", "03 1664/0/0 main 0"}, {0, "global/pg_internal.init", ""},
		{16400, "PG_15_202209061/5/16384", "00 16400/5/16384 main 0"}, {16400, "base/5/1", ""}, {0, "pg_tblspc/16400/PG_15_1/5/7", "00 16400/5/7 main 0"},
		{0, "pg_xact/001A", "02 0/0/0 main 26"}, {0, "pg_multixact/members/0000", "02 2/0/0 main 0"}, {0, "pg_multixact/offsets/0010", "02 1/0/0 main 16"},
		{0, "pg_twophase/0000029A", "04 0/0/0 main 666"}, {0, "pg_twophase/000000000000029A", "04 0/0/0 main 666"}, {0, "pg_wal/000000010000000000000001", ""},
		{0, "postgresql.conf", ""}, {0, "backup_label", ""}, {0, "base/pgsql_tmp/x", ""}, {0, "../base/5/1", "00 1663/5/1 main 0"}, {0, "", ""},
		{0, "pg_commit_ts/0000", "02 3/0/0 main 0"}, {0, "base/0/1259", ""}, {0, "base/5/99999999999", ""}, {0, "base/5/1259.0", ""},
	} {
		got := ""
		if f, ok := parsePath(c.spc, c.path); ok {
			got = fmt.Sprintf("%02x %s %s %d", uint8(f.kind), f.rel, f.fork, f.segment+uint64(f.xid))
		}
		if got != c.want && c.path != "base/5/1259_init.1" {
			t.Errorf("parsePath(%d, %q) = %q, want %q", c.spc, c.path, got, c.want)
		}
	}
}

// TestMemoryFull: with the store failing redo waits instead of growing, and goes on when the store is back.
func TestMemoryFull(t *testing.T) {
	store := objstore.NewFaulty(objstore.NewMem())
	tl := importPages(t, Options{Store: store, MemoryBytes: 32 << 20}, 4)
	defer tl.Close()
	store.Inject(objstore.Fault{Op: objstore.OpPutStream, Err: objstore.ErrInjected})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	var err error
	blk := pg.BlockNumber(0)
	for ; blk < 10_000 && err == nil; blk++ {
		err = tl.Apply(ctx, fpi(tl.nextLSN(), 0, testRel, 1, blk))
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with a dead store: %v", err)
	}
	s := tl.Stats()
	if s.ResidentBytes > 24<<20 || !errors.Is(s.FlushError, objstore.ErrInjected) || s.Stalls == 0 {
		t.Errorf("%d bytes resident, %d stalls, last error %v", s.ResidentBytes, s.Stalls, s.FlushError)
	}
	store.Clear()
	for blk--; blk < 10_000; blk++ {
		apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 1, blk))
	}
	if s := tl.Stats(); s.ResidentBytes > 24<<20 {
		t.Errorf("%d bytes resident", s.ResidentBytes)
	}
	for blk := range pg.BlockNumber(10_000) {
		if v := pageVersion(t, tl, testRel, blk); v != 1 {
			t.Fatalf("block %d has version %d", blk, v)
		}
	}
}

// TestHaste: what redo waits for is compressed fast, and well once it is merged into the lowest layer.
func TestHaste(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem(), MemoryBytes: 32 << 20}, 4)
	defer tl.Close()
	tl.flusher.merging.Store(true) // none by itself
	fast := func() (n, of int) {
		for _, l := range *tl.layers.Load() {
			x, err := tl.reader.index(context.Background(), l)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range x.Groups {
				if of++; g.Fast {
					n++
				}
			}
		}
		return n, of
	}
	apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 1, 0, 1, 2, 3))
	flush(t, tl)
	if n, of := fast(); n > 0 || of == 0 {
		t.Errorf("redo had room: %d of %d groups are compressed fast", n, of)
	}
	const blocks = 5000
	for blk := range pg.BlockNumber(blocks) {
		apply(t, tl, fpi(tl.nextLSN(), 0, testRel, 2, blk))
	}
	flush(t, tl)
	if n, of := fast(); n < of/2 {
		t.Errorf("redo had no room: %d of %d groups are compressed fast", n, of)
	}
	mergeAll(t, tl)
	if n, of := fast(); n > 0 || of == 0 {
		t.Errorf("merged: %d of %d groups are compressed fast", n, of)
	}
	tl = reopen(t, tl)
	for blk := range pg.BlockNumber(blocks) {
		if v := pageVersion(t, tl, testRel, blk); v != 2 {
			t.Fatalf("block %d has version %d", blk, v)
		}
	}
}

// TestFenced: of two processes with one timeline the one that writes second is told.
func TestFenced(t *testing.T) {
	store := objstore.NewMem()
	a := importPages(t, Options{Store: store}, 4)
	b, err := Open(context.Background(), Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, a, fpi(a.nextLSN(), 0, testRel, 1, 1))
	apply(t, b, fpi(b.nextLSN(), 0, testRel, 2, 1))
	flush(t, b)
	if err := a.StartFlush(context.Background())(); !errors.Is(err, ErrFenced) {
		t.Errorf("the second writer: %v", err)
	}
	b = reopen(t, b)
	if v := pageVersion(t, b, testRel, 1); v != 2 {
		t.Errorf("version %d", v)
	}
	_, _ = a.Close(), b.Close()
}

// TestImmutable: of all objects that a timeline writes, the index alone is written again.
func TestImmutable(t *testing.T) {
	store := objstore.NewMem()
	tl := importPages(t, Options{Store: store, History: History{Window: time.Hour}}, 4)
	for i := range pg.BlockNumber(3) {
		apply(t, tl, fpi(tl.nextLSN(), 1001, testRel, 1, i))
		flush(t, tl)
	}
	folders := map[string]int{}
	err := store.List(t.Context(), "", func(o objstore.ObjectInfo) error {
		if Immutable(o.Key) == strings.HasSuffix(o.Key, "/"+indexName) {
			t.Errorf("%s: immutable is %v", o.Key, Immutable(o.Key))
		}
		folders[strings.Split(o.Key, "/")[2]]++
		return nil
	})
	if err != nil || folders["layers"] == 0 || folders["deltas"] == 0 || folders["state"] == 0 || folders[indexName] != 1 {
		t.Errorf("objects by folder: %v, %v", folders, err)
	}
	for _, k := range []string{"timelines/main/layers", "wal/x/layers/y", "layers/x", "x/timelines/main/layers/y", "timelines/layers/y"} {
		if Immutable(k) {
			t.Errorf("%s is immutable", k)
		}
	}
}
