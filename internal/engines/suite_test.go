package engines

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

// testCase is SQL for Postgres and what every engine has to see then.
type testCase struct {
	name string
	// steps are statements; after each step the lake is published. The first step is there before tarn attaches, so it comes
	// through the initial copy, and the others through WAL.
	steps [][]string
	// record names tables of which Postgres's rows are kept as they are after each step.
	record []string
	checks []check
	limits map[string]limit // by engine
}

// limit is what an engine cannot do, by no fault of the lake. The case must fail with it: once the engine has learned it,
// the entry is to go.
type limit struct {
	why  string
	sees string // part of what the failing check says
}

// check is what one engine has to see; the error says what it saw.
type check func(q *question) error

// question is a check's engine and case.
type question struct {
	*rig
	reader *lakecheck.Reader
	c      *testCase
}

// recorded are a table's rows in Postgres after a step.
type recorded struct {
	side    lakecheck.Side
	columns []string
}

func (r *rig) runCases(cases []testCase) {
	r.t.Helper()
	steps := 0
	for _, c := range cases {
		steps = max(steps, len(c.steps))
	}
	for step := range steps {
		if step > 0 {
			for _, c := range cases {
				if step < len(c.steps) {
					r.execIn(c.name, c.steps[step])
				}
			}
		}
		r.warehouses = append(r.warehouses, r.publish())
		for _, c := range cases {
			if step < len(c.steps) {
				r.recordStep(&c, step)
			}
		}
	}
	for i := range cases {
		c := &cases[i]
		r.t.Run(c.name, func(t *testing.T) {
			for _, name := range r.names() {
				t.Run(name, func(t *testing.T) { r.runCase(t, c, name) })
			}
		})
	}
}

func (r *rig) execIn(name string, statements []string) {
	r.t.Helper()
	if err := r.pg.Exec(r.t.Context(), database, statements...); err != nil {
		r.t.Fatalf("case %s: %v", name, err)
	}
}

func (r *rig) recordStep(c *testCase, step int) {
	r.t.Helper()
	for _, table := range c.record {
		side, columns, err := lakecheck.ReadPostgres(r.t.Context(), r.conn, tableName(table))
		if err != nil {
			r.t.Fatalf("case %s: %v", c.name, err)
		}
		r.recorded[fmt.Sprintf("%s %d", table, step)] = recorded{side, columns}
	}
}

func (r *rig) runCase(t *testing.T, c *testCase, name string) {
	q := &question{rig: r, reader: r.readers[name], c: c}
	var failed []error
	for _, check := range c.checks {
		failed = append(failed, check(q))
	}
	err := errors.Join(failed...)
	known, limited := c.limits[name]
	switch {
	case !limited && err != nil:
		t.Error(err)
	case limited && err == nil:
		t.Errorf("%s has lost a limit, take it out: %s", name, known.why)
	case limited && !strings.Contains(err.Error(), known.sees):
		t.Errorf("%s is known to fail with %q (%s), and failed with: %v", name, known.sees, known.why, err)
	}
}

// setup are the first steps of all cases.
func setup(cases []testCase) (statements []string) {
	for _, c := range cases {
		if len(c.steps) > 0 {
			statements = append(statements, c.steps[0]...)
		}
	}
	return statements
}

// tableName of "namespace|table", or of a table in public.
func tableName(text string) lakecheck.TableName {
	if namespace, table, ok := strings.Cut(text, "|"); ok {
		return lakecheck.TableName{Namespace: namespace, Table: table}
	}
	return lakecheck.TableName{Namespace: "public", Table: text}
}

func (q *question) source(table string) lakecheck.Source {
	return lakecheck.Source{Catalog: q.catalog, Warehouse: database, Table: tableName(table)}
}

// same compares whole tables as Postgres has them now: columns, types, and every value.
func same(tables ...string) check {
	return func(q *question) error {
		names := make([]lakecheck.TableName, len(tables))
		for i, table := range tables {
			names[i] = tableName(table)
		}
		report, err := lakecheck.Compare(q.t.Context(), q.conn, q.catalog, database, names, q.reader)
		if err == nil && !report.Equal() {
			err = fmt.Errorf("not as in Postgres:\n%s", report)
		}
		return err
	}
}

// counts asks for the number of rows for which each of the conditions holds.
func counts(table string, conditions ...[]lakecheck.Term) check {
	return func(q *question) error {
		var failed []error
		for _, where := range append(slices.Clone(conditions), nil) {
			want, err := q.postgresCount(table, where)
			if err != nil {
				return err
			}
			got, err := q.reader.Count(q.t.Context(), q.source(table), where...)
			if err == nil && got != want {
				err = fmt.Errorf("%s where %s: %d rows, in Postgres %d", table, sqlWhere(where), got, want)
			}
			failed = append(failed, err)
		}
		return errors.Join(failed...)
	}
}

func (q *question) postgresCount(table string, where []lakecheck.Term) (n int64, err error) {
	name := tableName(table)
	sql := "SELECT count(*) FROM " + pgx.Identifier{name.Namespace, name.Table}.Sanitize() + " WHERE " + sqlWhere(where)
	if err := q.conn.QueryRow(q.t.Context(), sql).Scan(&n); err != nil {
		return 0, fmt.Errorf("%s: %w", sql, err)
	}
	return n, nil
}

var pgTypes = map[string]string{
	"boolean": "bool", "int": "int8", "long": "int8", "float": "float4", "double": "float8", "binary": "bytea", "string": "text",
	"date": "date", "time": "time", "timestamp": "timestamp", "timestamptz": "timestamptz", "uuid": "uuid",
}

func sqlWhere(where []lakecheck.Term) string {
	out := "true"
	for _, term := range where {
		column, value := pgx.Identifier{term.Column}.Sanitize(), "'"+strings.ReplaceAll(term.Value, "'", "''")+"'"
		switch {
		case strings.HasPrefix(term.Op, "IS"):
			out += fmt.Sprintf(" AND %s %s", column, term.Op)
			continue
		case term.Op == "LIKE":
			out += fmt.Sprintf(" AND starts_with(%s, %s)", column, value)
			continue
		case strings.HasPrefix(term.Type, "decimal"):
			value += "::numeric"
		case term.Type == "binary":
			value = "decode(" + value + ", 'hex')"
		case term.Type == "string":
			column += ` COLLATE "C"`
		default:
			value += "::" + pgTypes[term.Type]
		}
		out += fmt.Sprintf(" AND %s %s %s", column, term.Op, value)
	}
	return out
}

// terms compares a column with each value: by = and >=, which the least error of an upper bound spoils, and two others in turn.
func terms(column, kind string, values ...string) (out [][]lakecheck.Term) {
	for i, v := range values {
		for _, op := range [][]string{{"=", ">=", "<", "<>"}, {"=", ">=", "<=", ">"}}[i%2] {
			out = append(out, []lakecheck.Term{{Column: column, Op: op, Type: kind, Value: v}})
		}
	}
	return out
}

func nulls(column string) [][]lakecheck.Term {
	return [][]lakecheck.Term{{{Column: column, Op: "IS NULL"}}, {{Column: column, Op: "IS NOT NULL"}}}
}

// bounds asks for the least and greatest value of columns.
func bounds(table string, columns ...string) check {
	return func(q *question) error {
		var failed []error
		for _, column := range columns {
			want, err := lakecheck.PostgresBounds(q.t.Context(), q.conn, tableName(table), column)
			if err != nil {
				return err
			}
			got, err := q.reader.Bounds(q.t.Context(), q.source(table), column)
			if err == nil && !slices.Equal(got, want) {
				err = fmt.Errorf("min and max of %s.%s are %v, in Postgres %v", table, column, got, want)
			}
			failed = append(failed, err)
		}
		return errors.Join(failed...)
	}
}

// gone asks for a table that is not there: the engine must say so, and not that something broke.
func gone(table string) check {
	return func(q *question) error {
		n, err := q.reader.Count(q.t.Context(), q.source(table))
		return notFound(fmt.Sprintf("%s has %d rows", table, n), err)
	}
}

// notFound is nil if err says that something is not there.
func notFound(what string, err error) error {
	if err == nil {
		return errors.New(what + ", and should not be there")
	}
	text := strings.ToLower(err.Error())
	for _, broken := range []string{"http 500", "servererror", "servicefailure"} {
		if strings.Contains(text, broken) {
			return fmt.Errorf("want an error that says what is not found, got one of the server's: %w", err)
		}
	}
	for _, said := range []string{"does not exist", "not found", "cannot be found", "nosuch", "no such", "is not published yet", "older than the retained history"} {
		if strings.Contains(text, said) {
			return nil
		}
	}
	return fmt.Errorf("want an error that says what is not found, got: %w", err)
}

// after checks a table at the LSN of a step, where it has to be as Postgres had it then.
func after(step int, table string) check {
	return func(q *question) error {
		source := q.source(table)
		source.Warehouse = q.warehouses[step]
		return q.asRecorded(source, step, table)
	}
}

func (q *question) asRecorded(source lakecheck.Source, step int, table string) error {
	want, ok := q.recorded[fmt.Sprintf("%s %d", table, step)]
	if !ok {
		return fmt.Errorf("BUG: %s is not recorded after step %d", table, step)
	}
	got, err := q.reader.Read(q.t.Context(), source, want.columns)
	if err == nil && (got.Rows != want.side.Rows || got.Checksum != want.side.Checksum) {
		err = fmt.Errorf("%s after step %d: %d rows (%.12s), Postgres had %d (%.12s)", table, step, got.Rows, got.Checksum, want.side.Rows, want.side.Checksum)
	}
	return err
}
