package lakecheck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/jackc/pgx/v5"
)

const (
	differencesMax = 5         // shown per table and reader
	diffRowsMax    = 1_000_000 // a difference in a larger table is reported without rows
)

// Compare reads tables (none named: every permanent table of the connection's database, and the warehouse must have
// no others) in one REPEATABLE READ transaction of Postgres, and in the lake through each reader. Warehouse is the
// database, or "database@LSN" for all tables at one publication. The error is about the comparison itself; what differs is in
// the report.
func Compare(ctx context.Context, conn *pgx.Conn, catalogURL, warehouse string, tables []TableName, readers ...*Reader) (Report, error) {
	report := Report{Warehouse: warehouse}
	if len(readers) == 0 {
		return report, errors.New("compare: no readers")
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return report, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // it has written nothing
	if _, err := tx.Exec(ctx, settings); err != nil {
		return report, err
	}
	whole := len(tables) == 0
	if whole {
		if tables, err = pgTables(ctx, tx); err != nil {
			return report, err
		}
	}
	c := comparison{ctx: ctx, tx: tx, catalog: catalogURL, warehouse: warehouse, readers: readers}
	for _, table := range tables {
		t, err := c.table(table)
		if err != nil {
			return report, err
		}
		report.Tables = append(report.Tables, t)
	}
	if whole {
		extra, err := c.extraTables(tables)
		if err != nil {
			return report, err
		}
		report.Tables = append(report.Tables, extra...)
	}
	return report, nil
}

type comparison struct {
	ctx       context.Context
	tx        pgx.Tx
	catalog   string
	warehouse string
	readers   []*Reader
}

func (c *comparison) table(name TableName) (TableReport, error) {
	report := TableReport{Table: name, Postgres: Side{Reader: "postgres"}}
	all, err := pgColumns(c.ctx, c.tx, name)
	if err != nil {
		return report, err
	}
	var columns []column
	var sides []*Side
	for i, r := range c.readers {
		side := &Side{Reader: r.Name()}
		sides = append(sides, side)
		rep, err := r.do(c.ctx, c.request("describe", name))
		if err != nil {
			if c.ctx.Err() != nil {
				return report, err
			}
			side.Error = err.Error()
			report.Problems = append(report.Problems, err.Error())
			continue
		}
		side.LSN = rep.LSN
		found, leftOut, problems := match(r.Name(), all, rep)
		if i == 0 || columns == nil {
			columns, report.LeftOut = found, leftOut
		} else if !slices.EqualFunc(columns, found, func(a, b column) bool { return a.name == b.name }) {
			problems = append(problems, r.Name()+": sees other columns than "+c.readers[0].Name())
		}
		report.Problems = append(report.Problems, problems...)
	}
	for _, col := range columns {
		report.Columns = append(report.Columns, col.name)
	}
	if err := c.read(&report, columns, sides); err != nil {
		return report, err
	}
	for _, side := range sides {
		report.Lake = append(report.Lake, *side)
	}
	return report, nil
}

// match pairs Postgres's columns with the lake's by name.
func match(reader string, all []column, lake reply) (found []column, leftOut, problems []string) {
	types := map[string]string{}
	for _, col := range lake.Columns {
		types[col.Name] = col.Type
	}
	for _, col := range all {
		shown := shownName(reader, col.name)
		got, there := types[shown]
		delete(types, shown)
		switch {
		case there && col.rule.lake == "":
			problems = append(problems, fmt.Sprintf("%s: column %s is %s in the lake, should be left out", reader, col.name, got))
		case there && !sameType(got, shownType(reader, col.rule.lake)):
			problems = append(problems, fmt.Sprintf("%s: column %s is %s in the lake, want %s", reader, col.name, got, shownType(reader, col.rule.lake)))
		case there:
			found = append(found, col)
		case col.rule.lake == "" || col.rule.optional:
			leftOut = append(leftOut, col.name)
		default:
			problems = append(problems, fmt.Sprintf("%s: column %s is missing", reader, col.name))
		}
	}
	extra := make([]string, 0, len(types))
	for name := range types {
		extra = append(extra, name)
	}
	sort.Strings(extra)
	for _, name := range extra {
		problems = append(problems, fmt.Sprintf("%s: column %s is not in Postgres", reader, name))
	}
	return found, leftOut, problems
}

func sameType(got, want string) bool { return strings.EqualFold(got, want) }

// read compares the rows, and where they differ reads both sides again to say which.
func (c *comparison) read(report *TableReport, columns []column, sides []*Side) error {
	pg, err := pgRead(c.ctx, c.tx.Conn().PgConn(), report.Table, columns, 0)
	if err != nil {
		return err
	}
	report.Postgres.Rows, report.Postgres.Checksum = pg.count, pg.checksum
	for i, side := range sides {
		if side.Error != "" {
			continue
		}
		req := c.request("read", report.Table)
		req.Columns = report.Columns
		rep, err := c.readers[i].do(c.ctx, req)
		if err != nil {
			if c.ctx.Err() != nil {
				return err
			}
			side.Error = err.Error()
			report.Problems = append(report.Problems, err.Error())
			continue
		}
		side.Rows, side.Checksum = rep.Count, rep.Checksum
		if rep.Count == pg.count && rep.Checksum == pg.checksum || max(rep.Count, pg.count) > diffRowsMax {
			continue
		}
		if err := c.explain(report, columns, c.readers[i], req); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) explain(report *TableReport, columns []column, r *Reader, req request) error {
	req.Keep = diffRowsMax
	rep, err := r.do(c.ctx, req)
	if err != nil {
		return err
	}
	pg, err := pgRead(c.ctx, c.tx.Conn().PgConn(), report.Table, columns, diffRowsMax)
	if err != nil {
		return err
	}
	report.Differences = append(report.Differences, differences(r.Name(), pg.rows, rep.Rows)...)
	return nil
}

// differences finds the first rows of which one side has more copies.
func differences(reader string, pg, lake [][]string) []Difference {
	balance := map[string]int{}
	for _, row := range pg {
		balance[strings.Join(row, "")]++
	}
	for _, row := range lake {
		balance[strings.Join(row, "")]--
	}
	var out []Difference
	for _, rows := range [][][]string{pg, lake} {
		shown := 0
		for _, row := range rows {
			key := strings.Join(row, "")
			n := balance[key]
			if n == 0 || shown == differencesMax {
				continue
			}
			delete(balance, key)
			shown++
			out = append(out, Difference{Reader: reader, Missing: n > 0, Times: max(n, -n), Row: row})
		}
	}
	return out
}

// historySuffix ends the name of the table of a table's changes.
const historySuffix = "__history"

// extraTables reports what the readers list and Postgres does not have, but for histories of tables that it has.
func (c *comparison) extraTables(known []TableName) ([]TableReport, error) {
	var out []TableReport
	for _, r := range c.readers {
		names, err := r.Tables(c.ctx, c.catalog, c.warehouse)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			same := func(k TableName) bool {
				table := shownName(r.Name(), k.Table)
				return shownName(r.Name(), k.Namespace) == name.Namespace && (table == name.Table || table+historySuffix == name.Table)
			}
			if !slices.ContainsFunc(known, same) {
				out = append(out, TableReport{Table: name, Problems: []string{r.Name() + ": the table is not in Postgres"}})
			}
		}
	}
	return out, nil
}

func (c *comparison) request(op string, name TableName) request {
	return request{Op: op, Catalog: c.catalog, Warehouse: c.warehouse, Namespace: name.Namespace, Table: name.Table}
}
