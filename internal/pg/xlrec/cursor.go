// Package xlrec decodes the main data of the WAL records that carry cluster state: transactions, relation files,
// SLRUs, databases, checkpoints; and sequences and generic page deltas, too small for packages of their own. It is pure:
// bytes in, one struct per record for all majors out.
//
// A decoder takes the whole main data and must consume it exactly: a record that is shorter or longer than its
// major's layout is a *pg.CorruptError (its LSN is the caller's to fill in), never a guess. Slices and array views in
// a result alias the input and live as long as it does.
package xlrec

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// cursor walks one record's main data. The first read past the end makes it short; later reads return zeros, so
// that a decoder checks once, in done.
//
// Invariant: len(rest) only falls.
type cursor struct {
	name  string // of the record, for errors
	rest  []byte
	size  int
	short bool
	bad   string // a value out of its range, found while decoding
}

func newCursor(name string, main []byte) cursor {
	return cursor{name: name, rest: main, size: len(main)}
}

// bytes takes the next n bytes, or nil when there are fewer.
func (c *cursor) bytes(n int) []byte {
	if n < 0 || n > len(c.rest) {
		c.short, c.rest = true, nil
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) u8() uint8 {
	if b := c.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) i32() int32           { return int32(c.u32()) }
func (c *cursor) oid() pg.OID          { return pg.OID(c.u32()) }
func (c *cursor) xid() pg.XID          { return pg.XID(c.u32()) }
func (c *cursor) lsn() pg.LSN          { return pg.LSN(c.u64()) }
func (c *cursor) tli() pg.TimelineID   { return pg.TimelineID(c.u32()) }
func (c *cursor) time() pg.TimestampTz { return pg.TimestampTz(c.u64()) }
func (c *cursor) skip(n int)           { c.bytes(n) }

// bool reads a C bool, which is 0 or 1.
func (c *cursor) bool() bool {
	v := c.u8()
	if v > 1 {
		c.fail("bool is %d", v)
	}
	return v == 1
}

func (c *cursor) rel() pg.RelFileLocator {
	return pg.RelFileLocator{Spc: c.oid(), DB: c.oid(), Rel: c.oid()}
}

// array takes n elements of size bytes each.
func (c *cursor) array(n int32, size int) []byte {
	if n < 0 || int(n) > len(c.rest)/size {
		if n < 0 {
			c.fail("negative count %d", n)
		}
		c.short, c.rest = true, nil
		return nil
	}
	return c.bytes(int(n) * size)
}

// cstring takes a NUL-terminated string and its NUL.
func (c *cursor) cstring() []byte {
	i := bytes.IndexByte(c.rest, 0)
	if i < 0 {
		c.short, c.rest = true, nil
		return nil
	}
	b := c.rest[:i:i]
	c.rest = c.rest[i+1:]
	return b
}

func (c *cursor) fail(format string, args ...any) {
	if c.bad == "" {
		c.bad = fmt.Sprintf(format, args...)
	}
}

// done is the decoder's verdict: nil only if the data was consumed exactly and each value was in its range.
func (c *cursor) done() error {
	switch {
	case c.bad != "":
		return pg.Corruptf("%s record of %d bytes: %s", c.name, c.size, c.bad)
	case c.short:
		return pg.Corruptf("%s record of %d bytes is too short", c.name, c.size)
	case len(c.rest) != 0:
		return pg.Corruptf("%s record of %d bytes has %d bytes too many", c.name, c.size, len(c.rest))
	}
	return nil
}

// pageno reads an SLRU page number: int until 16, int64 from 17.
func (c *cursor) pageno(major pg.Major) int64 {
	n := int64(0)
	if major >= pg.PG17 {
		n = int64(c.u64())
	} else {
		n = int64(c.i32())
	}
	if n < 0 {
		c.fail("negative page number %d", n)
	}
	return n
}
