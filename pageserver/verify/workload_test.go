package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// sessions is how many connections work at once on the tables; two more do maintenance and DDL.
const sessions = 4

// workload drives a server through everything that writes heap records, several sessions at once.
type workload struct {
	t    *testing.T
	srv  *pgtest.Server
	seed uint64
}

const schema = `
create table hot (id int primary key, n int, filler text) with (fillfactor = 60);
create table wide (id serial primary key, a int, b text, c text);
create index on wide (a);
create table upsert (k int primary key, n int default 0);
create table locked (id int primary key, ref int, v int);
create table child (id serial primary key, parent int references locked (id));
create table toasty (id int primary key, big text);
alter table toasty alter big set storage external;
create table part (id int, region int, v text, primary key (id, region)) partition by list (region);
create table part0 partition of part for values in (0);
create table part1 partition of part for values in (1);
create table part2 partition of part for values in (2);
create table nulls (id int, a int, b text, c numeric, d bytea, e text[], f date);
create table bulk (id int, t text);
create unlogged table loose (id int, t text);
insert into hot select i, 0, repeat('x', i % 100) from generate_series(1, 2000) i;
insert into locked select i, i, 0 from generate_series(1, 300) i;
insert into toasty select i, repeat(md5(i::text), 200) from generate_series(1, 50) i;
insert into part select i, i % 3, md5(i::text) from generate_series(1, 1000) i;
`

// schemas are made in order; a manager's file adds its own, as it does to the actions below.
var schemas = []string{schema}

func (w *workload) prepare(ctx context.Context) {
	if err := w.srv.Exec(ctx, "postgres", schemas...); err != nil {
		w.t.Fatal(err)
	}
	if err := w.srv.Exec(ctx, "postgres", "create tablespace inplace location ''"); err != nil {
		w.t.Fatal(err)
	}
}

// run works for d; kill, if not nil, is called at the end while all sessions are still at it.
func (w *workload) run(ctx context.Context, d time.Duration, kill func() error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	start := func(i int, actions []action) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w.session(ctx, rand.New(rand.NewPCG(w.seed, uint64(i))), actions)
		}()
	}
	for i := range sessions {
		start(i, rowActions)
	}
	start(sessions, maintenance)
	start(sessions+1, ddl)
	time.Sleep(d)
	if kill != nil {
		// Recovery checks its own pages too and stumbles over blocks of files truncated since the checkpoint: keep that short.
		if err := w.srv.Exec(ctx, "postgres", "checkpoint"); err != nil {
			w.t.Error(err)
		}
		time.Sleep(100 * time.Millisecond)
		if err := kill(); err != nil {
			w.t.Error(err)
		}
	}
	cancel()
	wg.Wait()
}

// session performs actions at random until the context ends or the server goes. What the server refuses (deadlocks,
// duplicate keys, lock timeouts) is part of the workload.
func (w *workload) session(ctx context.Context, r *rand.Rand, actions []action) {
	conn, err := pgx.Connect(ctx, w.srv.ConnString("postgres"))
	if err != nil {
		return
	}
	defer conn.Close(context.Background())
	for ctx.Err() == nil {
		a := actions[r.IntN(len(actions))]
		err := a(ctx, conn, r)
		var refused *pgconn.PgError
		if err != nil && !errors.As(err, &refused) {
			return
		}
		if err != nil && refused.Code[:2] == "42" {
			w.t.Errorf("workload: %v", err) // a mistake in the workload's SQL
			return
		}
		if conn.PgConn().TxStatus() != 'I' {
			if _, err := conn.Exec(ctx, "rollback"); err != nil {
				return
			}
		}
	}
}

// finish leaves nothing open that a clean stop would not write out.
func (w *workload) finish(ctx context.Context) {
	for _, sql := range []string{"vacuum (freeze)", "update hot set n = n + 1", "vacuum", "checkpoint"} {
		if err := w.srv.Exec(ctx, "postgres", sql); err != nil {
			w.t.Error(err)
		}
	}
}

type action func(ctx context.Context, c *pgx.Conn, r *rand.Rand) error

// script runs statements in one go, each in a transaction of its own unless they say otherwise. Every # is a new random
// number of 0-999.
func script(sql string) action {
	var statements []string
	for _, s := range strings.Split(sql, ";") {
		if s = strings.TrimSpace(s); s != "" {
			statements = append(statements, s)
		}
	}
	return func(ctx context.Context, c *pgx.Conn, r *rand.Rand) error {
		for _, s := range statements {
			for strings.Contains(s, "#") {
				s = strings.Replace(s, "#", strconv.Itoa(r.IntN(1000)), 1)
			}
			if _, err := c.Exec(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}

var rowActions = []action{
	script(`update hot set n = n + 1 where id = #`),
	script(`update hot set n = n + 1, filler = repeat('y', # / 5) where id between # and #`),
	script(`begin; update hot set n = 1 where id = #; update hot set n = 2 where id = #; rollback`),
	script(`insert into wide (a, b) values (#, repeat('b', #)), (#, null)`),
	script(`insert into wide (a, b, c) select i, md5(i::text), repeat('c', i % 50) from generate_series(1, #) i`),
	script(`update wide set b = 'changed' || b where a = #`),
	script(`update wide set a = a + 1 where id % 1000 = 7`),
	script(`delete from wide where a between # and #`),
	script(`delete from hot where id = #; insert into hot values (#, 0, 'new') on conflict do nothing`),
	script(`insert into upsert values (#) on conflict (k) do update set n = upsert.n + 1`),
	script(`insert into upsert select i % 40 from generate_series(1, 30) i on conflict do nothing; delete from upsert where k = # % 40`),
	script(`begin; select 1 from locked where id = # for share; savepoint a; update locked set v = v + 1 where id = #; rollback to a; select 1 from locked where id = # for update; commit`),
	script(`begin; select 1 from locked where id between # and 300 for key share; update locked set v = v + 1 where id = #; commit`),
	script(`begin; select 1 from locked where id < 20 for key share; select pg_sleep(0.01); commit`),
	script(`begin; select 1 from locked where id < 20 for no key update; update locked set v = v + 1 where id < 20; select pg_sleep(0.01); commit`),
	script(`begin isolation level repeatable read; select count(*) from locked; select pg_sleep(0.02); select 1 from locked where id < 10 for key share; commit`),
	script(`begin; insert into child (parent) values (# % 300 + 1); savepoint a; insert into child (parent) values (# % 300 + 1); release a; select pg_sleep(0.005); commit`),
	script(`delete from child where id % 7 = # % 7`),
	script(`update toasty set big = repeat(md5('#'), 100 + #) where id = # % 50`),
	script(`insert into toasty values (#, repeat('t', 5000 + #)) on conflict do nothing; delete from toasty where id = #`),
	script(`update part set region = (region + 1) % 3 where id = #; update part set region = 0 where id between # and # and region = 2`),
	script(`insert into part select i, # % 3, 'again' from generate_series(1, 50) i on conflict do nothing`),
	script(`insert into nulls values (#, null, 'text', 1.5, null, '{a,null}', null), (null, null, null, null, null, null, null)`),
	script(`update nulls set a = #, b = null where id = #; delete from nulls where id < # / 4`),
	script(`begin; savepoint a; insert into wide (a) values (#); savepoint b; update wide set b = 'sub' where a = #; rollback to a; delete from nulls where id = #; commit`),
	copyBulk, copyFreeze, prepared,
	script(`select count(*) from hot where n > #; select count(*) from wide where a = #`),
	script(`insert into loose select #, 'lost at a crash'`),
	script(`select txid_current(), pg_logical_emit_message(true, 'tarn', '#')`),
}

func copyBulk(ctx context.Context, c *pgx.Conn, r *rand.Rand) error {
	rows := make([][]any, 1+r.IntN(400))
	for i := range rows {
		rows[i] = []any{r.IntN(1000), strings.Repeat("z", r.IntN(300))}
	}
	if _, err := c.CopyFrom(ctx, pgx.Identifier{"bulk"}, []string{"id", "t"}, pgx.CopyFromRows(rows)); err != nil {
		return err
	}
	_, err := c.Exec(ctx, fmt.Sprintf("delete from bulk where id < %d", r.IntN(1000)))
	return err
}

// copyFreeze loads rows that are born frozen, which is allowed into a table of the same transaction only.
func copyFreeze(ctx context.Context, c *pgx.Conn, r *rand.Rand) error {
	name := fmt.Sprintf("frozen%d", r.IntN(1<<30))
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, "create table "+name+" (id int, t text)"); err != nil {
		return err
	}
	var text strings.Builder
	for i := range 1 + r.IntN(500) {
		fmt.Fprintf(&text, "%d\t%s\n", i, strings.Repeat("f", r.IntN(100)))
	}
	if _, err := c.PgConn().CopyFrom(ctx, strings.NewReader(text.String()), "copy "+name+" from stdin (freeze)"); err != nil {
		return err
	}
	if r.IntN(4) == 0 {
		return nil
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	for _, s := range []string{"select count(*) from %s where id %% 2 = 0", "delete from %s where id %% 3 = 0", "select 1 from %s where id < 50 for update", "drop table %s"} {
		if _, err := c.Exec(ctx, fmt.Sprintf(s, name)); err != nil {
			return err
		}
	}
	return nil
}

func prepared(ctx context.Context, c *pgx.Conn, r *rand.Rand) error {
	gid, end := r.IntN(1<<30), "commit"
	if r.IntN(2) == 0 {
		end = "rollback"
	}
	for _, s := range []string{
		"begin", fmt.Sprintf("insert into bulk select i, 'prepared' from generate_series(1, %d) i", r.IntN(50)),
		"savepoint a", fmt.Sprintf("update bulk set t = 'p2' where id = %d", r.IntN(1000)), "rollback to a",
		fmt.Sprintf("create table two%d (id int); insert into two%d values (1)", gid, gid),
		fmt.Sprintf("prepare transaction 'g%d'", gid), fmt.Sprintf("%s prepared 'g%d'", end, gid),
	} {
		if _, err := c.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

var maintenance = []action{
	script(`vacuum hot; vacuum wide; vacuum bulk`), script(`vacuum (freeze) wide; vacuum (freeze) locked`), script(`vacuum (freeze)`),
	script(`vacuum locked; vacuum upsert; vacuum child; vacuum part; vacuum toasty; vacuum nulls`),
	script(`vacuum (freeze, disable_page_skipping) hot`), script(`analyze`), script(`checkpoint`),
	script(`delete from bulk; vacuum bulk`), script(`delete from wide where id % 3 = 0; vacuum wide`),
	script(`vacuum pg_class; vacuum pg_attribute; vacuum full pg_depend`), script(`select pg_switch_wal()`),
	script(`vacuum full locked; vacuum full upsert`), script(`cluster wide using wide_pkey`), script(`reindex table hot`),
	script(`alter system set wal_compression = on; select pg_reload_conf()`),
	compression("lz4"), compression("zstd"), compression("pglz"), compression("off"),
	script(`alter system set full_page_writes = off; select pg_reload_conf(); select pg_sleep(0.3); alter system set full_page_writes = on; select pg_reload_conf()`),
}

// compression switches the live server; not every build has every method.
func compression(method string) action {
	return func(ctx context.Context, c *pgx.Conn, _ *rand.Rand) error {
		if _, err := c.Exec(ctx, "alter system set wal_compression = '"+method+"'"); err != nil {
			return nil
		}
		_, err := c.Exec(ctx, "select pg_reload_conf()")
		return err
	}
}

var ddl = []action{
	script(`truncate bulk`), script(`begin; truncate bulk; insert into bulk values (1, 'x'); rollback`),
	script(`drop table if exists same; begin; create table same (id int, t text); insert into same select i, 'x' from generate_series(1, 3000) i; truncate same; insert into same values (1); commit; drop table same`),
	script(`alter table nulls add column if not exists extra# int default 5; alter table nulls alter a type bigint; alter table nulls alter a type int`),
	script(`drop table if exists like_wide; create table like_wide as select * from wide limit 2000; alter table like_wide alter a type bigint; alter table like_wide set tablespace inplace; update like_wide set b = 'moved'; drop table like_wide`),
	script(`drop table if exists ul; create unlogged table ul as select i, md5(i::text) t from generate_series(1, 500) i; alter table ul set logged; delete from ul where i % 2 = 0; drop table ul`),
	script(`drop table if exists tmp; create temp table tmp as select * from hot limit 100; update tmp set n = 1; drop table tmp`),
	script(`drop table if exists shrink; create table shrink as select i from generate_series(1, 20000) i; delete from shrink where i > 500; vacuum shrink; insert into shrink select i from generate_series(1, 5000) i; vacuum shrink; drop table shrink`),
	script(`drop database if exists walcopy; create database walcopy strategy wal_log; drop database walcopy`),
	script(`drop database if exists filecopy; create database filecopy strategy file_copy; alter database filecopy set tablespace inplace; drop database filecopy`),
	script(`drop materialized view if exists mv; create materialized view mv as select * from hot; refresh materialized view mv; drop materialized view mv`),
}
