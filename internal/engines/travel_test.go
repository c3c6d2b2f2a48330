package engines

import (
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

// travel reads a table as it was after a step by its own history: by snapshot id, or by time.
func travel(step int, table string, byTime bool) check {
	return func(q *question) error {
		source := q.source(table)
		snapshots, err := q.readers[lakecheck.PyIceberg].Snapshots(q.t.Context(), source)
		if err != nil {
			return err
		}
		if step >= len(snapshots) {
			return fmt.Errorf("%s has %d snapshots, want one for each step", table, len(snapshots))
		}
		if byTime {
			source.At.Milliseconds = snapshots[step].Milliseconds + 1
		} else {
			source.At.Snapshot = snapshots[step].ID
		}
		return q.asRecorded(source, step, table)
	}
}

// sumHolds checks the sum over two tables at every step, as one transaction moves amounts from one to the other.
func sumHolds(tables ...string) check {
	return func(q *question) error {
		var failed []error
		for step := range q.c.steps {
			for _, table := range tables {
				failed = append(failed, after(step, table)(q))
			}
		}
		return errors.Join(failed...)
	}
}

// absent asks for a table in the warehouse of a step before it was made.
func absent(step int, table string) check {
	return func(q *question) error {
		source := q.source(table)
		source.Warehouse = q.warehouses[step]
		n, err := q.reader.Count(q.t.Context(), source)
		return notFound(fmt.Sprintf("%s has %d rows in %s", table, n, source.Warehouse), err)
	}
}

// noWarehouse asks for a warehouse that there is not.
func noWarehouse(name string) check {
	return func(q *question) error {
		source := q.source("t_id")
		source.Warehouse = name
		_, err := q.reader.Count(q.t.Context(), source)
		return notFound("warehouse "+name, err)
	}
}

func travelling(table string) [][]string {
	return [][]string{numbered(table, "100"), {`DELETE FROM ` + table + ` WHERE id > 50`}, {`UPDATE ` + table + ` SET v = 'third' WHERE id < 10`}}
}

var travelCases = []testCase{
	{name: "time travel by snapshot id", steps: travelling("t_id"), record: []string{"t_id"},
		checks: []check{travel(0, "t_id", false), travel(1, "t_id", false), travel(2, "t_id", false)}},
	{name: "time travel by time", steps: travelling("t_time"), record: []string{"t_time"},
		checks: []check{travel(0, "t_time", true), travel(1, "t_time", true), travel(2, "t_time", true)}},
	{name: "time travel over a change of schema", steps: [][]string{numbered("t_schema", "50"), {`ALTER TABLE t_schema RENAME v TO w`, `ALTER TABLE t_schema DROP n`, `INSERT INTO t_schema VALUES (51, 'w', now())`}},
		record: []string{"t_schema"}, checks: []check{travel(0, "t_schema", false), travel(1, "t_schema", false)}},
	{name: "a pinned warehouse", steps: travelling("t_pinned"), record: []string{"t_pinned"},
		checks: []check{after(0, "t_pinned"), after(1, "t_pinned"), after(2, "t_pinned"), same("t_pinned")}},
	{name: "a pinned warehouse over a change of schema", steps: [][]string{numbered("t_pinned_schema", "50"), {`ALTER TABLE t_pinned_schema RENAME v TO w`, `ALTER TABLE t_pinned_schema DROP n`, `INSERT INTO t_pinned_schema VALUES (51, 'w', now())`}},
		record: []string{"t_pinned_schema"}, checks: []check{after(0, "t_pinned_schema"), after(1, "t_pinned_schema")}},
	{name: "a pinned warehouse holds over tables", steps: [][]string{
		{`CREATE TABLE t_from (id int, amount int)`, `CREATE TABLE t_to (id int, amount int)`, `INSERT INTO t_from SELECT i, 100 FROM generate_series(1, 20) i`, `INSERT INTO t_to SELECT i, 0 FROM generate_series(1, 20) i`},
		{`BEGIN; UPDATE t_from SET amount = amount - id; UPDATE t_to SET amount = amount + id; COMMIT`},
		{`BEGIN; DELETE FROM t_from WHERE id > 10; UPDATE t_to SET amount = amount + 100 - id WHERE id > 10; COMMIT`},
	}, record: []string{"t_from", "t_to"}, checks: []check{sumHolds("t_from", "t_to")}},
	{name: "a table in a warehouse before it was made", steps: [][]string{nil, {`CREATE TABLE t_later (id int)`, `INSERT INTO t_later VALUES (1)`}}, checks: []check{absent(0, "t_later"), same("t_later")}},
	{name: "warehouses that are not there", steps: travelling("t_other"), checks: []check{noWarehouse("nosuch"), noWarehouse(database + "@0/1"), noWarehouse(database + "@FFFFFFFF/0")}},
}
