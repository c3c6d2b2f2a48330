package lakecheck_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// The SQL twin of testdata/write_lake.py.
var typesTable = []string{
	`CREATE TYPE mood AS ENUM ('sad', 'it''s')`,
	`CREATE DOMAIN small AS numeric(6,1)`,
	`CREATE DOMAIN smaller AS small CHECK (VALUE > 0)`,
	`CREATE TYPE pair AS (a int, b text)`, `CREATE EXTENSION hstore`,
	`CREATE TABLE types (b bool, i2 int2, i4 int4, i8 int8, o oid, f4 float4, f8 float8, n numeric(12,2), nneg numeric(5,-2),
	 nsmall numeric(2,4), nfree numeric, nwide numeric(60,2), t text, vc varchar(10), c5 char(5), nm name, ba bytea, u uuid,
	 d date, d2 date, tm time, ts timestamp, ts2 timestamp, tz timestamptz, iv interval, j json, jb jsonb, e mood, dm smaller,
	 ip inet, bt bit(3), ttz timetz, ai int[], at text[], ats timestamptz[], an numeric(10,3)[], aiv interval[], au uuid[],
	 "Odd ""name""" int, gone int, comp pair, comps pair[], r int4range, sq int[][], h hstore, oc regclass)`,
	`ALTER TABLE types DROP COLUMN gone`,
	`INSERT INTO types VALUES (true, 1, 2, 3, 4, 0.1, 0.1, 1234567890.12, 12345, 0.0012, 1.500,
	 123456789012345678901234567890123456789012.5, 'plain', 'v', 'ab', 'name', '\x00ff', '123456789abcdef0123456789abcdef0',
	 '2024-02-29', '0001-01-01', '01:02:03.000004', '2024-02-29 01:02:03.000004', '0001-01-01',
	 '1969-12-31 23:59:59.999999+00', '1 year 2 months -3 days 4 hours 5 microseconds', '{"b" : 1,  "a":2}', '{"b" : 1,  "a":2}',
	 'sad', 5.5, '10.0.0.1', B'101', '01:02:03+02', '{1,NULL,3}', '{a,b;c,NULL,""}', '{2024-01-01 00:00:00+00}', '{1.5}',
	 '{1 mon 2 days 00:00:00.000003}', '{00000000-0000-0000-0000-000000000001}', 1, '(1,x)', '{"(1,x)",NULL}', '[1,2)', '{{1,2},{NULL,4}}', 'a=>1, b=>NULL', 'pg_class')`,
	`INSERT INTO types VALUES (false, -32768, 2147483647, -9223372036854775808, 4294967295, 'NaN', '-0', -0.1, 'NaN', -0.0099,
	 'NaN', -0.01, E'é "quoted"; 12:x\n\t\\', '', '', 'x', '', '00000000-0000-0000-0000-000000000000', 'infinity', '9999-12-31',
	 '23:59:59.999999', '-infinity', '9999-12-31 23:59:59.999999', '0044-03-15 12:00:00+00 BC',
	 '-2 years -1 months -1 microseconds', 'null', 'null', 'it''s', 99999.9, '10.0.0.0/8', B'000', '23:59:59.999999-11:30', '{}',
	 '{NULL}', '{10000-01-01 00:00:00+00}', '{NaN,-2}', '{NULL}', NULL, 2, '(,)', '{}', 'empty', '{}', '', NULL)`,
	// PyIceberg 0.12 writes a NULL list of structs as an empty list, as DuckDB sees too: so this NULL is one.
	`INSERT INTO types (aiv, comps) VALUES ('{}', '{}')`,
	`CREATE TABLE twins (id bigint, v text)`,
	`INSERT INTO twins VALUES (3, NULL), (2, 'twin'), (2, 'twin')`,
	`CREATE TABLE empty (id bigint, v text)`,
}

type fixture struct {
	root    string
	tables  map[string]string
	catalog string
	conn    *pgx.Conn
	srv     *pgtest.Server
	readers []*lakecheck.Reader
}

func newFixture(t *testing.T, major int) *fixture {
	ctx := t.Context()
	f := &fixture{root: t.TempDir(), tables: map[string]string{}}
	python := findPython(t)
	if err := os.MkdirAll(filepath.Join(f.root, "lake"), 0o755); err != nil {
		t.Fatal(err)
	}
	writer := exec.CommandContext(ctx, python, "testdata/write_lake.py", f.root)
	writer.Stderr = os.Stderr
	out, err := writer.Output()
	if err != nil {
		t.Fatalf("write_lake.py: %v", err)
	}
	if err := json.Unmarshal(out, &f.tables); err != nil {
		t.Fatalf("write_lake.py printed %s: %v", out, err)
	}
	f.catalog = serveCatalog(t, f.tables)
	f.srv = pgtest.NewTestServer(t, pgtest.Options{Major: major, Databases: []string{"app"}})
	if err := f.srv.Exec(ctx, "app", typesTable...); err != nil {
		t.Fatal(err)
	}
	if f.conn, err = pgx.Connect(ctx, f.srv.ConnString("app")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.conn.Close(context.Background()) })
	for _, name := range []string{lakecheck.PyIceberg, lakecheck.DuckDB} {
		r, err := lakecheck.StartReader(ctx, python, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
		f.readers = append(f.readers, r)
	}
	return f
}

func findPython(t *testing.T) string {
	python, err := lakecheck.FindPython(t.Context(), lakecheck.PyIceberg)
	if err != nil {
		pgtest.Missing(t, err)
	}
	return python
}

func (f *fixture) compare(t *testing.T) lakecheck.Report {
	t.Helper()
	report, err := lakecheck.Compare(t.Context(), f.conn, f.catalog, "app", nil, f.readers...)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func (f *fixture) mustDiffer(t *testing.T, want string) {
	t.Helper()
	report := f.compare(t)
	if report.Equal() {
		t.Fatalf("reported equal; want a difference that says %q:\n%s", want, report)
	}
	if !strings.Contains(report.String(), want) {
		t.Fatalf("the report does not say %q:\n%s", want, report)
	}
}

func (f *fixture) exec(t *testing.T, statements ...string) {
	t.Helper()
	if err := f.srv.Exec(t.Context(), "app", statements...); err != nil {
		t.Fatal(err)
	}
}

func TestEveryTypeIsEqual(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			report := newFixture(t, major).compare(t)
			if !report.Equal() || report.Rows() != 6 || len(report.Tables) != 3 {
				t.Fatalf("not equal:\n%s", report)
			}
			for _, table := range report.Tables {
				if table.Table.Table == "types" && !slices.Equal(table.LeftOut, []string{"oc"}) {
					t.Errorf("left out %v; want oc", table.LeftOut)
				}
			}
		})
	}
}

// The planted faults: each must turn the comparison red, and the report must name what is wrong.
func TestFaultsAreNoticed(t *testing.T) {
	f := newFixture(t, 15)
	if report := f.compare(t); !report.Equal() {
		t.Fatalf("not equal before any fault:\n%s", report)
	}
	for _, fault := range []struct{ name, do, undo, want string }{
		{"row missing in the lake", `INSERT INTO empty VALUES (7, 'new')`, `TRUNCATE empty`, "missing in pyiceberg, 1 times: 1:7; 3:new;"},
		{"row left in the lake", `DELETE FROM twins WHERE id = 3`, `INSERT INTO twins VALUES (3, NULL)`, "extra in duckdb, 1 times: 1:3; N;"},
		{"twin lost", `INSERT INTO twins VALUES (2, 'twin')`, `DELETE FROM twins WHERE ctid = (SELECT max(ctid) FROM twins)`, "missing in duckdb, 1 times: 1:2; 4:twin;"},
		{"empty text is not NULL", `UPDATE twins SET v = '' WHERE id = 3`, `UPDATE twins SET v = NULL WHERE id = 3`, "1:3; 0:;"},
		{"blank", `UPDATE twins SET v = 'twin ' WHERE id = 2`, `UPDATE twins SET v = 'twin' WHERE id = 2`, "5:twin ;"},
		{"column missing in the lake", `ALTER TABLE empty ADD COLUMN x int`, `ALTER TABLE empty DROP COLUMN x`, "column x is missing"},
		{"column missing in Postgres", `ALTER TABLE empty RENAME COLUMN v TO w`, `ALTER TABLE empty RENAME COLUMN w TO v`, "column v is not in Postgres"},
		{"type", `ALTER TABLE empty ALTER COLUMN id TYPE int`, `ALTER TABLE empty ALTER COLUMN id TYPE bigint`, "column id is long in the lake, want int"},
		{"table missing in the lake", `CREATE TABLE late (i int)`, `DROP TABLE late`, "public.late"},
		{"table left in the lake", `DROP TABLE empty`, ``, "the table is not in Postgres"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			f.exec(t, fault.do)
			f.mustDiffer(t, fault.want)
			if fault.undo != "" {
				f.exec(t, fault.undo)
			}
		})
	}
	t.Run("float bits", func(t *testing.T) {
		f.exec(t, `UPDATE types SET f8 = 0 WHERE f8 = 0`) // -0 becomes +0: equal in SQL, not in bits
		f.mustDiffer(t, "16:8000000000000000;")
	})
	t.Run("corrupt data file", func(t *testing.T) {
		flipByte(t, f.root, "types")
		if report := f.compare(t); report.Equal() {
			t.Fatalf("a flipped byte went unnoticed:\n%s", report)
		}
	})
}

func TestReaderExtras(t *testing.T) {
	f := newFixture(t, 15)
	ctx := t.Context()
	lsns, err := f.readers[0].LSNs(ctx, f.catalog, "app", lakecheck.TableName{Namespace: "public", Table: "twins"})
	if err != nil || !slices.Equal(lsns[:5], []string{"0/1", "0/2", "0/2", "0/3", "0/ABC"}) {
		t.Fatalf("LSNs = %v, %v", lsns, err)
	}
	rows, err := f.readers[1].Query(ctx, f.catalog, "app", "SELECT count(*), max(v) FROM lake.public.twins")
	if err != nil || *rows[0][0] != "3" || *rows[0][1] != "twin" {
		t.Fatalf("Query = %v, %v", rows, err)
	}
	if _, err := f.readers[1].Query(ctx, f.catalog, "app", "SELECT nonsense"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Fatalf("a bad query: %v; want DuckDB's message", err)
	}
	// The process has survived the error.
	if _, err := f.readers[1].Tables(ctx, f.catalog, "app"); err != nil {
		t.Fatal(err)
	}
}

// A reader that hangs must not hang the check.
func TestReaderIsKilledWithItsContext(t *testing.T) {
	python := findPython(t)
	r, err := lakecheck.StartReader(t.Context(), python, lakecheck.DuckDB)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	hang := serveCatalog(t, nil)
	_, err = r.Query(ctx, hang, "app", "SELECT count(*) FROM range(1000000000000) a, range(1000000) b WHERE a.range < b.range")
	if err == nil {
		t.Fatal("a query of years has ended")
	}
}
