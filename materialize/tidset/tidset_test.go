package tidset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tarn-db/tarn/internal/pg"
)

type row struct {
	tid  pg.TID
	xmin pg.XID
}

func build(t rapid.TB, rows []row) *Set {
	b := NewBuilder(Source{Rel: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}, Incarnation: 0x16B3740})
	for _, r := range rows {
		if err := b.Add(r.tid, r.xmin); err != nil {
			t.Fatal(err)
		}
	}
	return b.Finish()
}

// check compares a set with the rows it was made of.
func check(t rapid.TB, s *Set, rows []row) {
	if s.Rows() != int64(len(rows)) {
		t.Fatalf("%d rows, want %d", s.Rows(), len(rows))
	}
	byBlock := map[pg.BlockNumber][]int{}
	for i, r := range rows {
		byBlock[r.tid.Block] = append(byBlock[r.tid.Block], i)
	}
	if s.Blocks() != len(byBlock) {
		t.Fatalf("%d blocks, want %d", s.Blocks(), len(byBlock))
	}
	s.EachBlock(func(b pg.BlockNumber) bool {
		want := byBlock[b]
		s.Block(b, func(off pg.OffsetNumber, pos uint32, xmin pg.XID) bool {
			if len(want) == 0 || int(pos) != want[0] || rows[pos] != (row{pg.TID{Block: b, Offset: off}, xmin}) {
				t.Fatalf("block %d: offset %d at position %d with xmin %d", b, off, pos, xmin)
			}
			want = want[1:]
			return true
		})
		if len(want) > 0 {
			t.Fatalf("block %d: %d rows missing", b, len(want))
		}
		return true
	})
	i := 0
	s.Each(func(tid pg.TID, xmin pg.XID) bool {
		if rows[i] != (row{tid, xmin}) {
			t.Fatalf("row %d is %v %d, want %v", i, tid, xmin, rows[i])
		}
		i++
		return true
	})
}

func genRows(t *rapid.T) []row {
	var rows []row
	block := pg.BlockNumber(rapid.Uint32Range(0, 1<<31).Draw(t, "first block"))
	xmin := pg.XID(rapid.Uint32().Draw(t, "xmin"))
	for range rapid.IntRange(0, 40).Draw(t, "blocks") {
		offs := rapid.SliceOfNDistinct(rapid.IntRange(1, pg.MaxHeapTuplesPerPage), 1, 40, rapid.ID).Draw(t, "offsets")
		if rapid.Bool().Draw(t, "run") {
			n := rapid.IntRange(1, pg.MaxHeapTuplesPerPage).Draw(t, "n")
			from := rapid.IntRange(1, pg.MaxHeapTuplesPerPage-n+1).Draw(t, "from")
			offs = offs[:0]
			for i := range n {
				offs = append(offs, from+i)
			}
		}
		slices.Sort(offs)
		for _, o := range offs {
			if rapid.IntRange(0, 9).Draw(t, "new xmin") == 0 {
				xmin = pg.XID(rapid.Uint32().Draw(t, "xmin"))
			}
			rows = append(rows, row{pg.TID{Block: block, Offset: pg.OffsetNumber(o)}, xmin})
		}
		block += 1 + pg.BlockNumber(rapid.Uint32Range(0, 1000).Draw(t, "gap"))
	}
	return rows
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := genRows(t)
		s := build(t, rows)
		check(t, s, rows)
		enc := s.Encode(nil)
		d, err := Decode(enc)
		if err != nil {
			t.Fatal(err)
		}
		check(t, d, rows)
		if d.Source() != s.Source() || d.MinBlock() != s.MinBlock() || d.MaxBlock() != s.MaxBlock() {
			t.Fatal("source or block range differ")
		}
		if !bytes.Equal(d.Encode([]byte("x"))[1:], enc) {
			t.Fatal("encoded again it differs")
		}
	})
}

func dense(blocks, perBlock int) []row {
	var rows []row
	for b := range blocks {
		for o := range perBlock {
			rows = append(rows, row{pg.TID{Block: pg.BlockNumber(b), Offset: pg.OffsetNumber(o + 1)}, 742})
		}
	}
	return rows
}

func TestDenseIsSmall(t *testing.T) {
	rows := dense(5000, 60)
	s := build(t, rows)
	enc := s.Encode(nil)
	disk, mem := float64(len(enc))/float64(len(rows)), float64(s.MemBytes())/float64(len(rows))
	t.Logf("%.3f bytes a row in the file, %.3f in memory", disk, mem)
	if disk > 0.1 || mem > 1 {
		t.Errorf("%.3f bytes a row in the file, %.3f in memory", disk, mem)
	}
	d, err := Decode(enc)
	if err != nil {
		t.Fatal(err)
	}
	check(t, d, rows)
}

func TestEmptyAndAbsent(t *testing.T) {
	s, err := Decode(build(t, nil).Encode(nil))
	if err != nil || s.Rows() != 0 || s.MinBlock() != pg.InvalidBlock || s.MaxBlock() != pg.InvalidBlock {
		t.Errorf("empty set: %v, %v", s, err)
	}
	s.Block(3, func(pg.OffsetNumber, uint32, pg.XID) bool { t.Error("a row in an empty set"); return true })
	s = build(t, []row{{pg.TID{Block: 7, Offset: 2}, 9}})
	s.Block(6, func(pg.OffsetNumber, uint32, pg.XID) bool { t.Error("a row of another block"); return true })
}

func TestOrderIsEnforced(t *testing.T) {
	for _, second := range []pg.TID{{Block: 5, Offset: 3}, {Block: 5, Offset: 2}, {Block: 4, Offset: 9}, {Block: 6, Offset: 0}, {Block: 6, Offset: 292}, {Block: pg.InvalidBlock, Offset: 1}} {
		b := NewBuilder(Source{})
		if err := b.Add(pg.TID{Block: 5, Offset: 3}, 1); err != nil {
			t.Fatal(err)
		}
		if err := b.Add(second, 1); err == nil {
			t.Errorf("%s was accepted after (5,3)", second)
		}
	}
}

func TestBlockAllocatesNothing(t *testing.T) {
	s := build(t, dense(100, 60))
	sum := 0
	if n := testing.AllocsPerRun(100, func() {
		s.Block(50, func(off pg.OffsetNumber, pos uint32, xmin pg.XID) bool { sum += int(pos); return true })
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestDamageIsNoticed flips each byte of a file in turn.
func TestDamageIsNoticed(t *testing.T) {
	rows := append(dense(3, 5), row{pg.TID{Block: 9, Offset: 1}, 3}, row{pg.TID{Block: 9, Offset: 200}, 4})
	for _, s := range []*Set{build(t, rows), buildKept(t, rows, genKept(len(rows), 3))} {
		damage(t, s.Encode(nil))
	}
}

func damage(t *testing.T, enc []byte) {
	for i := range enc {
		b := bytes.Clone(enc)
		b[i] ^= 0x40
		if _, err := Decode(b); err == nil {
			t.Errorf("byte %d of %d was flipped and nothing said", i, len(enc))
		} else if !errors.Is(err, pg.ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Errorf("byte %d: %v is of no type", i, err)
		}
	}
	for i := range enc {
		if _, err := Decode(enc[:i]); err == nil {
			t.Errorf("a file cut to %d bytes was accepted", i)
		}
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	enc := build(t, dense(1, 1)).Encode(nil)
	binary.LittleEndian.PutUint32(enc[8:], versionRows+1)
	if _, err := Decode(enc); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v", err)
	}
}

// fixCRC makes checksums right so that fuzzing gets past them.
func fixCRC(b []byte) {
	if len(b) < headerSize {
		return
	}
	binary.LittleEndian.PutUint64(b[12:], uint64(len(b)))
	chunks := int(binary.LittleEndian.Uint32(b[44:]))
	if chunks > (len(b)-headerSize)/indexSize {
		return
	}
	for c := range chunks {
		e := b[headerSize+c*indexSize:]
		at, n := uint64(binary.LittleEndian.Uint32(e[16:])), uint64(binary.LittleEndian.Uint32(e[20:]))
		if at+n <= uint64(len(b)) {
			binary.LittleEndian.PutUint32(e[24:], crcOf(b[at:at+n]))
		}
	}
	binary.LittleEndian.PutUint32(b[48:], headerCRC(b, chunks))
	end := headerSize + chunks*indexSize
	for c := range chunks {
		end += int(binary.LittleEndian.Uint32(b[headerSize+c*indexSize+20:]))
	}
	if binary.LittleEndian.Uint32(b[8:]) == versionRows && end <= len(b)-4 {
		binary.LittleEndian.PutUint32(b[len(b)-4:], crcOf(b[end:len(b)-4]))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(build(f, dense(2, 3)).Encode(nil))
	f.Add(build(f, append(dense(1100, 1), row{pg.TID{Block: 9000, Offset: 1}, 3}, row{pg.TID{Block: 9000, Offset: 200}, 4})).Encode(nil))
	f.Add(build(f, nil).Encode(nil))
	f.Add(buildKept(f, dense(2, 3), genKept(6, 2)).Encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		fixCRC(b)
		s, err := Decode(b)
		if err != nil {
			return
		}
		var rows []row
		s.Each(func(tid pg.TID, xmin pg.XID) bool { rows = append(rows, row{tid, xmin}); return true })
		check(t, s, rows)
		if d, err := Decode(s.Encode(nil)); err != nil {
			t.Error(err)
		} else {
			check(t, d, rows)
			if !slices.Equal(d.Lineage(), s.Lineage()) {
				t.Error("the lineage is another")
			}
		}
	})
}

func BenchmarkBlock(b *testing.B) {
	s := build(b, dense(100000, 60))
	sum := 0
	for i := 0; b.Loop(); i++ {
		s.Block(pg.BlockNumber(i*7919%100000), func(_ pg.OffsetNumber, pos uint32, _ pg.XID) bool { sum += int(pos); return true })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/60, "ns/row")
}

func BenchmarkAdd(b *testing.B) {
	rows := dense(1000, 60)
	for b.Loop() {
		build(b, rows)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/60000, "ns/row")
}
