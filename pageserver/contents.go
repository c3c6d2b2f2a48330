package pageserver

import (
	"cmp"
	"slices"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
)

// Relations lists every relation of the directory in the order of keys: by tablespace, database and file number.
func (t *Timeline) Relations() []pg.RelFileLocator {
	locs := make([]pg.RelFileLocator, 0, len(t.rels))
	for loc := range t.rels {
		locs = append(locs, loc)
	}
	slices.SortFunc(locs, func(a, b pg.RelFileLocator) int {
		return cmp.Or(cmp.Compare(a.Spc, b.Spc), cmp.Compare(a.DB, b.DB), cmp.Compare(a.Rel, b.Rel))
	})
	return locs
}

// RelMapFile is a pg_filenode.map and whose it is; the shared one has database 0 in tablespace 1664.
type RelMapFile struct {
	Spc, DB pg.OID
	Data    []byte // not to be changed
}

// RelMapFiles lists the relation maps at RedoLSN by tablespace and database: one for each database, in its own tablespace.
func (t *Timeline) RelMapFiles() []RelMapFile {
	var files []RelMapFile
	for k, data := range t.small {
		if k.Kind() == key.RelMap {
			files = append(files, RelMapFile{Spc: k.Rel().Spc, DB: k.Rel().DB, Data: data})
		}
	}
	slices.SortFunc(files, func(a, b RelMapFile) int { return cmp.Or(cmp.Compare(a.Spc, b.Spc), cmp.Compare(a.DB, b.DB)) })
	return files
}

// ControlFile is a copy of pg_control as the base backup had it; nil if there was none. What identifies the cluster and its build
// is right, checkpoint and settings are of then.
func (t *Timeline) ControlFile() []byte { return slices.Clone(t.small[key.OfControl()]) }
