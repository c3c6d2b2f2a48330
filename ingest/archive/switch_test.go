package archive

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// otherWAL is another history than fakeWAL's from a fork on.
type otherWAL struct {
	fakeWAL
	fork pg.LSN
}

func (w *otherWAL) ReadAt(lsn pg.LSN, dst []byte) (int, error) {
	n := int(min(pg.LSN(len(dst)), w.end-lsn))
	copy(dst[:n], otherBytes(lsn, n, w.fork))
	return n, nil
}

// otherBytes differ from walBytes behind the fork in every byte but those of page headers.
func otherBytes(lsn pg.LSN, n int, fork pg.LSN) []byte {
	b := walBytes(lsn, n)
	for i := range b {
		if at := lsn + pg.LSN(i); at >= fork && at%pg.BlockSize >= 16 {
			b[i] ^= 0xFF
		}
	}
	return b
}

// TestSwitch goes over to another timeline with the store holding much of the former one behind the fork: sealed segments
// and chunks. None of that may be read again, and nothing before it be lost.
func TestSwitch(t *testing.T) {
	for name, fork := range map[string]pg.LSN{
		"amid a segment":       testBase.LSN + 2*segSize + 300_001,
		"at a page":            testBase.LSN + 2*segSize + 8*pg.BlockSize,
		"at a segment's start": testBase.LSN + 2*segSize,
		"in the last segment":  testBase.LSN + 3*segSize + 1000,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, store := testCtx(t), objstore.NewMem()
			old := &fakeWAL{end: testBase.LSN + 3*segSize + 500_000}
			a := begin(t, store, old)
			for _, to := range []pg.LSN{testBase.LSN + 1000, old.end} {
				if err := a.ArchiveTo(ctx, to); err != nil {
					t.Fatal(err)
				}
			}
			history := []byte("1\t" + fork.String() + "\tno recovery target specified\n")
			before := keys(t, store)
			if err := a.Switch(ctx, 2, history); err != nil || a.ArchivedLSN() != fork || a.Base().LSN != testBase.LSN {
				t.Fatalf("archived %s, base %s: %v", a.ArchivedLSN(), a.Base().LSN, err)
			}
			for _, k := range before {
				if !slices.Contains(keys(t, store), k) {
					t.Errorf("%s is gone", k)
				}
			}
			if b, _, err := store.Get(ctx, "wal/00000002/00000002.history"); err != nil || !bytes.Equal(b, history) {
				t.Errorf("history file: %q %v", b, err)
			}
			next := &otherWAL{fakeWAL{fork}, fork}
			for _, grow := range []pg.LSN{0, 1, 5000, 700_000, 2 * segSize} {
				next.end = fork + grow
				a = reopen(t, store, next)
				if a.ArchivedLSN() > next.end || a.ArchivedLSN() < fork || a.History().Timeline != 2 {
					t.Fatalf("opened at %s, of %d", a.ArchivedLSN(), a.History().Timeline)
				}
				if err := a.ArchiveTo(ctx, next.end); err != nil {
					t.Fatal(err)
				}
				readBoth(t, a, fork)
				readBoth(t, reopen(t, store, next), fork)
			}
		})
	}
}

// readBoth reads the archive in odd pieces and compares it with both histories.
func readBoth(t *testing.T, a *Archive, fork pg.LSN) {
	t.Helper()
	r := a.NewReader(testCtx(t))
	buf := make([]byte, 70_001)
	for at := a.Base().LSN; at < a.ArchivedLSN(); {
		n, err := r.ReadAt(at, buf)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf[:n], otherBytes(at, n, fork)) {
			t.Fatalf("bytes at %s differ, the fork is at %s", at, fork)
		}
		at += pg.LSN(n)
	}
}

// Three timelines within one segment, as after two promotions with little between them.
func TestSwitchTwice(t *testing.T) {
	ctx, store := testCtx(t), objstore.NewMem()
	w := &fakeWAL{end: testBase.LSN + 200_000}
	a := begin(t, store, w)
	text := ""
	for i, fork := range []pg.LSN{testBase.LSN + 100_000, testBase.LSN + 150_000} {
		if err := a.ArchiveTo(ctx, w.end); err != nil {
			t.Fatal(err)
		}
		text += string(rune('1'+i)) + "\t" + fork.String() + "\tx\n"
		if err := a.Switch(ctx, pg.TimelineID(i+2), []byte(text)); err != nil {
			t.Fatal(err)
		}
		if a = reopen(t, store, w); a.ArchivedLSN() != fork {
			t.Fatalf("archived %s, want %s", a.ArchivedLSN(), fork)
		}
	}
	w.end += 2 * segSize
	if err := a.ArchiveTo(ctx, w.end); err != nil {
		t.Fatal(err)
	}
	readAll(t, reopen(t, store, w))
	lines := strings.SplitAfter(text, "\n")
	for tli, want := range map[pg.TimelineID]string{1: "", 2: lines[0], 3: text} {
		if got := reopen(t, store, w).HistoryFile(tli); got != want {
			t.Errorf("history file of timeline %d: %q, want %q", tli, got, want)
		}
	}
}

func TestSwitchRefused(t *testing.T) {
	ctx, store := testCtx(t), objstore.NewMem()
	w := &fakeWAL{end: testBase.LSN + 200_000}
	a := begin(t, store, w)
	if err := a.ArchiveTo(ctx, w.end); err != nil {
		t.Fatal(err)
	}
	before := strings.Join(keys(t, store), " ")
	for _, c := range []struct {
		tli  pg.TimelineID
		text string
		want error
	}{
		{2, "", ErrNotArchived},                                             // knows no ancestors
		{3, "2\t0/1\tx\n", ErrNotArchived},                                  // another's child
		{3, "1\t0/800100\tx\n2\t0/800200\tx\n", ErrNotArchived},             // not the next
		{2, "1\t" + (w.end + 8).String() + "\tx\n", ErrNotArchived},         // bytes before the fork are missing
		{2, "1\t" + (w.end - 8).String() + "\tx\n1\t0/0\tx", pg.ErrCorrupt}, // no history
	} {
		if err := a.Switch(ctx, c.tli, []byte(c.text)); !errors.Is(err, c.want) {
			t.Errorf("%d %q: %v", c.tli, c.text, err)
		}
	}
	if after := strings.Join(keys(t, store), " "); after != before {
		t.Errorf("the store changed: %s", after)
	}
}

// A base of an archive that begins on a later timeline knows its history too, and begins amid the segment of the switch.
func TestBeginOnLaterTimeline(t *testing.T) {
	ctx, store := testCtx(t), objstore.NewMem()
	w := &fakeWAL{end: testBase.LSN + 200_000}
	a, err := Open(ctx, store, w, 7, func() {})
	if !errors.Is(err, ErrNoBase) {
		t.Fatal(err)
	}
	b := testBase
	b.Timeline = 2
	if err := a.Begin(ctx, b, []byte("1\t"+(testBase.LSN+100_000).String()+"\tx\n")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := a.ArchiveTo(ctx, w.end); err != nil {
			t.Fatal(err)
		}
		if a = reopen(t, store, w); a.ArchivedLSN() != w.end || len(a.History().Ancestors) != 1 {
			t.Fatalf("archived %s, want %s", a.ArchivedLSN(), w.end)
		}
		readAll(t, a)
		w.end += segSize
	}
}
