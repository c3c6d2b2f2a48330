package receive

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

func dataMessage(start pg.LSN, data string) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'w'}, uint64(start))
	b = append(b, make([]byte, 16)...)
	return append(b, data...)
}

// TestStreamRefusesGap plants WAL that does not continue what came before.
func TestStreamRefusesGap(t *testing.T) {
	s := &Stream{next: 0x1000}
	c := &collector{stop: 1 << 60}
	if err := s.message(dataMessage(0x1000, "abc"), c); err != nil || string(c.data) != "abc" {
		t.Fatalf("%q %v", c.data, err)
	}
	for _, at := range []pg.LSN{0x1000, 0x1002, 0x1004} {
		if err := s.message(dataMessage(at, "d"), c); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("from %s: %v", at, err)
		}
	}
}

func TestMessageDoesNotAllocate(t *testing.T) {
	s := &Stream{}
	msg := dataMessage(0, "some WAL")
	c := &discard{}
	if n := testing.AllocsPerRun(100, func() {
		binary.BigEndian.PutUint64(msg[1:], uint64(s.next))
		if err := s.message(msg, c); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
}

type discard struct{}

func (*discard) Data(pg.LSN, []byte) error    { return nil }
func (*discard) Drained() error               { return nil }
func (*discard) Keepalive(pg.LSN, bool) error { return nil }

func FuzzMessage(f *testing.F) {
	f.Add(dataMessage(0x1000, "abc"))
	f.Add(append([]byte{'k'}, make([]byte, 17)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Stream{next: 0x1000}
		if err := s.message(b, &discard{}); err != nil && !errors.Is(err, pg.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

func FuzzTablespaceRow(f *testing.F) {
	f.Add([]byte("16384"), []byte("/x"), []byte("100"))
	f.Fuzz(func(t *testing.T, oid, location, size []byte) {
		b := &backupReader{}
		if err := b.tablespace([][]byte{oid, location, size}); err == nil && b.total < 0 {
			t.Fatalf("size %d", b.total)
		}
		_, _ = archiveOID(string(location))
		_, _, _ = position([][]byte{location, oid})
	})
}
