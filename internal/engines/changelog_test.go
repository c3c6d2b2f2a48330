package engines

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

const copyOnWrite = `tables:
  - {match: "app.public.v3", write_mode: copy-on-write, format_version: 3}
  - {match: "app.public.v2", write_mode: copy-on-write}
`

// rowsNow are a table's rows in Postgres, as id|v.
func (r *rig) rowsNow(table string) map[string]bool {
	r.t.Helper()
	rows, err := r.conn.Query(r.t.Context(), "SELECT id || '|' || v FROM "+table)
	if err != nil {
		r.t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]bool{}
	for _, row := range list {
		out[row] = true
	}
	return out
}

// netChanges are what makes after of before, as DELETE id|v and INSERT id|v.
func netChanges(before, after map[string]bool) (out []string) {
	for row := range before {
		if !after[row] {
			out = append(out, "DELETE "+row)
		}
	}
	for row := range after {
		if !before[row] {
			out = append(out, "INSERT "+row)
		}
	}
	slices.Sort(out)
	return out
}

// sparkChanges asks Spark for the net changes between two snapshots of a table.
func (r *rig) sparkChanges(table string, from, to lakecheck.Snapshot) (out []string, err error) {
	spark := r.readers[lakecheck.Spark]
	_, err = spark.Query(r.t.Context(), r.catalog, database, fmt.Sprintf(
		"CALL lake.system.create_changelog_view(table => 'public.%[1]s', changelog_view => 'changes_of_%[1]s', options => map('start-snapshot-id', '%[2]d', 'end-snapshot-id', '%[3]d'), net_changes => true)",
		table, from.ID, to.ID))
	if err != nil {
		return nil, err
	}
	rows, err := spark.Query(r.t.Context(), r.catalog, database, "SELECT _change_type || ' ' || id || '|' || v FROM changes_of_"+table)
	for _, row := range rows {
		out = append(out, *row[0])
	}
	slices.Sort(out)
	return out, err
}

// TestChangelog: Spark's changelog of a table in copy-on-write mode has exactly the net changes between two publications, through
// overwritten files, compaction and a rewrite of the table. Of a table with delete files Spark makes none.
func TestChangelog(t *testing.T) {
	var setup []string
	tables := []string{"v2", "v3"}
	for _, table := range append(tables, "merged") {
		setup = append(setup, "CREATE TABLE "+table+" (id int, v text)", "INSERT INTO "+table+" SELECT i, 'first' FROM generate_series(1, 3000) i")
	}
	r := newRigOn(t, 18, bucketStore(t), copyOnWrite, setup...)
	steps := []string{
		`UPDATE %s SET v = 'second' WHERE id %% 10 = 0`,
		`DELETE FROM %s WHERE id BETWEEN 100 AND 199`,
		`UPDATE %s SET v = 'third' WHERE id %% 20 = 0`,
		`VACUUM FULL %s`,
		`INSERT INTO %[1]s SELECT 5000 + i, 'new' FROM generate_series(1, 10) i; DELETE FROM %[1]s WHERE id = 5001`,
	}
	r.publish()
	snapshots := map[string][]lakecheck.Snapshot{}
	states := map[string][]map[string]bool{}
	note := func() {
		for _, table := range append(tables, "merged") {
			list, err := r.readers[lakecheck.PyIceberg].Snapshots(t.Context(), lakecheck.Source{Catalog: r.catalog, Warehouse: database, Table: tableName(table)})
			if err != nil {
				t.Fatal(err)
			}
			snapshots[table] = append(snapshots[table], list[len(list)-1])
			states[table] = append(states[table], r.rowsNow(table))
		}
	}
	note()
	run := func(step string) {
		for _, table := range append(tables, "merged") {
			r.exec(fmt.Sprintf(step, table))
		}
		r.publish()
	}
	for _, step := range steps {
		run(step)
		note()
	}
	for i := range 34 { // small files, so many that they are compacted
		run(fmt.Sprintf("INSERT INTO %%s VALUES (%d, 'small')", 6001+i))
	}
	note()
	run(`UPDATE %s SET v = 'first' WHERE id %% 20 = 0`) // half of the first update is taken back
	note()
	last := len(steps) + 2
	for _, table := range tables {
		for _, span := range [][2]int{{0, 1}, {0, 3}, {3, 4}, {4, 5}, {2, last - 1}, {0, last}} {
			got, err := r.sparkChanges(table, snapshots[table][span[0]], snapshots[table][span[1]])
			want := netChanges(states[table][span[0]], states[table][span[1]])
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s from %d to %d: %v, %d changes, want %d: %.300v, want %.300v", table, span[0], span[1], err, len(got), len(want), got, want)
			}
			t.Logf("%s from %d to %d: %d net changes", table, span[0], span[1], len(got))
		}
	}
	if _, err := r.sparkChanges("merged", snapshots["merged"][0], snapshots["merged"][1]); err == nil || !strings.Contains(err.Error(), "Delete files are currently not supported") {
		t.Errorf("a changelog of a table with delete files: %v", err)
	}
	for _, name := range r.names() {
		r.mustBeEqual(r.readers[name])
	}
}
