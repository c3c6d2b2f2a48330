package xlrec

import (
	"errors"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

func TestDecodeSeqLog(t *testing.T) {
	tuple := make([]byte, 41)
	main := build(uint32(1663), uint32(5), uint32(16400), tuple)
	r, err := DecodeSeqLog(main)
	if err != nil || r.Rel != (pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16400}) || len(r.Tuple) != len(tuple) {
		t.Errorf("%+v %v", r, err)
	}
	for _, n := range []int{0, 11, 12, 12 + pg.HeapTupleHeaderSize - 1} {
		if _, err := DecodeSeqLog(main[:n]); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestDelta(t *testing.T) {
	d := Delta(build(uint16(24), uint16(2), "ab", uint16(8191), uint16(1), "c", uint16(0), uint16(0)))
	for _, want := range []Fragment{{24, []byte("ab")}, {8191, []byte("c")}, {0, nil}} {
		f, err := d.Next()
		if err != nil || f.Offset != want.Offset || string(f.Data) != string(want.Data) {
			t.Errorf("%+v %v, want %+v", f, err, want)
		}
	}
	if len(d) != 0 {
		t.Errorf("%d bytes left", len(d))
	}
	for what, d := range map[string]Delta{
		"cut within a header":      build(uint16(24), byte(1)),
		"cut within a fragment":    build(uint16(24), uint16(3), "ab"),
		"one byte beyond the page": build(uint16(8191), uint16(2), "ab"),
		"beyond the page":          build(uint16(0xFFFF), uint16(1), "a"),
		"longer than the page":     build(uint16(0), uint16(8193), make([]byte, 8193)),
	} {
		if f, err := d.Next(); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %d+%d %v", what, f.Offset, len(f.Data), err)
		}
	}
}

// FuzzSeqAndGeneric: nothing panics or goes on for ever, and fragments stay on the page.
func FuzzSeqAndGeneric(f *testing.F) {
	f.Add(build(uint32(1663), uint32(5), uint32(16400), make([]byte, 41)))
	f.Add(build(uint16(24), uint16(2), "ab", uint16(8191), uint16(1), "c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := DecodeSeqLog(b); err != nil && !errors.Is(err, pg.ErrCorrupt) {
			t.Fatal(err)
		}
		for d := Delta(b); len(d) > 0; {
			fragment, err := d.Next()
			if err != nil {
				break
			}
			if fragment.Offset+len(fragment.Data) > pg.BlockSize {
				t.Fatalf("%d+%d", fragment.Offset, len(fragment.Data))
			}
		}
	})
}
