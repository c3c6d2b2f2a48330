package sorter

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// What is larger than the memory comes back whole and in order, and leaves no file.
func TestSorter(t *testing.T) {
	for _, n := range []int{0, 1, 100, 20_000} {
		dir := t.TempDir()
		s := New(dir, 64<<10)
		rng := rand.New(rand.NewPCG(1, uint64(n)))
		var want []string
		for i := range n {
			key := fmt.Appendf(nil, "%08d", rng.IntN(1<<30))
			value := bytes.Repeat([]byte{byte(i)}, rng.IntN(40))
			want = append(want, string(key)+string(value))
			if err := s.Add(key, value); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(want)
		if spilled := len(s.runs) > 1; spilled != (n == 20_000) {
			t.Errorf("%d records make %d runs", n, len(s.runs))
		}
		var got []string
		if err := s.Each(func(k, v []byte) error { got = append(got, string(k)+string(v)); return nil }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) || !s.Empty() {
			t.Errorf("%d records came back as %d", len(want), len(got))
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left on disk: %v, %v", left, err)
		}
	}
}

func TestSorterFails(t *testing.T) {
	s := New(t.TempDir()+"/missing", 10)
	if err := s.Add([]byte("a"), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Add([]byte("b"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	stop := errors.New("stop")
	if err := s.Each(func(_, _ []byte) error { return stop }); !errors.Is(err, stop) || !s.Empty() {
		t.Errorf("%v", err)
	}
}
