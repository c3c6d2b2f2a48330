package verify

// The B-tree's part of the workload: keys so long that pages split all the time, so that a kill finds splits without their
// downlink, and whole subtrees go; equal keys and row versions for posting lists and deletions from the bottom up.
func init() {
	schemas = append(schemas, `
create table longkey (k text) with (autovacuum_enabled = off);
alter table longkey alter k set storage plain;
create index on longkey (k);
create table fastroot (k text) with (autovacuum_enabled = off);
alter table fastroot alter k set storage plain;
create index on fastroot (k);
create table dup (a int, k text, n int);
create index on dup (a);
create index on dup (k);
create index on dup (k, n desc);
create index on dup (n nulls first) where n % 2 = 0;
create unique index on hot (id) include (n);
`)
	rowActions = append(rowActions,
		script(`insert into longkey select to_char((random() * 9999)::int, 'FM0000') || repeat('k', 900 + #) from generate_series(1, 20) i`),
		script(`delete from longkey where k between to_char(10 * #, 'FM0000') and to_char(9 * #, 'FM0000')`),
		script(`insert into dup select i % 3, repeat(chr(97 + i % 4), 100), # from generate_series(1, #) i`),
		script(`insert into dup select # % 50, 'x' || #, # from generate_series(1, 100) i`),
		script(`delete from dup where a = # % 50 and n % 3 = # % 3`),
		script(`delete from dup where ctid < '(#,0)' and n % 2 = 0`),
		script(`update dup set n = n + 1 where a = # % 50`),
		script(`set enable_seqscan = off; select count(*) from dup where k > 'a'; select count(*) from dup where a < 10; set enable_seqscan = on`),
	)
	maintenance = append(maintenance, script(`vacuum longkey`), script(`vacuum dup`), script(`delete from dup where random() < 0.7; vacuum dup`),
		// The leaf that is left becomes the fast root, and is then split.
		script(`delete from fastroot; vacuum fastroot; insert into fastroot select to_char(i, 'FM0000') || repeat('f', 1900) from generate_series(1, 60) i;
			delete from fastroot where k < '0059'; vacuum fastroot; insert into fastroot select to_char(i, 'FM0000') || repeat('f', 1900) from generate_series(61, 90) i`),
	)
}
