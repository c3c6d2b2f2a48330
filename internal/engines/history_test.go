package engines

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pg"
)

// TestHistory: every engine reads the same changes between any two publications by their LSNs, from no more files than it takes, and
// they are the net changes. To Spark the history's own increments, from one snapshot to another, are the same rows.
func TestHistory(t *testing.T) {
	r := newRigOn(t, 18, bucketStore(t), "tables: [{match: \"app.public.told*\", history: true, version_hint: true}]\n",
		"CREATE TABLE told (id int, v text)", "INSERT INTO told SELECT i, 'first' FROM generate_series(1, 1000) i")
	var lsns []pg.LSN
	var states []map[string]bool
	var snapshots []lakecheck.Snapshot
	source := lakecheck.Source{Catalog: r.catalog, Warehouse: database, Table: tableName("told__history")}
	step := func(statements ...string) {
		t.Helper()
		r.exec(statements...)
		_, at, _ := strings.Cut(r.publish(), "@")
		lsn, err := pg.ParseLSN(at)
		if err != nil {
			t.Fatal(err)
		}
		list, err := r.readers[lakecheck.PyIceberg].Snapshots(t.Context(), source)
		if err != nil {
			t.Fatal(err)
		}
		lsns, states, snapshots = append(lsns, lsn), append(states, r.rowsNow("told")), append(snapshots, list[len(list)-1])
	}
	step("SELECT 1")
	step(`UPDATE told SET v = 'second' WHERE id % 10 = 0`, `INSERT INTO told VALUES (2001, 'x')`)
	step(`DELETE FROM told WHERE id BETWEEN 100 AND 199`, `VACUUM told`)
	step(`VACUUM FULL told`, `ALTER TABLE told ADD COLUMN later int`)
	for i := range 36 { // small files, so many that they are compacted
		r.exec(fmt.Sprintf("INSERT INTO told VALUES (%d, 'small')", 3001+i))
		r.publish()
	}
	step(`TRUNCATE told`, `INSERT INTO told VALUES (1, 'last')`)
	for _, span := range [][2]int{{0, 1}, {1, 2}, {2, 3}, {0, 2}, {2, 4}, {0, 4}} {
		from, to := span[0], span[1]
		want := netChanges(states[from], states[to])
		where := []lakecheck.Term{
			{Column: "_tarn_lsn", Op: ">", Type: "long", Value: fmt.Sprint(uint64(lsns[from]))}, {Column: "_tarn_lsn", Op: "<=", Type: "long", Value: fmt.Sprint(uint64(lsns[to]))},
		}
		var first *lakecheck.Side
		for _, name := range r.names() {
			side, err := r.readers[name].Read(t.Context(), source, []string{"_tarn_op", "_tarn_lsn", "_tarn_commit_time", "_tarn_xid", "id", "v"}, where...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if first == nil {
				first = &side
			}
			if side.Rows != first.Rows || side.Checksum != first.Checksum {
				t.Errorf("from %d to %d: %s reads %d rows, %s; %s %d, %s", from, to, name, side.Rows, side.Checksum, first.Reader, first.Rows, first.Checksum)
			}
		}
		rows, err := r.readers[lakecheck.DuckDB].Query(t.Context(), r.catalog, database, fmt.Sprintf(`SELECT CASE sign(n) WHEN 1 THEN 'INSERT ' ELSE 'DELETE ' END || id || '|' || v FROM
			(SELECT id, v, sum(CASE _tarn_op WHEN 'insert' THEN 1 ELSE -1 END) n FROM lake.public.told__history WHERE _tarn_lsn > %d AND _tarn_lsn <= %d GROUP BY ALL) WHERE n <> 0`, lsns[from], lsns[to]))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, row := range rows {
			got = append(got, *row[0])
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("from %d to %d: %d net changes, want %d: %.300v, want %.300v", from, to, len(got), len(want), got, want)
		}
		added, err := r.sparkAdded(snapshots[from], snapshots[to])
		if err != nil || first == nil || added != first.Rows {
			t.Errorf("from %d to %d: Spark's increment has %d rows, want %+v: %v", from, to, added, first, err)
		}
		t.Logf("from %s to %s: %d changes, %d net", lsns[from], lsns[to], added, len(got))
	}
	r.historyFilesPruned(lsns[0], lsns[1])
}

// sparkAdded is how many rows Spark sees added to the history from one snapshot to another.
func (r *rig) sparkAdded(from, to lakecheck.Snapshot) (int64, error) {
	if from == to {
		return 0, nil // which Spark refuses to read
	}
	spark := r.readers[lakecheck.Spark]
	_, err := spark.Query(r.t.Context(), r.catalog, database, fmt.Sprintf(
		"CREATE OR REPLACE TEMPORARY VIEW added USING iceberg OPTIONS (path 'lake.public.told__history', 'start-snapshot-id' '%d', 'end-snapshot-id' '%d')", from.ID, to.ID))
	if err != nil {
		return 0, err
	}
	rows, err := spark.Query(r.t.Context(), r.catalog, database, "SELECT count(*) FROM added")
	if err != nil {
		return 0, err
	}
	var n int64
	_, err = fmt.Sscan(*rows[0][0], &n)
	return n, err
}

// historyFilesPruned: statistics say of which files a range of LSNs needs none.
func (r *rig) historyFilesPruned(from, to pg.LSN) {
	r.t.Helper()
	rows, err := r.readers[lakecheck.Spark].Query(r.t.Context(), r.catalog, database, fmt.Sprintf(`SELECT count(*), count_if(readable_metrics._tarn_lsn.lower_bound <= %d AND readable_metrics._tarn_lsn.upper_bound > %d)
		FROM lake.public.told__history.files`, to, from))
	if err != nil {
		r.t.Fatal(err)
	}
	if *rows[0][0] == *rows[0][1] || *rows[0][1] == "0" {
		r.t.Errorf("of %s files %s have changes between two publications", *rows[0][0], *rows[0][1])
	}
	r.t.Logf("of %s files a range of LSNs needs %s", *rows[0][0], *rows[0][1])
}
