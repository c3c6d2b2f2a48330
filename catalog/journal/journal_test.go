package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tarn-db/tarn/internal/objstore"
)

func entry(seq, epoch uint64) *Entry {
	return &Entry{Seq: seq, Epoch: epoch, Nonce: uuid.New(), Kind: KindPublish, Time: time.Unix(int64(seq), 0).UTC(), LSN: 7}
}

func fast(store objstore.Store) *Log {
	return New(store, []time.Duration{time.Millisecond, time.Millisecond})
}

func TestAppendLostAnswer(t *testing.T) {
	run := func(trust bool) error {
		store := objstore.NewFaulty(objstore.NewMem())
		l := fast(store)
		l.trustAnswer = trust
		store.Inject(objstore.Fault{Op: objstore.OpPutIfAbsent, Times: 1, LoseReply: true, Err: objstore.ErrPrecondition})
		return l.Append(t.Context(), entry(1, 1))
	}
	if err := run(false); err != nil {
		t.Fatalf("an applied put whose answer was lost: %v", err)
	}
	// The planted fault: without the comparison of nonces the same append is taken for another writer's.
	if err := run(true); err == nil {
		t.Fatal("the planted fault went unnoticed: this test does not exercise the comparison")
	}
}

func TestAppendOutcomes(t *testing.T) {
	ctx := t.Context()
	store := objstore.NewFaulty(objstore.NewMem())
	l := fast(store)
	if err := l.Append(ctx, entry(1, 1)); err != nil {
		t.Fatal(err)
	}
	var taken *TakenError
	if err := l.Append(ctx, entry(1, 2)); !errors.As(err, &taken) || taken.By.Epoch != 1 {
		t.Fatalf("a taken number: %v", err)
	}
	// Failed before it was applied: tried again.
	store.Inject(objstore.Fault{Op: objstore.OpPutIfAbsent, Times: 2, Err: objstore.ErrInjected})
	if err := l.Append(ctx, entry(2, 1)); err != nil {
		t.Fatal(err)
	}
	// The store stays away: unknown.
	store.Inject(objstore.Fault{Op: objstore.OpAny, Err: objstore.ErrInjected})
	if err := l.Append(ctx, entry(3, 1)); !errors.Is(err, ErrUnknown) {
		t.Fatalf("a store that is away: %v", err)
	}
}

// TestPassed: a writer that slept while others wrote, made checkpoints and removed entries finds its number free again.
func TestPassed(t *testing.T) {
	ctx := t.Context()
	l := fast(objstore.NewMem())
	for seq := uint64(1); seq <= 6; seq++ {
		if err := l.Append(ctx, entry(seq, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, seq := range []uint64{4, 6} {
		if err := l.WriteCheckpoint(ctx, &Checkpoint{Seq: seq}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Trim(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(ctx, 3); !errors.Is(err, objstore.ErrNotFound) {
		t.Fatalf("entry 3 is still there: %v", err)
	}
	var passed *PassedError
	if err := l.Append(ctx, entry(3, 1)); !errors.As(err, &passed) {
		t.Fatalf("a void entry counted: %v", err)
	}
	cp, entries, err := l.Load(ctx)
	if err != nil || cp.Seq != 6 || len(entries) != 0 {
		t.Fatalf("checkpoint %d, %d entries, %v", cp.Seq, len(entries), err)
	}
	if removed, err := l.Removed(ctx, 3); !removed || err != nil {
		t.Fatalf("entry 3 is not known as removed: %v", err)
	}
}

// TestGap: an entry that is missing in the middle is never passed over.
func TestGap(t *testing.T) {
	ctx := t.Context()
	store := objstore.NewMem()
	l := fast(store)
	for seq := uint64(1); seq <= 3; seq++ {
		if err := l.Append(ctx, entry(seq, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Delete(ctx, entryKey(2)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Load(ctx); !errors.Is(err, ErrMoved) {
		t.Fatalf("a log with a hole was read: %v", err)
	}
}

func TestFormatRefusals(t *testing.T) {
	ctx := context.Background()
	store := objstore.NewMem()
	l := fast(store)
	if err := l.Append(ctx, entry(1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := l.WriteCheckpoint(ctx, &Checkpoint{Seq: 1}); err != nil {
		t.Fatal(err)
	}
	ref, err := l.WriteSegment(ctx, []Entry{*entry(1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	readers := map[string]func() error{
		entryKey(1):      func() error { _, err := l.Read(ctx, 1); return err },
		checkpointKey(1): func() error { _, err := l.readCheckpoint(ctx, 1); return err },
		ref.key():        func() error { _, err := l.ReadSegments(ctx, []SegmentRef{ref}); return err },
	}
	for key, read := range readers {
		good, _, err := store.Get(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := read(); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		newer := append([]byte(nil), good...)
		binary.LittleEndian.PutUint32(newer[8:], formatVersion+1)
		_, _ = store.Put(ctx, key, newer)
		var version *VersionError
		if err := read(); !errors.As(err, &version) || version.Got != formatVersion+1 {
			t.Errorf("%s of the next version: %v", key, err)
		}
		for i := range good {
			if i >= 8 && i < 12 {
				continue // the version
			}
			bad := append([]byte(nil), good...)
			bad[i] ^= 0x20
			_, _ = store.Put(ctx, key, bad)
			if err := read(); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s with byte %d flipped: %v", key, i, err)
			}
		}
		for n := range good {
			_, _ = store.Put(ctx, key, good[:n])
			if err := read(); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s cut to %d bytes: %v", key, n, err)
			}
		}
		_, _ = store.Put(ctx, key, good)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encodeEntry(entry(1, 1)))
	f.Add(encodePacked(magicCheckpoint, &Checkpoint{Seq: 1, Tables: []Table{{DB: 1}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeEntry("k", b)
		var cp Checkpoint
		_ = decodePacked("k", magicCheckpoint, b, &cp)
	})
}
