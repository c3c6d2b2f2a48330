package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/lakecheck"
)

// compareDatabase compares the tables that should be in the lake. One may be outside only if the status says so, for a
// reason that holds.
func (s *stress) compareDatabase(name string, status []admin.Table) (lakecheck.Report, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.pg.ConnString(name))
	if err != nil {
		return lakecheck.Report{}, err
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(ctx, stressTables)
	if err != nil {
		return lakecheck.Report{}, err
	}
	type planned struct {
		lakecheck.TableName
		Outside string
		Locked  bool // by an open transaction, so that nobody else can read it
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p planned, err error) {
		return p, row.Scan(&p.Namespace, &p.Table, &p.Outside, &p.Locked)
	})
	if err != nil {
		return lakecheck.Report{}, err
	}
	var inside, outside []lakecheck.TableName
	for _, p := range all {
		i := slices.IndexFunc(status, func(t admin.Table) bool { return t.Name == name+"."+p.Namespace+"."+p.Table })
		switch {
		case p.Outside == "" && (i < 0 || status[i].State != admin.TableLive):
			said := "it is not listed"
			if i >= 0 {
				said = fmt.Sprintf("%s: %s", status[i].State, status[i].Error)
			}
			return lakecheck.Report{}, fmt.Errorf("%s is not live, %s", p.TableName, said)
		case p.Outside != "" && (i < 0 || status[i].State == admin.TableLive || status[i].Error == ""):
			return lakecheck.Report{}, fmt.Errorf("%s is %s; the status does not say so", p.TableName, p.Outside)
		case p.Outside == "" && !p.Locked:
			inside = append(inside, p.TableName)
		default:
			outside = append(outside, p.TableName)
		}
	}
	var report lakecheck.Report
	if len(inside) > 0 {
		if report, err = lakecheck.Compare(ctx, conn, s.tarn.catalogURL(), name, inside, s.readers...); err != nil {
			return report, err
		}
	}
	seen, err := s.readers[0].Tables(ctx, s.tarn.catalogURL(), name)
	if err != nil && len(inside) == 0 {
		return report, nil // a database without tables is no warehouse
	}
	for _, table := range seen {
		if !strings.HasSuffix(table.Table, "__history") && !slices.Contains(inside, table) && !slices.Contains(outside, table) {
			return report, fmt.Errorf("%s is in the lake and not in Postgres", table)
		}
	}
	return report, err
}

// stressTables lists what users would look for in the lake, and why it may be outside.
const stressTables = `
WITH RECURSIVE leaf AS (
  SELECT oid AS root, oid AS rel, relkind, relpersistence FROM pg_class
  WHERE relkind IN ('r', 'p', 'm') AND NOT relispartition AND relpersistence <> 't'
  UNION ALL
  SELECT l.root, c.oid, c.relkind, c.relpersistence FROM leaf l JOIN pg_inherits i ON i.inhparent = l.rel AND l.relkind = 'p' AND NOT i.inhdetachpending
  JOIN pg_class c ON c.oid = i.inhrelid
)
SELECT n.nspname::text, r.relname::text, CASE
  WHEN bool_or(l.relpersistence = 'u') THEN 'unlogged'
  WHEN NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = r.oid AND a.attnum > 0
    AND a.attgenerated <> 'v' AND t.typtype NOT IN ('c', 'r') AND t.typname <> 'regclass') THEN 'without a column of a type that the lake has'
  ELSE '' END, bool_or(EXISTS (SELECT FROM pg_locks k WHERE k.relation = l.rel AND k.mode = 'AccessExclusiveLock' AND k.granted
    AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())))
FROM leaf l JOIN pg_class r ON r.oid = l.root JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
GROUP BY r.oid, n.nspname, r.relname ORDER BY 1, 2`

// unexpected are the errors of tarn's log but those of a partition that a session made unlogged: its table stands still, and
// compareDatabase asks the status for it.
func (s *stress) unexpected() []string {
	return slices.DeleteFunc(s.tarn.errors(), func(line string) bool { return strings.Contains(line, "is unlogged, so its rows are not in the WAL") })
}
