package pageserver

import (
	"path"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// Files that no key has the content of, among the kinds of files.
const (
	originsFile     key.Kind = 0xFF // pg_logical/replorigin_checkpoint
	tablespacesFile key.Kind = 0xFE // tablespace_map, of a base backup
)

// baseFile is what a file of a data directory holds.
type baseFile struct {
	kind    key.Kind
	rel     pg.RelFileLocator // for an SLRU its number in Spc, as in keys
	fork    pg.ForkNumber
	segment uint64
	xid     pg.XID
}

// parsePath reads a file's place. ok is false for files a timeline does not hold.
func parsePath(tablespace pg.OID, name string) (f baseFile, ok bool) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	dir, file := path.Split(name)
	parts := strings.Split(strings.TrimSuffix(dir, "/"), "/")
	if tablespace != 0 {
		// PG_15_202209061/<database>/<file>
		if len(parts) != 2 || !strings.HasPrefix(parts[0], "PG_") {
			return f, false
		}
		return databaseFile(tablespace, parts[1], file)
	}
	switch {
	case dir == "" && file == "tablespace_map":
		return baseFile{kind: tablespacesFile}, true
	case len(parts) == 1 && parts[0] == "global":
		if file == "pg_control" {
			return baseFile{kind: key.Control}, true
		}
		return databaseFile(pg.GlobalTablespace, "0", file)
	case len(parts) == 2 && parts[0] == "base":
		return databaseFile(pg.DefaultTablespace, parts[1], file)
	case len(parts) == 4 && parts[0] == "pg_tblspc" && strings.HasPrefix(parts[2], "PG_"):
		spc, err := strconv.ParseUint(parts[1], 10, 32)
		if err != nil || spc == 0 {
			return f, false
		}
		return databaseFile(pg.OID(spc), parts[3], file)
	case len(parts) == 1 && parts[0] == "pg_logical" && file == "replorigin_checkpoint":
		return baseFile{kind: originsFile}, true
	case len(parts) == 1 && parts[0] == "pg_twophase":
		// 8 hex digits, from 17 on 16 with the epoch
		n, err := strconv.ParseUint(file, 16, 64)
		return baseFile{kind: key.TwoPhase, xid: pg.XID(n)}, err == nil && (len(file) == 8 || len(file) == 16)
	}
	for k := slru.Kind(0); k < slru.Kinds; k++ {
		if strings.TrimSuffix(dir, "/") == k.Folder() {
			return slruFile(k, file)
		}
	}
	return f, false
}

// databaseFile reads a file name within a database's folder: 1259, 1259_vm, 1259.1, 1259_init, pg_filenode.map.
func databaseFile(spc pg.OID, database, file string) (f baseFile, ok bool) {
	db, err := strconv.ParseUint(database, 10, 32)
	if err != nil || (db == 0) != (spc == pg.GlobalTablespace) {
		return f, false
	}
	f.rel = pg.RelFileLocator{Spc: spc, DB: pg.OID(db)}
	if file == "pg_filenode.map" {
		f.kind = key.RelMap
		return f, true
	}
	f.kind = key.Block
	name, segment, hasSegment := strings.Cut(file, ".")
	if hasSegment {
		if f.segment, err = strconv.ParseUint(segment, 10, 32); err != nil || f.segment == 0 {
			return f, false
		}
	}
	number, suffix, hasSuffix := strings.Cut(name, "_")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n == 0 {
		return f, false // temporary relations are t<backend>_<number>
	}
	f.rel.Rel = pg.OID(n)
	switch {
	case !hasSuffix:
		f.fork = pg.MainFork
	case suffix == "fsm":
		f.fork = pg.FSMFork
	case suffix == "vm":
		f.fork = pg.VMFork
	case suffix == "init":
		f.fork = pg.InitFork
	default:
		return f, false
	}
	return f, true
}

// slruFile reads an SLRU segment's name: 4 to 6 hex digits.
func slruFile(k slru.Kind, file string) (f baseFile, ok bool) {
	n, err := strconv.ParseUint(file, 16, 64)
	if err != nil || len(file) < 4 {
		return f, false
	}
	return baseFile{kind: key.SLRU, rel: pg.RelFileLocator{Spc: pg.OID(k)}, segment: n}, true
}
