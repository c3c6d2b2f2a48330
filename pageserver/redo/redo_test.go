package redo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/heaprec"
)

var testRel = pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}

func newPage() pg.Page { return make(pg.Page, pg.BlockSize) }

// record is a heap record at LSN 0/1000, ending at 0/1040, with block 7 of the main fork as reference 0.
func record(rmid wal.RMID, info uint8, main, data []byte) *wal.Record {
	return &wal.Record{
		Major: pg.PG15, RMID: rmid, Info: info, LSN: 0x1000, End: 0x1040, XID: 700, Main: main,
		Blocks: []wal.BlockRef{{Rel: testRel, Block: 7, HasData: data != nil, Data: data}},
	}
}

// insertRecord inserts a tuple of one int4 column at line pointer off.
func insertRecord(off byte, value byte, info uint8) *wal.Record {
	return record(wal.RMHeap, info, []byte{off, 0, 0}, []byte{1, 0, 0, 8, 24, 0, value, 0, 0, 0})
}

func mustApply(t *testing.T, page pg.Page, rec *wal.Record, id uint8, env Env) Result {
	t.Helper()
	r, err := Apply(page, rec, rec.Block(id), env)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantRefused redoes a record on a page that it does not fit: it is refused with the place.
func wantRefused(t *testing.T, name string, page pg.Page, rec *wal.Record, id uint8) {
	t.Helper()
	blk := rec.Block(id)
	_, err := Apply(page, rec, blk, Env{})
	var place *pg.CorruptError
	if !errors.As(err, &place) || place.LSN != rec.LSN || place.Rel != blk.Rel || place.Fork != blk.Fork || place.Block != blk.Block {
		t.Errorf("%s: %v", name, err)
	}
}

// filledPage has n one-column tuples and LSN 0x1040.
func filledPage(t *testing.T, n byte) pg.Page {
	page := newPage()
	mustApply(t, page, insertRecord(1, 1, heaprec.InitPage), 0, Env{})
	for off := byte(2); off <= n; off++ {
		page.SetLSN(0)
		mustApply(t, page, insertRecord(off, off, 0), 0, Env{})
	}
	return page
}

func TestLSNDecides(t *testing.T) {
	page := filledPage(t, 1)
	before := append(pg.Page(nil), page...)
	if r := mustApply(t, page, insertRecord(2, 9, 0), 0, Env{}); r != Skipped || !bytes.Equal(page, before) {
		t.Errorf("a page at the record's end: %v", r)
	}
	page.SetLSN(0x103F)
	if r := mustApply(t, page, insertRecord(2, 9, 0), 0, Env{}); r != Changed || page.LSN() != 0x1040 || page.NumItems() != 2 {
		t.Errorf("a page before the record's end: %v", r)
	}
	page.SetLSN(0x9000)
	if r := mustApply(t, page, insertRecord(1, 9, heaprec.InitPage), 0, Env{}); r != Changed || page.NumItems() != 1 {
		t.Errorf("a page built from nothing is built whatever it held: %v", r)
	}
}

func TestNewPageIsMissing(t *testing.T) {
	page := newPage()
	if r := mustApply(t, page, insertRecord(1, 1, 0), 0, Env{}); r != Missing || !bytes.Equal(page, newPage()) {
		t.Errorf("%v", r)
	}
}

func TestImages(t *testing.T) {
	page, full := newPage(), filledPage(t, 3)
	page.Init(0)
	page.SetLSN(0x9000)
	rec := record(200, 0, nil, nil)
	rec.Blocks[0].HasImage, rec.Blocks[0].ApplyImage, rec.Blocks[0].Image = true, true, full
	if r := mustApply(t, page, rec, 0, Env{}); r != Changed || page.LSN() != rec.End || page.NumItems() != 3 {
		t.Errorf("an image is restored whatever the page's LSN, and for any manager: %v", r)
	}
	rec.Blocks[0].Image = newPage()
	if r := mustApply(t, page, rec, 0, Env{}); r != Changed || page.LSN() != 0 {
		t.Errorf("an image of a new page gets no LSN: %v, %s", r, page.LSN())
	}
	rec.Blocks[0].HasImage = false
	if r := mustApply(t, page, record(200, 0, nil, nil), 0, Env{}); r != NotRedone {
		t.Errorf("no image, no redo: %v", r)
	}
	if r := mustApply(t, page, record(wal.RMXLog, opFPIForHint, nil, nil), 0, Env{}); r != Skipped {
		t.Errorf("a hint without image: %v", r)
	}
	if _, err := Apply(page, record(wal.RMXLog, opFPI, nil, nil), &rec.Blocks[0], Env{}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a page image record without image: %v", err)
	}
	fsm := record(wal.RMHeap, 0, nil, nil)
	fsm.Blocks[0].Fork = pg.FSMFork
	if r := mustApply(t, page, fsm, 0, Env{}); r != Skipped {
		t.Errorf("free space map: %v", r)
	}
}

// TestUpdateAcrossPages: each page is redone alone; later minors' map references change neither.
func TestUpdateAcrossPages(t *testing.T) {
	main := []byte{1, 3, 0, 0, 2, 0, 0, 3, 0, 0, 0, 0, 3, 0} // xmax 769, old 2, both pages cleared, new 3
	rec := record(wal.RMHeap, heaprec.OpUpdate, main, []byte{1, 0, 0, 8, 24, 0, 42, 0, 0, 0})
	rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: 1, Rel: testRel, Block: 9},
		wal.BlockRef{ID: 2, Rel: testRel, Fork: pg.VMFork})
	newP, oldP, vm := filledPage(t, 2), filledPage(t, 2), newPage()
	newP.SetLSN(1)
	oldP.SetLSN(1)
	vm.Init(0)
	vm[pg.PageHeaderSize+1] = 0xC0 // block 7
	vm[pg.PageHeaderSize+2] = 0x0C // block 9
	vm[pg.PageHeaderSize+3] = 0xFF // others
	newP.SetFlags(pg.PageAllVisible)
	mustApply(t, newP, rec, 0, Env{})
	mustApply(t, oldP, rec, 1, Env{})
	mustApply(t, vm, rec, 2, Env{})
	if n, ok := newP.Tuple(3); !ok || n.Xmin() != 700 || n[24] != 42 || n.Ctid() != (pg.TID{Block: 7, Offset: 3}) || newP.Flags() != 0 {
		t.Errorf("new version %x", n)
	}
	if o, ok := oldP.Tuple(2); !ok || o.Xmax() != 769 || o.Ctid() != (pg.TID{Block: 7, Offset: 3}) || oldP.NumItems() != 2 {
		t.Errorf("old version %x", o)
	}
	if vm[pg.PageHeaderSize+1] != 0 || vm[pg.PageHeaderSize+2] != 0 || vm[pg.PageHeaderSize+3] != 0xFF || vm.LSN() != rec.End {
		t.Errorf("map %x", vm[pg.PageHeaderSize:pg.PageHeaderSize+4])
	}
	if c := ImplicitVM(rec, nil); len(c) != 0 {
		t.Errorf("named and implied: %v", c)
	}
	rec.Blocks = rec.Blocks[:2]
	want := []VMChange{{testRel, 9, heaprec.VMValidBits}, {testRel, 7, heaprec.VMValidBits}}
	if c := ImplicitVM(rec, nil); !slices.Equal(c, want) {
		t.Errorf("implied %v", c)
	}
}

// TestBothPagesOfAnUpdateOnOneMapPage: the first clear stamps the map page and must not make the second look done.
func TestBothPagesOfAnUpdateOnOneMapPage(t *testing.T) {
	vm := newPage()
	vm.Init(0)
	vm[pg.PageHeaderSize] = 0xFF
	for _, blk := range []pg.BlockNumber{0, 2} {
		ApplyVM(vm, VMChange{testRel, blk, heaprec.VMValidBits}, 0x1040)
	}
	if vm[pg.PageHeaderSize] != 0xCC || vm.LSN() != 0x1040 {
		t.Errorf("%x at %s", vm[pg.PageHeaderSize], vm.LSN())
	}
	if ApplyVM(vm, VMChange{testRel, 1, heaprec.VMValidBits}, 0x1000); vm[pg.PageHeaderSize] != 0xCC {
		t.Error("a bit set since was cleared by an older record")
	}
	if ApplyVM(vm, VMChange{testRel, 1, heaprec.VMAllFrozen}, 0x1080); vm[pg.PageHeaderSize] != 0xC4 {
		t.Errorf("clearing all-frozen alone: %x", vm[pg.PageHeaderSize])
	}
	if fresh := newPage(); ApplyVM(fresh, VMChange{testRel, 1, 3}, 0x1080) || !bytes.Equal(fresh, newPage()) {
		t.Error("a map page that does not exist was made")
	}
}

func TestTruncateVM(t *testing.T) {
	vm := newPage()
	vm.Init(0)
	for i := pg.PageHeaderSize; i < pg.BlockSize; i++ {
		vm[i] = 0xFF
	}
	TruncateVM(vm, HeapBlocksPerVMPage+6, 0x1040)
	if got := vm[pg.PageHeaderSize : pg.PageHeaderSize+3]; !bytes.Equal(got, []byte{0xFF, 0x0F, 0}) || vm[pg.BlockSize-1] != 0 {
		t.Errorf("%x", got)
	}
	if TruncateVM(vm, HeapBlocksPerVMPage, 0x2000) {
		t.Error("a page that goes whole was cut")
	}
}

func TestVisible(t *testing.T) {
	rec := record(wal.RMHeap2, heaprec.Op2Visible, []byte{0, 0, 0, 0, 3}, nil)
	rec.Blocks = []wal.BlockRef{{Rel: testRel, Fork: pg.VMFork}, {ID: 1, Rel: testRel, Block: 7}}
	for _, hints := range []bool{false, true} {
		heap, vm := filledPage(t, 1), newPage()
		heap.SetLSN(1)
		mustApply(t, heap, rec, 1, Env{HintsLogged: hints})
		mustApply(t, vm, rec, 0, Env{HintsLogged: hints})
		if heap.Flags()&pg.PageAllVisible == 0 || (heap.LSN() == rec.End) != hints {
			t.Errorf("heap page, hints logged %v: flags %x, LSN %s", hints, heap.Flags(), heap.LSN())
		}
		if vm[pg.PageHeaderSize+1] != 0xC0 || vm.LSN() != rec.End {
			t.Errorf("map page %x", vm[pg.PageHeaderSize+1])
		}
	}
}

// TestRepack prunes a page whose tuples lie in another order than their line pointers: they are laid anew in line pointer
// order from the end.
func TestRepack(t *testing.T) {
	page := filledPage(t, 6)
	a, b := page.Item(2), page.Item(5)
	page.SetItem(2, b)
	page.SetItem(5, a)
	page.SetLSN(1)
	main := []byte{0, 0, 0, 0, 1, 0, 1, 0} // one redirect, one dead
	mustApply(t, page, record(wal.RMHeap2, heaprec.Op2Prune, main, []byte{1, 0, 2, 0, 3, 0, 6, 0}), 0, Env{})
	if page.NumItems() != 5 || int(page.Upper()) != pg.BlockSize-3*32 {
		t.Fatalf("%d items, upper %d", page.NumItems(), page.Upper())
	}
	if i := page.Item(1); i.State() != pg.LPRedirect || i.Offset() != 2 {
		t.Errorf("redirect %v", i)
	}
	for n, want := range map[pg.OffsetNumber]byte{2: 5, 4: 4, 5: 2} {
		tup, ok := page.Tuple(n)
		if !ok || tup[24] != want || page.Item(n).Offset() != pg.BlockSize-32*map[pg.OffsetNumber]int{2: 1, 4: 2, 5: 3}[n] {
			t.Errorf("tuple %d: %x at %d", n, tup, page.Item(n).Offset())
		}
	}
	if !bytes.Equal(page[page.Lower():page.Upper()], make([]byte, page.Upper()-page.Lower())) {
		t.Error("what became free is not zero")
	}
}

// TestRefusals: pages and records that do not fit each other are refused with the place.
func TestRefusals(t *testing.T) {
	update := func(flags byte, data []byte) *wal.Record {
		return record(wal.RMHeap, heaprec.OpUpdate, []byte{1, 3, 0, 0, 2, 0, 0, flags, 0, 0, 0, 0, 3, 0}, data)
	}
	other := update(heaprec.UpdatePrefixFromOld, []byte{2, 0, 1, 0, 0, 8, 24, 0, 1, 1})
	other.Blocks = append(other.Blocks, wal.BlockRef{ID: 1, Rel: testRel, Block: 9})
	big := make([]byte, 8200)
	big[4] = 24
	damaged := func(at int, v uint16) pg.Page {
		p := filledPage(t, 2)
		binary.LittleEndian.PutUint16(p[at:], v)
		return p
	}
	cases := map[string]struct {
		page pg.Page
		rec  *wal.Record
	}{
		"line pointer in use":         {filledPage(t, 2), insertRecord(2, 1, 0)},
		"line pointer beyond":         {filledPage(t, 2), insertRecord(4, 1, 0)},
		"line pointer 0":              {filledPage(t, 2), insertRecord(0, 1, 0)},
		"lower above upper":           {damaged(12, 8190), insertRecord(3, 1, 0)},
		"upper beyond special":        {damaged(14, 0xFFF8), insertRecord(3, 1, 0)},
		"tuple too large":             {filledPage(t, 2), record(wal.RMHeap, 0, []byte{3, 0, 0}, big)},
		"short tuple header":          {filledPage(t, 2), record(wal.RMHeap, 0, []byte{3, 0, 0}, []byte{1, 0})},
		"record too long":             {filledPage(t, 2), record(wal.RMHeap, 0, []byte{3, 0, 0, 0}, nil)},
		"delete of no tuple":          {filledPage(t, 2), record(wal.RMHeap, heaprec.OpDelete, []byte{1, 0, 0, 0, 3, 0, 0, 0}, nil)},
		"prefix longer than the old":  {filledPage(t, 2), update(heaprec.UpdatePrefixFromOld, []byte{200, 0, 1, 0, 0, 8, 24, 0, 1, 1})},
		"suffix longer than the old":  {filledPage(t, 2), update(heaprec.UpdateSuffixFromOld, []byte{200, 0, 1, 0, 0, 8, 24, 0, 1, 1})},
		"prefix of another page":      {filledPage(t, 2), other},
		"inplace of another length":   {filledPage(t, 2), record(wal.RMHeap, heaprec.OpInplace, []byte{1, 0}, []byte{1})},
		"redirect to nowhere":         {filledPage(t, 2), record(wal.RMHeap2, heaprec.Op2Prune, []byte{0, 0, 0, 0, 1, 0, 0, 0}, []byte{1, 0, 9, 0})},
		"freeze of no tuple":          {filledPage(t, 2), record(wal.RMHeap2, heaprec.Op2Freeze, []byte{0, 0, 0, 0, 1, 0}, []byte{0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0})},
		"tuples not used up":          {filledPage(t, 2), record(wal.RMHeap2, heaprec.Op2MultiInsert, []byte{0, 0, 0, 0}, []byte{1})},
		"truncate naming a block":     {filledPage(t, 2), record(wal.RMHeap, heaprec.OpTruncate, nil, nil)},
		"prune of an overlapping one": {overlapping(t), record(wal.RMHeap2, heaprec.Op2Prune, []byte{0, 0, 0, 0, 0, 0, 0, 0}, []byte{1, 0})},
	}
	for name, c := range cases {
		c.page.SetLSN(1)
		wantRefused(t, name, c.page, c.rec, 0)
	}
}

// overlapping has 250 line pointers to one large tuple: together more than a page.
func overlapping(t *testing.T) pg.Page {
	p := filledPage(t, 1)
	p.SetLower(pg.PageHeaderSize + 4*250)
	p.SetUpper(4096)
	for off := pg.OffsetNumber(1); off <= 250; off++ {
		p.SetItem(off, pg.MakeItemID(4096, pg.LPNormal, 4000))
	}
	return p
}

// TestMaskHeapOddItem: an item at an odd place may end within the page and its padding outside.
func TestMaskHeapOddItem(t *testing.T) {
	page := filledPage(t, 1)
	page.SetItem(1, pg.MakeItemID(pg.BlockSize-31, pg.LPNormal, 31))
	if MaskHeap(page, 7) {
		t.Error("padding behind the page was masked")
	}
}

// TestConfirm: a tuple that was inserted speculatively has its token taken away.
func TestConfirm(t *testing.T) {
	page := filledPage(t, 2)
	tup, _ := page.Tuple(2)
	tup.SetCtid(pg.TID{Block: 99, Offset: speculativeToken})
	page.SetLSN(1)
	mustApply(t, page, record(wal.RMHeap, heaprec.OpConfirm, []byte{2, 0}, nil), 0, Env{})
	if tup.Ctid() != (pg.TID{Block: 7, Offset: 2}) || page.LSN() != 0x1040 {
		t.Errorf("%v at %s", tup.Ctid(), page.LSN())
	}
}

// TestCheck: a page is compared with the server's image of it after the record, unless it is past that.
func TestCheck(t *testing.T) {
	page, rec := filledPage(t, 2), insertRecord(2, 2, 0)
	blk := &rec.Blocks[0]
	blk.HasImage, blk.Image = true, append([]byte(nil), page...)
	var s Scratch
	if equal, diffs, err := Check(page, rec, blk, &s); !equal || err != nil {
		t.Errorf("the same page: %v %v", diffs, err)
	}
	page[pg.BlockSize-8] ^= 1
	if equal, diffs, err := Check(page, rec, blk, &s); equal || err != nil || !slices.Equal(diffs, []Range{{pg.BlockSize - 8, 1}}) {
		t.Errorf("a value differs: %v %v", diffs, err)
	}
	page.SetLSN(rec.End + 8)
	if equal, diffs, err := Check(page, rec, blk, &s); !equal || err != nil {
		t.Errorf("a page past the record: %v %v", diffs, err)
	}
	rec.RMID = wal.RMXLog
	if _, _, err := Check(page, rec, blk, &s); !errors.Is(err, ErrNoMask) {
		t.Errorf("a manager without a mask: %v", err)
	}
}
