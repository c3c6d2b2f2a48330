package tidset

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// kept is what a row keeps; id -1: nothing.
type kept struct{ id, sequence int64 }

// genKept has every so manieth row keep nothing.
func genKept(rows, every int) []kept {
	out := make([]kept, rows)
	for i := range out {
		out[i] = kept{int64(1000 + i + i/5*7), int64(i / 4)}
		if i%every == 0 {
			out[i] = kept{-1, -1}
		}
	}
	return out
}

func buildKept(t rapid.TB, rows []row, keep []kept) *Set {
	b := NewBuilder(Source{})
	for i, r := range rows {
		if err := b.Add(r.tid, r.xmin); err != nil {
			t.Fatal(err)
		}
		if keep[i].id >= 0 {
			b.Keep(keep[i].id, keep[i].sequence)
		}
	}
	return b.Finish()
}

func unfold(runs []LineageRun) []kept {
	var out []kept
	for _, r := range runs {
		for i := range int64(r.Rows) {
			if int(r.Start)+int(i) != len(out) {
				return nil
			}
			if r.Own {
				out = append(out, kept{r.RowID + i, r.Sequence})
			} else {
				out = append(out, kept{-1, -1})
			}
		}
	}
	return out
}

func TestLineageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := genRows(t)
		keep := make([]kept, len(rows))
		id := rapid.SampledFrom([]int64{0, 77, math.MaxInt64 - 1<<40}).Draw(t, "first")
		some := false
		for i := range keep {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				keep[i] = kept{-1, -1}
				continue
			case 1:
				id += int64(rapid.IntRange(0, 1<<20).Draw(t, "gap"))
			case 2:
				id = max(0, id-int64(rapid.IntRange(0, 1<<20).Draw(t, "back")))
			default:
				id++
			}
			keep[i], some = kept{id, int64(rapid.IntRange(0, 2).Draw(t, "sequence"))}, true
		}
		s := buildKept(t, rows, keep)
		d, err := Decode(s.Encode(nil))
		if err != nil {
			t.Fatal(err)
		}
		check(t, d, rows)
		if !some {
			keep = nil
		}
		if got := unfold(d.Lineage()); !slices.Equal(got, keep) {
			t.Fatalf("got %v, want %v", got, keep)
		}
	})
}

// TestLineageIsSmall: rows that came with a few inserts keep their ids at next to no cost.
func TestLineageIsSmall(t *testing.T) {
	rows := dense(1000, 100)
	keep := make([]kept, len(rows))
	for i := range keep {
		keep[i] = kept{int64(5_000_000 + i), int64(i / 10_000)}
	}
	with, without := len(buildKept(t, rows, keep).Encode(nil)), len(build(t, rows).Encode(nil))
	if with-without > 100 {
		t.Errorf("%d bytes for the row ids of ten inserts", with-without)
	}
}
