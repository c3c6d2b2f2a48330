package basebackup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// rows is what a cluster says of itself: by database and relation a hash of its rows, catalogs included; by sequence where it stands.
type rows struct {
	hashes    map[string]string
	sequences map[string]int64
}

// tables are whatever holds rows that must be there; of unlogged ones none are.
const tables = `select array[quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text, c.relpersistence::text]
	from pg_class c join pg_namespace n on n.oid = c.relnamespace
	where c.relkind in ('r', 'm', 'S') and c.relpersistence <> 't' and (c.relisshared = (current_database() = 'postgres') or not c.relisshared)
	and n.nspname not like 'pg_temp%' order by 1`

// readRows reads every database.
func readRows(ctx context.Context, srv *pgtest.Server) (rows, error) {
	r := rows{map[string]string{}, map[string]int64{}}
	dbs, err := databases(ctx, srv)
	if err != nil {
		return r, err
	}
	for _, db := range dbs {
		if err := r.database(ctx, srv, db); err != nil {
			return r, fmt.Errorf("%s: %w", db, err)
		}
	}
	return r, nil
}

func databases(ctx context.Context, srv *pgtest.Server) ([]string, error) {
	text, err := srv.QueryText(ctx, "postgres", "select string_agg(datname, ' ' order by datname) from pg_database where datallowconn")
	return strings.Fields(text), err
}

func (r *rows) database(ctx context.Context, srv *pgtest.Server, db string) error {
	conn, err := pgx.Connect(ctx, srv.ConnString(db))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	list, err := conn.Query(ctx, tables)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(list, pgx.RowTo[[]string])
	if err != nil {
		return err
	}
	for _, n := range names {
		name := db + " " + n[0]
		switch {
		case n[1] == "S":
			var v int64
			if err := conn.QueryRow(ctx, "select last_value from "+n[0]).Scan(&v); err != nil {
				return fmt.Errorf("%s: %w", n[0], err)
			}
			if n[2] == "p" {
				r.sequences[name] = v
			}
		default:
			var hash string
			// Compared byte by byte: a database's collation may be another one's.
			sql := fmt.Sprintf(`select count(*) || ' ' || coalesce(md5(string_agg(md5(x::text), '' order by md5(x::text) collate "C")), '') from %s x`, n[0])
			if err := conn.QueryRow(ctx, sql).Scan(&hash); err != nil {
				return fmt.Errorf("%s: %w", n[0], err)
			}
			if n[2] == "u" {
				hash = "0 "
			}
			r.hashes[name] = hash
		}
	}
	return nil
}

// sequenceAhead is how far a sequence's record is ahead of it (SEQ_LOG_VALS): after a crash, or here, it goes on from there.
const sequenceAhead = 32

// differ says how got is not what it should be.
func (r *rows) differ(got rows) error {
	var problems []string
	for _, name := range slices.Sorted(maps.Keys(r.hashes)) {
		if g, ok := got.hashes[name]; !ok || g != r.hashes[name] {
			problems = append(problems, fmt.Sprintf("%s: %q, want %q", name, g, r.hashes[name]))
		}
	}
	for name := range got.hashes {
		if _, ok := r.hashes[name]; !ok {
			problems = append(problems, name+" should not be there")
		}
	}
	for name, want := range r.sequences {
		if v, ok := got.sequences[name]; !ok || v < want || v > want+sequenceAhead {
			problems = append(problems, fmt.Sprintf("sequence %s is at %d, want %d", name, v, want))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d differences: %s", len(problems), strings.Join(problems[:min(8, len(problems))], "; "))
	}
	if len(r.hashes) < 100 || len(r.sequences) == 0 {
		return fmt.Errorf("only %d tables and %d sequences compared", len(r.hashes), len(r.sequences))
	}
	return nil
}
