package verify

import (
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/datadir"
)

// serverPage is a heap page with an LSN, empty or with one line pointer.
func serverPage(lsn pg.LSN, items int) pg.Page {
	p := pg.Page(make([]byte, pg.BlockSize))
	p.Init(0)
	p.SetLower(uint16(pg.PageHeaderSize + 4*items))
	p.SetLSN(lsn)
	return p
}

// TestUntraced: a page that redo has not may be there if nothing is on it, and it has no LSN or one at which no record ends. A page that
// holds something differs whatever its LSN.
func TestUntraced(t *testing.T) {
	ends := []pg.LSN{0x100, 0x200, 0x300}
	for name, c := range map[string]struct {
		theirs pg.Page
		ends   []pg.LSN
		equal  bool
		lost   int64
	}{
		"of zeros":                       {make(pg.Page, pg.BlockSize), ends, true, 0},
		"initialised":                    {serverPage(0, 0), ends, true, 0},
		"empty, of a record lost":        {serverPage(0x180, 0), ends, true, 1},
		"empty, of a record":             {serverPage(0x200, 0), ends, false, 0},
		"empty, of the first record":     {serverPage(0x100, 0), ends, false, 0},
		"empty, from before the WAL":     {serverPage(0x80, 0), ends, false, 0},
		"empty, from behind the WAL":     {serverPage(0x380, 0), ends, false, 0},
		"empty, of WAL that is unknown":  {serverPage(0x180, 0), nil, true, 0},
		"full, of a record lost":         {serverPage(0x180, 1), ends, false, 0},
		"full, of a record":              {serverPage(0x200, 1), ends, false, 0},
		"full, of WAL that is not known": {serverPage(0x180, 1), nil, false, 0},
		"full, without LSN":              {serverPage(0, 1), ends, false, 0},
	} {
		cmp := comparer{major: pg.PG15, ends: c.ends}
		equal, diffs, err := cmp.page(wal.RMHeap, datadir.Fork{}, 7, make(pg.Page, pg.BlockSize), c.theirs)
		if err != nil || equal != c.equal || cmp.final.LostWAL != c.lost {
			t.Errorf("%s: %t %v %v, %d lost", name, equal, diffs, err, cmp.final.LostWAL)
		}
	}
}

// TestInitForkWithoutLSN: before 17 the init forks that are not written through the buffers may have none; later, and in other forks,
// every page has its record's.
func TestInitForkWithoutLSN(t *testing.T) {
	for _, c := range []struct {
		major pg.Major
		rmid  wal.RMID
		fork  pg.ForkNumber
		lsn   pg.LSN
		want  bool
	}{
		{pg.PG15, wal.RMBtree, pg.InitFork, 0, true}, {pg.PG16, wal.RMSpgist, pg.InitFork, 0, true}, {pg.PG16, wal.RMGeneric, pg.InitFork, 0, true},
		{pg.PG17, wal.RMBtree, pg.InitFork, 0, false}, {pg.PG18, wal.RMGeneric, pg.InitFork, 0, false},
		{pg.PG16, wal.RMGin, pg.InitFork, 0, false}, {pg.PG16, wal.RMHash, pg.InitFork, 0, false}, {pg.PG16, wal.RMGist, pg.InitFork, 0, false},
		{pg.PG16, wal.RMBtree, pg.MainFork, 0, false}, {pg.PG16, wal.RMBtree, pg.InitFork, 8, false},
	} {
		cmp := comparer{major: c.major}
		if got := cmp.unstamped(c.rmid, datadir.Fork{Fork: c.fork}, c.lsn); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
