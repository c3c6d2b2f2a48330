package hashrec

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/rectest"
)

var b = rectest.Hex

// decode calls the decoder of a record type for what it refuses.
func decode(major pg.Major, op uint8, main []byte) (err error) {
	switch op {
	case OpInitMetaPage:
		_, err = DecodeInitMetaPage(main)
	case OpInitBitmapPage:
		_, err = DecodeInitBitmapPage(main)
	case OpInsert:
		_, err = DecodeInsert(main)
	case OpAddOvflPage:
		_, err = DecodeAddOvflPage(main)
	case OpSplitAllocatePage:
		_, err = DecodeSplitAllocatePage(main)
	case OpSplitPage, OpSplitCleanup:
		err = None(main)
	case OpSplitComplete:
		_, err = DecodeSplitComplete(main)
	case OpMovePageContents:
		_, err = DecodeMovePageContents(main)
	case OpSqueezePage:
		_, err = DecodeSqueezePage(major, main)
	case OpDelete:
		_, err = DecodeDelete(main)
	case OpUpdateMetaPage:
		_, err = DecodeUpdateMetaPage(main)
	case OpVacuumOnePage:
		_, err = DecodeVacuumOnePage(major, main)
	}
	return err
}

var samples = []struct {
	op    uint8
	major pg.Major
	main  string
}{
	{OpInitMetaPage, 15, "0000000000005940 c2010000 3301"},
	{OpInitBitmapPage, 15, "0010"},
	{OpInsert, 15, "0700"},
	{OpAddOvflPage, 15, "0010 01"},
	{OpSplitAllocatePage, 15, "05000000 2200 1200 03"},
	{OpSplitPage, 15, ""},
	{OpSplitComplete, 15, "4200 0200"},
	{OpMovePageContents, 15, "0300 01"},
	{OpSqueezePage, 15, "07000000 ffffffff 0300 01 00"},
	{OpSqueezePage, 17, "07000000 ffffffff 0000 01 00"},
	{OpDelete, 15, "01 00"},
	{OpSplitCleanup, 15, ""},
	{OpUpdateMetaPage, 15, "0000000000005940"},
	{OpVacuumOnePage, 15, "820c0000 02000000 0300 0500"},
	{OpVacuumOnePage, 16, "820c0000 0200 01 aa 0300 0500"},
	{OpVacuumOnePage, 18, "820c0000 0000 00 00"},
}

// TestExactLength takes each record apart, and then with a byte more and with each number of bytes less: only its own length will do.
func TestExactLength(t *testing.T) {
	for _, s := range samples {
		rectest.OnlyItsLength(t, fmt.Sprintf("%#02x of %d", s.op, s.major), b(t, s.main), func(main []byte) error { return decode(s.major, s.op, main) })
	}
}

// TestRefusedValues: values that no server writes.
func TestRefusedValues(t *testing.T) {
	for _, s := range []struct {
		op    uint8
		major pg.Major
		main  string
	}{
		{OpAddOvflPage, 15, "0010 02"},
		{OpSplitAllocatePage, 15, "05000000 2200 1200 04"},
		{OpMovePageContents, 15, "0300 02"},
		{OpSqueezePage, 15, "07000000 ffffffff 0300 02 00"},
		{OpSqueezePage, 15, "07000000 ffffffff 0300 00 ff"},
		{OpDelete, 15, "02 00"}, {OpDelete, 15, "00 02"},
		{OpVacuumOnePage, 15, "820c0000 ffffffff 0300 0500"},
		{OpVacuumOnePage, 15, "820c0000 02000100 0300 0500"}, // 16's layout
		{OpVacuumOnePage, 16, "820c0000 0200 02 00 0300 0500"},
	} {
		if err := decode(s.major, s.op, b(t, s.main)); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%#02x of %d %s: %v", s.op, s.major, s.main, err)
		}
	}
}

func TestVacuumOnePageIsOneForAllMajors(t *testing.T) {
	for major, main := range map[pg.Major]string{15: "820c0000 02000000 0300 0500", 16: "820c0000 0200 01 aa 0300 0500", 18: "820c0000 0200 00 00 0300 0500"} {
		r, err := DecodeVacuumOnePage(major, b(t, main))
		if err != nil || r.Horizon != 0xc82 || r.Offsets.Len() != 2 || r.Offsets.At(1) != 5 {
			t.Errorf("%d: %+v %v", major, r, err)
		}
	}
}

// TestWriteStamped: a squeeze that writes nothing stamps the page it could have written until 16.
func TestWriteStamped(t *testing.T) {
	for _, s := range []struct {
		major pg.Major
		main  string
		want  bool
	}{
		{15, "07000000 ffffffff 0000 01 00", true}, {16, "07000000 ffffffff 0000 00 00", true},
		{17, "07000000 ffffffff 0000 01 00", false}, {18, "07000000 ffffffff 0000 00 01", true}, {18, "07000000 ffffffff 0100 01 00", true},
	} {
		if r, err := DecodeSqueezePage(s.major, b(t, s.main)); err != nil || r.WriteStamped != s.want || r.Prev != 7 || r.Next != pg.InvalidBlock {
			t.Errorf("%d %s: %+v %v", s.major, s.main, r, err)
		}
	}
}

func TestSplitMeta(t *testing.T) {
	for flags, s := range map[string]struct {
		data string
		want SplitMeta
	}{
		"00": {"", SplitMeta{}},
		"01": {"01000000 03000000", SplitMeta{HasMasks: true, LowMask: 1, HighMask: 3}},
		"02": {"04000000 05000000", SplitMeta{HasSplitPoint: true, SplitPoint: 4, Spares: 5}},
		"03": {"01000000 03000000 04000000 05000000", SplitMeta{true, true, 1, 3, 4, 5}},
	} {
		r, err := DecodeSplitAllocatePage(b(t, "05000000 2200 1200"+flags))
		if err != nil || r.NewBucket != 5 || r.OldFlag != 0x22 || r.NewFlag != 0x12 {
			t.Fatalf("%+v %v", r, err)
		}
		data := b(t, s.data)
		if m, err := r.DecodeMeta(data); err != nil || m != s.want {
			t.Errorf("flags %s: %+v %v", flags, m, err)
		}
		if _, err := r.DecodeMeta(append(data, 0)); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("flags %s with a byte more: %v", flags, err)
		}
	}
}

// moved collects what MovedTuples yields.
func moved(data []byte, n int) (offs []pg.OffsetNumber, tuples [][]byte, err error) {
	m, err := DecodeMovedTuples(data, n)
	for err == nil && m.More() {
		var off pg.OffsetNumber
		var tuple []byte
		if off, tuple, err = m.Next(); err == nil {
			offs, tuples = append(offs, off), append(tuples, tuple)
		}
	}
	return offs, tuples, err
}

func TestMovedTuples(t *testing.T) {
	const one, two = "000000000100 1000 0102030405060708", "000000000200 0c00 1112131415161718" // 16 bytes, and 12 with padding
	offs, tuples, err := moved(b(t, "0300 0100"+one+two), 2)
	if err != nil || !slices.Equal(offs, []pg.OffsetNumber{3, 1}) || len(tuples) != 2 || len(tuples[0]) != 16 || len(tuples[1]) != 16 || tuples[1][8] != 0x11 {
		t.Errorf("%v %x %v", offs, tuples, err)
	}
	if offs, _, err := moved(nil, 0); err != nil || len(offs) != 0 {
		t.Errorf("none: %v %v", offs, err)
	}
	for what, s := range map[string]struct {
		data string
		n    int
	}{
		"a tuple less":                 {"0300 0100" + one, 2},
		"a tuple more":                 {"0300" + one + two, 1},
		"bytes and no tuple":           {one, 0},
		"a tuple cut short":            {"0300" + one[:len(one)-2], 1},
		"a tuple without its size":     {"0300 00000000", 1},
		"a tuple of no bytes":          {"0300 000000000100 0000 0102030405060708", 1},
		"fewer numbers than tuples":    {"03", 1},
		"a tuple larger than is there": {"0300 000000000100 1900 0102030405060708 0102030405060708", 1},
	} {
		if _, _, err := moved(b(t, s.data), s.n); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzDecode: no input panics or goes on for ever, and what is refused is refused as corrupt.
func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(uint8(s.major), s.op, uint16(1), b(f, s.main))
	}
	f.Add(uint8(15), uint8(OpMovePageContents), uint16(2), b(f, "0300 0100 000000000100 1000 0102030405060708 000000000200 0c00 1112131415161718"))
	f.Fuzz(func(t *testing.T, major, op uint8, n uint16, data []byte) {
		_, _, errMoved := moved(data, int(n))
		_, errNumber := Uint32(data)
		_, errOffsets := Offsets(data)
		_, errMeta := (&SplitAllocatePage{flags: op & 3}).DecodeMeta(data)
		for _, err := range []error{decode(pg.Major(15+major%4), op&0xF0, data), errMoved, errNumber, errOffsets, errMeta} {
			if err != nil && !errors.Is(err, pg.ErrCorrupt) {
				t.Fatal(err)
			}
		}
	})
}
