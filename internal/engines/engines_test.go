package engines

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// Every case, through every engine.
func TestEngines(t *testing.T) {
	cases := append(allCases(), heldCase)
	r := newRig(t, 18, setup(cases)...)
	r.runCases(cases)
	r.holdThroughChanges()
	t.Logf("%d cases, %d engines", len(cases), len(r.readers))
}

func allCases() []testCase {
	return slices.Concat(typeCases, changeCases, predicateCases, travelCases, nameCases, catalogCases)
}

// docs/ENGINES.md has every limit, in the order of the cases.
func TestLimitsAreDocumented(t *testing.T) {
	want := "| engine | what it cannot do | case |\n|---|---|---|\n"
	shown := map[string]string{lakecheck.PyIceberg: "PyIceberg", lakecheck.DuckDB: "DuckDB", lakecheck.Polars: "Polars", lakecheck.Spark: "Spark", lakecheck.Trino: "Trino"}
	for _, c := range append(allCases(), sharedCase) {
		for _, name := range lakecheck.Engines {
			if l, ok := c.limits[name]; ok {
				want += fmt.Sprintf("| %s | %s | %s |\n", shown[name], l.why, c.name)
			}
		}
	}
	doc, err := os.ReadFile("../../docs/ENGINES.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), want) {
		t.Errorf("docs/ENGINES.md lacks this table:\n%s", want)
	}
}

// After a mixed workload with DDL every engine sees what Postgres has: on the newest server, in a long run on all.
func TestEqualThroughEveryEngine(t *testing.T) {
	majors := pgtest.Majors()
	if !pgtest.Long() {
		majors = majors[len(majors)-1:]
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			r := newRig(t, major)
			if err := demo.CreateSchema(t.Context(), r.conn); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithTimeout(t.Context(), 8*time.Second)
			defer stop()
			w := &demo.Workload{ConnString: r.pg.ConnString(database), Writers: 3, Pause: 5 * time.Millisecond, Seed: 4, Journal: demo.NewJournal(), DDL: true, DDLSpread: 5 * time.Second}
			if err := w.Write(ctx); err != nil {
				t.Fatal(err)
			}
			r.publish()
			var others []*lakecheck.Reader
			for _, name := range r.names() {
				if name != lakecheck.Spark { // it opens no table with a column of type time
					others = append(others, r.readers[name])
				}
			}
			r.mustBeEqual(others...)
			r.exec(`ALTER TABLE items DROP COLUMN opens`, `VACUUM FULL items`) // nor a file that has one
			r.publish()
			r.mustBeEqual(r.readers[lakecheck.Spark])
			t.Logf("%+v", w.Stats())
		})
	}
}

// mustBeEqual compares all tables of the database.
func (r *rig) mustBeEqual(readers ...*lakecheck.Reader) {
	r.t.Helper()
	report, err := lakecheck.Compare(r.t.Context(), r.conn, r.catalog, database, nil, readers...)
	if err != nil {
		r.t.Fatal(err)
	}
	if !report.Equal() {
		r.t.Errorf("not equal:\n%s", report)
	}
	r.t.Logf("%d tables, %d rows", len(report.Tables), report.Rows())
}

// A store that is a folder, for the engines that read files by path: Trino, without its Hadoop part, does not.
func TestFolderStore(t *testing.T) {
	r := newRigOn(t, 18, "file://"+t.TempDir(), "", numbered("t", "500")...)
	r.publish()
	r.exec(`DELETE FROM t WHERE id % 5 = 0`, `UPDATE t SET v = 'later' WHERE id % 7 = 0`)
	r.publish()
	for _, name := range r.names() {
		if name == lakecheck.Trino {
			_, err := r.readers[name].Count(t.Context(), lakecheck.Source{Catalog: r.catalog, Warehouse: database, Table: tableName("t")})
			if err == nil || !strings.Contains(err.Error(), "Error processing metadata") {
				t.Errorf("Trino is known not to read a folder, and says: %v", err)
			}
			continue
		}
		r.mustBeEqual(r.readers[name])
	}
}

// The suite itself: an engine that is asked for yesterday's rows must not pass for today's.
func TestSuiteNoticesADifference(t *testing.T) {
	r := newRig(t, 18, `CREATE TABLE t (i int)`, `INSERT INTO t SELECT generate_series(1, 100)`)
	before := r.publish()
	r.exec(`UPDATE t SET i = -1 WHERE i = 7`)
	r.publish()
	for _, name := range r.names() {
		report, err := lakecheck.Compare(t.Context(), r.conn, r.catalog, before, []lakecheck.TableName{tableName("t")}, r.readers[name])
		if err != nil {
			t.Fatal(err)
		}
		if report.Equal() || len(report.Tables[0].Differences) != 2 {
			t.Errorf("%s: one updated row: want one row missing and one extra:\n%s", name, report)
		}
	}
}
