// Package xlrec decodes the main data of the WAL records that carry cluster state: transactions, relation files,
// SLRUs, databases, checkpoints; and sequences and generic page deltas, too small for packages of their own. It is pure:
// bytes in, one struct per record for all majors out.
//
// A decoder takes the whole main data and must consume it exactly: a record that is shorter or longer than its
// major's layout is a *pg.CorruptError (its LSN is the caller's to fill in), never a guess. Slices and array views in
// a result alias the input and live as long as it does.
package xlrec

import "github.com/tarn-db/tarn/internal/pg"

// cursor reads the types that records of this package hold besides numbers.
type cursor struct{ pg.Cursor }

func newCursor(name string, main []byte) cursor { return cursor{pg.NewCursor(name, main)} }

func (c *cursor) i32() int32           { return int32(c.U32()) }
func (c *cursor) oid() pg.OID          { return pg.OID(c.U32()) }
func (c *cursor) xid() pg.XID          { return pg.XID(c.U32()) }
func (c *cursor) lsn() pg.LSN          { return pg.LSN(c.U64()) }
func (c *cursor) tli() pg.TimelineID   { return pg.TimelineID(c.U32()) }
func (c *cursor) time() pg.TimestampTz { return pg.TimestampTz(c.U64()) }

func (c *cursor) rel() pg.RelFileLocator {
	return pg.RelFileLocator{Spc: c.oid(), DB: c.oid(), Rel: c.oid()}
}

// pageno reads an SLRU page number: int until 16, int64 from 17.
func (c *cursor) pageno(major pg.Major) int64 {
	n := int64(0)
	if major >= pg.PG17 {
		n = int64(c.U64())
	} else {
		n = int64(c.i32())
	}
	if n < 0 {
		c.Fail("negative page number %d", n)
	}
	return n
}
