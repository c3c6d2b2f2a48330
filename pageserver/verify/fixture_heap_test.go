package verify

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

func init() {
	fixtures = append(fixtures, &fixture{
		name: "heap", rmids: []wal.RMID{wal.RMHeap, wal.RMHeap2}, checking: "heap,heap2",
		script: heapScript, sessions: heapSessions, types: heapTypes, faults: heapFaults,
		unseen: map[string]string{
			"HEAP_CONFIRM 0": "the mask puts in the place of a token what CONFIRM does",
			"VISIBLE 1":      "PD_ALL_VISIBLE is masked: it and the map are compared at the end (ComparePages)",
			"INSERT 1":       mapCleared, "MULTI_INSERT 1": mapCleared, "DELETE 1": mapCleared, "LOCK 1": mapCleared,
			"UPDATE 2": mapCleared, "UPDATE 3": mapCleared, "HOT_UPDATE 2": mapCleared, "HOT_UPDATE 3": mapCleared,
		},
	})
}

const mapCleared = "images of the map may lack bits a later record clears (compareVM); it is compared at the end (ComparePages)"

// heapTypes lists every record type that changes heap pages.
func heapTypes(major pg.Major) []string {
	types := []string{"INSERT", "INSERT+INIT", "DELETE", "UPDATE", "UPDATE+INIT", "HOT_UPDATE", "HEAP_CONFIRM", "LOCK", "INPLACE",
		"VISIBLE", "MULTI_INSERT", "MULTI_INSERT+INIT", "LOCK_UPDATED"}
	if major >= pg.PG17 {
		return append(types, "PRUNE_ON_ACCESS", "PRUNE_VACUUM_SCAN", "PRUNE_VACUUM_CLEANUP")
	}
	return append(types, "PRUNE", "VACUUM", "FREEZE_PAGE")
}

// heapScript makes every heap record at least twice with few pages.
var heapScript = []string{
	"create table a (id int primary key, n int, t text) with (fillfactor = 70, autovacuum_enabled = off)",
	"create table b (id int, t text) with (autovacuum_enabled = off)",
	"create table p (id int, r int) partition by list (r)", "create table p0 partition of p for values in (0)", "create table p1 partition of p for values in (1)",
	"insert into a select i, i, repeat('x', i) from generate_series(1, 60) i",
	"insert into a values (1, 1) on conflict do nothing", "insert into a values (61, 1, null) on conflict do nothing",
	"insert into a values (61, 1) on conflict (id) do update set n = a.n + 1",
	"update a set n = n + 1 where id < 20", "update a set n = n + 1, t = t || 'longer' where id < 10",
	"update a set id = id + 1000 where id between 30 and 40", "update a set t = repeat('wide', 400) where id between 41 and 45",
	"begin; update a set n = 0 where id = 50; savepoint s; update a set n = 1 where id = 51; rollback to s; rollback",
	"begin; update a set n = 0 where id in (56, 57); rollback", "begin; select 1 from a where id = 56 for update; commit", "delete from a where id = 57",
	"delete from a where id between 52 and 55", "select count(*) from a where n > 0",
	"insert into p select i, 0 from generate_series(1, 5) i", "update p set r = 1 where id < 3",
	"begin; select 1 from a where id = 1 for share; commit", "begin; select 1 from a where id = 2 for update; select 1 from a where id = 3 for key share; commit",
	"vacuum (freeze) a", "insert into a values (70, 1, 'after'), (71, 2, 'after')", "select 1 from a where id = 4 for update",
	"update a set n = -1 where id in (5, 6)", "delete from a where id = 7", "vacuum a", "delete from a where id % 3 = 0", "vacuum a", "vacuum (freeze) a",
	"begin; select 1 from a where id = 4 for update; commit",
	"update a set n = n + 1 where id between 8 and 20", "update a set n = n + 1 where id between 8 and 20", "update a set n = n + 1 where id between 8 and 20",
	"update a set n = n + 1 where id between 8 and 20", "update a set n = n + 1 where id between 8 and 20", "select count(*) from a",
	"insert into b select i, 'x' from generate_series(1, 20) i", "vacuum (freeze) b", "analyze a", "vacuum (freeze) p0", "delete from b where id > 15", "vacuum b",
	"begin; truncate b; insert into b values (1, 'same'); commit",
	"create temp table t as select 1", "create materialized view mv as select * from a limit 30", "refresh materialized view mv", "delete from a where id = 13",
	"insert into a select i, 1, 'end' from generate_series(2000, 2400) i", "delete from a where id > 2010", "vacuum a",
}

// heapSessions makes what needs two sessions: multixacts, locks on updated versions, COPY in pieces.
func heapSessions(ctx context.Context, t *testing.T, srv *pgtest.Server) {
	var conns [2]*pgx.Conn
	for i := range conns {
		c, err := pgx.Connect(ctx, srv.ConnString("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(ctx)
		conns[i] = c
	}
	do := func(i int, sql string) {
		if _, err := conns[i].Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	do(0, "begin isolation level repeatable read; select count(*) from a")
	do(1, "update a set n = 100 where id in (8, 10)")
	do(1, "update a set n = 101 where id in (8, 10)")
	do(0, "select 1 from a where id in (8, 10) for key share")
	do(1, "begin; select 1 from a where id in (8, 10, 11) for key share; commit")
	do(0, "commit")
	do(0, "begin; select 1 from a where id = 11 for share")
	do(1, "begin; select 1 from a where id = 11 for share; commit")
	do(0, "commit")
	for _, n := range []int{90, 40} {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "%d\t%s\n", i, strings.Repeat("c", i%60))
		}
		if _, err := conns[0].PgConn().CopyFrom(ctx, strings.NewReader(text.String()), "copy b from stdin"); err != nil {
			t.Fatal(err)
		}
	}
	do(0, "begin; create table f (id int, t text)")
	if _, err := conns[0].PgConn().CopyFrom(ctx, strings.NewReader("1\tx\n2\ty\n"), "copy f from stdin (freeze)"); err != nil {
		t.Fatal(err)
	}
	do(0, "commit; delete from b where id % 2 = 0")
	do(0, "vacuum b")
	do(0, "vacuum (freeze) b")
	do(0, "insert into b values (1, 'last')")
}
