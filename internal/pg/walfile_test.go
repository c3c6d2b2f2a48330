package pg

import "testing"

func TestWALFileName(t *testing.T) {
	for _, c := range []struct {
		tli  TimelineID
		lsn  LSN
		size int64
		want string
	}{
		{1, 0x16B3740, 16 << 20, "000000010000000000000001"},
		{0x1A, 0x2_FE000028, 16 << 20, "0000001A00000002000000FE"},
		{1, 0x1_00100000, 1 << 20, "000000010000000100000001"},
		{3, 0x7_C0000000, 1 << 30, "000000030000000700000003"},
	} {
		if got := WALFileName(c.tli, c.lsn, c.size); got != c.want {
			t.Errorf("WALFileName(%d, %s, %d) = %s, want %s", c.tli, c.lsn, c.size, got, c.want)
		}
		tli, start, ok := ParseWALFileName(c.want, c.size)
		if !ok || tli != c.tli || start != c.lsn.SegmentStart(c.size) {
			t.Errorf("ParseWALFileName(%s) = %d %s %v", c.want, tli, start, ok)
		}
	}
	for _, bad := range []string{"", "00000001.history", "000000010000000000000001.partial", "00000001000000000000000g", "000000010000000000000100"} {
		if _, _, ok := ParseWALFileName(bad, 16<<20); ok {
			t.Errorf("%q was accepted", bad)
		}
	}
	if ValidWALSegmentSize(3<<20) || !ValidWALSegmentSize(1<<30) || ValidWALSegmentSize(1<<31) {
		t.Error("ValidWALSegmentSize is wrong")
	}
}
