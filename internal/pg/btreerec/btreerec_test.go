package btreerec

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/rectest"
)

var b = rectest.Hex

// opTuples is no record: tuples, one at least, as they lie in the data of a new right page or root.
const opTuples = 0x01

// decode calls all decoders of a record type, and reads what they yield to its end.
func decode(major pg.Major, op uint8, main, data []byte) (err error) {
	switch op {
	case OpInsertLeaf:
		if _, err = DecodeInsert(main); err == nil {
			_, err = DecodeNewTuple(data)
		}
	case OpInsertPost:
		if _, err = DecodeInsert(main); err == nil {
			_, _, err = DecodePostInsert(data)
		}
	case OpSplitL, OpSplitR:
		var s Split
		if s, err = DecodeSplit(main); err == nil {
			_, _, err = s.DecodeSplitLeft(data, op == OpSplitL)
		}
	case OpDedup:
		var a Intervals
		if a, err = DecodeDedup(main, data); err == nil {
			for i := range a.Len() {
				a.At(i)
			}
		}
	case OpDelete, OpVacuum:
		var d Delete
		if op == OpDelete {
			d, err = DecodeDelete(major, main, data)
		} else {
			d, err = DecodeVacuum(main, data)
		}
		for _, gone, ok := d.Updates.Next(); ok && err == nil; _, gone, ok = d.Updates.Next() {
			for i := range gone.Len() {
				gone.At(i)
			}
		}
	case OpMarkHalfDead:
		_, err = DecodeHalfDead(main)
	case OpUnlinkPage:
		_, err = DecodeUnlink(main)
	case OpNewRoot:
		_, err = DecodeNewRoot(main)
	case OpReusePage:
		_, err = DecodeReusePage(major, main)
	case OpMetaCleanup:
		_, err = DecodeMeta(data)
	case opTuples:
		for rest, more := data, true; more && err == nil; more = len(rest) > 0 {
			var t Tuple
			if t, rest, err = NextTuple(rest); err == nil {
				t.Heap()
			}
		}
	}
	return err
}

const tuple16 = "0000 0100 0200 1000 0500000000000000" // (1,2), 16 bytes

var samples = []struct {
	name       string
	op         uint8
	major      pg.Major
	main, data string
}{
	{"INSERT", OpInsertLeaf, 15, "0200", tuple16},
	{"INSERT_POST", OpInsertPost, 15, "0200", "0300" + tuple16},
	{"SPLIT_L", OpSplitL, 15, "00000000 0300 0200 0000", tuple16 + tuple16},
	{"SPLIT_R", OpSplitR, 15, "00000000 0300 0500 0000", tuple16},
	{"SPLIT_R of a posting list", OpSplitR, 15, "00000000 0300 0300 0200", tuple16 + tuple16},
	{"DEDUP", OpDedup, 15, "0200", "0100 0300 0500 0200"},
	{"DELETE", OpDelete, 15, "820c0000 0200 0000", "0100 0300"},
	{"DELETE", OpDelete, 16, "820c0000 0200 0200 00", "0100 0300 0500 0600 0100 0000 0200 0100 0200"},
	{"DELETE", OpDelete, 18, "820c0000 0000 0100 01", "0500 0100 0000"},
	{"VACUUM", OpVacuum, 15, "0200 0100", "0100 0300 0500 0200 0000 0100"},
	{"MARK_PAGE_HALFDEAD", OpMarkHalfDead, 15, "0200 0000 07000000 00000000 08000000 ffffffff", ""},
	{"UNLINK_PAGE", OpUnlinkPage, 15, "00000000 08000000 00000000 00000000 820c000000000000 00000000 00000000 ffffffff", ""},
	{"NEWROOT", OpNewRoot, 15, "03000000 01000000", ""},
	{"REUSE_PAGE", OpReusePage, 15, "7f060000 05000000 00400000 07000000 820c000000000000", ""},
	{"REUSE_PAGE", OpReusePage, 16, "7f060000 05000000 00400000 07000000 820c000000000000 00", ""},
	{"META_CLEANUP", OpMetaCleanup, 15, "", "04000000 03000000 01000000 03000000 01000000 02000000 01000000"},
	{"a tuple", opTuples, 15, "", tuple16},
}

// TestExactLength takes each record apart and then with a byte more and with each number of bytes less: only its own length
// will do.
func TestExactLength(t *testing.T) {
	for _, s := range samples {
		main, data := b(t, s.main), b(t, s.data)
		what := fmt.Sprintf("%s of %d", s.name, s.major)
		if len(main) > 0 {
			rectest.OnlyItsLength(t, what, main, func(main []byte) error { return decode(s.major, s.op, main, data) })
		}
		if len(data) > 0 {
			rectest.OnlyItsLength(t, what+"'s data", data, func(data []byte) error { return decode(s.major, s.op, main, data) })
		}
	}
}

// TestRefusals: counts and sizes that do not fit what is there.
func TestRefusals(t *testing.T) {
	cases := []struct {
		name       string
		op         uint8
		major      pg.Major
		main, data string
	}{
		{"a tuple smaller than its header", OpInsertLeaf, 15, "0200", "0000 0100 0200 0700 0500000000000000"},
		{"a tuple of no size", opTuples, 15, "", "0000 0100 0200 0000 0500000000000000"},
		{"a tuple shorter than the data", OpInsertLeaf, 15, "0200", "0000 0100 0200 0800 0500000000000000"},
		{"a tuple longer than the data", opTuples, 15, "", "0000 0100 0200 1800 0500000000000000"},
		{"a tuple without its padding", opTuples, 15, "", "0000 0100 0200 0a00 0500"},
		{"SPLIT_L without the new tuple", OpSplitL, 15, "00000000 0300 0200 0000", tuple16},
		{"SPLIT_R with one that it needs not", OpSplitR, 15, "00000000 0300 0200 0000", tuple16 + tuple16},
		{"DELETE of 15 as of 16", OpDelete, 15, "820c0000 0200 0000 00", "0100 0300"},
		{"DELETE of 16 as of 15", OpDelete, 16, "820c0000 0200 0000", "0100 0300"},
		{"more updates than entries", OpVacuum, 15, "0000 0200", "0100 0300 0100 0000"},
		{"fewer updates than entries", OpVacuum, 15, "0000 0100", "0100 0100 0000 0100 0000"},
		{"REUSE_PAGE of 15 as of 16", OpReusePage, 16, "7f060000 05000000 00400000 07000000 820c000000000000", ""},
	}
	for _, c := range cases {
		if err := decode(c.major, c.op, b(t, c.main), b(t, c.data)); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestValues(t *testing.T) {
	d, err := DecodeDelete(16, b(t, "820c0000 0200 0200 01"), b(t, "0100 0300 0500 0600 0100 0000 0200 0100 0200"))
	if err != nil || d.Horizon != 0xc82 || !d.CatalogRel || d.Deleted.Len() != 2 || d.Deleted.At(1) != 3 || d.Updates.Len() != 2 {
		t.Errorf("%+v %v", d, err)
	}
	if off, gone, ok := d.Updates.Next(); !ok || off != 5 || gone.Len() != 1 || gone.At(0) != 0 {
		t.Errorf("%d %v", off, gone)
	}
	if off, gone, ok := d.Updates.Next(); !ok || off != 6 || gone.Len() != 2 || gone.At(1) != 2 {
		t.Errorf("%d %v", off, gone)
	}
	r, err := DecodeReusePage(16, b(t, "7f060000 05000000 00400000 07000000 820c000001000000 01"))
	if err != nil || r != (ReusePage{pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}, 7, 1<<32 | 0xc82, true}) {
		t.Errorf("%+v %v", r, err)
	}
	u, err := DecodeUnlink(b(t, "01000000 02000000 03000000 00000000 0500000000000000 06000000 07000000 08000000"))
	if err != nil || u != (Unlink{1, 2, 3, 5, 6, 7, 8}) {
		t.Errorf("%+v %v", u, err)
	}
}

// TestTuples: the kinds of index tuples.
func TestTuples(t *testing.T) {
	plain, _ := NewTuple(b(t, tuple16))
	if key, tids, ok := plain.Heap(); !ok || len(key) != 16 || len(tids) != 6 || plain.IsPivot() || plain.IsPosting() {
		t.Errorf("plain: %x %x %v", key, tids, ok)
	}
	posting, _ := NewTuple(b(t, "0000 1000 0220 2020 0500000000000000 000001000200 000001000300 00000000"))
	if key, tids, ok := posting.Heap(); !ok || len(key) != 16 || len(tids) != 12 || posting.IsPivot() {
		t.Errorf("posting list: %x %x %v", key, tids, ok)
	}
	key := TopParentKey(0x12345)
	pivot, err := NewTuple(key[:])
	if _, _, ok := pivot.Heap(); ok || err != nil || !pivot.IsPivot() || pivot.DownLink() != 0x12345 {
		t.Errorf("pivot: %x %v", pivot, err)
	}
	for name, bad := range map[string]string{
		"one TID":               "0000 1000 0120 2020 0500000000000000 000001000200 000001000300 00000000",
		"a list beyond the end": "0000 1000 0320 2020 0500000000000000 000001000200 000001000300 00000000",
		"a list in the header":  "0000 0700 0220 2020 0500000000000000 000001000200 000001000300 00000000",
		"a list far away":       "ffff ffff 0220 2020 0500000000000000 000001000200 000001000300 00000000",
	} {
		tuple, err := NewTuple(b(t, bad))
		if _, _, ok := tuple.Heap(); ok || err != nil {
			t.Errorf("%s: %v %v", name, ok, err)
		}
	}
}

// FuzzDecode: no input panics, and what is refused is refused as corrupt.
func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(s.op, uint8(s.major-15), b(f, s.main), b(f, s.data))
	}
	f.Fuzz(func(t *testing.T, op, major uint8, main, data []byte) {
		if err := decode(pg.Major(15+major%4), op, main, data); err != nil && !errors.Is(err, pg.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
