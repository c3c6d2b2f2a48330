package verify

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/ginrec"
	"github.com/tarn-db/tarn/internal/pgtest"
)

func init() {
	f := &fixture{
		name: "gin", rmids: []wal.RMID{wal.RMGin}, checking: "gin",
		script: ginScript, sessions: ginSessions, types: ginTypes, faults: ginFaults, unseen: map[string]string{},
	}
	for blk := 1; blk <= 16; blk++ {
		f.unseen[fmt.Sprintf("DELETE_LISTPAGE %d %s", blk, offByOne)] = "of a deleted page the mask leaves nothing but that it is deleted"
	}
	fixtures = append(fixtures, f)
}

// ginTypes lists every record type. SPLIT's and VACUUM_PAGE's pages come as images.
func ginTypes(pg.Major) []string {
	return []string{"CREATE_PTREE", "INSERT", "SPLIT", "VACUUM_PAGE", "DELETE_PAGE", "UPDATE_META_PAGE", "INSERT_LISTPAGE", "DELETE_LISTPAGE",
		"VACUUM_DATA_LEAF_PAGE"}
}

// ginScript makes tables that ginSessions fills.
//
//	entry    wide keys by way of the pending list: an entry tree of three levels
//	list     one key whose posting list is about to become a posting tree
//	tree     one key with a posting tree of three leaves, the last about to split
var ginScript = []string{
	"create table entry (k text[]) with (autovacuum_enabled = off)", "create index on entry using gin (k) with (fastupdate = on, gin_pending_list_limit = 2097151)",
	"create table list (n int) with (autovacuum_enabled = off)", "create table tree (n int) with (autovacuum_enabled = off)",
}

func ginSessions(ctx context.Context, t *testing.T, srv *pgtest.Server) {
	conn, err := pgx.Connect(ctx, srv.ConnString("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	do := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(ctx, fmt.Sprintf(sql, args...)); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	// Many rows in few records: all of them have the same key.
	rows := func(table string, n int) {
		if _, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(strings.Repeat("1\n", n)), "copy "+table+" from stdin"); err != nil {
			t.Fatal(err)
		}
	}
	// grow adds rows one by one until the index gets another page, and then more.
	grow := func(table string, more int) {
		do(`do $$ declare s bigint := pg_relation_size('%[1]s_array_idx'); i int := 0; begin
			while i < 400 and s = pg_relation_size('%[1]s_array_idx') loop insert into %[1]s values (1); i := i + 1; end loop;
			for i in 1 .. %[2]d loop insert into %[1]s values (1); end loop; end $$`, table, more)
	}
	const keys = "select array_agg(repeat(chr(97 + i %% 26), 480) || i) from generate_series(%d, %d) i"
	do("insert into entry values (array['one', 'two'])")
	do("insert into entry values (array['two', 'three']), (null), (array[]::text[])")
	do("insert into entry "+keys, 1, 280)
	do("insert into entry values (array['last'])")
	do("select gin_clean_pending_list('entry_k_idx')")
	do("insert into entry "+keys, 100, 130)
	do("vacuum entry")
	do("delete from entry where k[1] like 'w%%' or k[1] = 'one'")
	do("vacuum entry")

	rows("list", 2640)
	do("create index on list using gin ((array[n])) with (fastupdate = off)")
	grow("list", 260) // enough for another segment

	rows("tree", 23400)
	do("create index on tree using gin ((array[n])) with (fastupdate = off)")
	grow("tree", 6)
	do("delete from tree where ctid < '(20,1)' and (ctid::text::point)[1]::int %% 3 = 0") // some of the first leaf's
	do("delete from tree where ctid >= '(34,1)' and ctid < '(71,1)'")                     // all of the second's, and more
	do("vacuum tree")
	do("alter index tree_array_idx set (fastupdate = on)")
	do("insert into tree select 1 from generate_series(1, 60)")
	do("select gin_clean_pending_list('tree_array_idx')")
	do("alter index tree_array_idx set (fastupdate = off)")
	do("insert into tree values (1), (1), (1)")
}

var ginFaults = []fault{
	{"count of posting items", []string{"INSERT", "DELETE_PAGE"}, func(before, after pg.Page, _ *wal.BlockRef) bool {
		return ginKind(after, ginrec.PageData, ginrec.PageData|ginrec.PageLeaf) && countOff(after)
	}},
	{"end of the posting lists", []string{"INSERT", "VACUUM_DATA_LEAF_PAGE", "CREATE_PTREE"}, func(before, after pg.Page, _ *wal.BlockRef) bool {
		if !ginKind(after, ginrec.PageData|ginrec.PageLeaf, ginrec.PageData|ginrec.PageLeaf) || after.Lower() == ginrec.PostingAt {
			return false
		}
		after.SetLower(after.Lower() - 2)
		return true
	}},
	{"split left incomplete", []string{"INSERT", "SPLIT"}, func(before, after pg.Page, blk *wal.BlockRef) bool {
		if blk.ID == 0 {
			return false
		}
		o, _ := ginrec.PageOpaque(after)
		o.SetFlags(o.Flags() | ginrec.PageIncompleteSplit)
		return true
	}},
	{"tuples of the list not counted", []string{"UPDATE_META_PAGE"}, func(before, after pg.Page, _ *wal.BlockRef) bool {
		return ginKind(after, ginrec.PageList, ginrec.PageList) && before.Lower() != after.Lower() && countOff(after)
	}},
	{"page not deleted", []string{"DELETE_PAGE", "DELETE_LISTPAGE"}, func(before, after pg.Page, _ *wal.BlockRef) bool {
		o, _ := ginrec.PageOpaque(after)
		deleted := o.Flags()&ginrec.PageDeleted != 0
		o.SetFlags(o.Flags() &^ ginrec.PageDeleted)
		return deleted
	}},
}

// ginKind says whether these of a page's flags are so.
func ginKind(p pg.Page, flags, of uint16) bool {
	o, ok := ginrec.PageOpaque(p)
	return ok && o.Flags()&of == flags
}

func countOff(p pg.Page) bool {
	o, _ := ginrec.PageOpaque(p)
	o.SetCount(o.Count() - 1)
	return true
}
