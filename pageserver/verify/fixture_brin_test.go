package verify

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/brinrec"
)

func init() {
	fixtures = append(fixtures, &fixture{
		name: "brin", rmids: []wal.RMID{wal.RMBrin}, checking: "brin",
		script: brinScript, types: brinTypes, faults: brinFaults,
	})
}

// brinTypes lists every record type.
func brinTypes(pg.Major) []string {
	return []string{"CREATE_INDEX", "INSERT", "INSERT+INIT", "UPDATE", "UPDATE+INIT", "SAMEPAGE_UPDATE", "REVMAP_EXTEND", "DESUMMARIZE"}
}

// brinScript makes every record with a table of 1,450 pages, one row each, of which few are summarized.
var brinScript = []string{
	"create table b (id int, n int, t text, p text) with (autovacuum_enabled = off, fillfactor = 10)",
	"alter table b alter t set storage plain", "alter table b alter p set storage plain",
	"create index b_n on b using brin (n) with (pages_per_range = 1)",
	"create index b_t on b using brin (t) with (pages_per_range = 1)",
	"create index b_m on b using brin (n int4_minmax_multi_ops, n int4_bloom_ops) with (pages_per_range = 4)",
	"insert into b select i, i, 'a', repeat('p', 900) from generate_series(1, 1450) i",
	// INSERT of a placeholder and SAMEPAGE_UPDATE to the summary, on pages that are new and not; the first page of tuples is
	// block 2, which the range map then needs: UPDATE of each as it is evacuated, and REVMAP_EXTEND.
	"select brin_summarize_range('b_n', i) from generate_series(0, 40) i", "select brin_summarize_range('b_n', 1361), brin_summarize_range('b_n', 1449)",
	"select brin_summarize_range('b_m', i * 4) from generate_series(0, 12) i",
	// Summaries that grow and have to leave their page, for new pages and for the room others left.
	"select brin_summarize_range('b_t', i) from generate_series(0, 9) i",
	"update b set t = repeat('b', 300 * id) where id < 7", "update b set t = 'c' || repeat('b', 900) where id between 3 and 9",
	"update b set t = 'd' || repeat('b', 60 * id) where id between 3 and 9", "update b set n = n + 5000 where id in (2, 9, 1450)",
	// DESUMMARIZE, of a tuple in the middle and of the last; their numbers are used again.
	"select brin_desummarize_range('b_n', 3), brin_desummarize_range('b_n', 40), brin_desummarize_range('b_n', 1449), brin_desummarize_range('b_t', 4)",
	"select brin_summarize_range('b_n', 50), brin_summarize_range('b_n', 3), brin_summarize_range('b_t', 4), brin_summarize_range('b_t', 20)",
	"create index b_i on b using brin ((int4range(n, n + id % 7))) with (pages_per_range = 128)", "update b set n = -n where id in (1, 700, 1300)",
}

var brinFaults = []fault{
	{"tuple of the range map one further", []string{"INSERT", "UPDATE", "DESUMMARIZE"}, func(before, after pg.Page, _ *wal.BlockRef) bool {
		if t, ok := brinrec.Type(after); !ok || t != brinrec.RevmapPage {
			return false
		}
		for i := pg.PageHeaderSize; i+12 <= int(after.Special()); i += 6 {
			if string(before[i:i+6]) != string(after[i:i+6]) {
				copy(after[i+6:i+12], after[i:i+6])
				copy(after[i:i+6], before[i:i+6])
				return true
			}
		}
		return false
	}},
	{"numbers of later tuples moved", []string{"UPDATE", "DESUMMARIZE"}, func(before, after pg.Page, _ *wal.BlockRef) bool {
		if t, ok := brinrec.Type(after); !ok || t != brinrec.RegularPage || before.NumItems() != after.NumItems() {
			return false
		}
		for off := pg.OffsetNumber(1); int(off) < after.NumItems(); off++ {
			if before.Item(off).Len() != 0 && after.Item(off).Len() == 0 {
				copy(after[pg.PageHeaderSize+4*(int(off)-1):after.Lower()-4], after[pg.PageHeaderSize+4*int(off):after.Lower()])
				return true
			}
		}
		return false
	}},
	{"range map not longer", []string{"REVMAP_EXTEND"}, func(_, after pg.Page, blk *wal.BlockRef) bool {
		if blk.ID == 0 {
			brinrec.SetLastRevmapPage(after, brinrec.LastRevmapPage(after)-1)
		}
		return blk.ID == 0
	}},
}
