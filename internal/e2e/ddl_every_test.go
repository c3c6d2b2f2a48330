package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// ddlCase is one kind of DDL on tables in a schema of the case's name, which is on the search path.
type ddlCase struct {
	name  string
	major int // the first that has it; 0: all
	setup []string
	steps []ddlStep
}

// ddlStep is what is done at once, and what engines should see of it. It is told of table t, or what it is called since.
type ddlStep struct {
	do   []string
	ops  string // operations of the snapshots it makes, in order of name; "": none; "*": not asked for
	ids  string // "a=b": column a has the field id that b had; "a=new": one that was never given
	as   string // "schema.name" of the table from now on
	what string // what a reader of this test should know

	table string // "": the same table; "new": another; "gone": none
	out   string // why it is not in the lake: part of the reason
}

func (s *ddlStep) String() string {
	text := strings.Join(s.do, "; ")
	if s.what != "" {
		text += " (" + s.what + ")"
	}
	return text
}

// Every kind of DDL. All cases take each of their steps at once, so that there are as many comparisons as the longest case
// has steps and not one for each.
func TestEveryDDL(t *testing.T) {
	majors := []int{18}
	if pgtest.Long() {
		majors = pgtest.Majors()
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) { runEveryDDL(t, major) })
	}
}

func runEveryDDL(t *testing.T, major int) {
	r := newRig(t, major, nil)
	r.exec(`COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; mkdir -p ../ts'`)
	r.exec(fmt.Sprintf("CREATE TABLESPACE ts LOCATION '%s/ts'", strings.TrimSuffix(r.pg.DataDir(), "/data")))
	var runs []*ddlRun
	for _, c := range ddlCases() {
		if c.major <= major {
			runs = append(runs, &ddlRun{ddlCase: c, rig: r, table: c.name + ".t"})
		}
	}
	for _, run := range runs {
		run.exec("CREATE SCHEMA "+run.name, run.setup)
	}
	r.tarn.startReady()
	r.caughtUp()
	for _, run := range runs {
		run.last = r.iceberg(run.table)
	}
	for n := 0; ; n++ {
		var doing []*ddlRun
		for _, run := range runs {
			if n < len(run.steps) {
				run.exec("", run.steps[n].do)
				doing = append(doing, run)
			}
		}
		if len(doing) == 0 {
			break
		}
		r.caughtUp()
		r.mustBeEqualIn(doing, n)
		for _, run := range doing {
			run.check(&run.steps[n])
		}
	}
	if report := r.compare(database); !report.Equal() {
		t.Errorf("at the end:\n%s", report)
	}
	r.everyDatabase()
	for _, line := range r.tarn.errors() {
		t.Errorf("tarn says: %s", line)
	}
}

// ddlRun is a case under way.
type ddlRun struct {
	ddlCase
	*rig
	table string
	last  *icebergTable
}

func (run *ddlRun) exec(first string, statements []string) {
	run.t.Helper()
	all := []string{first, "SET search_path = " + run.name + ", public", "SET timezone = 'UTC'"}
	run.rig.exec(append(all, statements...)...)
}

// mustBeEqualIn compares the tables of the schemas of cases that did something, through both readers.
func (r *rig) mustBeEqualIn(doing []*ddlRun, step int) {
	r.t.Helper()
	var names []string
	did := map[string]string{}
	for _, run := range doing {
		names = append(names, run.name)
		did[run.name] = run.steps[step].String()
	}
	rows, err := r.connect().Query(r.t.Context(), `SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND c.relpersistence = 'p' AND n.nspname = ANY($1)`, names)
	if err != nil {
		r.t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[lakecheck.TableName])
	if err != nil || len(tables) == 0 {
		r.t.Fatalf("tables of the cases: %d, %v", len(tables), err)
	}
	for _, table := range r.compare(database, tables...).Tables {
		if !table.Equal() {
			r.t.Errorf("after step %d, %s:\n%.3000s", step, did[table.Table.Namespace], lakecheck.Report{Tables: []lakecheck.TableReport{table}})
		}
	}
}

// check compares what engines are told with what the step promises.
func (run *ddlRun) check(s *ddlStep) {
	run.t.Helper()
	before := run.last
	if s.as != "" {
		run.table = s.as
	}
	run.last = run.iceberg(run.table)
	for _, problem := range s.problems(before, run.last) {
		run.t.Errorf("%s, after %s: %s", run.table, s, problem)
	}
	status := run.state(run.table)
	if status.Error != "" && s.out == "" || !strings.Contains(status.Error, s.out) {
		run.t.Errorf("%s, after %s: it is %s, %q; want %q", run.table, s, status.State, status.Error, s.out)
	}
}

// everyDatabase copies, renames, moves and drops databases.
func (r *rig) everyDatabase() {
	r.t.Helper()
	c := &cellRig{rig: r}
	databases := func(names ...string) {
		r.t.Helper()
		r.caughtUp()
		for _, name := range names {
			if report := c.compareIn(name); !report.Equal() || len(report.Tables) == 0 {
				r.t.Errorf("database %s:\n%.3000s", name, report)
			}
		}
	}
	r.exec(`CREATE DATABASE model`)
	c.execIn("model", cellDatabase("model")...)
	databases("model")
	r.exec(`CREATE DATABASE walcopy TEMPLATE model STRATEGY wal_log`, `CREATE DATABASE filecopy TEMPLATE model STRATEGY file_copy`)
	databases("model", "walcopy", "filecopy")
	for _, db := range []string{"walcopy", "filecopy"} {
		c.execIn(db, `UPDATE hot SET n = '`+db+`' WHERE id % 3 = 0`, `ALTER TABLE toasted ADD own int DEFAULT 5`, `VACUUM FULL hot`)
	}
	r.exec(`ALTER DATABASE walcopy RENAME TO renamed`, `ALTER DATABASE filecopy SET TABLESPACE ts`)
	databases("model", "renamed", "filecopy")
	r.exec(`DROP DATABASE renamed`, `DROP DATABASE filecopy`, `CREATE DATABASE filecopy TEMPLATE model STRATEGY wal_log`)
	c.execIn("filecopy", `DELETE FROM hot WHERE id < 300`)
	databases("model", "filecopy")
	if tables, err := r.readers[0].Tables(r.t.Context(), r.tarn.catalogURL(), "renamed"); err == nil && len(tables) > 0 {
		r.t.Errorf("a database that was dropped still has %v", tables)
	}
}
