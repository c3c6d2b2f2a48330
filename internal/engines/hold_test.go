package engines

import (
	"testing"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

const heldRows = 40_000

// heldCase makes the table that every engine begins to read before it is changed, rewritten and dropped: several files, and more
// rows than any engine takes at once.
var heldCase = testCase{name: "held", steps: [][]string{
	{`CREATE TABLE held (id int, v text)`, `INSERT INTO held SELECT i, repeat(md5(i::text), 8) FROM generate_series(1, 20000) i`},
	{`INSERT INTO held SELECT i, repeat(md5(i::text), 8) FROM generate_series(20001, 30000) i`},
	{`INSERT INTO held SELECT i, repeat(md5(i::text), 8) FROM generate_series(30001, 41000) i`, `DELETE FROM held WHERE id > 40000`},
}}

// holdThroughChanges has every engine open a read, changes all of its table, drops it, and has them read on: they see what was
// there, as the files of a snapshot outlive it.
func (r *rig) holdThroughChanges() {
	begun := map[string]int64{}
	for _, name := range r.names() {
		n, err := r.readers[name].Hold(r.t.Context(), lakecheck.Source{Catalog: r.catalog, Warehouse: database, Table: tableName("held")})
		if err != nil {
			r.t.Errorf("%s: %v", name, err)
			continue
		}
		begun[name] = n
	}
	for _, statement := range []string{`UPDATE held SET v = 'new'`, `DELETE FROM held WHERE id % 2 = 0`, `VACUUM FULL held`, `TRUNCATE held`, `DROP TABLE held`} {
		r.exec(statement)
		r.publish()
	}
	for name, n := range begun {
		r.t.Run("a read that goes on while its table is changed and dropped/"+name, func(t *testing.T) {
			rest, err := r.readers[name].Finish(t.Context())
			if err != nil || n+rest != heldRows {
				t.Errorf("%d rows before and %d after the table was dropped, want %d in all: %v", n, rest, heldRows, err)
			}
		})
	}
}
