package archive

import (
	"errors"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// keysOf lists what a store has under wal/.
func keysOf(t *testing.T, store objstore.Store) (keys []string) {
	t.Helper()
	if err := store.List(testCtx(t), prefix, func(o objstore.ObjectInfo) error { keys = append(keys, o.Key); return nil }); err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestTrim: what lies before is gone, and a reader who still wants it is told so; what lies behind is there, for archives opened before and after.
func TestTrim(t *testing.T) {
	store, wal := objstore.NewMem(), &fakeWAL{end: testBase.LSN + 10*segSize + 4096}
	a := begin(t, store, wal)
	if err := a.ArchiveTo(testCtx(t), wal.end); err != nil {
		t.Fatal(err)
	}
	other := reopen(t, store, wal)
	keep := testBase.LSN + 4*segSize + 100
	for range 2 { // the second one finds nothing to do
		if _, err := a.Trim(testCtx(t), keep); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := a.Base().LSN, testBase.LSN+4*segSize; got != want {
		t.Errorf("it begins at %s, want %s", got, want)
	}
	// Six segments, a chunk, a base.
	if keys := keysOf(t, store); len(keys) != 8 {
		t.Errorf("%d objects: %s", len(keys), strings.Join(keys, " "))
	}
	readAll(t, a)
	again := reopen(t, store, wal)
	if again.Base() != a.Base() || again.ArchivedLSN() != wal.end {
		t.Errorf("opened again it is %+v to %s", again.Base(), again.ArchivedLSN())
	}
	readAll(t, again)
	for what, late := range map[string]*Archive{"the one that trimmed": a, "one opened before": other, "one opened after": again} {
		if _, err := late.ReadAt(testCtx(t), testBase.LSN, make([]byte, 10)); !errors.Is(err, ErrNotArchived) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wal.end += 2 * segSize
	if err := again.ArchiveTo(testCtx(t), wal.end); err != nil {
		t.Fatal(err)
	}
	readAll(t, again)
}

// TestTrimNeverAhead: WAL that is not archived stays, whatever is asked for.
func TestTrimNeverAhead(t *testing.T) {
	store, wal := objstore.NewMem(), &fakeWAL{end: testBase.LSN + 2*segSize + 4096}
	a := begin(t, store, wal)
	if err := a.ArchiveTo(testCtx(t), wal.end); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Trim(testCtx(t), wal.end+100*segSize); err != nil {
		t.Fatal(err)
	}
	if got, want := a.Base().LSN, testBase.LSN+2*segSize; got != want {
		t.Errorf("it begins at %s, want %s", got, want)
	}
	readAll(t, reopen(t, store, wal))
}

// TestTrimBroken: it fails at any request, or its answer is lost; the archive is whole for whoever opens it, and the next one does the rest.
func TestTrimBroken(t *testing.T) {
	keep := testBase.LSN + 4*segSize
	for _, f := range []objstore.Fault{
		{Op: objstore.OpPutIfAbsent, Err: objstore.ErrInjected}, {Op: objstore.OpPutIfAbsent, LoseReply: true},
		{Op: objstore.OpList, Err: objstore.ErrInjected}, {Op: objstore.OpDelete, Err: objstore.ErrInjected}, {Op: objstore.OpDelete, LoseReply: true},
	} {
		store, wal := objstore.NewFaulty(objstore.NewMem()), &fakeWAL{end: testBase.LSN + 10*segSize + 4096}
		a := begin(t, store, wal)
		if err := a.ArchiveTo(testCtx(t), wal.end); err != nil {
			t.Fatal(err)
		}
		f.Times = 1
		store.Inject(f)
		_, err := a.Trim(testCtx(t), keep)
		if lost := f.Op == objstore.OpPutIfAbsent && f.LoseReply; (err == nil) != lost {
			t.Errorf("%+v: %v", f, err)
		}
		store.Clear()
		readAll(t, a)
		again := reopen(t, store, wal)
		readAll(t, again)
		if _, err := again.Trim(testCtx(t), keep); err != nil {
			t.Fatal(err)
		}
		if keys := keysOf(t, store); len(keys) != 8 || again.Base().LSN != keep {
			t.Errorf("%+v: %d objects from %s on: %s", f, len(keys), again.Base().LSN, strings.Join(keys, " "))
		}
		readAll(t, reopen(t, store, wal))
	}
}

// TestTrimAfterSwitch: another process has gone over to the next timeline; its base stands.
func TestTrimAfterSwitch(t *testing.T) {
	store, wal := objstore.NewMem(), &fakeWAL{end: testBase.LSN + 10*segSize}
	a := begin(t, store, wal)
	if err := a.ArchiveTo(testCtx(t), wal.end); err != nil {
		t.Fatal(err)
	}
	fork := testBase.LSN + 9*segSize + 8
	other := reopen(t, store, wal)
	if err := other.Switch(testCtx(t), 2, []byte("1\t"+fork.String()+"\tpromoted\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Trim(testCtx(t), testBase.LSN+4*segSize); !errors.Is(err, objstore.ErrPrecondition) {
		t.Errorf("it trims what another process has taken over: %v", err)
	}
	now := reopen(t, store, wal)
	if now.Base().Timeline != 2 || now.Base().LSN != testBase.LSN {
		t.Errorf("the base is %+v", now.Base())
	}
	if _, err := now.Trim(testCtx(t), testBase.LSN+4*segSize); err != nil {
		t.Fatal(err)
	}
	if got := reopen(t, store, wal); got.Base() != (Base{7, pg.TimelineID(2), segSize, testBase.LSN + 4*segSize}) || got.ArchivedLSN() != fork {
		t.Errorf("the base is %+v, archived to %s", got.Base(), got.ArchivedLSN())
	}
}
