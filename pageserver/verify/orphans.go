package verify

import (
	"errors"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/datadir"
)

// namedFiles are the relation files that the catalogs of a stopped server name.
//
// A file that none names is an orphan: of a transaction that a crash has cut off before it could remove what it had made, or of
// a drop that was logged before the last checkpoint and cut off before it came to the file (smgrDoPendingDeletes comes after the
// commit record). Nobody reads it again, and the WAL may have no more of it than that it is gone.
//
// Invariant: the catalogs themselves and what leads to them are always named, so that a catalog that has lost its rows is
// a difference and not the end of comparing.
type namedFiles struct {
	files  map[pg.RelFileLocator]bool
	broken map[pg.OID]bool // databases whose catalogs cannot be read: every file counts as named
}

func (n *namedFiles) has(f pg.RelFileLocator) bool { return n.files[f] || n.broken[f.DB] }

// readNamed reads pg_class and the relation map of each database that is whole, and the shared map.
func readNamed(dir *datadir.Dir, whole *databases) (*namedFiles, error) {
	named := &namedFiles{map[pg.RelFileLocator]bool{}, map[pg.OID]bool{}}
	shared, err := mappedFiles(dir, datadir.Database{Spc: pg.GlobalTablespace})
	if err != nil {
		return nil, err
	}
	named.add(shared)
	prepared, ok, err := preparedXIDs(dir)
	if err != nil {
		return nil, err
	}
	log := newCommitLog(dir, func(xid pg.XID) bool { return prepared[xid] || !ok })
	for db, spc := range whole.whole {
		err := named.readDatabase(dir, datadir.Database{Spc: spc, DB: db}, log)
		if errors.Is(err, pg.ErrCorrupt) {
			named.broken[db] = true
		} else if err != nil {
			return nil, err
		}
	}
	return named, nil
}

func (n *namedFiles) readDatabase(dir *datadir.Dir, db datadir.Database, log *commitLog) error {
	mapped, err := mappedFiles(dir, db)
	if err != nil {
		return err
	}
	n.add(mapped)
	return catalogRows(dir, "pg_class", mapped, log, []string{"relfilenode", "reltablespace"}, func(v []uint32) {
		file := pg.RelFileLocator{Spc: db.Spc, DB: db.DB, Rel: pg.OID(v[0])}
		if v[1] != 0 {
			file.Spc = pg.OID(v[1])
		}
		n.files[file] = true // also 0, of views and of what is mapped, which no file has
	})
}

func (n *namedFiles) add(mapped map[pg.OID]pg.RelFileLocator) {
	for _, f := range mapped {
		n.files[f] = true
	}
}

// withoutOrphans takes the forks that no catalog names out of a list, and counts them.
func withoutOrphans(dir *stoppedDir, forks []datadir.Fork, final *Final) ([]datadir.Fork, error) {
	named, err := readNamed(dir.Dir, dir.whole)
	if err != nil {
		return nil, err
	}
	kept := forks[:0]
	for _, f := range forks {
		if named.has(f.Rel) {
			kept = append(kept, f)
			continue
		}
		final.Orphans++
		if len(final.FirstOrphans) < mismatchesMax {
			final.FirstOrphans = append(final.FirstOrphans, f.Rel.String()+" "+f.Fork.String())
		}
	}
	return kept, nil
}
