package verify

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

func init() {
	fixtures = append(fixtures, &fixture{
		name: "seq", rmids: []wal.RMID{wal.RMSeq}, checking: "sequence", script: seqScript,
		types: func(pg.Major) []string { return []string{"LOG"} },
	}, &fixture{
		name: "generic", rmids: []wal.RMID{wal.RMGeneric}, checking: "generic", script: genericScript,
		types: func(pg.Major) []string { return []string{"Generic"} },
	})
}

var seqScript = []string{
	"create sequence s1", "create sequence s2 as smallint increment 7 maxvalue 1000 cycle", "create table t (id serial, g int generated always as identity)",
	"insert into t select from generate_series(1, 100)", "select nextval('s1') from generate_series(1, 100)", "select nextval('s2') from generate_series(1, 300)",
	"select setval('s1', 7777)", "alter sequence s1 restart with 5", "alter sequence s2 increment 3", "begin; select nextval('s1'); rollback",
	"begin; alter sequence s1 restart; rollback", "truncate t restart identity", "create unlogged table u (id serial)", "insert into u select from generate_series(1, 40)",
	"alter table u set logged", "drop sequence s2", "checkpoint", "select nextval('s1') from generate_series(1, 40)",
}

// genericScript makes generic records with contrib's bloom index: of one page and of two, images and deltas.
var genericScript = []string{
	"create extension bloom", "create table b (x int, y int) with (autovacuum_enabled = off)",
	"create index on b using bloom (x, y) with (length = 640, col1 = 20, col2 = 20)",
	"insert into b select i, i % 10 from generate_series(1, 250) i", "delete from b where x % 3 = 0", "vacuum b",
	"insert into b select i, i from generate_series(1, 100) i", "delete from b where x < 90", "vacuum b", "insert into b select i, i from generate_series(1, 30) i",
}
