package verify

import (
	"encoding/binary"
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

// TestFinalLSN: at the end a page has the LSN of its last record, or one that a hint may have left on the primary's.
func TestFinalLSN(t *testing.T) {
	f := datadir.Fork{Rel: mapRel}
	cmp := comparer{major: pg.PG15, hints: func(of datadir.Fork, blk pg.BlockNumber) []pg.LSN {
		if of == f && blk == 7 {
			return []pg.LSN{0x200, 0x300}
		}
		return nil
	}}
	for _, c := range []struct {
		theirs pg.LSN
		blk    pg.BlockNumber
		want   bool
	}{{0x100, 7, true}, {0x200, 7, true}, {0x300, 7, true}, {0x280, 7, false}, {0, 7, false}, {0x200, 8, false}} {
		if equal, _, err := cmp.page(wal.RMHeap, f, c.blk, serverPage(0x100, 1), serverPage(c.theirs, 1)); err != nil || equal != c.want {
			t.Errorf("%s on block %d: %t %v", c.theirs, c.blk, equal, err)
		}
	}
}

// TestFinalAllVisible: what the mask hides in the middle of things must agree at the end.
func TestFinalAllVisible(t *testing.T) {
	theirs := serverPage(0x100, 1)
	theirs.SetFlags(pg.PageAllVisible)
	cmp := comparer{major: pg.PG15}
	if equal, diffs, err := cmp.page(wal.RMHeap, datadir.Fork{}, 7, serverPage(0x100, 1), theirs); err != nil || equal {
		t.Errorf("PD_ALL_VISIBLE on one page only: %v %v", diffs, err)
	}
}

// TestForgetLastUsed: of an SP-GiST metapage what may differ is between its magic number and its end, and on block 0 alone.
func TestForgetLastUsed(t *testing.T) {
	const magic, memo = pg.PageHeaderSize, pg.PageHeaderSize + 4
	for _, c := range []struct {
		at    int
		blk   pg.BlockNumber
		equal bool
	}{{magic + 3, 0, false}, {memo, 0, true}, {memo + 63, 0, true}, {memo + 64, 0, false}, {memo, 1, false}} {
		ours, theirs := serverPage(0x100, 20), serverPage(0x100, 20)
		theirs[c.at]++
		cmp := comparer{major: pg.PG15}
		if equal, diffs, err := cmp.page(wal.RMSpgist, datadir.Fork{}, c.blk, ours, theirs); err != nil || equal != c.equal {
			t.Errorf("byte %d of block %d: %t %v %v", c.at, c.blk, equal, diffs, err)
		}
	}
}

// sequencePage has the one row of a sequence.
func sequencePage(last, logged uint64, called byte) pg.Page {
	p := serverPage(0x100, 1)
	tuple := make([]byte, 24+17)
	tuple[22] = 24 // t_hoff
	binary.LittleEndian.PutUint64(tuple[24:], last)
	binary.LittleEndian.PutUint64(tuple[32:], logged)
	tuple[40] = called
	p.SetUpper(8000)
	copy(p[8000:], tuple)
	p.SetItem(1, pg.MakeItemID(8000, pg.LPNormal, len(tuple)))
	return p
}

// TestUnfetch: the server's sequence may be behind the WAL's only while it has logged values left.
func TestUnfetch(t *testing.T) {
	for name, c := range map[string]struct {
		ours, theirs pg.Page
		equal        bool
	}{
		"the same":                    {sequencePage(33, 0, 1), sequencePage(33, 0, 1), true},
		"values left":                 {sequencePage(33, 0, 1), sequencePage(1, 32, 1), true},
		"none left":                   {sequencePage(33, 0, 1), sequencePage(32, 0, 1), false},
		"values left in the WAL":      {sequencePage(33, 5, 1), sequencePage(1, 32, 1), false},
		"values left in the WAL only": {sequencePage(33, 5, 1), sequencePage(33, 0, 1), false},
	} {
		cmp := comparer{major: pg.PG15}
		if equal, diffs, err := cmp.page(wal.RMSeq, datadir.Fork{}, 0, c.ours, c.theirs); err != nil || equal != c.equal {
			t.Errorf("%s: %t %v %v", name, equal, diffs, err)
		}
	}
}
