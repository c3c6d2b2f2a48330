package engines

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
)

const formatV3 = `tables:
  - {match: "app.public.shared", format_version: 3, readers: [spark, trino, pyiceberg, polars]}
  - {match: "app.*.*", format_version: 3}
`

// formatCases are those in which rows are deleted, by the ways in which files and deletion vectors come and go; all of them in a
// long run.
func formatCases() []testCase {
	cases := []testCase{sharedCase}
	for _, c := range slices.Concat(changeCases, travelCases) {
		switch c.name {
		case "delete all, then fill again", "columns added, dropped, renamed", "pruned and filled by others", "partitioned", "big row groups", "delete all", "truncated":
			if !pgtest.Long() {
				continue
			}
		case "deletes", "update of many rows in one transaction", "rewritten by VACUUM FULL", "time travel by snapshot id", "a pinned warehouse":
		default:
			continue
		}
		cases = append(cases, c)
	}
	return cases
}

// sharedCase has its deletion vectors in one Puffin object, as its readers are declared.
var sharedCase = testCase{name: "deletion vectors that share an object", steps: [][]string{
	numbered("shared", "3000"), {`UPDATE shared SET n = -n WHERE id % 2 = 0`}, {`UPDATE shared SET v = NULL WHERE id % 5 = 0 OR id = 1`},
}, checks: []check{same("shared")}, limits: map[string]limit{
	lakecheck.DuckDB: {"DuckDB 1.5 misses rows of files whose deletion vectors share an object, if the vectors are not small", "missing in duckdb"},
}}

// TestFormatV3: tables of format version 3 through every engine.
func TestFormatV3(t *testing.T) {
	cases := formatCases()
	r := newRigOn(t, 18, bucketStore(t), formatV3, setup(cases)...)
	r.runCases(cases)
}

// lineage is what Spark reads of a table with the columns id and v: the row id and sequence number of each id.
func (r *rig) lineage(table string) map[string][2]int64 {
	r.t.Helper()
	rows, err := r.readers[lakecheck.Spark].Query(r.t.Context(), r.catalog, database,
		"SELECT id, v, _row_id, _last_updated_sequence_number FROM lake.public."+table)
	if err != nil {
		r.t.Fatal(err)
	}
	out, ids := map[string][2]int64{}, map[int64]string{}
	for _, row := range rows {
		id, err1 := strconv.ParseInt(*row[2], 10, 64)
		sequence, err2 := strconv.ParseInt(*row[3], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			r.t.Fatal(err)
		}
		key := *row[0] + " " + *row[1]
		if other, ok := ids[id]; ok {
			r.t.Errorf("%q and %q both have row id %d", other, key, id)
		}
		ids[id], out[key] = key, [2]int64{id, sequence}
	}
	return out
}

// keptLineage checks that rows of before that are there now have what they had, and how many there are.
func keptLineage(before, now map[string][2]int64, rows, same int) error {
	n := 0
	for key, had := range before {
		got, ok := now[key]
		if ok && got != had {
			return fmt.Errorf("row %q had row id and sequence number %d, and has %d", key, had, got)
		}
		if ok {
			n++
		}
	}
	if len(now) != rows || n != same {
		return fmt.Errorf("%d rows, %d of which were there before; want %d and %d", len(now), n, rows, same)
	}
	return nil
}

// TestRowLineage: to Spark, rows that nobody touches keep their _row_id and _last_updated_sequence_number through an upgrade from
// format version 2, inserts, updates, deletes, compaction and restarts; a row that is updated has new ones.
func TestRowLineage(t *testing.T) {
	r := newRigOn(t, 18, bucketStore(t), "", `CREATE TABLE lineage (id int, v text)`, `INSERT INTO lineage SELECT i, 'first' FROM generate_series(1, 3000) i`)
	r.publish()
	r.exec(`DELETE FROM lineage WHERE id % 10 = 0`)
	r.publish()
	r.stop()
	r.rules = formatV3
	r.startTarn()
	r.exec(`INSERT INTO lineage VALUES (10001, 'second')`)
	r.publish()
	r.mustBeEqual(slices.Collect(maps.Values(r.readers))...)
	before := r.lineage("lineage")
	step := func(what string, rows, same int, statements ...string) {
		t.Helper()
		for _, s := range statements {
			r.exec(s)
			r.publish()
		}
		now := r.lineage("lineage")
		if err := keptLineage(before, now, rows, same); err != nil {
			t.Fatalf("after %s: %v", what, err)
		}
		before = now
	}
	step("inserts", 2901, 2701, `INSERT INTO lineage SELECT i, 'third' FROM generate_series(20001, 20200) i`)
	step("an update and deletes", 2811, 2711, `UPDATE lineage SET v = 'updated' WHERE id <= 111`, `DELETE FROM lineage WHERE id BETWEEN 20001 AND 20090`)
	r.stop()
	r.startTarn()
	var inserts []string
	for i := range 40 { // small files, so many that they are compacted
		inserts = append(inserts, fmt.Sprintf("INSERT INTO lineage VALUES (%d, 'small')", 30001+i))
	}
	step("a compaction", 2851, 2811, inserts...)
	files, err := r.readers[lakecheck.Spark].Query(t.Context(), r.catalog, database, "SELECT count(*) FROM lake.public.lineage.files WHERE content = 0")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.Atoi(*files[0][0]); err != nil || n > 20 {
		t.Errorf("%d data files: nothing was compacted (%v)", n, err)
	}
	step("deletes in compacted files", 2751, 2751, `DELETE FROM lineage WHERE id BETWEEN 500 AND 611`)
	r.mustBeEqual(slices.Collect(maps.Values(r.readers))...)
}
