package lakecheck

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// column is a live column of a Postgres table.
type column struct {
	name string
	rule rule
}

// tableContent is one side of a comparison. Rows are tokens, kept only when asked for.
type tableContent struct {
	count    int64
	checksum string
	rows     [][]string
}

// settings under which output functions print what the lake holds.
const settings = `SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres';
SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL search_path = pg_catalog; SET LOCAL jit = off`

const columnsQuery = `
WITH RECURSIVE col AS (
  SELECT a.attname, a.attnum, a.atttypid AS typ, a.atttypmod AS typmod, a.attgenerated = 'v' AS virtual
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped
), base AS (
  SELECT attname, attnum, typ, typmod, virtual, 0 AS elem_of FROM col
  UNION ALL
  SELECT b.attname, b.attnum,
    CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END,
    CASE WHEN t.typtype = 'd' AND b.typmod = -1 THEN t.typtypmod ELSE b.typmod END,
    b.virtual,
    CASE WHEN t.typtype = 'd' THEN b.elem_of ELSE b.elem_of + 1 END
  FROM base b JOIN pg_type t ON t.oid = b.typ
  WHERE t.typtype = 'd' OR (t.typcategory = 'A' AND t.typelem <> 0 AND t.typlen = -1)
)
SELECT b.attname::text, b.elem_of::int, t.typname::text, t.typcategory::text, t.typtype::text, b.typmod::int, b.virtual
FROM base b JOIN pg_type t ON t.oid = b.typ
WHERE t.typtype <> 'd'
ORDER BY b.attnum, b.elem_of`

// pgColumns reads a table's columns in order, each with the rule of its type.
func pgColumns(ctx context.Context, tx pgx.Tx, table TableName) ([]column, error) {
	rows, err := tx.Query(ctx, columnsQuery, table.Namespace, table.Table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	var types []*pgType // outermost type of each column
	var virtuals []bool // generated on reading: not stored, so not in the lake
	var last *pgType
	for rows.Next() {
		var name string
		var elemOf int
		var virtual bool
		t := &pgType{}
		if err := rows.Scan(&name, &elemOf, &t.name, &t.category, &t.kind, &t.typmod, &virtual); err != nil {
			return nil, err
		}
		if elemOf == 0 {
			names, types, virtuals = append(names, name), append(types, t), append(virtuals, virtual)
		} else {
			last.elem = t
		}
		last = t
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	columns := make([]column, len(names))
	for i := range names {
		columns[i] = column{name: names[i]}
		if !virtuals[i] {
			columns[i].rule = ruleFor(*types[i], 0)
		}
	}
	return columns, nil
}

// pgRead reads the canonical rows of some columns, keeping up to keep of them.
func pgRead(ctx context.Context, conn *pgconn.PgConn, table TableName, columns []column, keep int) (tableContent, error) {
	from, err := fromClause(ctx, conn, table)
	if err != nil {
		return tableContent{}, fmt.Errorf("read %s from Postgres: %w", table, err)
	}
	exprs := make([]string, len(columns))
	for i, c := range columns {
		exprs[i] = c.rule.render(pgx.Identifier{c.name}.Sanitize())
	}
	rr := conn.ExecParams(ctx, "SELECT "+strings.Join(exprs, ", ")+" FROM "+from, nil, nil, nil, nil)
	var content tableContent
	var sum checksum
	var row []byte
	for rr.NextRow() {
		row = row[:0]
		var kept []string
		for _, value := range rr.Values() {
			start := len(row)
			row = appendToken(row, value)
			if len(content.rows) < keep {
				kept = append(kept, string(row[start:]))
			}
		}
		sum.add(row)
		content.count++
		if len(content.rows) < keep {
			content.rows = append(content.rows, kept)
		}
	}
	if _, err := rr.Close(); err != nil {
		return tableContent{}, fmt.Errorf("read %s from Postgres: %w", table, err)
	}
	content.checksum = sum.String()
	return content, nil
}

// fromClause names the rows that are a table's in the lake: those of a partitioned table are its partitions', those of a
// table that others inherit from are its own.
func fromClause(ctx context.Context, conn *pgconn.PgConn, table TableName) (string, error) {
	name := pgx.Identifier{table.Namespace, table.Table}.Sanitize()
	rr := conn.ExecParams(ctx, "SELECT relkind::text FROM pg_class WHERE oid = $1::regclass", [][]byte{[]byte(name)}, nil, nil, nil)
	res := rr.Read()
	if res.Err != nil {
		return "", res.Err
	}
	if len(res.Rows) == 1 && string(res.Rows[0][0]) == "r" {
		return "ONLY " + name, nil
	}
	return name, nil
}

// pgTables are the tables the lake is expected to have: permanent tables of users, ordinary and partitioned (partitions
// are part of their table), and materialized views.
func pgTables(ctx context.Context, tx pgx.Tx) ([]TableName, error) {
	rows, err := tx.Query(ctx, `
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%' ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (TableName, error) {
		var t TableName
		err := row.Scan(&t.Namespace, &t.Table)
		return t, err
	})
}
