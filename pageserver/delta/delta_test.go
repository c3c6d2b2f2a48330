package delta

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/layer"
)

// change is an entry as a reader must find it: with the image's first byte for Bytes.
type change struct {
	k     key.Key
	lsn   pg.LSN
	kind  Kind
	alone bool
	bytes []byte
}

func (c change) String() string { return fmt.Sprintf("%s at %s: %d %q", c.k, c.lsn, c.kind, c.bytes) }

// open reads a layer's bytes.
func open(t *rapid.T, data []byte) func(key.Key) []byte {
	f, err := layer.ParseFooter(data[len(data)-layer.FooterSize:], int64(len(data)))
	if err != nil || f.Kind != layer.Delta {
		t.Fatal(f, err)
	}
	x, err := f.ParseIndex(data[f.IndexOffset : f.IndexOffset+int64(f.IndexLength)])
	if err != nil {
		t.Fatal(err)
	}
	return func(k key.Key) []byte {
		i, ok := x.Find(k)
		if !ok {
			return nil
		}
		g := &x.Groups[i]
		v, err := g.Decode(data[g.Offset:g.Offset+int64(g.Length)], nil)
		if err != nil {
			t.Fatal(err)
		}
		value, _ := v.Get(k)
		return value
	}
}

// naive is what Tail must find, the slow way.
func naive(all []change, k key.Key, at pg.LSN) (want []change) {
	for _, c := range all {
		if c.k != k || c.lsn > at || c.lsn == at && c.kind < Image {
			continue
		}
		if c.alone {
			want = want[:0]
		}
		want = append(want, c)
	}
	return want
}

// TestLog: whatever is noted, in one log or in two of which the first came back, a reader finds at each LSN what leads there.
func TestLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const from = pg.LSN(1 << 30)
		l, lsn := NewLog(from), from
		var all []change
		keys := make([]key.Key, rapid.IntRange(1, 4).Draw(t, "keys"))
		numbers := map[key.Key]uint32{}
		for i := range keys {
			keys[i] = key.OfBlock(pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}, pg.MainFork, pg.BlockNumber(i))
		}
		earlier := (*Log)(nil)
		turn := rapid.IntRange(0, 800).Draw(t, "turn")
		page := make([]byte, pg.BlockSize)
		for i := range rapid.IntRange(1, 600).Draw(t, "changes") {
			if i == turn {
				earlier, l, numbers = l, NewLog(lsn), map[key.Key]uint32{}
			}
			k := rapid.SampledFrom(keys).Draw(t, "key")
			c := change{k: k, lsn: lsn, kind: Kind(rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 2, 3, 3}).Draw(t, "kind"))}
			if c.kind < Value && (numbers[k] == 0 || rapid.IntRange(0, 50).Draw(t, "anew") == 0) {
				numbers[k] = l.Key(k)
			}
			switch c.kind {
			case Redo, RedoInit:
				c.alone = c.kind == RedoInit
				l.Redo(numbers[k], lsn, c.alone)
			case Image:
				page[0], page[1] = byte(i), byte(i>>8)
				copy(l.Image(numbers[k], lsn), page)
				c.alone, c.bytes = true, bytes.Clone(page[:2])
			case Value:
				c.k = key.OfRelMap(1663, pg.OID(k.Block()))
				c.bytes, c.alone = []byte(fmt.Sprint(i)), rapid.Bool().Draw(t, "alone")
				l.Value(c.k, lsn, c.bytes, c.alone)
			}
			all = append(all, c)
			lsn += pg.LSN(8 * rapid.IntRange(1, 400).Draw(t, "step"))
		}
		if earlier != nil {
			shift := l.Prepend(earlier)
			for k := range numbers {
				l.Redo(numbers[k]+shift, lsn, false)
				all = append(all, change{k: k, lsn: lsn})
			}
		}
		var b bytes.Buffer
		w, err := layer.NewWriter(&b, layer.Delta, lsn)
		if err == nil {
			err = l.Write(w)
		}
		if err == nil {
			_, err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		get := open(t, b.Bytes())
		ats := []pg.LSN{from, lsn, lsn + 8}
		for range 20 {
			c := rapid.SampledFrom(all).Draw(t, "at")
			ats = append(ats, c.lsn, c.lsn+8)
		}
		for _, c := range all[max(0, len(all)-30):] {
			for _, at := range ats {
				got, err := Tail(get(c.k), from, at, nil)
				if err != nil {
					t.Fatal(err)
				}
				check(t, get, fmt.Sprintf("%s at %s", c.k, at), got, naive(all, c.k, at))
			}
			got, err := All(get(c.k), from, nil)
			if err != nil {
				t.Fatal(err)
			}
			check(t, get, c.k.String(), got, slices.DeleteFunc(slices.Clone(all), func(o change) bool { return o.k != c.k }))
		}
	})
}

func check(t *rapid.T, get func(key.Key) []byte, what string, got []Entry, want []change) {
	if len(got) != len(want) {
		t.Fatalf("%s: %d entries, want %v", what, len(got), want)
	}
	for i, e := range got {
		b := e.Bytes
		if e.Kind == Image {
			b = get(key.OfImage(e.Image))[:2]
		}
		if w := want[i]; e.LSN != w.lsn || e.Kind != w.kind || e.Alone != w.alone || !bytes.Equal(b, w.bytes) {
			t.Fatalf("%s: entry %d is %+v, want %s", what, i, e, w)
		}
	}
}

// FuzzChain: whatever a chain's bytes are, reading it ends, with entries in order or an error.
func FuzzChain(f *testing.F) {
	var w chainWriter
	w.reset(8)
	for i := range 100 {
		w.add(Entry{LSN: pg.LSN(8 + 8*i), Kind: Kind(i % 4), Alone: i%4 != 0, Image: uint32(i), Bytes: []byte("value")})
	}
	w.end()
	f.Add(w.out, uint64(400))
	f.Add(w.out[:len(w.out)-1], uint64(1<<40))
	f.Fuzz(func(t *testing.T, chain []byte, at uint64) {
		for _, read := range []func() ([]Entry, error){
			func() ([]Entry, error) { return Tail(chain, 8, pg.LSN(at), nil) },
			func() ([]Entry, error) { return All(chain, 8, nil) },
		} {
			entries, err := read()
			if err != nil && !errors.Is(err, pg.ErrCorrupt) {
				t.Fatal(err)
			}
			if len(entries) > len(chain) {
				t.Fatalf("%d entries of %d bytes", len(entries), len(chain))
			}
		}
	})
}
