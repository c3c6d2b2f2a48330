package verify

import (
	"slices"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/heaprec"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/datadir"
)

// mapRecords makes records of one relation's first map page.
type mapRecords struct {
	t   *testing.T
	v   *verifier
	lsn pg.LSN
}

var mapRel = pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}

func (m *mapRecords) redo(rec wal.Record) {
	m.t.Helper()
	m.lsn += 0x100
	rec.Major, rec.LSN, rec.End, rec.XID = pg.PG17, m.lsn, m.lsn+0x80, 1000
	if err := m.v.record(&rec); err != nil {
		m.t.Fatal(err)
	}
}

// image is how CREATE DATABASE by wal_log logs the page: what is between its pointers is left out.
func (m *mapRecords) image() {
	header := pg.Page(make([]byte, pg.BlockSize))
	header.Init(0)
	m.redo(wal.Record{RMID: wal.RMXLog, Info: xlrec.XLogFPI, Blocks: []wal.BlockRef{{
		Rel: mapRel, Fork: pg.VMFork, HasImage: true, ApplyImage: true, ImageInfo: 0x01,
		Image: header[:pg.PageHeaderSize], HoleOffset: pg.PageHeaderSize, HoleLength: pg.BlockSize - pg.PageHeaderSize,
	}}})
}

// visible sets a heap block's bits; seen, if not nil, is the server's map page after it, to compare.
func (m *mapRecords) visible(heap pg.BlockNumber, seen pg.Page) {
	ref := wal.BlockRef{Rel: mapRel, Fork: pg.VMFork, HasImage: seen != nil, Image: seen}
	m.redo(wal.Record{RMID: wal.RMHeap2, Info: heaprec.Op2Visible, Main: []byte{0, 0, 0, 0, heaprec.VMValidBits},
		Blocks: []wal.BlockRef{ref, {ID: 1, Rel: mapRel, Block: heap}}})
}

// deleted clears a heap block's bits by a record that does not name the map.
func (m *mapRecords) deleted(heap pg.BlockNumber) {
	main := make([]byte, 8)
	main[4], main[heaprec.DeleteFlagsAt] = 1, heaprec.DeleteAllVisibleCleared
	m.redo(wal.Record{RMID: wal.RMHeap, Info: heaprec.OpDelete, Main: main, Blocks: []wal.BlockRef{{Rel: mapRel, Block: heap}}})
}

// bits are those of heap blocks on a map page, both of each.
func bits(set ...pg.BlockNumber) pg.Page {
	p := pg.Page(make([]byte, pg.BlockSize))
	p.Init(0)
	for _, heap := range set {
		p[pg.PageHeaderSize+heap/4] |= heaprec.VMValidBits << (heap % 4 * 2)
	}
	return p
}

// TestEmptiedMap: of a map page whose image was without its content, the bits that records have set or cleared since are compared, with
// later images and at the end; only the others may be either way.
func TestEmptiedMap(t *testing.T) {
	f := datadir.Fork{Rel: mapRel, Fork: pg.VMFork}
	start := func() (m *mapRecords) {
		m = &mapRecords{t: t, v: recorded{&fixture{}, pg.PG17}.verifier()}
		m.image()
		m.visible(5, nil)
		m.deleted(9)
		return m
	}
	for name, c := range map[string]struct {
		after  func(m *mapRecords) // nil: nothing
		theirs pg.Page
		equal  bool
	}{
		"none of the others":              {nil, bits(5), true},
		"some of the others":              {nil, bits(5, 1, 77, 30000), true},
		"set since, the server's not":     {nil, bits(1, 77), false},
		"cleared since, the server's not": {nil, bits(5, 9), false},
		"cut off": {func(m *mapRecords) {
			m.redo(wal.Record{RMID: wal.RMSmgr, Info: xlrec.SmgrTruncate, Main: truncation(60)})
		}, bits(5, 77), false},
		"before the cut": {func(m *mapRecords) {
			m.redo(wal.Record{RMID: wal.RMSmgr, Info: xlrec.SmgrTruncate, Main: truncation(60)})
		}, bits(5, 59), true},
		"gone and there again": {func(m *mapRecords) {
			m.redo(wal.Record{RMID: wal.RMSmgr, Info: xlrec.SmgrTruncate, Main: truncation(0)})
			m.visible(5, nil)
		}, bits(5, 1), false},
		"a whole image": {func(m *mapRecords) {
			m.redo(wal.Record{RMID: wal.RMXLog, Info: xlrec.XLogFPI, Blocks: []wal.BlockRef{{Rel: mapRel, Fork: pg.VMFork, HasImage: true, ApplyImage: true, Image: bits(5)}}})
		}, bits(5, 1), false},
	} {
		m := start()
		if c.after != nil {
			c.after(m)
		}
		ours := pg.Page(make([]byte, pg.BlockSize))
		if _, err := m.v.pages.lookup(f, 0, ours); err != nil {
			t.Fatal(err)
		}
		cmp := comparer{atMost: func(f datadir.Fork, blk pg.BlockNumber) pg.Page { return m.v.pages.fork(f).atMost[blk] }}
		if equal, diffs, err := cmp.page(wal.RMHeap, f, 0, ours, slices.Clone(c.theirs)); err != nil || equal != c.equal {
			t.Errorf("%s: %t %v %v", name, equal, diffs, err)
		}
	}
	// The image of a later record, which shows no bits that ours lack: those cleared are known to be.
	for name, c := range map[string]struct {
		seen       pg.Page
		mismatches int64
	}{"the others": {bits(5, 6, 1, 77), 0}, "cleared": {bits(5, 6, 9), 1}} {
		m := start()
		m.visible(6, c.seen)
		if r := m.v.report; r.ImagesCompared != 1 || r.Mismatches != c.mismatches {
			t.Errorf("an image with %s: %d compared, %d mismatches", name, r.ImagesCompared, r.Mismatches)
		}
	}
	// A copy of the database is as unsure of it, and goes its own way.
	m := start()
	if err := m.v.pages.copyDatabase(xlrec.DBCreateFileCopy{Spc: 1663, DB: 6, SrcSpc: 1663, SrcDB: 5}); err != nil {
		t.Fatal(err)
	}
	copied := m.v.pages.fork(datadir.Fork{Rel: pg.RelFileLocator{Spc: 1663, DB: 6, Rel: mapRel.Rel}, Fork: pg.VMFork})
	m.deleted(77)
	if most := copied.atMost[0]; most == nil || most[pg.PageHeaderSize+77/4]&(heaprec.VMValidBits<<2) == 0 || slices.Equal(most, m.v.pages.fork(f).atMost[0]) {
		t.Errorf("the copy's map page: %v", most != nil)
	}
}

// truncation is xl_smgr_truncate of all forks to heap blocks.
func truncation(heap uint32) []byte {
	return append(le32(heap, uint32(mapRel.Spc), uint32(mapRel.DB), uint32(mapRel.Rel)), le32(xlrec.TruncateHeap|xlrec.TruncateVM)...)
}

func le32(values ...uint32) (b []byte) {
	for _, v := range values {
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	return b
}

// TestInvalidPages: a record for a page that is not there is held against redo, until a truncation or a drop explains it.
func TestInvalidPages(t *testing.T) {
	for name, explain := range map[string]func(m *mapRecords){
		"cut off": func(m *mapRecords) {
			m.redo(wal.Record{RMID: wal.RMSmgr, Info: xlrec.SmgrTruncate, Main: truncation(9)})
		},
		"dropped": func(m *mapRecords) { m.v.pages.drop(mapRel) },
		"cut behind": func(m *mapRecords) {
			m.redo(wal.Record{RMID: wal.RMSmgr, Info: xlrec.SmgrTruncate, Main: truncation(10)})
		},
	} {
		m := &mapRecords{t: t, v: recorded{&fixture{}, pg.PG17}.verifier()}
		m.visible(5, bits(5))
		m.v.pages.drop(mapRel) // the heap's page too was not there
		if r := m.v.finish(); !r.OK() {
			t.Fatalf("%+v", r)
		}
		m.deleted(9)
		m.deleted(9)
		if r := m.v.finish(); r.OK() || r.InvalidPages != 1 {
			t.Errorf("a record for a page that is not there: %+v", r)
		}
		explain(m)
		if r := m.v.finish(); r.OK() != (name != "cut behind") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestTruncateForgets: what is known of pages that are cut off is not held against, nor in favour of, those that come in their place.
func TestTruncateForgets(t *testing.T) {
	st := &fork{}
	for blk := range pg.BlockNumber(3) {
		st.put(blk)
	}
	st.truncate(1)
	if len(st.pages) != 1 || len(st.missing) != 1 || len(st.hints) != 1 || len(st.atMost) != 1 || st.blocks != 0 {
		t.Errorf("%+v", st)
	}
}

func (st *fork) put(blk pg.BlockNumber) {
	if st.pages == nil {
		st.pages, st.missing = map[pg.BlockNumber]pg.Page{}, map[pg.BlockNumber]pg.LSN{}
		st.hints, st.atMost = map[pg.BlockNumber][]pg.LSN{}, map[pg.BlockNumber]pg.Page{}
	}
	st.pages[blk], st.missing[blk], st.hints[blk], st.atMost[blk] = pg.Page{}, 1, []pg.LSN{1}, pg.Page{}
}
