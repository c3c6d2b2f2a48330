package main

import "context"

// indexes is what the regression tests do too little of for every record of the access methods to come: chains of a hash bucket that
// shrink, tuples that a scan found dead, posting trees and leaves that vacuum empties and that are used again.
func indexes(ctx context.Context, m *maker) error {
	for _, group := range [][]string{hashChains, ginTrees, gistPages, btreePages} {
		if err := m.exec(ctx, group...); err != nil {
			return err
		}
	}
	return nil
}

var hashChains = []string{
	"set enable_seqscan = off", "set enable_bitmapscan = off",
	"create table h (id int, k int)", "create index on h using hash (k)",
	"insert into h select i, 5 from generate_series(1, 2840) i", "vacuum h",
	// VACUUM moves what is left of a chain's last pages forward and takes the pages away.
	"delete from h where id % 10 = 0 or id between 1700 and 2442", "vacuum (truncate off) h",
	"delete from h where id > 380", "vacuum (truncate off) h",
	"insert into h select i, 5 from generate_series(3000, 6000) i", "delete from h where id % 3 <> 0", "vacuum h",
	// A scan notes what it found dead; the next insertion into that page, which is full, takes it out.
	"create table d (id int, k int)", "create index on d using hash (k)",
	"insert into d select i, 5 from generate_series(1, 400) i", "vacuum d",
	"delete from d where id % 2 = 0", "select count(*) from d where k = 5", "select count(*) from d where k = 5",
	"insert into d select i, 5 from generate_series(500, 520) i", "delete from d where id % 3 = 0",
	"select count(*) from d where k = 5", "select count(*) from d where k = 5", "vacuum d",
	"create table g (k int)", "create index on g using hash (k) with (fillfactor = 10)",
	"insert into g select i from generate_series(1, 5000) i", "delete from g where k % 3 = 0", "vacuum g",
}

var ginTrees = []string{
	"create table entry (k text[])", "create index on entry using gin (k) with (fastupdate = on)",
	"insert into entry values (array['one', 'two']), (null), (array[]::text[])",
	"insert into entry select array[repeat(chr(97 + i % 26), 480) || i, 'all'] from generate_series(1, 3000) i",
	"select gin_clean_pending_list('entry_k_idx')", "vacuum entry", "delete from entry where k[1] like 'w%' or k[1] = 'one'", "vacuum entry",
	"insert into entry select array[repeat(chr(97 + i % 26), 480) || i] from generate_series(1000, 1300) i", "vacuum entry",
	// One key with a posting tree of several leaves: whole leaves go, others shrink.
	"create table tree (n int)", "create index on tree using gin ((array[n])) with (fastupdate = off)",
	"insert into tree select 1 from generate_series(1, 60000) i",
	"delete from tree where ctid < '(20,1)' and (ctid::text::point)[1]::int % 3 = 0", "delete from tree where ctid >= '(34,1)' and ctid < '(150,1)'", "vacuum tree",
	"alter index tree_array_idx set (fastupdate = on)", "insert into tree select 1 from generate_series(1, 5000)", "vacuum tree", "delete from tree", "vacuum tree",
	"insert into tree select 1 from generate_series(1, 1000)",
}

var gistPages = []string{
	"set enable_seqscan = off", "set enable_bitmapscan = off",
	"create table s (id int, v tsvector, pad text)", "alter table s alter pad set storage plain",
	"create index on s using gist (v tsvector_ops (siglen = 1800)) include (pad)",
	"insert into s select i, to_tsvector('simple', 'w' || i % 13 || ' x' || i), repeat('p', 1500) from generate_series(1, 300) i",
	// Leaves that vacuum empties, and that are used again once nobody can be on the way to them.
	"delete from s where id > 12", "vacuum s", "select pg_current_xact_id()", "vacuum s",
	"insert into s select i, to_tsvector('simple', 'w' || i % 13 || ' x' || i), repeat('q', 1500) from generate_series(301, 500) i",
	"create table p (id int, p point)", "create index on p using gist (p)", "insert into p select i, point(i % 37, i) from generate_series(1, 3000) i",
	"delete from p where id % 4 = 0", "select count(id) from p where p <@ box '((-1,-1),(10000,10000))'",
	"insert into p select i, point(i % 37, i % 3000) from generate_series(3001, 5000) i", "delete from p where id % 3 = 0", "vacuum p",
	"create index on p using spgist (p)", "delete from p where id % 2 = 0", "vacuum p", "insert into p select i, point(i % 11, -i) from generate_series(6000, 8000) i",
	// An index of one page, whose root is a leaf.
	"create table few (p point)", "create index on few using spgist (p)", "insert into few select point(i, i) from generate_series(1, 50) i", "delete from few where p[0] < 20", "vacuum few",
	"create index on p using brin (id) with (pages_per_range = 1, autosummarize = on)", "insert into p select i, point(i, i) from generate_series(8000, 20000) i",
	"vacuum p", "select brin_desummarize_range('p_id_idx', 3)", "select brin_summarize_range('p_id_idx', 3)", "update p set id = -id where id % 500 = 1",
}

// btreePages empties leaves up to a level of the tree that has one page left, which becomes the fast root, and uses them again.
var btreePages = []string{
	"create table b (id int, k text)", "create index on b (id)", "create index on b (k)",
	"insert into b select i, repeat('k', 500) || i from generate_series(1, 20000) i", "delete from b where id between 2000 and 19900", "vacuum b",
	"select pg_current_xact_id()", "vacuum b", "insert into b select i, repeat('k', 500) || i from generate_series(2000, 9000) i",
	"delete from b", "vacuum b", "select pg_current_xact_id()", "vacuum b", "insert into b select i % 7, 'same' from generate_series(1, 20000) i",
	"create table u (id int primary key, a int, b int)", "create index on u (a)", "create index on u (b)", "insert into u select i, i % 10, i % 10 from generate_series(1, 3000) i",
	"do $$ begin for i in 1..5 loop update u set b = b + 1; commit; end loop; end $$", "set enable_seqscan = off", "select count(*) from u where a = 3", "update u set a = a + 1", "vacuum u",
}
