package verify

import (
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/gistrec"
	"github.com/tarn-db/tarn/pageserver/datadir"
)

// TestFinalGist: what the mask hides in the middle of a split must agree at the end; whether tuples were deleted need not, nor before 17
// the LSN of a page that a build wrote.
func TestFinalGist(t *testing.T) {
	const asBuilt = "as built"
	for name, c := range map[string]struct {
		alter func(p pg.Page, o gistrec.Opaque)
		equal bool // on 16
	}{
		"the same":             {func(pg.Page, gistrec.Opaque) {}, true},
		"another NSN":          {func(_ pg.Page, o gistrec.Opaque) { o.SetNSN(9) }, false},
		"a split not complete": {func(_ pg.Page, o gistrec.Opaque) { o.SetFlags(o.Flags() | gistrec.PageFollowRight) }, false},
		"garbage":              {func(_ pg.Page, o gistrec.Opaque) { o.SetFlags(o.Flags() | gistrec.PageHasGarbage) }, true},
		"tuples deleted":       {func(_ pg.Page, o gistrec.Opaque) { o.SetFlags(o.Flags() | gistrec.PageTuplesDeleted) }, true},
		"another neighbour":    {func(_ pg.Page, o gistrec.Opaque) { o.SetRightLink(4) }, false},
		"another LSN":          {func(p pg.Page, _ gistrec.Opaque) { p.SetLSN(9) }, false},
		"no LSN":               {func(p pg.Page, _ gistrec.Opaque) { p.SetLSN(0) }, false},
		asBuilt:                {func(p pg.Page, _ gistrec.Opaque) { p.SetLSN(gistrec.BuildLSN) }, true},
	} {
		for _, major := range []pg.Major{pg.PG16, pg.PG17} {
			ours, theirs := pg.Page(make([]byte, pg.BlockSize)), pg.Page(make([]byte, pg.BlockSize))
			for _, p := range []pg.Page{ours, theirs} {
				o := gistrec.InitPage(p, gistrec.PageLeaf)
				o.SetRightLink(3)
				p.SetLSN(0x1000)
				p.SetLower(pg.PageHeaderSize + 4) // one line pointer without storage
			}
			o, _ := gistrec.PageOpaque(theirs)
			c.alter(theirs, o)
			equal, diffs, err := (&comparer{major: major}).page(wal.RMGist, datadir.Fork{}, 1, ours, theirs)
			if err != nil || equal != (c.equal && (name != asBuilt || major < pg.PG17)) {
				t.Errorf("%s, PostgreSQL %d: %t %v %v", name, major, equal, diffs, err)
			}
		}
	}
}
