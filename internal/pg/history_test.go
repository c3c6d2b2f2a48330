package pg

import (
	"errors"
	"slices"
	"testing"
)

// A file as three promotions leave it: each copies its parent's and adds an empty line before its own.
const historyOf4 = "1\t0/3000148\tno recovery target specified\n\n2\t0/30ABCD0\tno recovery target specified\n\n3\t1/5000000\tafter LSN 1/4FFFFD8\n"

func TestHistory(t *testing.T) {
	h, err := ParseHistory(4, historyOf4)
	if err != nil || len(h.Ancestors) != 3 {
		t.Fatalf("%+v %v", h, err)
	}
	const seg = 16 << 20
	for _, c := range []struct {
		lsn      LSN
		at, file TimelineID
	}{
		{0x2FFFFFF, 1, 1}, {0x3000000, 1, 3}, {0x3000147, 1, 3}, {0x3000148, 2, 3}, {0x30ABCD0, 3, 3},
		{0x4000000, 3, 3}, {0x1_04FFFFFF, 3, 3}, {0x1_05000000, 4, 4}, // a switch at a segment's start copies nothing
	} {
		if at, file := h.At(c.lsn), h.FileAt(c.lsn, seg); at != c.at || file != c.file {
			t.Errorf("%s: timeline %d in a file of %d, want %d in %d", c.lsn, at, file, c.at, c.file)
		}
	}
	if next, fork, ok := h.Next(2); next != 3 || fork != 0x30ABCD0 || !ok {
		t.Errorf("after 2: %d %s %v", next, fork, ok)
	}
	if line := h.Line(); !slices.Equal(line, []TimelineID{4, 3, 2, 1}) {
		t.Error(line)
	}
	if _, _, ok := h.Next(4); ok || h.Has(5) || !h.Has(4) || !h.Has(1) {
		t.Error("who belongs to it")
	}
	// Recovered to a point before its parent had begun: nothing is the parent's.
	early, err := ParseHistory(3, "1\t0/5000000\tx\n2\t0/4000000\tx\n")
	if err != nil || early.At(0x4800000) != 3 || early.At(0x3800000) != 1 || early.FileAt(0x3800000, 1<<24) != 1 {
		t.Errorf("%+v %v", early, err)
	}
}

func TestHistoryContinues(t *testing.T) {
	parse := func(tli TimelineID, text string) History {
		t.Helper()
		h, err := ParseHistory(tli, text)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := parse(4, historyOf4)
	for text, want := range map[string]bool{"": true, "1\t0/3000148\tx\n": true, "1\t0/3000149\tx\n": false} {
		if got := h.Continues(parse(2, text)); got != want {
			t.Errorf("from 2 after %q: %v", text, got)
		}
	}
	if !h.Continues(h) || h.Continues(parse(5, historyOf4)) || parse(3, "1\t0/3000148\tx\n").Continues(parse(2, "1\t0/3000148\tx\n")) {
		t.Error("itself, a later one, a sibling")
	}
}

func TestHistoryRefused(t *testing.T) {
	for _, text := range []string{"1\n", "x\t0/0\tx\n", "1\tzz\tx\n", "4\t0/0\tx\n", "2\t0/0\tx\n1\t0/1\tx\n", "-1\t0/0\n"} {
		if h, err := ParseHistory(4, text); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %+v %v", text, h, err)
		}
	}
	for _, text := range []string{"", "# a comment\n", "\n\n"} {
		if h, err := ParseHistory(4, text); err != nil || len(h.Ancestors) != 0 {
			t.Errorf("%q: %+v %v", text, h, err)
		}
	}
}
