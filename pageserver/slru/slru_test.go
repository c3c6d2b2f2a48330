package slru

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

func xids(ids ...uint32) (b xlrec.XIDs) {
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	return b
}

// TestLayout holds the numbers of access/transam/clog.c, commit_ts.c and multixact.c.
func TestLayout(t *testing.T) {
	for _, c := range []struct {
		k        Kind
		perPage  uint32
		pagesMax uint32
	}{{CLOG, 32768, 131072}, {Offsets, 2048, 2097152}, {Members, 1636, 2625286}, {CommitTs, 819, 5244161}} {
		if c.k.perPage() != c.perPage || c.k.PagesMax() != c.pagesMax || c.k.Page(1<<32-1) != c.pagesMax-1 {
			t.Errorf("%s: %d ids a page, %d pages", c.k, c.k.perPage(), c.k.PagesMax())
		}
	}
	if SegmentName(0x1A) != "001A" || SegmentName(0x14078) != "14078" {
		t.Error(SegmentName(0x1A), SegmentName(0x14078))
	}
}

func TestChanges(t *testing.T) {
	page := make([]byte, pg.BlockSize)
	c := Change{Kind: CLOG, Op: Status, Status: CLOGCommitted, ID: 1001, XIDs: xids(1002, 32767)}
	c.Apply(page)
	c = Change{Kind: CLOG, Op: Status, Status: CLOGAborted, XIDs: xids(1003)}
	c.Apply(page)
	for xid, want := range map[pg.XID]byte{1000: 0, 1001: 1, 1002: 1, 1003: 2, 1004: 0, 32767: 1} {
		if got := StatusOf(page, xid); got != want {
			t.Errorf("status of %d is %d, want %d", xid, got, want)
		}
	}
	c = Change{Kind: CLOG, Op: Zero}
	c.Apply(page)
	if StatusOf(page, 1001) != 0 {
		t.Error("a page that begins anew has a status")
	}
	c = Change{Kind: CommitTs, Op: Time, Page: 1, ID: 819, XIDs: xids(820, 1637), Time: 77, Origin: 3}
	c.Apply(page)
	if at, origin := TimeOf(page, 1637); at != 77 || origin != 3 {
		t.Errorf("time %d from %d", at, origin)
	}
	if at, _ := TimeOf(page, 821); at != 0 {
		t.Errorf("time of another: %d", at)
	}
	clear(page)
	members := xids(2000, 0, 2001, 5, 2002, 4, 2003, 1)
	c = Change{Kind: Members, Op: Member, ID: 1630, Member: xlrec.MultiXactMembers(members)}
	c.Apply(page)
	for i, want := range []xlrec.MultiXactMember{{XID: 2000}, {XID: 2001, Status: 5}, {XID: 2002, Status: 4}, {XID: 2003, Status: 1}} {
		if got := MemberOf(page, 1630+uint32(i)); got != want {
			t.Errorf("member %d is %v, want %v", i, got, want)
		}
	}
}

// TestMask hides the next multixact's offset and the status of members to come, and nothing else.
func TestMask(t *testing.T) {
	for _, c := range []struct {
		k    Kind
		no   uint32
		next Next
		want int // bytes
	}{
		{Offsets, 0, Next{Multi: 7}, 4}, {Offsets, 1, Next{Multi: 7}, 0}, {Offsets, 0, Next{}, 4},
		{Members, 0, Next{Offset: 5}, 3}, {Members, 0, Next{Offset: 8}, 4}, {Members, 1, Next{Offset: 5}, 0},
		{CLOG, 0, Next{Multi: 7, Offset: 5}, 0}, {CommitTs, 0, Next{Multi: 7, Offset: 5}, 0},
	} {
		page := make([]byte, pg.BlockSize)
		for i := range page {
			page[i] = 0xFF
		}
		Mask(c.k, c.no, page, c.next)
		n := 0
		for _, b := range page {
			if b == 0 {
				n++
			}
		}
		if n != c.want {
			t.Errorf("%s page %d, next %v: %d bytes masked, want %d", c.k, c.no, c.next, n, c.want)
		}
	}
}

// TestSetIsFiles compares a set, at random, with files that have lengths.
func TestSetIsFiles(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		var s Set
		files := map[uint32]uint32{} // pages by segment
		for range 60 {
			switch rng.IntN(8) {
			case 0:
				c := Change{Kind: Offsets, Op: CutBefore, Page: rng.Uint32N(400)}
				s.Cut(&c)
				for f := range files {
					if (f+1)*SegmentPages-1 < c.Page {
						delete(files, f)
					}
				}
			case 1:
				c := Change{Kind: Members, Op: CutSegments, From: rng.Uint32N(12), To: rng.Uint32N(12)}
				gone := 0
				for _, r := range s.Cut(&c) {
					gone += int(r.To - r.From)
				}
				for f, n := range files {
					if c.From <= c.To && f >= c.From && f < c.To || c.From > c.To && (f >= c.From || f < c.To) {
						gone -= int(n)
						delete(files, f)
					}
				}
				if gone != 0 {
					t.Fatalf("seed %d: %d pages too many or too few said to be gone", seed, gone)
				}
			default:
				no := rng.Uint32N(400)
				had, from := files[no/SegmentPages], s.Add(no)
				if want := min(no, no/SegmentPages*SegmentPages+had); from != want {
					t.Fatalf("seed %d: adding %d begins at %d, want %d", seed, no, from, want)
				}
				files[no/SegmentPages] = max(had, no%SegmentPages+1)
			}
			for no := range uint32(420) {
				if s.Has(no) != (no%SegmentPages < files[no/SegmentPages]) {
					t.Fatalf("seed %d: page %d, runs %v, files %v", seed, no, s.Runs(), files)
				}
			}
			b, err := json.Marshal(s)
			var back Set
			if err == nil {
				err = json.Unmarshal(b, &back)
			}
			if err != nil || fmt.Sprint(back.Runs()) != fmt.Sprint(s.Runs()) {
				t.Fatalf("%s: %v, %v", b, back.Runs(), err)
			}
		}
	}
}

// TestCutWraps: what precedes a page is counted modulo 2^32, and nothing goes that ids will not come to for long.
func TestCutWraps(t *testing.T) {
	var s Set
	last := CLOG.PagesMax() - 1
	for _, no := range []uint32{0, 40, 70, last - 70, last} {
		s.Add(no)
	}
	c := Change{Kind: CLOG, Op: CutBefore, Page: 33}
	s.Cut(&c)
	for no, want := range map[uint32]bool{0: false, 32: true, 40: true, 70: true, last - 70: false, last: false} {
		if s.Has(no) != want {
			t.Errorf("page %d: %v", no, s.Has(no))
		}
	}
	c = Change{Kind: CLOG, Op: CutAll}
	if s.Cut(&c); len(s.Runs()) != 0 {
		t.Error("pages are left")
	}
}

func TestSetRefuses(t *testing.T) {
	for _, b := range []string{`[[1,2]]`, `[[32,32]]`, `[[0,40],[32,64]]`, `[[64,70],[0,3]]`, `[[0]]x`, `{}`} {
		var s Set
		if json.Unmarshal([]byte(b), &s) == nil {
			t.Errorf("%s is a set", b)
		}
	}
}
