package xlrec

import "github.com/tarn-db/tarn/internal/pg"

// Record types of RM_DBASE_ID (commands/dbcommands_xlog.h).
const (
	DbaseCreateFileCopy = 0x00
	DbaseCreateWALLog   = 0x10
	DbaseDrop           = 0x20
)

// Record types of RM_TBLSPC_ID (commands/tablespace.h).
const (
	TblspcCreate = 0x00
	TblspcDrop   = 0x10
)

// DBCreateFileCopy copies a database's directory as it is on disk, without page records
// (xl_dbase_create_file_copy_rec).
type DBCreateFileCopy struct {
	DB, Spc       pg.OID
	SrcDB, SrcSpc pg.OID
}

// DecodeDBCreateFileCopy decodes XLOG_DBASE_CREATE_FILE_COPY.
func DecodeDBCreateFileCopy(main []byte) (DBCreateFileCopy, error) {
	c := newCursor("Database CREATE_FILE_COPY", main)
	r := DBCreateFileCopy{DB: c.oid(), Spc: c.oid(), SrcDB: c.oid(), SrcSpc: c.oid()}
	return r, c.Done()
}

// DBCreateWALLog makes an empty database directory whose pages follow in the WAL (xl_dbase_create_wal_log_rec).
type DBCreateWALLog struct {
	DB, Spc pg.OID
}

// DecodeDBCreateWALLog decodes XLOG_DBASE_CREATE_WAL_LOG.
func DecodeDBCreateWALLog(main []byte) (DBCreateWALLog, error) {
	c := newCursor("Database CREATE_WAL_LOG", main)
	r := DBCreateWALLog{DB: c.oid(), Spc: c.oid()}
	return r, c.Done()
}

// DBDrop removes a database's directory in each tablespace (xl_dbase_drop_rec).
type DBDrop struct {
	DB          pg.OID
	Tablespaces OIDs
}

// DecodeDBDrop decodes XLOG_DBASE_DROP.
func DecodeDBDrop(main []byte) (DBDrop, error) {
	c := newCursor("Database DROP", main)
	r := DBDrop{DB: c.oid()}
	r.Tablespaces = OIDs(c.Array(c.i32(), 4))
	return r, c.Done()
}

// SpcCreate makes a tablespace (xl_tblspc_create_rec).
type SpcCreate struct {
	Spc  pg.OID
	Path []byte // on the server; empty for allow_in_place_tablespaces
}

// DecodeTblspcCreate decodes XLOG_TBLSPC_CREATE.
func DecodeTblspcCreate(main []byte) (SpcCreate, error) {
	c := newCursor("Tablespace CREATE", main)
	r := SpcCreate{Spc: c.oid(), Path: c.CString()}
	return r, c.Done()
}

// DecodeTblspcDrop decodes XLOG_TBLSPC_DROP.
func DecodeTblspcDrop(main []byte) (pg.OID, error) {
	c := newCursor("Tablespace DROP", main)
	r := c.oid()
	return r, c.Done()
}
