package spgistrec

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/rectest"
)

var b = rectest.Hex

const (
	leaf16  = "40000000 0000 000001000200 01020304 "                                         // LIVE, 16 bytes
	leaf24  = "60000000 0500 000001000300 01020304 1112131415161718 "                        // LIVE, 24 bytes, next 5
	inner24 = "10000000 1800 0000 000000000100 0800 000000000200 0800 "                      // 2 nodes of 8 bytes, no prefix
	inner32 = "08000800 2000 0000 7071727374757677 000000000100 1000 " + "6100000000000000 " // 1 node of 16 bytes, prefix of 8
	state   = "f4020000 00 000000 "                                                          // XID 756
)

// decode calls the decoder of a record type for what it refuses.
func decode(major pg.Major, op uint8, main []byte) (err error) {
	switch op {
	case OpAddLeaf:
		_, err = DecodeAddLeaf(main)
	case OpMoveLeafs:
		_, err = DecodeMoveLeafs(main)
	case OpAddNode:
		_, err = DecodeAddNode(main)
	case OpSplitTuple:
		_, err = DecodeSplitTuple(main)
	case OpPickSplit:
		_, err = DecodePickSplit(main)
	case OpVacuumLeaf:
		_, err = DecodeVacuumLeaf(main)
	case OpVacuumRoot:
		_, err = DecodeVacuumRoot(main)
	case OpVacuumRedirect:
		_, err = DecodeVacuumRedirect(major, main)
	}
	return err
}

var samples = []struct {
	op    uint8
	major pg.Major
	main  string
}{
	{OpAddLeaf, 15, "01 00 0100 0000 0300 0200" + leaf16},
	{OpMoveLeafs, 15, "0200 01 00 00 aa 0300 0100 bbbb" + state + "0500 0200 0100 0200 0300" + leaf16 + leaf24 + leaf16},
	{OpMoveLeafs, 15, "0100 00 01 00 aa 0300 0100 bbbb" + state + "0500 0100" + leaf24},
	{OpAddNode, 15, "0100 0000 00 ff 0000 0000 bbbb" + state + inner24},
	{OpAddNode, 15, "0100 0700 01 02 0300 0400 bbbb" + state + inner32},
	{OpSplitTuple, 15, "0100 0200 00 01" + inner32 + inner24},
	{OpPickSplit, 15, "00 aa 0200 0200 00 01 0600 01 00 00 aa 0300 0100 bbbb" + state + "0400 0100 0400 0100 00 01" + inner24 + leaf16 + leaf24},
	{OpPickSplit, 15, "01 aa 0000 0000 00 00 0100 01 00 00 aa 0000 0000 bbbb" + state + inner32},
	{OpVacuumLeaf, 15, "0100 0200 0100 0100" + state + "0100 0200 0300 0400 0500 0600 0700"},
	{OpVacuumRoot, 15, "0200 aaaa" + state + "0100 0300"},
	{OpVacuumRedirect, 15, "0200 0700 f4020000 0500 0600"},
	{OpVacuumRedirect, 16, "0200 0700 f4020000 01 aa 0500 0600"},
	{OpVacuumRedirect, 18, "0000 0700 00000000 00 aa"},
}

// TestExactLength takes each record apart and then with a byte more and with each number of bytes less: only its own length
// will do.
func TestExactLength(t *testing.T) {
	for _, s := range samples {
		rectest.OnlyItsLength(t, fmt.Sprintf("%#x of %d", s.op, s.major), b(t, s.main), func(main []byte) error { return decode(s.major, s.op, main) })
	}
}

// TestRefusals: values that no server writes.
func TestRefusals(t *testing.T) {
	for name, s := range map[string]struct {
		op   uint8
		main string
	}{
		"a bool of 2":              {OpAddLeaf, "02 00 0100 0000 0000 0000" + leaf16},
		"a leaf of 15 bytes":       {OpAddLeaf, "00 00 0100 0000 0000 0000 3c000000 0000 000001000200 010203"},
		"a leaf of 8 bytes":        {OpAddLeaf, "00 00 0100 0000 0000 0000 20000000 00000000"},
		"a leaf of 2^30 bytes":     {OpAddLeaf, "00 00 0100 0000 0000 0000 fcffffff 0000 000001000200 01020304"},
		"a parent on block 3":      {OpAddNode, "0100 0700 01 03 0300 0400 bbbb" + state + inner32},
		"a parent on block -2":     {OpAddNode, "0100 0700 01 fe 0300 0400 bbbb" + state + inner32},
		"an inner tuple of 0":      {OpAddNode, "0100 0700 01 02 0300 0400 bbbb" + state + "10000000 0000 0000"},
		"an inner tuple of 12":     {OpAddNode, "0100 0700 01 02 0300 0400 bbbb" + state + "10000000 0c00 0000 01020304"},
		"a third page":             {OpPickSplit, "00 aa 0000 0100 00 01 0600 01 00 00 aa 0300 0100 bbbb" + state + "0400 02" + inner24 + leaf16},
		"isBuild of 3":             {OpVacuumRoot, "0000 aaaa f4020000 03 000000"},
		"15's redirect as 16's":    {OpVacuumRedirect, "0200 0700 f4020000 0500 0600"},
		"a page's worth of deaths": {OpVacuumLeaf, "ffff ffff ffff ffff" + state},
	} {
		if err := decode(16, s.op, b(t, s.main)); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFields(t *testing.T) {
	m, err := DecodeMoveLeafs(b(t, samples[1].main))
	if err != nil || !m.NewPage || m.StoresNulls || m.Parent != (Downlink{3, 1}) || m.State != (State{RedirectXID: 756}) ||
		m.Delete.Len() != 2 || m.Delete.At(0) != 5 || m.Insert.Len() != 3 || m.Head() != 3 {
		t.Errorf("%+v %v", m, err)
	}
	var sizes []int
	for l, ok := m.Tuples.Next(); ok; l, ok = m.Tuples.Next() {
		sizes = append(sizes, len(l))
	}
	if len(sizes) != 3 || sizes[0] != 16 || sizes[1] != 24 {
		t.Errorf("tuples of %v bytes", sizes)
	}
	p, err := DecodePickSplit(b(t, samples[6].main))
	if err != nil || p.RootSplit || p.InitSrc || !p.InitDest || !p.InitInner || p.Inner != 6 || p.Parent != (Downlink{3, 1}) ||
		p.Insert.At(1) != 1 || p.OnDest[0] != 0 || p.OnDest[1] != 1 || len(p.Tuple) != 24 || len(p.Tuples) != 40 {
		t.Errorf("%+v %v", p, err)
	}
	v, err := DecodeVacuumLeaf(b(t, samples[8].main))
	if err != nil || v.Dead.At(0) != 1 || v.Placeholder.At(1) != 3 || v.MoveSrc.At(0) != 4 || v.MoveDest.At(0) != 5 || v.ChainSrc.At(0) != 6 || v.ChainDest.At(0) != 7 {
		t.Errorf("%+v %v", v, err)
	}
	for _, i := range []int{10, 11} {
		r, err := DecodeVacuumRedirect(samples[i].major, b(t, samples[i].main))
		if err != nil || r.FirstPlaceholder != 7 || r.Horizon != 756 || r.CatalogRel != (i == 11) || r.ToPlaceholder.Len() != 2 || r.ToPlaceholder.At(1) != 6 {
			t.Errorf("%+v %v", r, err)
		}
	}
}

func TestTuples(t *testing.T) {
	in := InnerTuple(b(t, inner24))
	if !in.SetLink(1, pg.TID{Block: 0x20003, Offset: 9}) || !bytes.Equal(in, b(t, "10000000 1800 0000 000000000100 0800 020003000900 0800")) {
		t.Errorf("%x", in)
	}
	for name, bad := range map[string]string{
		"no third node":       "10000000 1800 0000 000000000100 0800 000000000200 0800",
		"nodes of no size":    "18000000 2000 0000 000000000100 0000 000000000200 0800 0000000000000000",
		"prefix to its end":   "ff00ffff 1800 0000 000000000100 0800 000000000200 0800",
		"nodes past its end":  "f8ff0000 1800 0000 000000000100 ff1f 000000000200 0800",
		"bytes but no node":   "10000000 2000 0000 000000000100 0800 000000000200 0800 0000000000000800",
		"no header":           "100000",
		"a leaf tuple":        leaf24,
		"not as long as told": "18000000 2000 0000 000000000100 0800 000000000200 0800",
	} {
		raw := b(t, bad)
		if in := append(InnerTuple(nil), raw...); in.SetLink(2, pg.TID{Block: 1, Offset: 1}) || !bytes.Equal(in, raw) {
			t.Errorf("%s: %x", name, in)
		}
	}
	l := LeafTuple(b(t, "40000000 05c0 000001000300 01020304"))
	if !l.SetNext(0x1234) || l[4] != 0x34 || l[5] != 0xd2 {
		t.Errorf("the flags beside the next offset: %x", l)
	}
	dead := MakeDead(Dead)
	for name, bad := range map[string][]byte{"cut": l[:11], "longer than told": append(l[:16:16], 0), "dead": dead[:]} {
		if LeafTuple(bad).SetNext(1) {
			t.Errorf("a leaf tuple that is %s was chained", name)
		}
	}
	r := MakeRedirect(pg.TID{Block: 0x10002, Offset: 3}, 756)
	if !bytes.Equal(r[:], b(t, "41000000 0000 010002000300 f4020000")) {
		t.Errorf("%x", r)
	}
	if !ForgetRedirect(r[:]) || !bytes.Equal(r[:], b(t, "43000000 0000 ffffffff0000 f4020000")) || ForgetRedirect(r[:]) {
		t.Errorf("%x", r)
	}
	if d := MakeDead(Dead); !bytes.Equal(d[:], b(t, "42000000 0000 ffffffff0000 00000000")) {
		t.Errorf("%x", d)
	}
}

func TestOpaque(t *testing.T) {
	p := pg.Page(make([]byte, pg.BlockSize))
	if _, ok := PageOpaque(p); ok {
		t.Error("a new page was taken for one of SP-GiST")
	}
	InitPage(p, PageLeaf|PageNulls)
	o, ok := PageOpaque(p)
	o.AddRedirections(3)
	o.AddPlaceholders(-1)
	if !ok || !bytes.Equal(o, b(t, "0c00 0300 ffff 82ff")) {
		t.Errorf("%x", o)
	}
	p.SetSpecial(pg.BlockSize - 16)
	if _, ok := PageOpaque(p); ok {
		t.Error("a larger special area was taken for SP-GiST's")
	}
}

// FuzzDecode: no input panics, what is refused is refused as corrupt, and a record's tuples come out whole.
func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(uint8(s.major), s.op, b(f, s.main))
	}
	f.Fuzz(func(t *testing.T, major, op uint8, main []byte) {
		op &= 0xF0
		if err := decode(pg.Major(15+major%4), op, main); err != nil {
			if !errors.Is(err, pg.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		var tuples Leafs
		want := 0
		switch op {
		case OpMoveLeafs:
			r, _ := DecodeMoveLeafs(main)
			tuples, want = r.Tuples, r.Insert.Len()
			r.Head()
		case OpPickSplit:
			r, _ := DecodePickSplit(main)
			tuples, want = r.Tuples, r.Insert.Len()
			r.Tuple.SetLink(r.Parent.Node, pg.TID{Block: 1, Offset: 1})
		case OpSplitTuple:
			r, _ := DecodeSplitTuple(main)
			r.Postfix.SetLink(uint16(r.PostfixOffset), pg.TID{Block: 1, Offset: 1})
		}
		n := 0
		for l, ok := tuples.Next(); ok; l, ok = tuples.Next() {
			l.SetNext(1)
			n++
		}
		if n != want {
			t.Fatalf("%d tuples for %d offsets", n, want)
		}
	})
}
