package pg

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Cursor walks the data of one record, which its decoder must consume exactly. The first read past the end makes it short; later
// reads return zeros and nil, so that a decoder checks once, in Done. What Bytes and Array return are views of the data.
//
// Invariant: len(rest) only falls.
type Cursor struct {
	name  string // of the record, for errors
	rest  []byte
	size  int // bytes of all the data
	short bool
	bad   string // a value out of its range, found while decoding
}

// NewCursor begins at the start of a record's data.
func NewCursor(name string, data []byte) Cursor {
	return Cursor{name: name, rest: data, size: len(data)}
}

// Rest is what has not been read, nothing once the cursor is short.
func (c *Cursor) Rest() []byte { return c.rest }

// Short says that a read went past the end.
func (c *Cursor) Short() bool { return c.short }

// Bytes takes the next n bytes, or nil when there are fewer.
func (c *Cursor) Bytes(n int) []byte {
	if n < 0 || n > len(c.rest) {
		c.short, c.rest = true, nil
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

// Skip passes over n bytes.
func (c *Cursor) Skip(n int) { c.Bytes(n) }

// Align skips to the next 8-byte boundary of the data (MAXALIGN).
func (c *Cursor) Align() {
	if !c.short {
		at := c.size - len(c.rest)
		c.Skip(MaxAlign(at) - at)
	}
}

// U8 takes a byte.
func (c *Cursor) U8() uint8 {
	if b := c.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 takes 2 bytes.
func (c *Cursor) U16() uint16 {
	if b := c.Bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// U32 takes 4 bytes.
func (c *Cursor) U32() uint32 {
	if b := c.Bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64 takes 8 bytes.
func (c *Cursor) U64() uint64 {
	if b := c.Bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Bool takes a C bool, which is 0 or 1.
func (c *Cursor) Bool() bool {
	v := c.U8()
	if v > 1 {
		c.Fail("bool is %d", v)
	}
	return v == 1
}

// Array takes n elements of size bytes each.
func (c *Cursor) Array(n int32, size int) []byte {
	if n < 0 || int(n) > len(c.rest)/size {
		if n < 0 {
			c.Fail("negative count %d", n)
		}
		c.short, c.rest = true, nil
		return nil
	}
	return c.Bytes(int(n) * size)
}

// CString takes a NUL-terminated string and its NUL.
func (c *Cursor) CString() []byte {
	i := bytes.IndexByte(c.rest, 0)
	if i < 0 {
		c.short, c.rest = true, nil
		return nil
	}
	b := c.rest[:i:i]
	c.rest = c.rest[i+1:]
	return b
}

// Fail refuses the record for a value in it. The first refusal is the one Done returns.
func (c *Cursor) Fail(format string, args ...any) {
	if c.bad == "" {
		c.bad = fmt.Sprintf(format, args...)
	}
}

// Done is the decoder's verdict: nil only if the data was consumed exactly and each value was in its range, else a *CorruptError.
func (c *Cursor) Done() error {
	switch {
	case c.bad != "":
		return Corruptf("%s record of %d bytes: %s", c.name, c.size, c.bad)
	case c.short:
		return Corruptf("%s record of %d bytes is too short", c.name, c.size)
	case len(c.rest) != 0:
		return Corruptf("%s record of %d bytes has %d bytes too many", c.name, c.size, len(c.rest))
	}
	return nil
}
