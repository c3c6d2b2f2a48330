package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

const segSize = 1 << 20

var testBase = Base{SystemID: 7, Timeline: 1, SegmentSize: segSize, LSN: 8 << 20}

// fakeWAL is WAL with the page headers of Postgres 15 around bytes made of their positions.
type fakeWAL struct{ end pg.LSN }

func (w *fakeWAL) CommitLSN() pg.LSN { return w.end }

func (w *fakeWAL) ReadAt(lsn pg.LSN, dst []byte) (int, error) {
	n := int(min(pg.LSN(len(dst)), w.end-lsn))
	copy(dst[:n], walBytes(lsn, n))
	return n, nil
}

func walBytes(lsn pg.LSN, n int) []byte {
	first := lsn &^ (pg.BlockSize - 1)
	b := make([]byte, 0, n+2*pg.BlockSize)
	for at := first; at < lsn+pg.LSN(n); at += pg.BlockSize {
		page := bytes.Repeat([]byte{byte(at >> 13), byte(at >> 21), 0x5A}, pg.BlockSize/3+1)[:pg.BlockSize]
		binary.LittleEndian.PutUint16(page, pg.PG15.WALMagic())
		binary.LittleEndian.PutUint64(page[8:], uint64(at))
		b = append(b, page...)
	}
	return b[lsn-first:][:n]
}

func testCtx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func begin(t *testing.T, store objstore.Store, wal WAL) *Archive {
	t.Helper()
	a, err := Open(testCtx(t), store, wal, 7, func() {})
	if !errors.Is(err, ErrNoBase) {
		t.Fatalf("open of an empty store: %v", err)
	}
	if err := a.Begin(testCtx(t), testBase, nil); err != nil {
		t.Fatal(err)
	}
	return a
}

func reopen(t *testing.T, store objstore.Store, wal WAL) *Archive {
	t.Helper()
	a, err := Open(testCtx(t), store, wal, 7, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// readAll reads the archive in odd pieces and compares it.
func readAll(t *testing.T, a *Archive) {
	t.Helper()
	r := a.NewReader(testCtx(t))
	buf := make([]byte, 70_001)
	for at := a.Base().LSN; at < a.ArchivedLSN(); {
		n, err := r.ReadAt(at, buf)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf[:n], walBytes(at, n)) {
			t.Fatalf("bytes at %s differ", at)
		}
		at += pg.LSN(n)
	}
	if _, err := r.ReadAt(a.ArchivedLSN(), buf); !errors.Is(err, ErrNotArchived) {
		t.Fatalf("behind the end: %v", err)
	}
}

func keys(t *testing.T, store objstore.Store) (out []string) {
	t.Helper()
	if err := store.List(testCtx(t), "", func(o objstore.ObjectInfo) error { out = append(out, o.Key); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestArchive(t *testing.T) {
	dir, err := objstore.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, store := range map[string]objstore.Store{"mem": objstore.NewMem(), "dir": dir} {
		t.Run(name, func(t *testing.T) {
			ctx, wal := testCtx(t), &fakeWAL{end: testBase.LSN + 300_000}
			a := begin(t, store, wal)
			if err := a.Seal(ctx); err != nil || a.ArchivedLSN() != testBase.LSN {
				t.Fatalf("nothing to seal: %s %v", a.ArchivedLSN(), err)
			}
			if err := a.ArchiveTo(ctx, testBase.LSN+1000); err != nil || a.ArchivedLSN() != wal.end {
				t.Fatalf("tail: %s %v", a.ArchivedLSN(), err)
			}
			wal.end += 12345
			if err := a.ArchiveTo(ctx, wal.end); err != nil {
				t.Fatal(err)
			}
			if err := a.ArchiveTo(ctx, wal.end+1); !errors.Is(err, ErrNotArchived) {
				t.Fatalf("beyond what is committed: %v", err)
			}
			a = reopen(t, store, wal)
			if a.ArchivedLSN() != wal.end || a.Base() != testBase {
				t.Fatalf("reopened at %s", a.ArchivedLSN())
			}
			readAll(t, a)
			wal.end = testBase.LSN + 6*segSize + 77
			if err := a.Seal(ctx); err != nil || a.ArchivedLSN() != testBase.LSN+6*segSize {
				t.Fatalf("sealed to %s: %v", a.ArchivedLSN(), err)
			}
			if err := a.ArchiveTo(ctx, wal.end); err != nil {
				t.Fatal(err)
			}
			ks := keys(t, store)
			if len(ks) != 8 || ks[1] != "wal/00000001/000000010000000000000008" && ks[0] != "wal/00000001/000000010000000000000008" {
				t.Fatalf("keys %q", ks)
			}
			for _, k := range ks {
				_, _, sealed, _ := parseKey(k, 1, segSize)
				if Immutable(k) != sealed {
					t.Errorf("%s: immutable is %v", k, Immutable(k))
				}
			}
			for i := range pg.LSN(6) {
				at := testBase.LSN + i*segSize
				b, _, err := store.Get(ctx, segmentKey(1, at, segSize))
				if err != nil || !bytes.Equal(b, walBytes(at, segSize)) {
					t.Fatalf("segment %s: %v", at, err)
				}
			}
			readAll(t, reopen(t, store, wal))
			if _, err := Open(ctx, store, wal, 8, func() {}); !errors.Is(err, ErrForeign) {
				t.Fatalf("another cluster: %v", err)
			}
		})
	}
}

// TestBeginForgets says that a resync at an earlier position does not find what the old history stored there.
// TestManyChunks publishes often with little in it: chunks stay few, also over restarts and puts whose answer was lost, and
// nothing is missing at any moment.
func TestManyChunks(t *testing.T) {
	ctx, wal := testCtx(t), &fakeWAL{end: testBase.LSN}
	store := objstore.NewFaulty(objstore.NewMem())
	a := begin(t, store, wal)
	for i := range 500 {
		wal.end += 100
		if i%150 == 149 {
			store.Inject(objstore.Fault{Op: objstore.OpPut, Times: 1, LoseReply: true})
			if err := a.ArchiveTo(ctx, wal.end); err == nil {
				t.Fatal("a put without an answer went well")
			}
			a = reopen(t, store, wal)
		}
		if err := a.ArchiveTo(ctx, wal.end); err != nil || a.ArchivedLSN() != wal.end {
			t.Fatalf("%s: %s %v", wal.end, a.ArchivedLSN(), err)
		}
		if n := len(keys(t, store)); n > chunksMax+3 {
			t.Fatalf("%d objects after %d publications", n, i+1)
		}
		if i%50 == 0 {
			readAll(t, reopen(t, store, wal))
		}
	}
	readAll(t, a)
	wal.end = testBase.LSN + segSize
	if err := a.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, store); len(got) != 2 { // base and segment
		t.Fatalf("%d objects after sealing: %v", len(got), got)
	}
	readAll(t, reopen(t, store, wal))
}

func TestBeginForgets(t *testing.T) {
	ctx, store, wal := testCtx(t), objstore.NewMem(), &fakeWAL{end: testBase.LSN + 3*segSize + 5}
	a := begin(t, store, wal)
	if err := a.ArchiveTo(ctx, wal.end); err != nil {
		t.Fatal(err)
	}
	again := testBase
	again.LSN += segSize
	if err := a.Begin(ctx, again, nil); err != nil {
		t.Fatal(err)
	}
	if a = reopen(t, store, wal); a.ArchivedLSN() != again.LSN || a.Base() != again {
		t.Fatalf("%s, %+v", a.ArchivedLSN(), a.Base())
	}
}

// TestHoleEndsArchive says that a segment behind a hole, as a crash amid parallel puts leaves it, is not counted.
func TestHoleEndsArchive(t *testing.T) {
	ctx, store, wal := testCtx(t), objstore.NewMem(), &fakeWAL{end: testBase.LSN + 4*segSize}
	a := begin(t, store, wal)
	if err := a.ArchiveTo(ctx, wal.end); err != nil {
		t.Fatal(err)
	}
	hole := testBase.LSN + 2*segSize
	if err := store.Delete(ctx, segmentKey(1, hole, segSize)); err != nil {
		t.Fatal(err)
	}
	if a = reopen(t, store, wal); a.ArchivedLSN() != hole {
		t.Fatalf("archived to %s, the hole is at %s", a.ArchivedLSN(), hole)
	}
	if err := a.ArchiveTo(ctx, wal.end); err != nil {
		t.Fatal(err)
	}
	readAll(t, reopen(t, store, wal))
}

func TestFaultyStore(t *testing.T) {
	ctx, wal := testCtx(t), &fakeWAL{end: testBase.LSN}
	store := objstore.NewFaulty(objstore.NewMem())
	a := begin(t, store, wal)
	store.Inject(objstore.Fault{Op: objstore.OpPut, Skip: 1, LoseReply: true, Times: 1}) // applied, the answer lost
	store.Inject(objstore.Fault{Op: objstore.OpPut, Skip: 4, Err: errors.New("503"), Times: 2})
	store.Inject(objstore.Fault{Op: objstore.OpDelete, Err: errors.New("503"), Times: 1})
	failed := 0
	for range 40 {
		before := a.ArchivedLSN()
		wal.end += 150_000
		if err := a.ArchiveTo(ctx, wal.end); err != nil {
			failed++
			if a.ArchivedLSN() < before {
				t.Fatal("archived went back")
			}
			if got := reopen(t, store, wal).ArchivedLSN(); got < a.ArchivedLSN() {
				t.Fatalf("said %s, holds %s", a.ArchivedLSN(), got)
			}
		}
	}
	if failed != 3 {
		t.Fatalf("%d uploads failed, want 3", failed)
	}
	if err := a.ArchiveTo(ctx, wal.end); err != nil {
		t.Fatal(err)
	}
	readAll(t, a)
	a = reopen(t, store, wal)
	if a.ArchivedLSN() != wal.end {
		t.Fatalf("archived %s of %s", a.ArchivedLSN(), wal.end)
	}
	readAll(t, a)
	wal.end += segSize
	if err := a.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys(t, store) {
		if seg, _, ok := strings.Cut(k, ".tail/"); ok {
			if _, err := store.Head(ctx, seg); err == nil {
				t.Errorf("%s is left beside its sealed segment", k)
			}
		}
	}
}

// TestDamageIsNoticed plants what reading must find.
func TestDamageIsNoticed(t *testing.T) {
	ctx, store, wal := testCtx(t), objstore.NewMem(), &fakeWAL{end: testBase.LSN + 2*segSize + 5000}
	a := begin(t, store, wal)
	if err := a.ArchiveTo(ctx, wal.end); err != nil {
		t.Fatal(err)
	}
	expect := func(what string, at pg.LSN) {
		t.Helper()
		if _, err := a.NewReader(ctx).ReadAt(at, make([]byte, 100)); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	second := segmentKey(1, testBase.LSN+segSize, segSize)
	put := func(key string, b []byte) {
		t.Helper()
		if _, err := store.Put(ctx, key, b); err != nil {
			t.Fatal(err)
		}
	}
	put(second, walBytes(testBase.LSN, segSize))
	expect("a segment in another's place", testBase.LSN+segSize)
	put(second, walBytes(testBase.LSN+segSize, 100_000))
	expect("a cut segment", testBase.LSN+segSize)
	if got := reopen(t, store, wal).ArchivedLSN(); got != testBase.LSN+segSize {
		t.Errorf("a cut segment counts: %s", got)
	}
	chunk := chunkKey(1, testBase.LSN+2*segSize, wal.end, segSize)
	good, _, err := store.Get(ctx, chunk)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 5, 9, 13, 17, 25, 29, 33, 50, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[i] ^= 0x20
		put(chunk, bad)
		expect("a chunk with a byte changed", testBase.LSN+2*segSize)
	}
	next := bytes.Clone(good)
	next[4]++
	put(chunk, next)
	if _, err := a.NewReader(ctx).ReadAt(testBase.LSN+2*segSize, make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "format version unknown") {
		t.Errorf("version+1: %v", err)
	}
	if err := store.Delete(ctx, chunk); err != nil {
		t.Fatal(err)
	}
	expect("a lost chunk", testBase.LSN+2*segSize)
}

func FuzzParseKey(f *testing.F) {
	f.Add(segmentKey(1, 8<<20, segSize))
	f.Add(chunkKey(1, 8<<20, 8<<20+5, segSize))
	f.Fuzz(func(t *testing.T, key string) {
		start, end, sealed, ok := parseKey(key, 1, segSize)
		if !ok {
			return
		}
		want := chunkKey(1, start, end, segSize)
		if sealed {
			want = segmentKey(1, start, segSize)
		}
		if key != want {
			t.Fatalf("%q parsed as %q", key, want)
		}
	})
}

func TestBaseOfNewerRelease(t *testing.T) {
	ctx, store := testCtx(t), objstore.NewMem()
	begin(t, store, &fakeWAL{end: testBase.LSN})
	b, _, err := store.Get(ctx, baseKey(1))
	if err != nil {
		t.Fatal(err)
	}
	b[4] = historyVersion + 1
	if _, err := store.Put(ctx, baseKey(1), b); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, store, &fakeWAL{}, 7, func() {}); err == nil || !strings.Contains(err.Error(), "format version unknown") {
		t.Errorf("version+1: %v", err)
	}
}
