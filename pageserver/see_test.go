package pageserver

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// see notes which rows the server sees, table by table.
func (c *corpus) see(t *testing.T, srv *pgtest.Server, db string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, srv.ConnString(db))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `select c.oid::regclass::text, pg_relation_filepath(c.oid) from pg_class c
		where relkind in ('r', 'm') and relpersistence = 'p' and relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]string{}
	var name, path string
	if _, err := pgx.ForEachRow(rows, []any{&name, &path}, func() error { tables[name] = path; return nil }); err != nil {
		t.Fatal(err)
	}
	for name, path := range tables {
		set := map[string]bool{}
		rows, err := conn.Query(ctx, "select ctid::text from "+name)
		if err != nil {
			t.Fatal(err)
		}
		var tid string
		if _, err := pgx.ForEachRow(rows, []any{&tid}, func() error { set[tid] = true; return nil }); err != nil {
			t.Fatal(err)
		}
		c.tids[path] = set
	}
}

// seeXIDs notes what became of the newest transactions.
func (c *corpus) seeXIDs(t *testing.T, srv *pgtest.Server) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, srv.ConnString("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `with n as (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next)
		select x, coalesce(pg_xact_status(x::text::xid8), 'forgotten') from n, generate_series(greatest(3, next - 100000), next - 1) x`)
	if err != nil {
		t.Fatal(err)
	}
	var xid int64
	var status string
	if _, err := pgx.ForEachRow(rows, []any{&xid, &status}, func() error { c.xids[pg.XID(xid)] = status; return nil }); err != nil {
		t.Fatal(err)
	}
}

// commitTime is when a transaction committed, in microseconds since 2000, and where.
type commitTime struct {
	at     int64
	origin int64
}

// seeTimes notes when the newest transactions committed.
func (c *corpus) seeTimes(t *testing.T, srv *pgtest.Server) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, srv.ConnString("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `with n as (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next)
		select x, (extract(epoch from o.timestamp - '2000-01-01 UTC') * 1000000)::bigint, o.roident::text::bigint
		from n, generate_series(greatest(3, next - 5000), next - 1) x, pg_xact_commit_timestamp_origin(x::text::xid) o where o.timestamp is not null`)
	if err != nil {
		t.Fatal(err)
	}
	var xid int64
	var ct commitTime
	if _, err := pgx.ForEachRow(rows, []any{&xid, &ct.at, &ct.origin}, func() error { c.times[pg.XID(xid)] = ct; return nil }); err != nil {
		t.Fatal(err)
	}
}
