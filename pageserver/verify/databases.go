package verify

import (
	"github.com/tarn-db/tarn/internal/pg"
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

// wholeDatabases reads pg_database. DROP DATABASE, and a CREATE DATABASE that failed, throw the database's buffers away unwritten before they log anything (dropdb,
// createdb_failure_callback); a crash then leaves files that match no WAL, and Postgres lets nobody in.
func wholeDatabases(dir *datadir.Dir) (*databases, error) {
	files, err := mappedFiles(dir, datadir.Database{Spc: pg.GlobalTablespace})
	if err != nil {
		return nil, err
	}
	whole := map[pg.OID]pg.OID{}
	log := newCommitLog(dir, func(pg.XID) bool { return false }) // CREATE DATABASE cannot be prepared
	err = catalogRows(dir, "pg_database", files, log, []string{"oid", "dattablespace", "datconnlimit"}, func(v []uint32) {
		if v[2] != invalidDatabase {
			whole[pg.OID(v[0])] = pg.OID(v[1])
		}
	})
	return &databases{dir, whole}, err
}
