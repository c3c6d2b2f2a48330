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
SELECT a.attname::text, a.atttypid::int8, a.atttypmod::int, a.attndims::int, a.attgenerated = 'v'
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

const typeQuery = `
SELECT t.typname::text, quote_ident(n.nspname), t.typcategory::text, t.typtype::text, t.typlen::int, t.typelem::int8, t.typbasetype::int8,
  t.typtypmod::int, t.typndims::int, t.typrelid::int8, coalesce(r.rngsubtype::int8, 0), coalesce(m.rngtypid::int8, 0), coalesce(e.extname::text, '')
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_range m ON m.rngmultitypid = t.oid
  LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
  LEFT JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
WHERE t.oid = $1::int8::oid`

// attribute is a row of pg_attribute: a column, or an attribute of a composite type.
type attribute struct {
	name    string
	oid     int64
	typmod  int32
	dims    int32
	virtual bool // generated on reading: not stored, so not in the lake
}

func pgAttributes(ctx context.Context, tx pgx.Tx, query string, args ...any) ([]attribute, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (a attribute, err error) {
		err = row.Scan(&a.name, &a.oid, &a.typmod, &a.dims, &a.virtual)
		return a, err
	})
}

// pgColumns reads a table's columns in order, each with the rule of its type.
func pgColumns(ctx context.Context, tx pgx.Tx, table TableName) ([]column, error) {
	attrs, err := pgAttributes(ctx, tx, columnsQuery, table.Namespace, table.Table)
	if err != nil {
		return nil, err
	}
	columns := make([]column, len(attrs))
	for i, a := range attrs {
		columns[i] = column{name: a.name}
		if a.virtual {
			continue
		}
		t, err := pgTypeOf(ctx, tx, a, 0)
		if err != nil {
			return nil, err
		}
		columns[i].rule = ruleFor(t, 0)
	}
	return columns, nil
}

// pgTypeOf reads a type and what is inside it, with domains resolved to their base.
func pgTypeOf(ctx context.Context, tx pgx.Tx, a attribute, depth int) (pgType, error) {
	t := pgType{typmod: a.typmod, dims: int(a.dims)}
	var length int32
	var elem, base, relid, subtype, rangeOID int64
	var typmod, dims int32
	if depth > 32 {
		return t, fmt.Errorf("type %d is nested too deep", a.oid)
	}
	err := tx.QueryRow(ctx, typeQuery, a.oid).Scan(&t.name, &t.schema, &t.category, &t.kind, &length, &elem, &base, &typmod, &dims, &relid, &subtype, &rangeOID, &t.extension)
	if err != nil {
		return t, fmt.Errorf("type %d: %w", a.oid, err)
	}
	inside := func(name string, of attribute) error {
		m, err := pgTypeOf(ctx, tx, of, depth+1)
		t.members = append(t.members, pgMember{name, m})
		return err
	}
	switch {
	case t.kind == "d":
		if typmod == -1 {
			typmod = a.typmod
		}
		return pgTypeOf(ctx, tx, attribute{oid: base, typmod: typmod, dims: max(a.dims, dims)}, depth+1)
	case t.kind == "c":
		attrs, err := pgAttributes(ctx, tx, "SELECT attname::text, atttypid::int8, atttypmod::int, attndims::int, false FROM pg_attribute WHERE attrelid = $1::int8::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum", relid)
		for _, of := range attrs {
			if err := inside(of.name, of); err != nil {
				return t, err
			}
		}
		return t, err
	case t.kind == "r":
		return t, inside("", attribute{oid: subtype, typmod: -1})
	case t.kind == "m":
		return t, inside("", attribute{oid: rangeOID, typmod: -1})
	case t.category == "A" && elem != 0 && length == -1:
		t.array = true
		return t, inside("", attribute{oid: elem, typmod: a.typmod})
	}
	return t, nil
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
