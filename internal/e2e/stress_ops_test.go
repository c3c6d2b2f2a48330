package e2e

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// stressSetup makes types and the first tables of schema s, which the sessions work on; those of public are the demo's.
var stressSetup = []string{
	`COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; mkdir -p ../ts'`,
	`CREATE SCHEMA s`, `CREATE SCHEMA "S ""ü"" x"`,
	`CREATE TYPE s.mood AS ENUM ('sad', 'ok')`, `CREATE DOMAIN s.posint AS int CHECK (VALUE > 0)`, `CREATE TYPE s.pair AS (a int, b text)`,
	`CREATE TABLE s.t0 (id bigint, a text, b int, c numeric(10,2))`,
	`CREATE TABLE s.t1 (id bigint PRIMARY KEY, a text, n int, doc jsonb)`,
	`CREATE TABLE s."T 2.x" (id bigint, "a ""b" text, arr int[], ts timestamp)`,
	`CREATE TABLE s.p (id bigint, k int, v text) PARTITION BY RANGE (k)`,
	`CREATE TABLE s.p0 PARTITION OF s.p FOR VALUES FROM (MINVALUE) TO (10)`,
	`CREATE TABLE s.pd PARTITION OF s.p DEFAULT`,
	`INSERT INTO s.t1 SELECT i, 'first ' || i, 0 FROM generate_series(1, 500) i`,
	`INSERT INTO s.t0 SELECT i, repeat(md5(i::text), i % 300), i, i FROM generate_series(1, 500) i`,
	`INSERT INTO s.p SELECT i, i % 60, 'p' FROM generate_series(1, 300) i`,
	`CREATE MATERIALIZED VIEW s.mv AS SELECT id, n FROM s.t1`, `CREATE UNIQUE INDEX ON s.mv (id)`,
}

// stressColumn is a type of the columns that sessions add: how a value is made from the row number i, and what the type
// can be changed to.
type stressColumn struct {
	typ   string
	value string
	to    []string
}

var stressColumns = []stressColumn{
	{"int", "i %% 1000", []string{"bigint", "text", "numeric(12,2)"}},
	{"bigint", "i * 1000000007", []string{"numeric", "text"}},
	{"text", "CASE WHEN i %% 9 = 0 THEN repeat(md5(i::text), (random() * 400)::int) ELSE 'v' || i END", []string{"varchar", "varchar(20000)"}},
	{"varchar(20)", "'s' || i", []string{"varchar(40)", "text"}},
	{"numeric(8,2)", "CASE WHEN i %% 29 = 0 THEN 'NaN' ELSE (i %% 1000) * 1.25 END", []string{"numeric(10,2)", "numeric(10,4)", "numeric", "numeric(38,2)"}},
	{"numeric", "i * 1.000000001", []string{"numeric(30,9)", "text"}},
	{"date", "CASE WHEN i %% 17 = 0 THEN date 'infinity' WHEN i %% 19 = 0 THEN date '0044-03-15 BC' ELSE date '1960-01-01' + (i %% 90000)::int END", []string{"timestamp", "text"}},
	{"interval", "make_interval(months => (i %% 40)::int, secs => i * 0.25)", []string{"interval(0)"}},
	{"time", "time '00:00:01' + i * interval '1.000001 s'", []string{"time(0)"}},
	{"money", "(i %% 10000)::numeric::money", []string{"numeric(12,2)"}},
	{"tsvector", "to_tsvector('simple', 'word' || i)", []string{"text"}},
	{"point", "point(i, i / 3.0)", nil},
	{"timestamp", "CASE WHEN i %% 23 = 0 THEN timestamp '-infinity' ELSE timestamp '2020-01-01' + i * interval '1 minute' END", []string{"timestamptz", "date", "timestamp(0)"}},
	{"timestamptz", "timestamptz '2020-01-01 00:00Z' + i * interval '1.000001 s'", []string{"timestamp", "timestamptz(3)"}},
	{"cidr", "('10.' || i %% 200 || '.0.0/16')::cidr", []string{"inet"}},
	{"inet", "('10.0.' || i %% 200 || '.1')::inet", []string{"text"}},
	{"s.mood", "CASE i %% 3 WHEN 0 THEN (enum_range(NULL::s.mood))[1] WHEN 1 THEN (enum_range(NULL::s.mood))[array_length(enum_range(NULL::s.mood), 1)] END", []string{"text"}},
	{"s.posint", "1 + i %% 77", []string{"int", "bigint"}},
	{"jsonb", "jsonb_build_object('i', i, 'big', repeat(md5(i::text), CASE WHEN i %% 11 = 0 THEN 300 ELSE 1 END))", []string{"text"}},
	{"text[]", "ARRAY['x' || i, NULL, repeat(md5(i::text), CASE WHEN i %% 13 = 0 THEN 200 ELSE 0 END)]", nil},
	{"int[]", "ARRAY[i %% 5, NULL, 7]", nil},
	{"regclass", "'pg_class'::regclass", []string{"oid", "text"}},
	{"s.pair", "ROW(i %% 7, 'p')::s.pair", []string{"text"}},
	{"int4range", "int4range(1, 5 + i %% 9)", []string{"text"}},
	{"bytea", "decode(md5(i::text), 'hex')", nil},
	{"uuid", "md5(i::text)::uuid", []string{"text"}},
	{"bit(5)", "(i %% 32)::int::bit(5)", []string{"varbit(9)"}},
	{"float8", "i / 7.0", []string{"float4", "numeric"}},
	{"bool", "i %% 2 = 0", []string{"text"}},
	{"char(5)", "'c' || i %% 100", []string{"char(9)", "text"}},
}

// names of columns and tables that sessions use.
var (
	stressColumnNames = []string{"c1", "c2", "c3", "c4", `"C 5"`, `"c.6"`, `"c""7"`, `"ç8"`}
	stressTableNames  = []string{"s.n0", "s.n1", "s.n2", `s."N 3"`, `s."n.4"`, `"S ""ü"" x"."n""5"`, `"S ""ü"" x".ñ6`, "s.n7", "s.n8", "s.n9",
		`"S ""ü"" x"."%2F"`, `"S ""ü"" x"."a/b"`, `"S ""ü"" x"."日本"`}
)

func (w *stressWriter) oneOf(list []string) string { return list[w.rng.IntN(len(list))] }

// pick names a table at random among those a condition on pg_class c and its namespace n holds for.
func (w *stressWriter) pick(condition string) (name string, err error) {
	err = w.conn.QueryRow(w.ctx, `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname ~* '^s' AND `+condition+` ORDER BY random() LIMIT 1`).Scan(&name)
	return name, err
}

// Conditions of pick. Writers insert into roots, and now and then directly into leaves.
const (
	anyTable  = `c.relkind IN ('r', 'p')`
	plain     = `c.relkind = 'r' AND NOT c.relispartition AND c.relname NOT IN ('t0', 't1')`
	stored    = `c.relkind = 'r'`
	partition = `c.relkind = 'r' AND c.relispartition`
)

type tableColumn struct{ name, typ string }

func (w *stressWriter) columns(table string) ([]tableColumn, error) {
	rows, err := w.conn.Query(w.ctx, `SELECT quote_ident(attname), format_type(atttypid, atttypmod) FROM pg_attribute
 WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum`, table)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c tableColumn, err error) { return c, row.Scan(&c.name, &c.typ) })
}

// value makes an expression of a type from the row number i.
func (w *stressWriter) value(c tableColumn) string {
	expr := "i"
	switch {
	case c.name == "id":
	case c.name == "k":
		expr = "i % 70"
	case w.rng.IntN(8) == 0:
		expr = "NULL"
	default:
		for _, known := range stressColumns {
			if strings.HasPrefix(c.typ, strings.SplitN(known.typ, "(", 2)[0]) {
				expr = strings.ReplaceAll(known.value, "%%", "%")
				if w.rng.IntN(4) == 0 {
					expr = "CASE WHEN i % 4 = 0 THEN " + expr + " END"
				}
				break
			}
		}
		// Formatted names of types differ from ours: numeric(8,2), timestamp without time zone.
	}
	return "(" + expr + ")::" + c.typ
}

// insert makes an INSERT of n rows with whatever columns the table has now.
func (w *stressWriter) insert(table string, n int) (string, error) {
	cols, err := w.columns(table)
	if err != nil {
		return "", err
	}
	if len(cols) == 0 {
		return "INSERT INTO " + table + " DEFAULT VALUES", nil
	}
	var names, values []string
	for _, c := range cols {
		names, values = append(names, c.name), append(values, w.value(c))
	}
	from := w.rng.IntN(1_000_000)
	return fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM generate_series(%d, %d) i", table, strings.Join(names, ", "),
		strings.Join(values, ", "), from, from+n-1), nil
}

// update makes an UPDATE of some rows, with one or a few columns.
func (w *stressWriter) update(table string) (string, error) {
	cols, err := w.columns(table)
	if err != nil || len(cols) == 0 {
		return "SELECT 1", err
	}
	var sets []string
	for range 1 + w.rng.IntN(2) {
		c := cols[w.rng.IntN(len(cols))]
		if !strings.Contains(strings.Join(sets, ","), c.name+" =") && c.name != "id" {
			sets = append(sets, c.name+" = (SELECT "+w.value(c)+fmt.Sprintf(" FROM (VALUES (%d)) x(i))", w.rng.IntN(1000)))
		}
	}
	if len(sets) == 0 {
		sets = []string{cols[0].name + " = " + cols[0].name}
	}
	return fmt.Sprintf("UPDATE %s SET %s WHERE %s", table, strings.Join(sets, ", "), w.some()), nil
}

// some is a condition that holds for a part of any table's rows.
func (w *stressWriter) some() string {
	switch w.rng.IntN(4) {
	case 0:
		return fmt.Sprintf("ctid = '(%d,%d)'", w.rng.IntN(20), 1+w.rng.IntN(50))
	case 1:
		return fmt.Sprintf("ctid < '(%d,1)'", w.rng.IntN(5))
	case 2:
		return "random() < 0.05"
	}
	return "random() < 0.4"
}

// dml is one statement that changes rows of a table.
func (w *stressWriter) dml(table string) (string, error) {
	switch w.rng.IntN(5) {
	case 0, 1:
		return w.insert(table, []int{1, 2, 20, 300}[w.rng.IntN(4)])
	case 2, 3:
		return w.update(table)
	}
	return fmt.Sprintf("DELETE FROM ONLY %s WHERE %s", table, w.some()), nil
}

// on runs statements made for a table picked by a condition.
func on(condition string, statements func(w *stressWriter, table string) ([]string, error)) func(*stressWriter) error {
	return func(w *stressWriter) error {
		table, err := w.pick(condition)
		if err != nil {
			return err
		}
		list, err := statements(w, table)
		if err != nil {
			return err
		}
		return w.all(list...)
	}
}

// with is on for statements that name the table as %s.
func with(condition string, statements ...string) func(*stressWriter) error {
	return on(condition, func(_ *stressWriter, table string) ([]string, error) {
		out := make([]string, len(statements))
		for i, sql := range statements {
			out[i] = strings.ReplaceAll(sql, "%s", table)
		}
		return out, nil
	})
}

// fixed runs statements as they are.
func fixed(statements ...string) func(*stressWriter) error {
	return func(w *stressWriter) error { return w.all(statements...) }
}
