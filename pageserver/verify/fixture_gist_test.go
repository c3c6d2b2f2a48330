package verify

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/gistrec"
)

func init() {
	const leftChild = "the mask hides NSN and F_FOLLOW_RIGHT: TestGistLeftChild of redo holds them"
	fixtures = append(fixtures, &fixture{
		name: "gist", rmids: []wal.RMID{wal.RMGist}, checking: "gist",
		script: gistScript, types: gistTypes, faults: gistFaults,
		unseen: map[string]string{"PAGE_UPDATE 1": leftChild, "PAGE_SPLIT 0": leftChild},
	})
}

// gistTypes lists every record type that changes GiST pages: all but PAGE_REUSE and ASSIGN_LSN, which name none.
func gistTypes(pg.Major) []string {
	return []string{"PAGE_UPDATE", "DELETE", "PAGE_SPLIT", "PAGE_DELETE"}
}

// gistScript makes every record with few rows: signatures and included texts so long that a page holds four make a high tree.
var gistScript = []string{
	"create table g (id int, v tsvector, pad text) with (autovacuum_enabled = off)", "alter table g alter pad set storage plain",
	"create index g_v on g using gist (v tsvector_ops (siglen = 1800)) include (pad)",
	// PAGE_UPDATE; PAGE_SPLIT of the root, of leaves and, with block 0, of pages above them.
	"insert into g select i, to_tsvector('simple', 'w' || i % 13 || ' x' || i), repeat('p', 1500) from generate_series(1, 70) i",
	// PAGE_DELETE of leaves that vacuum empties, and then PAGE_REUSE.
	"delete from g where id > 12", "vacuum g", "select txid_current()", "vacuum g",
	"insert into g select i, to_tsvector('simple', 'w' || i % 13 || ' x' || i), repeat('q', 1500) from generate_series(71, 100) i",
	// DELETE: a plain index scan finds tuples dead on leaves below a root, and then these are full.
	"create table k (id int, p point) with (autovacuum_enabled = off)", "create index k_p on k using gist (p)",
	"insert into k select i, point(i % 37, i) from generate_series(1, 280) i",
	"delete from k where id % 4 = 0",
	"set enable_seqscan = off; set enable_bitmapscan = off; select count(id) from k where p <@ box '((-1,-1),(1000,1000))'",
	"insert into k select i, point(i % 37, i) from generate_series(281, 400) i",
	// PAGE_UPDATE that takes one, two and many tuples off a leaf.
	"delete from k where id = 1", "vacuum k", "delete from k where id in (50, 51)", "vacuum k", "delete from k where id % 3 = 0", "vacuum k",
	"insert into k select i, point(i % 37, -i) from generate_series(401, 420) i",
	// A table of ranges built by sorting or buffering comes as images; the leaves it changes afterwards as records.
	"create table r (r int4range) with (autovacuum_enabled = off)", "insert into r select int4range(i, i + 3) from generate_series(1, 400) i",
	"create index r_r on r using gist (r)", "insert into r select int4range(i, i + i % 50) from generate_series(1, 60) i", "delete from r where lower(r) < 150", "vacuum r",
}

var gistFaults = []fault{
	{"another right neighbour", []string{"PAGE_SPLIT"}, func(_, after pg.Page, _ *wal.BlockRef) bool {
		o, _ := gistrec.PageOpaque(after)
		o.SetRightLink(o.RightLink() + 1)
		return true
	}},
	{"leaf for inner page", []string{"PAGE_SPLIT"}, func(_, after pg.Page, _ *wal.BlockRef) bool {
		o, _ := gistrec.PageOpaque(after)
		o.SetFlags(o.Flags() ^ gistrec.PageLeaf)
		return true
	}},
	{"that tuples were deleted not noted", []string{"PAGE_UPDATE"}, func(before, after pg.Page, _ *wal.BlockRef) bool {
		was, _ := gistrec.PageOpaque(before)
		o, _ := gistrec.PageOpaque(after)
		if (was.Flags()^o.Flags())&gistrec.PageTuplesDeleted == 0 {
			return false
		}
		o.SetFlags(o.Flags() &^ gistrec.PageTuplesDeleted)
		return true
	}},
	{"noted as in the server's own redo", []string{"DELETE"}, func(_, after pg.Page, _ *wal.BlockRef) bool {
		o, _ := gistrec.PageOpaque(after)
		o.SetFlags(o.Flags() | gistrec.PageTuplesDeleted)
		return true
	}},
	{"page not deleted", []string{"PAGE_DELETE"}, func(_, after pg.Page, blk *wal.BlockRef) bool {
		o, _ := gistrec.PageOpaque(after)
		o.SetFlags(o.Flags() &^ gistrec.PageDeleted)
		return blk.ID == 0
	}},
}
