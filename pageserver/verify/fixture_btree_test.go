package verify

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

func init() {
	fixtures = append(fixtures, &fixture{
		name: "btree", rmids: []wal.RMID{wal.RMBtree}, checking: "btree",
		script: btreeScript, types: btreeTypes,
	})
}

// btreeTypes lists every record type that changes B-tree pages: all but REUSE_PAGE, which names none.
func btreeTypes(pg.Major) []string {
	return []string{"INSERT_LEAF", "INSERT_UPPER", "INSERT_META", "SPLIT_L", "SPLIT_R", "INSERT_POST", "DEDUP", "DELETE", "UNLINK_PAGE",
		"UNLINK_PAGE_META", "NEWROOT", "MARK_PAGE_HALFDEAD", "VACUUM", "META_CLEANUP"}
}

// btreeScript makes every record with few of them: keys so long that a page holds four make a high tree of few rows,
// equal keys of 200 bytes make a page of posting lists.
var btreeScript = []string{
	"create table w (k text) with (autovacuum_enabled = off)", "alter table w alter k set storage plain", "create index on w (k)",
	// NEWROOT, of nothing and of a split; SPLIT_R, SPLIT_L on the way back, and both in the middle; INSERT_UPPER.
	"insert into w select to_char(i, 'FM0000') || repeat('k', 1900) from generate_series(100, 135) i",
	"insert into w select to_char(i, 'FM0000') || repeat('k', 1900) from generate_series(70, 40, -1) i",
	"insert into w select to_char(i, 'FM0000') || 'm' || repeat('k', 1900) from generate_series(50, 64) i",
	// Whole subtrees go: MARK_PAGE_HALFDEAD, UNLINK_PAGE, and UNLINK_PAGE_META as the leaf becomes the fast root; META_CLEANUP.
	"delete from w where k between '0105' and '0120'", "vacuum w", "delete from w where k < '0134'", "vacuum w",
	// REUSE_PAGE, and INSERT_META when the fast root is split.
	"select txid_current()", "vacuum w", "insert into w select to_char(i, 'FM0000') || repeat('k', 1900) from generate_series(136, 150) i",

	"create table d (k text) with (autovacuum_enabled = off)", "alter table d alter k set storage plain", "create index on d (k)",
	// DEDUP; VACUUM that takes tuples and parts of posting lists; INSERT_POST into the gaps left in the table.
	"insert into d select repeat(chr(97 + i % 3), 200) from generate_series(1, 150) i",
	"delete from d where ctid in (select ctid from d where (ctid::text::point)[1]::int % 4 = 1)", "delete from d where k like 'b%' and ctid < '(2,0)'", "vacuum d",
	"insert into d select repeat(chr(97 + i % 3), 200) from generate_series(1, 30) i",
	// One key only, so long that six tuples fill a page: it is split in the middle of a posting list, and vacuuming leaves lists
	// of one.
	"create table s (k text) with (autovacuum_enabled = off)", "alter table s alter k set storage plain", "create index on s (k)",
	"insert into s select repeat('s', 1200) from generate_series(1, 220) i", "delete from s where (ctid::text::point)[0]::int % 3 = 1", "vacuum s",
	"insert into s select repeat('s', 1200) from generate_series(1, 60) i", "delete from s where ctid between '(2,1)' and '(12,6)' and ctid <> '(7,3)'", "vacuum s",

	// DELETE: from the bottom up among versions of a row that is updated, and of tuples that a scan found dead.
	"create table u (id int, k text, n int) with (autovacuum_enabled = off)", "alter table u alter k set storage plain", "create index on u (k)", "create index on u (n)",
	"insert into u select i, repeat(chr(97 + i % 2), 300), i from generate_series(1, 60) i",
	"update u set n = n + 1 where id % 3 = 0", "update u set n = n + 1 where id % 3 = 0", "update u set n = n + 1 where id % 3 = 0",
	"update u set n = n + 1 where id % 5 = 0", "update u set n = n + 1 where id % 5 = 0", "update u set n = n + 1 where id % 5 = 0",
	"delete from u where id < 30", "set enable_seqscan = off; select count(*) from u where k > 'a'; insert into u select i, repeat('b', 300), i from generate_series(1, 40) i",
}
