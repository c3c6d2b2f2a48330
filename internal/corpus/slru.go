package main

import (
	"context"
	"fmt"
)

// Sizes of a segment of each SLRU (32 pages; access/slru.h): TRUNCATE is logged only once a segment, or for multixacts a member,
// is older than all that is needed.
const (
	clogSegmentXacts    = 32 * 8192 * 4 // 1,048,576
	multiSegmentOffsets = 32 * 8192 / 4 // 65,536
)

// slru fills pg_xact, pg_commit_ts and pg_multixact beyond their first segments and has VACUUM truncate them. Transaction
// numbers are used up by subtransactions, which cost a few microseconds each.
func slru(ctx context.Context, m *maker) error {
	if err := m.exec(ctx,
		"create table locked (id int primary key, v int)",
		fmt.Sprintf("insert into locked select i, 0 from generate_series(1, %d) i", multiSegmentOffsets+5000),
	); err != nil {
		return err
	}
	if err := m.multixacts(ctx); err != nil {
		return err
	}
	for range clogSegmentXacts/100_000 + 2 {
		if err := m.exec(ctx, burn(100_000)); err != nil {
			return err
		}
	}
	if err := m.freezeAll(ctx); err != nil {
		return err
	}
	// What is kept is still written to, and truncated again.
	return m.exec(ctx, "update locked set v = v + 1 where id % 100 = 0", burn(40_000), "vacuum (freeze) locked", "checkpoint",
		"begin; select from locked where id < 10 for key share; savepoint a; update locked set v = 7 where id < 10; commit")
}

// burn is a statement that uses up n transaction numbers: each subtransaction writes, though nothing that is in the WAL.
func burn(n int) string {
	return fmt.Sprintf(`do $$ begin
	create temporary table if not exists burnt () on commit delete rows;
	for i in 1..%d loop
		begin insert into burnt default values; exception when division_by_zero then null; end;
	end loop; end $$`, n)
}

// multixacts makes one for each row of locked: two sessions hold it, and one of them as a different subtransaction each time, for
// the same members make the same multixact.
func (m *maker) multixacts(ctx context.Context) error {
	holder, err := m.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer holder.Close(ctx)
	if _, err := holder.Exec(ctx, "begin; select from locked for key share"); err != nil {
		return err
	}
	if err := m.exec(ctx, fmt.Sprintf(`do $$ begin for i in 1..%d loop
		begin
			if i %% 10 = 0 then update locked set v = i where id = i; else perform from locked where id = i for no key update; end if;
		exception when division_by_zero then null; end;
	end loop; end $$`, multiSegmentOffsets+5000)); err != nil {
		return err
	}
	// Some live on beyond their transactions: an updater and a locker.
	_, err = holder.Exec(ctx, "commit")
	return err
}

// freezeAll lets the oldest transaction and multixact of the whole cluster advance, which every database holds back, one that nobody
// may connect to included.
func (m *maker) freezeAll(ctx context.Context) error {
	if err := m.exec(ctx, "alter database template0 allow_connections on"); err != nil {
		return err
	}
	for _, db := range []string{"template0", "template1", "postgres"} {
		if err := m.srv.Exec(ctx, db, "vacuum (freeze)"); err != nil {
			return err
		}
	}
	return m.exec(ctx, "alter database template0 allow_connections off")
}

// logical is what is logged for logical decoding alone: command ids of catalog changes, rewrites of catalogs, invalidations,
// TRUNCATE by name, tuples of TOAST and old keys, transactions of an origin.
func logical(ctx context.Context, m *maker) error {
	if err := m.exec(ctx,
		"select pg_create_logical_replication_slot('slot', 'pgoutput')",
		"create table keyed (id int primary key, n int, big text)",
		"alter table keyed alter big set storage external",
		"create table whole (id int, t text); alter table whole replica identity full",
		"create table catalog (id int primary key, t text) with (user_catalog_table = true)",
		"insert into keyed select i, i, repeat(md5(i::text), 100) from generate_series(1, 300) i",
		"insert into whole select i, 'x' from generate_series(1, 300) i",
		"insert into catalog select i, 'x' from generate_series(1, 300) i",
		"update keyed set id = id + 1000 where id % 7 = 0; update keyed set n = n + 1; delete from keyed where id < 50",
		"update whole set t = 'y'; delete from whole where id < 100",
		"begin; create table made (id int); alter table made add n int; savepoint a; alter table made add t text; rollback to a; drop table made; commit",
		"begin; update catalog set t = 'y'; savepoint a; update catalog set t = 'z' where id < 9; rollback to a; commit",
		"vacuum full catalog", "vacuum full pg_class", "vacuum full pg_attribute",
		"begin; update catalog set t = 'w' where id < 50; alter table catalog add n int default 5; commit",
		"cluster catalog using catalog_pkey",
		"truncate keyed, whole", "truncate catalog restart identity cascade",
		"begin; do $$ begin for i in 1..200 loop begin insert into whole values (i); exception when others then null; end; end loop; end $$; commit",
		"select pg_replication_origin_create('elsewhere'), pg_replication_origin_create('gone')",
		"select pg_replication_origin_advance('elsewhere', '0/12345678'), pg_replication_origin_advance('gone', '0/1')",
		"select pg_replication_origin_session_setup('elsewhere'); begin; select pg_replication_origin_xact_setup('0/22345678', now()); insert into whole values (1); commit",
		"select pg_replication_origin_drop('gone')",
		"select pg_logical_emit_message(true, 'tarn', 'in a transaction'), pg_logical_emit_message(false, 'tarn', repeat('m', 30000))",
		"begin; select pg_logical_emit_message(true, 'tarn', 'undone'); rollback",
		"create table two (id int primary key)", "begin; insert into two values (1); prepare transaction 'kept'",
		"begin; insert into two values (2); prepare transaction 'undone'", "commit prepared 'kept'", "rollback prepared 'undone'",
	); err != nil {
		return err
	}
	return m.exec(ctx, "select pg_drop_replication_slot('slot')")
}
