package verify

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/syscat"
	"github.com/tarn-db/tarn/pageserver/datadir"
)

// invalidDatabase in datconnlimit marks a database whose DROP has begun (DATCONNLIMIT_INVALID_DB).
const invalidDatabase = 0xFFFFFFFE

// databases are those of a stopped server whose files are what its WAL says, with the tablespace each lives in.
type databases struct {
	dir   *datadir.Dir
	whole map[pg.OID]pg.OID
}

// has says whether the files in a database's folder are what the WAL says. A crash while a database moves from one tablespace to
// another leaves the one folder or the other behind (movedb): a second one with a relation map.
func (d *databases) has(folder datadir.Database) (bool, error) {
	spc, ok := d.whole[folder.DB]
	if folder.DB == 0 || !ok || spc == folder.Spc {
		return ok || folder.DB == 0, nil
	}
	file, err := d.dir.RelMap(folder)
	return file == nil, err
}

// wholeDatabases reads pg_database. DROP DATABASE, and
// a CREATE DATABASE that failed, throw the database's buffers away unwritten before they log anything (dropdb,
// createdb_failure_callback); a crash then leaves files that match no WAL, and Postgres lets nobody in.
func wholeDatabases(dir *datadir.Dir) (*databases, error) {
	file, err := pgDatabaseFile(dir)
	if err != nil {
		return nil, err
	}
	at, err := databaseColumns(dir.Major())
	if err != nil {
		return nil, err
	}
	f := datadir.Fork{Rel: file, Fork: pg.MainFork}
	n, err := dir.Blocks(f)
	if err != nil {
		return nil, err
	}
	log, whole, page := commitLog{root: dir.Root()}, map[pg.OID]pg.OID{}, pg.Page(make([]byte, pg.BlockSize))
	for blk := range n {
		if _, err := dir.ReadPage(f, blk, page); err != nil {
			return nil, err
		}
		for off := range page.NumItems() {
			t, ok := page.Tuple(pg.OffsetNumber(off + 1))
			if !ok {
				continue
			}
			live, err := log.live(t)
			if err != nil {
				return nil, err
			}
			data := t[min(t.Hoff(), len(t)):]
			if len(data) < at.tablespace+4 {
				return nil, &pg.CorruptError{Rel: file, Block: blk, What: "row of pg_database is too short"}
			}
			if live && binary.LittleEndian.Uint32(data[at.connLimit:]) != invalidDatabase {
				whole[pg.OID(binary.LittleEndian.Uint32(data[at.oid:]))] = pg.OID(binary.LittleEndian.Uint32(data[at.tablespace:]))
			}
		}
	}
	return &databases{dir, whole}, nil
}

// pgDatabaseFile is where pg_database lies.
func pgDatabaseFile(dir *datadir.Dir) (pg.RelFileLocator, error) {
	b, err := os.ReadFile(filepath.Join(dir.Root(), "global", "pg_filenode.map"))
	if err != nil {
		return pg.RelFileLocator{}, err
	}
	entries, err := control.ParseRelMap(dir.Major(), b)
	if err != nil {
		return pg.RelFileLocator{}, fmt.Errorf("%s: %w", dir.Root(), err)
	}
	for _, e := range entries {
		if e.OID == syscat.Lookup(dir.Major(), "pg_database").OID {
			return pg.RelFileLocator{Spc: pg.GlobalTablespace, Rel: e.File}, nil
		}
	}
	return pg.RelFileLocator{}, fmt.Errorf("%s: the relation map has no pg_database", dir.Root())
}

// databaseOffsets are where columns begin in a row of pg_database, bytes: what precedes them is of fixed length and never
// null.
type databaseOffsets struct{ oid, connLimit, tablespace int }

func databaseColumns(m pg.Major) (o databaseOffsets, err error) {
	align := map[byte]int{'c': 1, 's': 2, 'i': 4, 'd': 8}
	at := 0
	for _, a := range syscat.Lookup(m, "pg_database").Attrs {
		if a.Len < 0 {
			break
		}
		at = (at + align[a.Align] - 1) &^ (align[a.Align] - 1)
		switch a.Name {
		case "oid":
			o.oid = at
		case "datconnlimit":
			o.connLimit = at
		case "dattablespace":
			o.tablespace = at
			return o, nil
		}
		at += int(a.Len)
	}
	return o, fmt.Errorf("PostgreSQL %d: pg_database has no dattablespace at a fixed place", m)
}

// commitLog is pg_xact of a stopped server.
type commitLog struct{ root string }

// live says whether a tuple is a row now that no transaction runs (HeapTupleSatisfiesMVCC). pg_database's rows are never
// locked by several transactions at once in a way that matters here: a multixact counts as a lock.
func (l commitLog) live(t pg.HeapTuple) (bool, error) {
	mask := t.Infomask()
	switch mask & pg.HeapXminFrozen {
	case pg.HeapXminFrozen:
	case pg.HeapXminInvalid:
		return false, nil
	default:
		if ok, err := l.committed(t.Xmin()); !ok || err != nil {
			return false, err
		}
	}
	if mask&(pg.HeapXmaxInvalid|pg.HeapXmaxLockOnly|pg.HeapXmaxIsMulti) != 0 || t.Xmax() == pg.InvalidXID {
		return true, nil
	}
	gone, err := l.committed(t.Xmax())
	return !gone, err
}

// Layout of pg_xact (access/transam/clog.c): two bits a transaction, 32 pages a file.
const (
	xactsPerFile  = 32 * pg.BlockSize * 4
	xactCommitted = 1
)

func (l commitLog) committed(xid pg.XID) (bool, error) {
	if xid == pg.BootstrapXID || xid == pg.FrozenXID {
		return true, nil
	}
	f, err := os.Open(filepath.Join(l.root, "pg_xact", fmt.Sprintf("%04X", uint32(xid)/xactsPerFile)))
	if err != nil {
		return false, err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], int64(uint32(xid)%xactsPerFile/4)); err != nil {
		return false, fmt.Errorf("status of transaction %d in %s: %w", xid, f.Name(), err)
	}
	return b[0]>>(xid%4*2)&3 == xactCommitted, nil
}
