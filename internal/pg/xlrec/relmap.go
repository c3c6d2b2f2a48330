package xlrec

import "github.com/tarn-db/tarn/internal/pg"

// RelmapUpdate is the only record type of RM_RELMAP_ID (utils/relmapper.h).
const RelmapUpdate = 0x00

// RelmapNew replaces a database's relation map (xl_relmap_update). The shared map has DB 0 in tablespace 1664.
type RelmapNew struct {
	DB, Spc pg.OID
	File    []byte // the whole pg_filenode.map; control.ParseRelMap reads it
}

// DecodeRelmapUpdate decodes XLOG_RELMAP_UPDATE and checks the file's length for the major.
func DecodeRelmapUpdate(major pg.Major, main []byte) (RelmapNew, error) {
	c := newCursor("RelMap UPDATE", main)
	r := RelmapNew{DB: c.oid(), Spc: c.oid()}
	n := c.i32()
	if n != int32(major.RelMapFileSize()) {
		c.Fail("map of %d bytes", n)
	}
	r.File = c.Array(n, 1)
	return r, c.Done()
}
