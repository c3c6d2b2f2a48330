package heaprec

import (
	"errors"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/rectest"
)

var b = rectest.Hex

// decode calls the decoder of a record type for what it refuses.
func decode(major pg.Major, op string, info uint8, main, data []byte) (err error) {
	switch op {
	case "INSERT":
		_, err = DecodeInsert(main)
	case "DELETE":
		_, err = DecodeDelete(main)
	case "UPDATE":
		_, err = DecodeUpdate(main)
	case "CONFIRM":
		_, err = DecodeConfirm(main)
	case "LOCK":
		_, err = DecodeLock(main)
	case "INPLACE":
		_, err = DecodeInplace(main)
	case "TRUNCATE":
		_, err = DecodeTruncate(main)
	case "VISIBLE":
		_, err = DecodeVisible(main)
	case "MULTI_INSERT":
		_, err = DecodeMultiInsert(main, info)
	case "PRUNE":
		var p Prune
		if p, err = DecodePrune(major, main, data, info); err == nil {
			for _, _, ok := p.Freeze.Next(); ok; _, _, ok = p.Freeze.Next() {
			}
		}
	}
	return err
}

var samples = []struct {
	op         string
	major      pg.Major
	info       uint8
	main, data string
}{
	{"INSERT", 15, 0x00, "0b00 01", ""},
	{"DELETE", 15, 0x10, "04030201 0500 14 00", ""},
	{"DELETE", 15, 0x10, "04030201 0500 14 02 0100 0209 18 aa", ""},
	{"UPDATE", 15, 0x20, "04030201 0100 00 01 00000000 0500", ""},
	{"UPDATE", 15, 0x20, "04030201 0100 00 0c 00000000 0500 0100 0209 18", ""},
	{"CONFIRM", 15, 0x50, "0100", ""},
	{"LOCK", 15, 0x60, "16040000 0100 06 01", ""},
	{"INPLACE", 15, 0x70, "0700", ""},
	{"INPLACE", 18, 0x70, "0700 0000 05000000 7f060000 00000000 01000000 00112233445566778899aabbccddeeff", ""},
	{"TRUNCATE", 15, 0x30, "05000000 02000000 00 000000 00400000 01400000", ""},
	{"VISIBLE", 15, 0x40, "820c0000 01", ""},
	{"MULTI_INSERT", 15, 0x50, "00 00 0200 0100 0200", ""},
	{"MULTI_INSERT", 15, 0xd0, "00 00 0200", ""},
	{"PRUNE", 15, 0x10, "820c0000 0100 0100", "0100 0200 0300 0400 0500"},
	{"PRUNE", 16, 0x10, "820c0000 0100 0100 00", "0100 0200 0300 0400 0500"},
	{"PRUNE", 15, 0x20, "0200", "0100 0200"},
	{"PRUNE", 15, 0x30, "820c0000 0100", "00000000 0300 0200 0b03 00 00"},
	{"PRUNE", 16, 0x30, "820c0000 0100 00", "00000000 0200 0b03 00 00 0200 0100 0300"},
	{"PRUNE", 17, 0x10, "00 e4", "0100 0100 0200 0100 0300 0200 0400 0500"},
	{"PRUNE", 18, 0x20, "01 38 820c0000", "0100 0000 00000000 0200 0b03 00 00 0200 0100 0500 0600 0100 0300"},
}

// TestExactLength takes each record apart and then with a byte more and with each number of bytes less: only its own length
// will do. Data that counts alone delimit may be whole entries shorter or longer in 15 and 16's PRUNE.
func TestExactLength(t *testing.T) {
	for _, s := range samples {
		main, data := b(t, s.main), b(t, s.data)
		if err := decode(s.major, s.op, s.info, main, data); err != nil {
			t.Errorf("%s of %d: %v", s.op, s.major, err)
			continue
		}
		refuse := func(what string, main, data []byte) {
			if err := decode(s.major, s.op, s.info, main, data); !errors.Is(err, pg.ErrCorrupt) {
				t.Errorf("%s of %d with %s: %v", s.op, s.major, what, err)
			}
		}
		openEnded := strings.Contains("DELETE UPDATE", s.op) && len(main) > 14 || s.op == "DELETE" && len(main) > 8
		if !openEnded {
			refuse("a byte more", append(main[:len(main):len(main)], 0), data)
		}
		for n := range main {
			short := main[:n]
			if openEnded && n >= len(main)-1 || s.op == "INPLACE" && n == 2 {
				continue // an old tuple's end is the record's end; the short form of INPLACE
			}
			refuse("its main data cut", short, data)
		}
		if s.op == "PRUNE" {
			refuse("an odd byte of data more", main, append(data[:len(data):len(data)], 0))
			refuse("half its data", main, data[:len(data)/2-1])
		}
	}
}

// TestPruneIsOneForAllMajors decodes the same pruning and freezing from each major's own records.
func TestPruneIsOneForAllMajors(t *testing.T) {
	old, err := DecodePrune(15, b(t, "820c0000 0100 0100"), b(t, "0100 0200 0300 0400 0500"), 0x10)
	if err != nil {
		t.Fatal(err)
	}
	now, err := DecodePrune(17, b(t, "00 ec 820c0000"), b(t, "0100 0100 0200 0100 0300 0200 0400 0500"), 0x10)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Prune{old, now} {
		if !p.Repack || p.Horizon != 0xc82 || p.Redirected.Len() != 2 || p.Redirected.At(1) != 2 || p.Dead.Len() != 1 ||
			p.Dead.At(0) != 3 || p.Unused.Len() != 2 || p.Unused.At(1) != 5 {
			t.Errorf("%+v", p)
		}
	}
	for major, rec := range map[pg.Major][2]string{
		15: {"820c0000 0200", "07000000 0300 0200 0b03 02 00 07000000 0500 0200 0b03 02 00"},
		16: {"820c0000 0100 00", "07000000 0200 0b03 02 00 0200 0300 0500"},
		17: {"01 10", "0100 0000 07000000 0200 0b03 02 00 0200 0300 0500"},
	} {
		info := uint8(Op2Freeze)
		p, err := DecodePrune(major, b(t, rec[0]), b(t, rec[1]), info)
		if err != nil {
			t.Fatal(err)
		}
		want := FreezePlan{Xmax: 7, Infomask2: 2, Infomask: 0x030b, Flags: FreezeXvac}
		var offs []pg.OffsetNumber
		for off, plan, ok := p.Freeze.Next(); ok; off, plan, ok = p.Freeze.Next() {
			if plan != want {
				t.Errorf("%d: %+v", major, plan)
			}
			offs = append(offs, off)
		}
		if len(offs) != 2 || offs[0] != 3 || offs[1] != 5 {
			t.Errorf("%d: %v", major, offs)
		}
	}
}

// TestUnknownPruneFlagIsRefused: a flag of a later version means data that cannot be told apart.
func TestUnknownPruneFlagIsRefused(t *testing.T) {
	if _, err := DecodePrune(18, b(t, "00 01"), nil, 0x10); !errors.Is(err, pg.ErrCorrupt) {
		t.Error(err)
	}
}

func TestNewTuple(t *testing.T) {
	n, err := DecodeNewTuple(b(t, "0300 0200 0100 0209 18 00 aabb"), UpdatePrefixFromOld|UpdateSuffixFromOld)
	if err != nil || n.Prefix != 3 || n.Suffix != 2 || n.Header.Hoff != 24 || len(n.Bitmap) != 1 || len(n.Data) != 2 {
		t.Errorf("%+v %v", n, err)
	}
	for _, bad := range []string{"", "0300", "0300 0200 0100 0209", "0300 0200 0100 0209 16", "0300 0200 0100 0209 18"} {
		if _, err := DecodeNewTuple(b(t, bad), UpdatePrefixFromOld|UpdateSuffixFromOld); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzDecode: no input panics, and what is refused is refused as corrupt.
func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(uint8(s.major), s.info, b(f, s.main), b(f, s.data))
	}
	f.Fuzz(func(t *testing.T, major, info uint8, main, data []byte) {
		for _, op := range []string{"INSERT", "DELETE", "UPDATE", "CONFIRM", "LOCK", "INPLACE", "TRUNCATE", "VISIBLE", "MULTI_INSERT"} {
			if err := decode(pg.Major(15+major%4), op, info, main, data); err != nil && !errors.Is(err, pg.ErrCorrupt) {
				t.Fatal(err)
			}
		}
		if op := info & OpMask; op == Op2Prune || op == Op2Vacuum || op == Op2Freeze {
			if err := decode(pg.Major(15+major%4), "PRUNE", info, main, data); err != nil && !errors.Is(err, pg.ErrCorrupt) {
				t.Fatal(err)
			}
		}
		for at, n := 0, 0; n < len(data); n++ {
			_, next, err := DecodeMultiTuple(data, at)
			if err != nil {
				break
			}
			at = next
		}
		_, _ = DecodeNewTuple(data, info)
	})
}
