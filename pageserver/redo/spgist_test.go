package redo

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/spgistrec"
)

// spgLeaf is a LIVE leaf tuple of 24 bytes for heap tuple (1, n).
func spgLeaf(n byte) []byte {
	return append([]byte{24 << 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, n, 0}, bytes.Repeat([]byte{n}, 12)...)
}

// spgInnerTuple is a LIVE inner tuple of so many nodes without labels, which lead nowhere.
func spgInnerTuple(nodes byte) []byte {
	t := []byte{nodes << 3, 0, 0, 0, 8 + 8*nodes, 0, 0, 0}
	for range nodes {
		t = append(t, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 8, 0)
	}
	return t
}

// spgPage has leaf tuples for each of the states, and LSN 1.
func spgPage(t *testing.T, states ...spgistrec.TupleState) pg.Page {
	t.Helper()
	page := newPage()
	spgistrec.InitPage(page, spgistrec.PageLeaf)
	o, _ := spgistrec.PageOpaque(page)
	for i, s := range states {
		tuple := spgLeaf(byte(i + 1))
		switch s {
		case spgistrec.Redirect:
			d := spgistrec.MakeRedirect(pg.TID{Block: 3, Offset: 4}, 699)
			tuple = d[:]
			o.AddRedirections(1)
		case spgistrec.Dead, spgistrec.Placeholder:
			d := spgistrec.MakeDead(s)
			tuple = d[:]
		}
		if s == spgistrec.Placeholder {
			o.AddPlaceholders(1)
		}
		if err := insertItem(page, tuple, pg.OffsetNumber(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	page.SetLSN(1)
	return page
}

// spgRecord names as many blocks as ids, block 7 and up.
func spgRecord(op uint8, main []byte, ids ...uint8) *wal.Record {
	rec := record(wal.RMSpgist, op, main, nil)
	rec.Blocks = nil
	for i, id := range ids {
		rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: id, Rel: testRel, Block: pg.BlockNumber(7 + i)})
	}
	return rec
}

// spgState is spgxlogState of transaction 700.
func spgState(isBuild byte) []byte { return []byte{0xBC, 2, 0, 0, isBuild, 0, 0, 0} }

// statesOf are the states of a page's tuples, and what its special area counts.
func statesOf(t *testing.T, page pg.Page) (states []spgistrec.TupleState, redirections, placeholders uint16) {
	t.Helper()
	for off := pg.OffsetNumber(1); int(off) <= page.NumItems(); off++ {
		tuple, err := item(page, off)
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, spgistrec.StateOf(tuple))
	}
	o, ok := spgistrec.PageOpaque(page)
	if !ok {
		t.Fatal("not a page of SP-GiST")
	}
	return states, o.Redirections(), o.Placeholders()
}

const (
	spgLive        = spgistrec.Live
	spgRedirect    = spgistrec.Redirect
	spgDead        = spgistrec.Dead
	spgPlaceholder = spgistrec.Placeholder
)

// TestSpgistBuild: no server from 11 on writes records while it builds an index, but the flag is in the record: nothing is left to lead
// on.
func TestSpgistBuild(t *testing.T) {
	for _, isBuild := range []byte{0, 1} {
		main := join([]byte{2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}, spgState(isBuild), []byte{3, 0, 1, 0, 1, 0, 2, 0, 3, 0}, spgLeaf(1), spgLeaf(2), spgLeaf(3))
		rec := spgRecord(spgistrec.OpMoveLeafs, main, 0, 1, 2)
		page := spgPage(t, spgLive, spgLive, spgLive)
		mustApply(t, page, rec, 0, Env{})
		states, r, p := statesOf(t, page)
		want := [3]spgistrec.TupleState{spgPlaceholder, spgLive, spgRedirect}
		if isBuild == 1 {
			want[2] = spgPlaceholder
		}
		if [3]spgistrec.TupleState(states) != want || int(r) != 1-int(isBuild) || int(p) != 1+int(isBuild) {
			t.Errorf("isBuild %d: %v, %d redirections, %d placeholders", isBuild, states, r, p)
		}
		if page.LSN() != rec.End {
			t.Errorf("LSN %s", page.LSN())
		}
		one, _ := item(page, 3)
		if redirect := spgistrec.MakeRedirect(pg.TID{Block: 8, Offset: 3}, 700); isBuild == 0 && !bytes.Equal(one, redirect[:]) {
			t.Errorf("redirection %x", one)
		}
	}
}

// TestSpgistPagesAlone: PICKSPLIT takes from the record what each of its pages gets, whatever the others look like.
func TestSpgistPagesAlone(t *testing.T) {
	// Delete 2 of block 0, insert at 2 of block 0 and 1 of block 1, inner tuple at 1 of block 2, parent 2 on the same.
	main := join([]byte{0, 0, 1, 0, 2, 0, 0, 1, 1, 0, 0, 0, 1, 0, 2, 0, 1, 0, 0, 0}, spgState(0), []byte{2, 0, 3, 0, 1, 0, 0, 1}, spgInnerTuple(2), spgLeaf(5), spgLeaf(6))
	rec := spgRecord(spgistrec.OpPickSplit, main, 0, 1, 2)
	rec.Blocks[1].WillInit = true
	src := spgPage(t, spgLive, spgLive, spgPlaceholder)
	mustApply(t, src, rec, 0, Env{})
	states, r, p := statesOf(t, src)
	if [3]spgistrec.TupleState(states) != [3]spgistrec.TupleState{spgLive, spgRedirect, spgLive} || r != 1 || p != 0 {
		t.Errorf("source: %v, %d redirections, %d placeholders", states, r, p)
	}
	dest := spgPage(t, spgLive)
	dest.SetLSN(0x9000)
	mustApply(t, dest, rec, 1, Env{})
	if one, _ := item(dest, 1); dest.NumItems() != 1 || !bytes.Equal(one, spgLeaf(6)) || dest.LSN() != rec.End {
		t.Errorf("a page built from nothing: %d items, %x", dest.NumItems(), one)
	}
	inner := newPage()
	spgistrec.InitPage(inner, 0)
	ph := spgistrec.MakeDead(spgPlaceholder)
	for i, tuple := range [][]byte{ph[:], spgInnerTuple(3)} {
		if err := insertItem(inner, tuple, pg.OffsetNumber(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	inner.SetLSN(1)
	mustApply(t, inner, rec, 2, Env{})
	one, _ := item(inner, 1)
	parent, _ := item(inner, 2)
	if !bytes.Equal(one, spgInnerTuple(2)) || !bytes.Equal(parent[16:22], []byte{0, 0, 9, 0, 1, 0}) || parent[8] != 0xFF || parent[24] != 0xFF {
		t.Errorf("inner %x, parent %x", one, parent)
	}
}

// TestSpgistMovedNode: an inner tuple that outgrows its page leaves a redirection, and its parent may be on either page or a third.
// Servers hold the parent's page locked while they look for the new one, so that it is never that: the record could say so.
func TestSpgistMovedNode(t *testing.T) {
	for parent := range uint8(3) {
		main := join([]byte{1, 0, 3, 0, 0, parent, 2, 0, 1, 0, 0, 0}, spgState(0), spgInnerTuple(3))
		ids := []uint8{0, 1, 2}
		if parent < 2 {
			ids = ids[:2]
		}
		rec := spgRecord(spgistrec.OpAddNode, main, ids...)
		for _, id := range ids {
			page := newPage()
			spgistrec.InitPage(page, 0)
			for off := range pg.OffsetNumber(2) {
				if err := insertItem(page, spgInnerTuple(2), off+1); err != nil {
					t.Fatal(err)
				}
			}
			page.SetLSN(1)
			mustApply(t, page, rec, id, Env{})
			linked := spgInnerTuple(2)
			if id == parent {
				copy(linked[16:], []byte{0, 0, 8, 0, 3, 0})
			}
			want := [][]byte{spgInnerTuple(2), linked}
			_, r, _ := statesOf(t, page)
			switch id {
			case 0:
				d := spgistrec.MakeRedirect(pg.TID{Block: 8, Offset: 3}, 700)
				want[0] = d[:]
				r--
			case 1:
				want = append(want, spgInnerTuple(3))
			}
			if page.NumItems() != len(want) || r != 0 {
				t.Fatalf("parent on block %d, block %d: %d items, redirections off by %d", parent, id, page.NumItems(), r)
			}
			for i, w := range want {
				if got, _ := item(page, pg.OffsetNumber(i+1)); !bytes.Equal(got, w) {
					t.Errorf("parent on block %d, block %d: tuple %d is %x, want %x", parent, id, i+1, got, w)
				}
			}
		}
	}
}

// TestSpgistVacuumRedirect: a placeholder keeps the XID it had as a redirection; those at the end go.
func TestSpgistVacuumRedirect(t *testing.T) {
	page := spgPage(t, spgRedirect, spgLive, spgRedirect, spgPlaceholder, spgPlaceholder)
	rec := spgRecord(spgistrec.OpVacuumRedirect, []byte{2, 0, 3, 0, 0xBB, 2, 0, 0, 3, 0, 1, 0}, 0)
	mustApply(t, page, rec, 0, Env{})
	states, r, p := statesOf(t, page)
	first, _ := item(page, 1)
	if len(states) != 2 || states[0] != spgPlaceholder || states[1] != spgLive || r != 0 || p != 1 || binary.LittleEndian.Uint32(first[12:]) != 699 {
		t.Errorf("%v, %d redirections, %d placeholders, first %x", states, r, p, first)
	}
}

// TestSpgistMask: of a page with pointers only what they leave free is hidden besides the header's hints; a page without them, as one
// of zeros, is compared as it is.
func TestSpgistMask(t *testing.T) {
	a := spgPage(t, spgLive, spgRedirect)
	b := append(pg.Page(nil), a...)
	b.SetLSN(5)
	b.SetChecksum(5)
	b.SetPruneXID(5)
	b.SetFlags(pg.PageFull | pg.PageHasFreeLines | pg.PageAllVisible)
	b[b.Lower()], b[b.Upper()-1] = 5, 5
	var s Scratch
	if equal, diffs, err := Compare(wal.RMSpgist, a, b, 7, &s); !equal || err != nil {
		t.Errorf("hints differ: %v %v", diffs, err)
	}
	for _, at := range []int{12, 14, 16, 18, int(b.Lower()) - 1, int(b.Upper()), pg.BlockSize - 5, pg.BlockSize - 1} {
		b[at] ^= 1
		if equal, _, _ := Compare(wal.RMSpgist, a, b, 7, &s); equal {
			t.Errorf("byte %d is hidden", at)
		}
		b[at] ^= 1
	}
	c, zeros := newPage(), newPage()
	c.SetUpper(8)
	c[4000] = 1
	d := append(pg.Page(nil), c...)
	if equal, _, _ := Compare(wal.RMSpgist, c, d, 7, &s); !equal {
		t.Error("a page without pointers does not equal itself")
	}
	if equal, _, _ := Compare(wal.RMSpgist, c, zeros, 7, &s); equal {
		t.Error("a page without pointers equals zeros")
	}
	b.SetUpper(uint16(pg.BlockSize))
	if equal, _, _ := Compare(wal.RMSpgist, b, append(pg.Page(nil), b...), 7, &s); equal {
		t.Error("pointers out of order were masked")
	}
}

// TestSpgistRefusals: pages and records that do not fit each other are refused with the place.
func TestSpgistRefusals(t *testing.T) {
	addLeaf := func(newPage, off, head, parent byte) []byte {
		return join([]byte{newPage, 0, off, 0, head, 0, parent, 0, 0, 0}, spgLeaf(9))
	}
	addNode := func(newPage, parentBlk byte) []byte {
		return join([]byte{1, 0, 2, 0, newPage, parentBlk, 1, 0, 5, 0, 0, 0}, spgState(0), spgInnerTuple(1))
	}
	vacuumLeaf := func(nDead, nPlaceholder, nMove, nChain byte, offs ...byte) []byte {
		main := join([]byte{nDead, 0, nPlaceholder, 0, nMove, 0, nChain, 0}, spgState(0))
		for _, off := range offs {
			main = append(main, off, 0)
		}
		return main
	}
	split := func(same byte) []byte {
		return join([]byte{1, 0, 2, 0, 0, same}, spgInnerTuple(1), spgInnerTuple(1))
	}
	pickSplit := func(root, innerIsParent byte) []byte {
		return join([]byte{root, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, innerIsParent, 0, 2, 0, 0, 0, 0, 0}, spgState(0), spgInnerTuple(1))
	}
	foreign := spgPage(t, spgLive, spgLive)
	foreign[pg.BlockSize-1] = 0
	large := spgPage(t, spgPlaceholder)
	large.SetLower(uint16(pg.PageHeaderSize + 4*(maxIndexTuplesPerPage+1)))
	for off := pg.OffsetNumber(2); off <= maxIndexTuplesPerPage+1; off++ {
		large.SetItem(off, large.Item(1))
	}
	endless := spgPage(t, spgPlaceholder)
	endless.SetSpecial(0x7FF8)
	endless.SetItem(1, pg.MakeItemID(8184, pg.LPNormal, 64))
	overlap := spgPage(t, spgLive, spgLive, spgLive, spgLive, spgLive)
	for off := pg.OffsetNumber(4); off <= 5; off++ {
		overlap.SetItem(off, pg.MakeItemID(int(overlap.Upper()), pg.LPNormal, 5*24))
	}
	live := func() pg.Page { return spgPage(t, spgLive, spgLive) }
	cases := map[string]struct {
		page pg.Page
		rec  *wal.Record
		id   uint8
	}{
		"type 0":                         {live(), spgRecord(0, nil, 0), 0},
		"type 0x90":                      {live(), spgRecord(0x90, nil, 0), 0},
		"short":                          {live(), spgRecord(spgistrec.OpAddLeaf, []byte{0}, 0), 0},
		"add over a live tuple":          {live(), spgRecord(spgistrec.OpAddLeaf, addLeaf(0, 1, 0, 0), 0), 0},
		"add at 0":                       {live(), spgRecord(spgistrec.OpAddLeaf, addLeaf(0, 0, 9, 0), 0), 0},
		"add beyond":                     {live(), spgRecord(spgistrec.OpAddLeaf, addLeaf(0, 4, 0, 0), 0), 0},
		"add to a chain beyond":          {live(), spgRecord(spgistrec.OpAddLeaf, addLeaf(0, 3, 9, 0), 0), 0},
		"replace beyond":                 {live(), spgRecord(spgistrec.OpAddLeaf, addLeaf(0, 4, 4, 0), 0), 0},
		"add over a foreign placeholder": {foreignPlaceholder(t), spgRecord(spgistrec.OpAddLeaf, addLeaf(0, 1, 0, 0), 0), 0},
		"built but not marked so":        {live(), spgRecord(spgistrec.OpAddLeaf, addLeaf(1, 1, 0, 0), 0), 0},
		"a parent not named":             {live(), spgRecord(spgistrec.OpAddLeaf, addLeaf(0, 3, 0, 1), 0), 0},
		"a parent not meant":             {live(), spgRecord(spgistrec.OpAddLeaf, addLeaf(0, 3, 0, 0), 0, 1), 1},
		"a parent that is a leaf":        {live(), spgRecord(spgistrec.OpAddLeaf, addLeaf(0, 3, 0, 1), 0, 1), 1},
		"a third block":                  {live(), spgRecord(spgistrec.OpAddLeaf, addLeaf(0, 3, 0, 1), 0, 1, 2), 2},
		"nowhere to move to":             {live(), spgRecord(spgistrec.OpMoveLeafs, join([]byte{0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}, spgState(0), []byte{1, 0}, spgLeaf(1)), 0, 2), 0},
		"node in place, parent changed":  {live(), spgRecord(spgistrec.OpAddNode, addNode(0, 0), 0), 0},
		"node moved, parent not":         {live(), spgRecord(spgistrec.OpAddNode, addNode(0, 0xFF), 0, 1), 0},
		"node moved, parent not named":   {live(), spgRecord(spgistrec.OpAddNode, addNode(0, 2), 0, 1), 0},
		"no such node":                   {live(), spgRecord(spgistrec.OpAddNode, addNode(0, 0), 0, 1), 0},
		"node in place, page built":      {live(), spgRecord(spgistrec.OpAddNode, addNode(1, 0xFF), 0), 0},
		"postfix not named":              {live(), spgRecord(spgistrec.OpSplitTuple, split(0), 0), 0},
		"postfix on two pages":           {live(), spgRecord(spgistrec.OpSplitTuple, split(1), 0, 1), 0},
		"postfix over a live tuple":      {live(), spgRecord(spgistrec.OpSplitTuple, split(1), 0), 0},
		"source of a root":               {live(), spgRecord(spgistrec.OpPickSplit, pickSplit(1, 0), 0, 2), 0},
		"no source":                      {live(), spgRecord(spgistrec.OpPickSplit, pickSplit(0, 1), 2), 2},
		"no inner page":                  {live(), spgRecord(spgistrec.OpPickSplit, pickSplit(0, 0), 0, 3), 3},
		"two parents":                    {live(), spgRecord(spgistrec.OpPickSplit, pickSplit(0, 1), 0, 2, 3), 3},
		"inner over a live tuple":        {live(), spgRecord(spgistrec.OpPickSplit, pickSplit(0, 1), 0, 2), 2},
		"dead beyond":                    {live(), spgRecord(spgistrec.OpVacuumLeaf, vacuumLeaf(1, 0, 0, 0, 3), 0), 0},
		"dead beyond a page's last":      {live(), spgRecord(spgistrec.OpVacuumLeaf, append(vacuumLeaf(1, 0, 0, 0), 0x99, 1), 0), 0},
		"dead at 0":                      {live(), spgRecord(spgistrec.OpVacuumLeaf, vacuumLeaf(1, 0, 0, 0, 0), 0), 0},
		"dead twice":                     {live(), spgRecord(spgistrec.OpVacuumLeaf, vacuumLeaf(3, 0, 0, 0, 1, 2, 1), 0), 0},
		"dead on a foreign page":         {foreign, spgRecord(spgistrec.OpVacuumLeaf, vacuumLeaf(1, 0, 0, 0, 1), 0), 0},
		"move from beyond":               {live(), spgRecord(spgistrec.OpVacuumLeaf, vacuumLeaf(0, 0, 1, 0, 3, 1), 0), 0},
		"move to beyond":                 {live(), spgRecord(spgistrec.OpVacuumLeaf, vacuumLeaf(0, 0, 1, 0, 1, 3), 0), 0},
		"move to 0":                      {live(), spgRecord(spgistrec.OpVacuumLeaf, vacuumLeaf(0, 0, 1, 0, 1, 0), 0), 0},
		"chain from beyond":              {live(), spgRecord(spgistrec.OpVacuumLeaf, vacuumLeaf(0, 0, 0, 1, 3, 1), 0), 0},
		"vacuum of two blocks":           {live(), spgRecord(spgistrec.OpVacuumLeaf, vacuumLeaf(1, 0, 0, 0, 1), 0, 1), 1},
		"root's tuple beyond":            {live(), spgRecord(spgistrec.OpVacuumRoot, join([]byte{1, 0, 0, 0}, spgState(0), []byte{3, 0}), 0), 0},
		"forget what is no redirection":  {live(), spgRecord(spgistrec.OpVacuumRedirect, []byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 0), 0},
		"forget beyond":                  {live(), spgRecord(spgistrec.OpVacuumRedirect, []byte{1, 0, 0, 0, 0, 0, 0, 0, 3, 0}, 0), 0},
		"cut off a live tuple":           {live(), spgRecord(spgistrec.OpVacuumRedirect, []byte{0, 0, 2, 0, 0, 0, 0, 0}, 0), 0},
		"cut off beyond":                 {live(), spgRecord(spgistrec.OpVacuumRedirect, []byte{0, 0, 3, 0, 0, 0, 0, 0}, 0), 0},
		"special area beyond the page":   {endless, spgRecord(spgistrec.OpAddLeaf, addLeaf(0, 1, 0, 0), 0), 0},
		"tuples that overlap":            {overlap, spgRecord(spgistrec.OpVacuumLeaf, vacuumLeaf(3, 0, 0, 0, 1, 2, 3), 0), 0},
		"cut off more than a page holds": {large, spgRecord(spgistrec.OpVacuumRedirect, []byte{0, 0, 1, 0, 0, 0, 0, 0}, 0), 0},
	}
	for name, c := range cases {
		wantRefused(t, name, c.page, c.rec, c.id)
	}
}

// foreignPlaceholder is a page of another access method with what looks like a placeholder.
func foreignPlaceholder(t *testing.T) pg.Page {
	page := spgPage(t, spgPlaceholder)
	page[pg.BlockSize-1] = 0
	return page
}
