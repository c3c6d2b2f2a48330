package ginrec

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

func item(block, off uint64) Item { return Item(block<<offsetBits | off) }

func encode(t testing.TB, dst []byte, items []Item) []byte {
	t.Helper()
	e := Encode(dst)
	for _, i := range items {
		if err := e.Add(i); err != nil {
			t.Fatal(err)
		}
	}
	n, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return dst[:n]
}

func decodeAll(segment []byte) (items []Item, err error) {
	d, first := Decode(segment)
	items = append(items, first)
	for {
		i, ok, err := d.Next()
		if err != nil || !ok {
			return items, err
		}
		items = append(items, i)
	}
}

// TestSegmentBytes has the bytes of ginpostinglist.c for numbers of each length: seven bits a byte, low ones first.
func TestSegmentBytes(t *testing.T) {
	items := []Item{item(1, 1), item(1, 2), item(1, 3), item(1, 131), item(2, 1), item(0xFFFFFFFF, 2047)}
	got := encode(t, bytes.Repeat([]byte{0xFF}, 64), items) // nothing of what was there stays
	// 1, 1, 128 = 0x80 and 2048-130 = 1918 = 0x77e.
	want := append(b(t, "0000 0100 0100 0d00 01 01 8001 fe0e"), varbyte(uint64(item(0xFFFFFFFF, 2047)-item(2, 1)))...)
	if len(want)%2 == 0 {
		t.Fatal("no padding to test")
	}
	want = append(want, 0)
	if !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if back, err := decodeAll(got); err != nil || !slices.Equal(back, items) {
		t.Errorf("%v %v", back, err)
	}
}

// varbyte is the encoding by another way: the number's base-128 digits.
func varbyte(v uint64) (out []byte) {
	for v >= 128 {
		out = append(out, byte(v%128+128))
		v /= 128
	}
	return append(out, byte(v))
}

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var items []Item
		for range 1 + r.IntN(300) {
			items = append(items, item(uint64(r.Uint32()>>r.IntN(32)), 1+uint64(r.IntN(2047))))
		}
		slices.Sort(items)
		items = slices.Compact(items)
		s := encode(t, make([]byte, 8192), items)
		if back, err := decodeAll(s); err != nil || !slices.Equal(back, items) || SegmentSize(s) != len(s) {
			t.Fatalf("%d items: %v", len(items), err)
		}
	}
}

// TestNoRoom: an encoder keeps to its space, whatever is left.
func TestNoRoom(t *testing.T) {
	items := []Item{item(1, 1), item(1, 2), item(7, 3), item(70000, 3)}
	full := encode(t, make([]byte, 64), items)
	for n := range len(full) {
		dst := make([]byte, n+8)
		e := Encode(dst[:n:n])
		var err error
		for _, i := range items {
			if err == nil {
				err = e.Add(i)
			}
		}
		if err == nil {
			_, err = e.Finish()
		}
		if !errors.Is(err, errRoom) {
			t.Errorf("%d of %d bytes: %v", n, len(full), err)
		}
	}
}

func TestBadItems(t *testing.T) {
	for name, items := range map[string][]Item{
		"offset 0": {item(1, 0)}, "the same twice": {item(1, 1), item(1, 1)}, "falling": {item(2, 1), item(1, 1)}, "too large": {itemMax + 2},
	} {
		e := Encode(make([]byte, 64))
		var err error
		for _, i := range items {
			if err == nil {
				err = e.Add(i)
			}
		}
		if !errors.Is(err, errItem) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := Encode(make([]byte, 64))
	if _, err := e.Finish(); err == nil {
		t.Error("a segment without items")
	}
	if i := ItemOf(b(t, "0000 0100 0008")); i != 0 {
		t.Errorf("an offset of 12 bits: %d", i)
	}
	for name, s := range map[string]string{
		"cut number":    "0000 0100 0100 0200 8080",
		"eight bytes":   "0000 0100 0100 0800 ffffffffffffff01",
		"difference 0":  "0000 0100 0100 0200 0000",
		"beyond 43 bit": "ffff ffff 0100 0800 ffffffffffff7f00",
	} {
		if _, err := decodeAll(b(t, s)); err == nil {
			t.Errorf("%s was decoded", name)
		}
	}
}

// FuzzSegment: a segment that decodes to rising items encodes to itself.
func FuzzSegment(f *testing.F) {
	f.Add(b(f, "0000 0100 0100 0400 01800105"))
	f.Add(b(f, "0000 0100 0100 0000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := SegmentSize(data)
		if n == 0 {
			return
		}
		items, err := decodeAll(data[:n])
		if err != nil {
			return
		}
		dst := make([]byte, n+8*len(items))
		e := Encode(dst)
		for _, i := range items {
			if err := e.Add(i); err != nil {
				return
			}
		}
		m, err := e.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeAll(dst[:m]); err != nil || !slices.Equal(back, items) || m > n {
			t.Fatalf("%x became %x: %v", data[:n], dst[:m], err)
		}
	})
}
