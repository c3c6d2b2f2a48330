package pglz

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// compress is a plain greedy encoder of the format, for round trips.
func compress(src []byte) (out []byte) {
	ctrlAt, bit := -1, 8
	item := func(match bool, b ...byte) {
		if bit == 8 {
			ctrlAt, bit = len(out), 0
			out = append(out, 0)
		}
		if match {
			out[ctrlAt] |= 1 << bit
		}
		bit++
		out = append(out, b...)
	}
	for i := 0; i < len(src); {
		best, off := 0, 0
		for o := 1; o <= min(i, 4095); o++ {
			n := 0
			for n < 273 && i+n < len(src) && src[i+n] == src[i+n-o] {
				n++
			}
			if n > best {
				best, off = n, o
			}
		}
		switch {
		case best < 3:
			item(false, src[i])
			i++
		case best < 18:
			item(true, byte(off>>4&0xF0|best-3), byte(off))
			i += best
		default:
			item(true, byte(off>>4&0xF0|15), byte(off), byte(best-18))
			i += best
		}
	}
	return out
}

func TestLiteralStreams(t *testing.T) {
	for _, c := range []struct {
		name string
		src  []byte
		want string
		ok   bool
	}{
		{"empty", nil, "", true},
		{"literals", []byte{0x00, 'a', 'b', 'c'}, "abc", true},
		{"overlapping match", []byte{0x02, 'x', 0x04, 0x01}, "xxxxxxxx", true},
		{"long match", []byte{0x04, 'a', 'b', 0x0F, 0x02, 0x02}, "ab" + "abababababababababab", true},
		{"offset zero", []byte{0x02, 'x', 0x04, 0x00}, "xxxxxxxx", false},
		{"offset before the start", []byte{0x02, 'x', 0x04, 0x02}, "xxxxxxxx", false},
		{"match cut", []byte{0x02, 'x', 0x04}, "xxxxxxxx", false},
		{"long match cut", []byte{0x02, 'x', 0x0F, 0x01}, "xxxxxxxx", false},
		{"source goes on", []byte{0x00, 'a', 'b', 'c', 'd'}, "abc", false},
		{"source ends early", []byte{0x00, 'a', 'b'}, "abc", false},
	} {
		dst := make([]byte, len(c.want))
		n, err := Decompress(c.src, dst)
		if (err == nil) != c.ok || c.ok && (n != len(c.want) || string(dst) != c.want) {
			t.Errorf("%s: %q, %d, %v", c.name, dst, n, err)
		}
	}
}

func TestPrefix(t *testing.T) {
	src := bytes.Repeat([]byte("a slice of a value "), 50)
	packed := compress(src)
	for n := range len(src) {
		dst := make([]byte, n)
		if got, err := DecompressPrefix(packed, dst); got != n || err != nil || !bytes.Equal(dst, src[:n]) {
			t.Fatalf("%d bytes: %d, %v", n, got, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.SampledFrom([]int{1, 2, 4, 256}).Draw(t, "alphabet")
		src := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) byte {
			return byte(rapid.IntRange(0, alphabet-1).Draw(t, "byte"))
		}), 0, 600).Draw(t, "src")
		dst := make([]byte, len(src))
		if _, err := Decompress(compress(src), dst); err != nil || !bytes.Equal(dst, src) {
			t.Fatalf("%v: %x gives %x", err, src, dst)
		}
	})
}

func FuzzDecompress(f *testing.F) {
	f.Add(compress(bytes.Repeat([]byte("page of a heap "), 100)), 1500)
	f.Add([]byte{0x02, 'x', 0x0F, 0x01, 0xFF}, 8192)
	f.Fuzz(func(t *testing.T, src []byte, size int) {
		if size < 0 || size > 1<<16 {
			return
		}
		guard := make([]byte, size+8)
		n, err := Decompress(src, guard[:size:size])
		if n < 0 || n > size || err == nil && n != size {
			t.Fatalf("%d of %d bytes, %v", n, size, err)
		}
		if !bytes.Equal(guard[size:], make([]byte, 8)) {
			t.Fatal("wrote past the destination")
		}
	})
}
