package basebackup

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// before is done to the source before it is imported; OLD is a folder for a tablespace.
const before = `create extension pageinspect;
create tablespace old location 'OLD';
create role owner_of_things; create role reader login password 'secret' in role owner_of_things;
create database plain; create database placed tablespace old;
create table early (id int primary key, t text) tablespace old;
insert into early select i, md5(i::text) from generate_series(1, 3000) i;
create unlogged table scratch (id serial primary key, t text, a int[]);
create index on scratch using gin (a); create index on scratch using hash (t); create index on scratch using gist (int4range(id, id + 1));
insert into scratch (t, a) select md5(i::text), array[i % 7, i] from generate_series(1, 5000) i;
create unlogged sequence loose; select nextval('loose');
create sequence counted; select nextval('counted') from generate_series(1, 40)`

// middle is what it does up to the first LSN that is looked at.
const middle = `create table wide (id serial primary key, a int, b text, c text); create index on wide (a) include (b); create index on wide using hash (b);
insert into wide (a, b, c) select i, md5(i::text), repeat('c', i % 50) from generate_series(1, 20000) i;
update wide set b = 'changed' || b where id % 10 = 3; delete from wide where id % 10 = 7; vacuum wide;
create table toasty (id int primary key, big text); alter table toasty alter big set storage external;
insert into toasty select i, repeat(md5(i::text), 200) from generate_series(1, 60) i; update toasty set big = big || 'x' where id % 3 = 0;
create table idx (id serial, h text, arr int[], p point, r int4range, word text) with (fillfactor = 80);
create index on idx using gin (arr); create index on idx using gist (p); create index on idx using gist (r);
create index on idx using spgist (p); create index on idx using spgist (word); create index on idx using brin (id) with (pages_per_range = 2);
create extension bloom; create index on idx using bloom (h, id); create index on idx (word, id desc) where id % 2 = 0;
insert into idx (h, arr, p, r, word) select md5(i::text), array[i, i % 7], point(i % 13, i), int4range(i, i + 5), md5(i::text) from generate_series(1, 5000) i;
update idx set word = 'w' || word where id % 5 = 0; delete from idx where id % 11 = 0; vacuum idx;
create materialized view mat as select a, count(*) from wide group by a; create unique index on mat (a); refresh materialized view concurrently mat;
create table parts (id int, t text) partition by range (id); create table parts1 partition of parts for values from (0) to (1000);
create table parts2 partition of parts for values from (1000) to (2000) tablespace old; create index on parts (id);
insert into parts select i, 'part' || i from generate_series(0, 1999) i;
create table locked (id int primary key, v int); insert into locked select i, 0 from generate_series(1, 400) i;
create table child (id serial primary key, parent int references locked (id));
create table subs (id int);
begin; insert into subs values (1); savepoint a; insert into subs values (2); savepoint b; insert into subs values (3); rollback to b; insert into subs values (4); release a; commit;
begin; insert into subs select i from generate_series(10, 500) i; rollback;
select lo_from_bytea(4711, decode(repeat('ab', 5000), 'hex')); select lo_from_bytea(4712, 'x');
select pg_replication_origin_create('elsewhere'); select pg_replication_origin_advance('elsewhere', '0/20001234');
begin; insert into subs select i from generate_series(1000, 1100) i; savepoint s; update locked set v = 7 where id = 5; create table made_by_two_phase as select 1 as x; prepare transaction 'stays';
begin; insert into subs values (2000); prepare transaction 'goes';
begin; insert into subs values (2001); prepare transaction 'went'; rollback prepared 'went';
create tablespace inplace location ''; create table there (id int primary key) tablespace inplace; insert into there select generate_series(1, 500);
create unlogged table fresh (id int primary key, t text); insert into fresh values (1, 'gone'); create table settled (id int) ; alter table settled set unlogged; insert into settled values (1);
create unlogged table kept (id int primary key); insert into kept values (1), (2); alter table kept set logged;
select nextval('counted') from generate_series(1, 10); select nextval('loose');
alter database plain set work_mem = '5MB'; comment on table wide is 'a comment'; analyze;
create database copied template plain strategy file_copy; create database logged template placed strategy wal_log`

// inDatabases is done to plain and placed.
const inDatabases = `create table t as select i, md5(i::text) m from generate_series(1, 3000) i; create index on t (i); create sequence s; select nextval('s');
delete from t where i % 3 = 0; vacuum t; create materialized view mv as select * from t where i < 100`

// after is what the source does before it stops.
const after = `update wide set c = c || '!' where id % 4 = 0; delete from subs where id < 100; truncate child; drop table idx; drop database copied;
create table idx as select i as id, md5(i::text) word from generate_series(1, 3000) i; create unique index on idx (id); cluster idx using idx_id_idx;
create database copied template placed strategy file_copy; insert into early select i, 'late' from generate_series(5000, 6000) i; vacuum (freeze) early;
vacuum full parts1; reindex table wide; alter table there set tablespace old; drop tablespace inplace;
insert into scratch (t) select 'more' from generate_series(1, 100); truncate scratch; checkpoint; create index on toasty using hash (id);
alter system set log_min_messages = 'log'; drop materialized view mat; delete from toasty where id < 20; vacuum toasty;
select lo_unlink(4712); select nextval('counted') from generate_series(1, 50); insert into child (parent) select i from generate_series(1, 50) i`

// script runs statements one by one over one connection.
func (r *rig) script(conn *pgx.Conn, text string) {
	r.t.Helper()
	for _, s := range strings.Split(text, ";") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if _, err := conn.Exec(context.Background(), s, pgx.QueryExecModeSimpleProtocol); err != nil {
			r.t.Fatalf("%s: %v", s, err)
		}
	}
}

// multixacts has two sessions lock the same rows. The first stays open, with rows of its own.
func (r *rig) multixacts(one, two *pgx.Conn) {
	r.script(one, `begin; select 1 from locked where id between 10 and 390 for key share; insert into subs values (9000); create table of_nobody as select 1`)
	r.script(two, `begin; select 1 from locked where id between 10 and 390 for key share; savepoint a; update locked set v = v + 1 where id between 50 and 60;
		insert into child (parent) values (20), (30); commit`)
}
