package lakecheck

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Source is a table as a reader finds it.
type Source struct {
	Catalog   string // URL
	Warehouse string // database or database@LSN
	Table     TableName
	At        At
}

// At is a point in a table's own history; the zero value is its newest snapshot.
type At struct {
	Snapshot     int64 `json:"snapshot,omitempty"`
	Milliseconds int64 `json:"ms,omitempty"` // since 1970, in UTC
}

// Term is a comparison of a column with a value. Terms are joined by AND.
type Term struct {
	Column string `json:"column"`
	Op     string `json:"op"`    // = <> < <= > >= LIKE (the value is a prefix), IS NULL, IS NOT NULL
	Type   string `json:"type"`  // of the column, as canon.py names it
	Value  string `json:"value"` // as Postgres writes it; of binary the hex digits
}

// Snapshot is one entry of a table's history.
type Snapshot struct {
	ID           int64 `json:"id"`
	Milliseconds int64 `json:"ms"`
}

func (s Source) request(op string) request {
	r := request{Op: op, Catalog: s.Catalog, Warehouse: s.Warehouse, Namespace: s.Table.Namespace, Table: s.Table.Table}
	if s.At != (At{}) {
		r.At = &s.At
	}
	return r
}

// Count is the reader's count of rows for which every term holds. It may come from metadata.
func (r *Reader) Count(ctx context.Context, s Source, where ...Term) (int64, error) {
	req := s.request("count")
	req.Where = where
	rep, err := r.do(ctx, req)
	return rep.Count, err
}

// Bounds are the canonical tokens of a column's least and greatest value. They may come from metadata.
func (r *Reader) Bounds(ctx context.Context, s Source, column string) ([]string, error) {
	req := s.request("bounds")
	req.Columns = []string{column}
	rep, err := r.do(ctx, req)
	if err != nil || len(rep.Rows) != 1 {
		return nil, err
	}
	return rep.Rows[0], nil
}

// Read reads columns of the rows for which every term holds.
func (r *Reader) Read(ctx context.Context, s Source, columns []string, where ...Term) (Side, error) {
	req := s.request("read")
	req.Columns, req.Where = columns, where
	rep, err := r.do(ctx, req)
	return Side{Reader: r.name, Rows: rep.Count, Checksum: rep.Checksum}, err
}

// Snapshots are a table's, oldest first; only PyIceberg and Polars show them.
func (r *Reader) Snapshots(ctx context.Context, s Source) ([]Snapshot, error) {
	rep, err := r.do(ctx, s.request("snapshots"))
	return rep.Snapshots, err
}

// Hold begins to read a table, and says how many rows it has read already; Finish reads the others.
func (r *Reader) Hold(ctx context.Context, s Source) (int64, error) {
	rep, err := r.do(ctx, s.request("hold"))
	return rep.Count, err
}

// Finish reads what Hold has left and returns the number of rows.
func (r *Reader) Finish(ctx context.Context) (int64, error) {
	rep, err := r.do(ctx, request{Op: "finish"})
	return rep.Count, err
}

// Write tries to change the lake with a statement, in which TABLE_NAME is the table. PyIceberg and Polars have no statements:
// they drop the table if it begins with DROP, and else append a row.
func (r *Reader) Write(ctx context.Context, s Source, sql string) error {
	req := s.request("write")
	req.SQL = sql
	_, err := r.do(ctx, req)
	return err
}

// Columns of a table that are in the lake, and the table as Postgres has it now.
func (s Source) inPostgres(ctx context.Context, conn *pgx.Conn, read func(pgx.Tx, []column) error) error {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // it has written nothing
	if _, err := tx.Exec(ctx, settings); err != nil {
		return err
	}
	all, err := pgColumns(ctx, tx, s.Table)
	if err != nil {
		return err
	}
	var columns []column
	for _, c := range all {
		if c.rule.lake != "" {
			columns = append(columns, c)
		}
	}
	return read(tx, columns)
}

// ReadPostgres is what Read has to return of a table as Postgres has it now, and the columns to read.
func ReadPostgres(ctx context.Context, conn *pgx.Conn, table TableName) (Side, []string, error) {
	side, names := Side{Reader: "postgres"}, []string{}
	err := Source{Table: table}.inPostgres(ctx, conn, func(tx pgx.Tx, columns []column) error {
		content, err := pgRead(ctx, tx.Conn().PgConn(), table, columns, 0)
		side.Rows, side.Checksum = content.count, content.checksum
		for _, c := range columns {
			names = append(names, c.name)
		}
		return err
	})
	return side, names, err
}

// PostgresBounds is what Bounds has to return of a table as Postgres has it now.
func PostgresBounds(ctx context.Context, conn *pgx.Conn, table TableName, name string) ([]string, error) {
	var bounds []string
	err := Source{Table: table}.inPostgres(ctx, conn, func(tx pgx.Tx, columns []column) error {
		for _, c := range columns {
			if c.name != name {
				continue
			}
			id := pgx.Identifier{c.name}.Sanitize()
			if c.rule.lake == "string" {
				id += ` COLLATE "C"`
			}
			sql := fmt.Sprintf("SELECT %s, %s FROM %s", c.rule.render("min("+id+")"), c.rule.render("max("+id+")"), pgx.Identifier{table.Namespace, table.Table}.Sanitize())
			row := tx.Conn().PgConn().ExecParams(ctx, sql, nil, nil, nil, nil).Read()
			if row.Err != nil {
				return row.Err
			}
			for _, v := range row.Rows[0] {
				bounds = append(bounds, string(appendToken(nil, v)))
			}
		}
		return nil
	})
	return bounds, err
}

// Columns are the names of a table's columns as the reader shows them.
func (r *Reader) Columns(ctx context.Context, s Source) ([]string, error) {
	rep, err := r.do(ctx, s.request("describe"))
	names := []string{}
	for _, c := range rep.Columns {
		names = append(names, c.Name)
	}
	return names, err
}
