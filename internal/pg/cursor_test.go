package pg_test

import (
	"errors"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/rectest"
)

// TestCursor: numbers in their order, to the last byte and no other.
func TestCursor(t *testing.T) {
	rectest.OnlyItsLength(t, "numbers", rectest.Hex(t, "01 02 0300 04000000 0500000000000000 00 00000000000000 0600 0700 6162 00 08"), func(b []byte) error {
		c := pg.NewCursor("numbers", b)
		on, u8, u16, u32, u64, off := c.Bool(), c.U8(), c.U16(), c.U32(), c.U64(), c.Bool()
		c.Align()
		array, name, last := c.Array(2, 2), c.CString(), c.Bytes(1)
		err := c.Done()
		if err == nil && (!on || u8 != 2 || u16 != 3 || u32 != 4 || u64 != 5 || off || array[2] != 7 || string(name) != "ab" || last[0] != 8) {
			t.Errorf("%v %d %d %d %d %v %x %q %x", on, u8, u16, u32, u64, off, array, name, last)
		}
		return err
	})
}

// TestCursorRefuses: what cannot be read makes all that follows zero, and the record is refused even if nothing is left over.
func TestCursorRefuses(t *testing.T) {
	for what, read := range map[string]func(c *pg.Cursor){
		"a negative length":        func(c *pg.Cursor) { c.Bytes(-1) },
		"a negative count":         func(c *pg.Cursor) { c.Array(-1, 2) },
		"a count beyond the end":   func(c *pg.Cursor) { c.Array(5, 2) },
		"more than is there":       func(c *pg.Cursor) { c.Skip(9) },
		"a string without its end": func(c *pg.Cursor) { c.CString() },
	} {
		c := pg.NewCursor("eight ones", []byte{1, 1, 1, 1, 1, 1, 1, 1})
		read(&c)
		if v := c.U32(); v != 0 || !c.Short() || len(c.Rest()) != 0 || !errors.Is(c.Done(), pg.ErrCorrupt) {
			t.Errorf("%s: then %#x, %d bytes left, %v", what, v, len(c.Rest()), c.Done())
		}
	}
	c := pg.NewCursor("a bool of 2", []byte{2})
	if c.Bool(); !errors.Is(c.Done(), pg.ErrCorrupt) {
		t.Errorf("a bool of 2: %v", c.Done())
	}
}
