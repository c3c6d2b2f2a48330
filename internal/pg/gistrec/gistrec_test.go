package gistrec

import (
	"errors"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/rectest"
)

var b = rectest.Hex

// decode calls the decoder of a record type and reads what it hands out.
func decode(major pg.Major, op uint8, main, data []byte) (err error) {
	var t pg.IndexTuples
	switch op {
	case OpPageUpdate:
		var r PageUpdate
		r, err = DecodePageUpdate(main, data)
		t = r.New
	case OpDelete:
		_, err = DecodeDelete(major, main)
	case OpPageSplit:
		if _, err = DecodePageSplit(main); err == nil {
			t, err = DecodeSplitTuples(data)
		}
	case OpPageDelete:
		_, err = DecodePageDelete(main)
	}
	for ok := err == nil; ok; {
		_, ok = t.Next()
	}
	return err
}

const (
	tuple16 = "0000 0000 0100 1000 1111111111111111"
	tuple24 = "0000 0000 0200 18a0 22222222222222222222222222222222" // with t_info's upper bits
	split   = "07000000 00000000 8899aabbccddeeff 01 00 0300 01 000000"
)

var samples = []struct {
	what       string
	major      pg.Major
	op         uint8
	main, data string
}{
	{"PAGE_UPDATE that adds", pg.PG15, OpPageUpdate, "0000 0200", tuple16 + tuple24},
	{"PAGE_UPDATE that replaces", pg.PG15, OpPageUpdate, "0100 0100", "0500" + tuple24},
	{"PAGE_UPDATE that takes", pg.PG18, OpPageUpdate, "0300 0000", "0100 0300 0900"},
	{"DELETE", pg.PG15, OpDelete, "e8030000 0200 0100 0400", ""},
	{"DELETE", pg.PG16, OpDelete, "e8030000 0200 01 00 0100 0400", ""},
	{"DELETE", pg.PG18, OpDelete, "e8030000 0200 00 00 0100 0400", ""},
	{"PAGE_SPLIT", pg.PG17, OpPageSplit, split, "02000000" + tuple16 + tuple24},
	{"PAGE_SPLIT's empty page", pg.PG17, OpPageSplit, split, "00000000"},
	{"PAGE_DELETE", pg.PG15, OpPageDelete, "0102030405060708 0700", ""},
}

// TestExactLength: of each sample, main data and block data, only its own length will do.
func TestExactLength(t *testing.T) {
	for _, s := range samples {
		main, data := b(t, s.main), b(t, s.data)
		rectest.OnlyItsLength(t, s.what, main, func(main []byte) error { return decode(s.major, s.op, main, data) })
		if s.data != "" {
			rectest.OnlyItsLength(t, s.what+"'s data", data, func(data []byte) error { return decode(s.major, s.op, main, data) })
		}
	}
}

// TestRefusals: counts that do not agree with what is there.
func TestRefusals(t *testing.T) {
	for name, s := range map[string]struct {
		major      pg.Major
		op         uint8
		main, data string
	}{
		"more tuples than counted":       {pg.PG15, OpPageUpdate, "0000 0100", tuple16 + tuple16},
		"fewer tuples than counted":      {pg.PG15, OpPageUpdate, "0000 0300", tuple16 + tuple16},
		"a tuple of no length":           {pg.PG15, OpPageUpdate, "0000 0100", "0000 0000 0100 0000"},
		"a tuple shorter than a header":  {pg.PG15, OpPageUpdate, "0000 0100", "0000 0000 0100 0700"},
		"15's DELETE on 16":              {pg.PG16, OpDelete, "e8030000 0200 0100 0400", ""},
		"16's DELETE on 15":              {pg.PG15, OpDelete, "e8030000 0200 01 00 0100 0400", ""},
		"a negative count of tuples":     {pg.PG15, OpPageSplit, split, "ffffffff"},
		"a split page's count too large": {pg.PG15, OpPageSplit, split, "02000000" + tuple16},
	} {
		if err := decode(s.major, s.op, b(t, s.main), b(t, s.data)); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFields(t *testing.T) {
	u, err := DecodePageUpdate(b(t, "0100 0100"), b(t, "0500"+tuple24))
	if err != nil || !u.Replaces || u.Gone.Len() != 1 || u.Gone.At(0) != 5 || len(u.New) != 24 {
		t.Errorf("%+v %v", u, err)
	}
	u, err = DecodePageUpdate(b(t, "0100 0200"), b(t, "0500"+tuple16+tuple24))
	if err != nil || u.Replaces {
		t.Errorf("one for two is no replacement: %+v %v", u, err)
	}
	d, err := DecodeDelete(pg.PG16, b(t, "e8030000 0200 01 00 0100 0400"))
	if err != nil || d.Horizon != 1000 || !d.CatalogRel || d.Gone.Len() != 2 || d.Gone.At(1) != 4 {
		t.Errorf("%+v %v", d, err)
	}
	s, err := DecodePageSplit(b(t, split))
	if want := (PageSplit{RightLink: 7, NSN: 0xffeeddccbbaa9988, Leaf: true, Pages: 3, FollowRight: true}); err != nil || s != want {
		t.Errorf("%+v %v", s, err)
	}
	p, err := DecodePageDelete(b(t, "0102030405060708 0700"))
	if want := (PageDelete{XID: 0x0807060504030201, Downlink: 7}); err != nil || p != want {
		t.Errorf("%+v %v", p, err)
	}
}

func TestOpaque(t *testing.T) {
	p := pg.Page(make([]byte, pg.BlockSize))
	if _, ok := PageOpaque(p); ok {
		t.Error("a page of zeros has a special area")
	}
	o := InitPage(p, PageLeaf)
	if o.RightLink() != pg.InvalidBlock || o.Flags() != PageLeaf || o.NSN() != 0 || p[pg.BlockSize-2] != 0x81 || p[pg.BlockSize-1] != 0xFF {
		t.Errorf("%x", o)
	}
	o.SetNSN(0x1_0000_0002)
	SetDeleted(p, o, 0x0807060504030201)
	if again, ok := PageOpaque(p); !ok || again.NSN() != 0x1_0000_0002 || again.Flags() != PageLeaf|PageDeleted || again[0] != 1 || again[4] != 2 {
		t.Errorf("%x", again)
	}
	if p.Lower() != DeletedSize || p[pg.PageHeaderSize] != 1 || p[pg.PageHeaderSize+7] != 8 {
		t.Errorf("%d %x", p.Lower(), p[pg.PageHeaderSize:DeletedSize])
	}
}

// FuzzDecode: no input panics, and what is refused is refused as corrupt.
func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(uint8(s.major), s.op, b(f, s.main), b(f, s.data))
	}
	f.Fuzz(func(t *testing.T, major, op uint8, main, data []byte) {
		if err := decode(pg.Major(15+major%4), op&0xF0, main, data); err != nil && !errors.Is(err, pg.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
