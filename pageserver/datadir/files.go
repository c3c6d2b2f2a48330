package datadir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/tarn-db/tarn/internal/pg"
)

// Database is a database's folder in one tablespace. The shared relations are database 0 in tablespace 1664.
type Database struct{ Spc, DB pg.OID }

// Databases lists the folders that hold relations, in order.
func (d *Dir) Databases() ([]Database, error) {
	list := []Database{{Spc: pg.GlobalTablespace}}
	add := func(folder string, spc pg.OID) error {
		dbs, err := numbered(folder)
		for _, db := range dbs {
			list = append(list, Database{spc, db})
		}
		return err
	}
	if err := add(filepath.Join(d.root, "base"), pg.DefaultTablespace); err != nil {
		return nil, err
	}
	spaces, err := numbered(filepath.Join(d.root, "pg_tblspc"))
	if err != nil {
		return nil, err
	}
	for _, spc := range spaces {
		folder, err := d.tablespace(spc)
		if err != nil {
			return nil, err
		}
		if folder == "" {
			continue
		}
		if err := add(folder, spc); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// RelMap reads a database's pg_filenode.map, nil if it has none in that tablespace.
func (d *Dir) RelMap(db Database) ([]byte, error) {
	folder, err := d.folder(db.Spc, db.DB)
	if err != nil || folder == "" {
		return nil, err
	}
	return readIfThere(filepath.Join(folder, "pg_filenode.map"))
}

// LogSegments lists the files of a transaction log by number, and how many pages each has.
func (d *Dir) LogSegments(log string) (map[uint32]uint32, error) {
	entries, err := os.ReadDir(filepath.Join(d.root, filepath.FromSlash(log)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	segments := map[uint32]uint32{}
	for _, e := range entries {
		n, err := strconv.ParseUint(e.Name(), 16, 32)
		if err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		segments[uint32(n)] = uint32(info.Size() / pg.BlockSize)
	}
	return segments, nil
}

// Origins reads the progress of replication origins as the last checkpoint wrote it, nil if there is none.
func (d *Dir) Origins() ([]byte, error) {
	return readIfThere(filepath.Join(d.root, "pg_logical", "replorigin_checkpoint"))
}

// LogFile reads a file of one of the transaction logs, nil if it is not there: LogFile("pg_xact", "0000").
func (d *Dir) LogFile(log, name string) ([]byte, error) {
	return readIfThere(filepath.Join(d.root, filepath.FromSlash(log), name))
}

// Prepared reads the state files of transactions that are prepared, by transaction id (TwoPhaseFilePath): 8 digits, from 17 on
// 16 with the epoch in front.
func (d *Dir) Prepared() (map[pg.XID][]byte, error) {
	files, folder := map[pg.XID][]byte{}, filepath.Join(d.root, "pg_twophase")
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		n, err := strconv.ParseUint(e.Name(), 16, 64)
		if err != nil || len(e.Name()) != 8 && len(e.Name()) != 16 {
			continue
		}
		if files[pg.XID(n)], err = os.ReadFile(filepath.Join(folder, e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func readIfThere(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}
