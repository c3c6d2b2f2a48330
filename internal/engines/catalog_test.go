package engines

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

// columns are those of a table that an engine shows.
func columns(table string, want ...string) check {
	return func(q *question) error {
		got, err := q.reader.Columns(q.t.Context(), q.source(table))
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("%s has the columns %q, want %q", table, got, want)
		}
		return err
	}
}

// listed compares the list of tables with those tarn says are live.
func listed(q *question) error {
	got, err := q.reader.Tables(q.t.Context(), q.catalog, database)
	if err != nil {
		return err
	}
	var failed []error
	for _, want := range []string{"listed", "empty", "parts", "mv", "Sales|Orders", "my schema|my table"} {
		name := tableName(want)
		shown := lakecheck.TableName{Namespace: name.Namespace, Table: name.Table}
		if q.reader.Name() == lakecheck.Trino {
			shown = lakecheck.TableName{Namespace: strings.ToLower(name.Namespace), Table: strings.ToLower(name.Table)}
		}
		if !slices.Contains(got, shown) {
			failed = append(failed, fmt.Errorf("%s is not listed", shown))
		}
	}
	for _, name := range got {
		if slices.Contains([]string{"parts_b", "dropped", "Twin", "bare"}, name.Table) {
			failed = append(failed, fmt.Errorf("%s is listed", name))
		}
	}
	return errors.Join(failed...)
}

// refused tries to change the lake: the engine must pass on why it cannot be.
func refused(table string, statements ...string) check {
	return func(q *question) error {
		var failed []error
		for _, sql := range statements {
			err := q.reader.Write(q.t.Context(), q.source(table), sql)
			switch {
			case err == nil:
				failed = append(failed, fmt.Errorf("%s: it was done", sql))
			case !strings.Contains(err.Error(), "make the change in PostgreSQL"):
				failed = append(failed, fmt.Errorf("%s: not refused by tarn: %w", sql, err))
			}
		}
		return errors.Join(append(failed, same(table)(q))...)
	}
}

const trinoSchema = "Trino 483, told to ignore case in names, lists the schema first, and has no words for one that is not there"

var catalogCases = []testCase{
	{name: "tables are listed", steps: [][]string{{`CREATE TABLE listed (id int)`}}, checks: []check{listed}},
	{name: "columns are described", steps: [][]string{{`CREATE TABLE described (id int, "v w" text, n numeric(9,2))`}}, checks: []check{columns("described", "id", "v w", "n")}},
	{name: "a dropped table", steps: [][]string{numbered("dropped", "10"), {`DROP TABLE dropped`}}, checks: []check{gone("dropped")}},
	limited(testCase{name: "a dropped schema", steps: [][]string{{`CREATE SCHEMA doomed`, `CREATE TABLE doomed.t (id int)`}, {`DROP SCHEMA doomed CASCADE`}}, checks: []check{gone("doomed|t")}}, lakecheck.Trino, trinoSchema, "Failed to load table"),
	{name: "a table that never was", steps: [][]string{nil}, checks: []check{gone("never")}},
	limited(testCase{name: "a schema that never was", steps: [][]string{nil}, checks: []check{gone("never|was")}}, lakecheck.Trino, trinoSchema, "Failed to load table"),
	{name: "a renamed table", steps: [][]string{numbered("old_name", "10"), {`ALTER TABLE old_name RENAME TO new_name`, `INSERT INTO new_name VALUES (11)`}}, checks: []check{gone("old_name"), same("new_name")}},
	{name: "a table moved to another schema", steps: [][]string{append([]string{`CREATE SCHEMA elsewhere`}, numbered("moved", "10")...), {`ALTER TABLE moved SET SCHEMA elsewhere`}}, checks: []check{gone("moved"), same("elsewhere|moved")}},
	{name: "a table made again under its name", steps: [][]string{numbered("again", "10"), {`DROP TABLE again`, `CREATE TABLE again (other text)`, `INSERT INTO again VALUES ('second')`}}, checks: []check{same("again")}},
	{name: "INSERT is refused", steps: [][]string{{`CREATE TABLE w_insert (id int)`, `INSERT INTO w_insert VALUES (1)`}}, checks: []check{refused("w_insert", `INSERT INTO TABLE_NAME VALUES (2)`)}},
	limited(testCase{name: "DROP TABLE is refused", steps: [][]string{{`CREATE TABLE w_drop (id int)`, `INSERT INTO w_drop VALUES (1)`}}, checks: []check{refused("w_drop", `DROP TABLE TABLE_NAME`)}},
		lakecheck.Trino, "Trino 483 says that the drop failed, and keeps the reason to itself", "Failed to drop table"),
}
