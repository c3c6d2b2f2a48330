package verify

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

func init() {
	fixtures = append(fixtures, &fixture{name: "hash", rmids: []wal.RMID{wal.RMHash}, checking: "hash", script: hashScript, types: hashTypes})
}

// hashTypes lists every record type of hash indexes.
func hashTypes(pg.Major) []string {
	return []string{"INIT_META_PAGE", "INIT_BITMAP_PAGE", "INSERT", "ADD_OVFL_PAGE", "SPLIT_ALLOCATE_PAGE", "SPLIT_PAGE", "SPLIT_COMPLETE",
		"MOVE_PAGE_CONTENTS", "SQUEEZE_PAGE", "DELETE", "SPLIT_CLEANUP", "UPDATE_META_PAGE", "VACUUM_ONE_PAGE"}
}

// hashScript makes every hash record with few pages. A page holds 407 index tuples, and tuples of one key fill a bucket's pages in the order they
// come in. What only fills pages is done without images.
var hashScript = []string{
	"set wal_consistency_checking = ''", "set enable_seqscan = off", "set enable_bitmapscan = off",
	"create table h (id int, k int) with (autovacuum_enabled = off)", "create index on h using hash (k)",
	"create table d (id int, k int) with (autovacuum_enabled = off)", "create index on d using hash (k)",
	"insert into h select i, 5 from generate_series(1, 2840) i", "insert into d select i, 5 from generate_series(1, 400) i", "vacuum h", "vacuum d",
	// Two small buckets, and a split for every 40 tuples; the table is not taken for one of 10 pages once it has been vacuumed.
	"create table g (k int) with (autovacuum_enabled = off)", "insert into g values (0)", "vacuum g",
	"set wal_consistency_checking = 'hash'", "create index on g using hash (k) with (fillfactor = 10)",
	// The page a squeeze frees would otherwise be an image each time: it has no LSN any more when the record is made.
	"alter system set full_page_writes = off", "select pg_reload_conf()", "select pg_sleep(0.5)",
	"insert into g select i from generate_series(1, 330) i", "delete from g where k % 3 = 0", "vacuum (truncate off) g",
	"insert into h select i, 5 from generate_series(2841, 2860) i", // a page that is new, not used again
	// A tenth of each page, of the fifth page but a few and all of the sixth: what is left goes to the first page and to others, and from the sixth nothing.
	"delete from h where id % 10 = 0 or id between 1700 and 2442", "vacuum (truncate off) h",
	// All but the first page, then pages that are used again.
	"delete from h where id > 380", "vacuum (truncate off) h",
	"set wal_consistency_checking = ''", "insert into h select i, 5 from generate_series(3000, 3050) i", "set wal_consistency_checking = 'hash'",
	"insert into h select i, 5 from generate_series(4000, 4040) i",
	// Dead tuples that scans have marked, found by an insertion into their full page, and by VACUUM.
	"delete from d where id % 2 = 0", "select count(*) from d where k = 5", "select count(*) from d where k = 5", "insert into d select i, 5 from generate_series(500, 520) i",
	"delete from d where id % 3 = 0", "select count(*) from d where k = 5", "select count(*) from d where k = 5", "vacuum d",
}
