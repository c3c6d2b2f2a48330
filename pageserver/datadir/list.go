package datadir

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
)

// Forks lists every fork of every relation in all databases and tablespaces, in order. Temporary relations are left out:
// they belong to a session that is gone.
func (d *Dir) Forks() ([]Fork, error) {
	dbs, err := d.Databases()
	if err != nil {
		return nil, err
	}
	var dst []Fork
	for _, db := range dbs {
		forks, err := d.DatabaseForks(db.Spc, db.DB)
		if err != nil {
			return nil, err
		}
		dst = append(dst, forks...)
	}
	return dst, nil
}

// DatabaseForks lists the forks of one database's relations in one tablespace, in order.
func (d *Dir) DatabaseForks(spc, db pg.OID) ([]Fork, error) {
	folder, err := d.folder(spc, db)
	if err != nil || folder == "" {
		return nil, err
	}
	return forksIn(folder, spc, db)
}

// forksIn lists a folder's relation files by their first segments. A folder that is not there holds none.
func forksIn(folder string, spc, db pg.OID) (dst []Fork, err error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if rel, fork, ok := parseFileName(e.Name()); ok {
			dst = append(dst, Fork{pg.RelFileLocator{Spc: spc, DB: db, Rel: rel}, fork})
		}
	}
	slices.SortFunc(dst, func(a, b Fork) int {
		if a.Rel.Rel != b.Rel.Rel {
			return int(int64(a.Rel.Rel) - int64(b.Rel.Rel))
		}
		return int(a.Fork) - int(b.Fork)
	})
	return dst, nil
}

// parseFileName reads the name of a fork's first segment: "1259", "1259_vm". ok is false for later segments ("1259.1"),
// temporary relations ("t3_1259") and files that are no relation's.
func parseFileName(name string) (rel pg.OID, fork pg.ForkNumber, ok bool) {
	number, suffix, hasSuffix := strings.Cut(name, "_")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n == 0 {
		return 0, 0, false
	}
	if !hasSuffix {
		return pg.OID(n), pg.MainFork, true
	}
	for _, f := range []pg.ForkNumber{pg.FSMFork, pg.VMFork, pg.InitFork} {
		if suffix == f.String() {
			return pg.OID(n), f, true
		}
	}
	return 0, 0, false
}

// numbered lists the entries of a folder whose names are OIDs, in order.
func numbered(folder string) ([]pg.OID, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var oids []pg.OID
	for _, e := range entries {
		if n, err := strconv.ParseUint(e.Name(), 10, 32); err == nil && n > 0 {
			oids = append(oids, pg.OID(n))
		}
	}
	slices.Sort(oids)
	return oids, nil
}
