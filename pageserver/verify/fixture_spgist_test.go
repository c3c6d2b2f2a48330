package verify

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/spgistrec"
)

func init() {
	fixtures = append(fixtures, &fixture{
		name: "spgist", rmids: []wal.RMID{wal.RMSpgist}, checking: "spgist", script: spgistScript, faults: spgistFaults,
		types: func(pg.Major) []string {
			return []string{"ADD_LEAF", "MOVE_LEAFS", "ADD_NODE", "SPLIT_TUPLE", "PICKSPLIT", "VACUUM_LEAF", "VACUUM_ROOT", "VACUUM_REDIRECT"}
		},
	})
}

// spgistScript makes every SP-GiST record with few pages: long values fill leaf pages, long shared prefixes inner ones.
var spgistScript = []string{
	"create table t (id serial, s text) with (autovacuum_enabled = off)", "create index on t using spgist (s)",
	// Chains of long values, moved while they are short, split when they are not.
	"insert into t (s) select chr(65 + i % 8) || repeat('p', 600) || chr(65 + i % 5) || md5(i::text) from generate_series(1, 100) i",
	// Nodes in place, then elsewhere when the inner page is full; prefixes cut at many lengths.
	"insert into t (s) select chr(65 + i % 8) || repeat('p', 600) || chr(70 + i % 60) || md5(i::text) from generate_series(1, 120) i",
	"insert into t (s) select chr(65 + i % 8) || repeat('p', 31 * i % 600) || chr(70 + i % 40) || md5(i::text) from generate_series(1, 40) i",
	"insert into t (s) select chr(65 + i % 8) || repeat('p', 600) || 'A' || left(md5((i % 90)::text), 1 + i % 30) || chr(200 + i) from generate_series(1, 60) i",
	"insert into t (s) select 'same' from generate_series(1, 30)", "insert into t (s) select chr(90 + i) || 'root' from generate_series(1, 30) i",
	"vacuum t",
	// Chains that lose some and all of their tuples, and get others.
	"delete from t where id % 3 = 0", "vacuum t", "delete from t where s like 'C%' or s like 'E%' and id % 2 = 0", "vacuum t",
	"insert into t (s) select chr(65 + i % 8) || repeat('p', 600) || chr(65 + i % 60) || repeat('q', i) from generate_series(1, 100) i",
	"delete from t where s like '%A%'", "vacuum t", "insert into t (s) select chr(65 + i % 8) || repeat('p', 600) || 'A' || repeat('r', i) from generate_series(1, 60) i",
	"delete from t where id % 4 <> 0", "vacuum t", "vacuum t",
	// Inner tuples that find room on their parents' page, and dead chains that find none.
	"create table u (id serial, s text) with (autovacuum_enabled = off)", "create index on u using spgist (s)",
	"insert into u (s) select repeat('k', i % 4) || chr(70 + i / 4 % 5) || repeat('v', 400) || i from generate_series(1, 120) i",
	"delete from u where s like '%F%'", "vacuum u", "insert into u (s) select repeat('k', i % 4) || chr(71 + i / 4 % 4) || repeat('v', 400) || i from generate_series(1, 60) i",
	"insert into u (s) select repeat('k', i) || 'F' || repeat('v', 2000) from generate_series(0, 3) i",
	// Nulls have a tree of their own.
	"create table n (id serial, s text, wide text) with (autovacuum_enabled = off)", "create index on n using spgist (s) include (wide)",
	"insert into n (wide) select repeat('w', 500 + i) from generate_series(1, 100) i", "delete from n where id % 3 = 0", "vacuum n",
	"insert into n (wide) select repeat('x', 900 + i) from generate_series(1, 40) i", "delete from n where id % 5 = 0", "vacuum n",
	// A root that is still a leaf.
	"create table p (id serial, at point) with (autovacuum_enabled = off)", "create index on p using spgist (at)",
	"insert into p (at) select point(i, i % 7) from generate_series(1, 30) i", "delete from p where id % 4 = 0", "vacuum p", "delete from p where id = 1", "vacuum p",
	"insert into p (at) select null from generate_series(1, 10)", "delete from p where at is null and id % 2 = 0", "vacuum p",
}

// onDead alters the last REDIRECT or PLACEHOLDER the record put on the page.
func onDead(state spgistrec.TupleState, f func(t []byte)) func(before, after pg.Page, _ *wal.BlockRef) bool {
	return func(before, after pg.Page, _ *wal.BlockRef) bool {
		for off := pg.OffsetNumber(after.NumItems()); off > 0; off-- {
			i := after.Item(off)
			t := after[i.Offset() : i.Offset()+i.Len()]
			if i.Len() != spgistrec.DeadTupleSize || spgistrec.StateOf(t) != state {
				continue
			}
			if int(off) <= before.NumItems() {
				if was := before.Item(off); was.Len() == i.Len() && before[was.Offset()]&3 == t[0]&3 {
					continue
				}
			}
			f(t)
			return true
		}
		return false
	}
}

// onSpgistOpaque alters the special area where the record has.
func onSpgistOpaque(at int, f func(o []byte)) func(before, after pg.Page, _ *wal.BlockRef) bool {
	return func(before, after pg.Page, _ *wal.BlockRef) bool {
		o := after[pg.BlockSize-spgistrec.OpaqueSize:]
		if before[pg.BlockSize-spgistrec.OpaqueSize+at] == o[at] {
			return false
		}
		f(o)
		return true
	}
}

var spgistFaults = []fault{
	{"redirection of another transaction", []string{"MOVE_LEAFS", "ADD_NODE", "PICKSPLIT"}, onDead(spgistrec.Redirect, func(t []byte) { t[12]++ })},
	{"redirected elsewhere", []string{"MOVE_LEAFS", "ADD_NODE", "PICKSPLIT"}, onDead(spgistrec.Redirect, func(t []byte) { t[10]++ })},
	{"placeholder with an XID", []string{"MOVE_LEAFS", "PICKSPLIT", "VACUUM_LEAF"}, onDead(spgistrec.Placeholder, func(t []byte) { t[12]++ })},
	{"dead made a placeholder", []string{"VACUUM_LEAF"}, onDead(spgistrec.Dead, func(t []byte) { t[0] |= 3 })},
	{"XID forgotten with its redirection", []string{"VACUUM_REDIRECT"}, onDead(spgistrec.Placeholder, func(t []byte) { clear(t[12:]) })},
	{"flags of another page", []string{"ADD_LEAF", "MOVE_LEAFS", "ADD_NODE", "SPLIT_TUPLE", "PICKSPLIT"}, onSpgistOpaque(6, func(o []byte) { o[0] ^= spgistrec.PageLeaf })},
	{"nulls not told", []string{"ADD_LEAF", "MOVE_LEAFS", "PICKSPLIT"}, onSpgistOpaque(0, func(o []byte) { o[0] ^= spgistrec.PageNulls })},
	{"redirections miscounted", []string{"MOVE_LEAFS", "ADD_NODE", "PICKSPLIT", "VACUUM_REDIRECT"}, onSpgistOpaque(2, func(o []byte) { o[2]++ })},
	{"placeholders miscounted", []string{"ADD_LEAF", "MOVE_LEAFS", "PICKSPLIT", "VACUUM_LEAF", "VACUUM_REDIRECT"}, onSpgistOpaque(4, func(o []byte) { o[4]-- })},
}
