package redo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/hashrec"
)

// hashRecord is a hash record with a reference for each of ids, at block 100+id.
func hashRecord(op uint8, main []byte, ids ...uint8) *wal.Record {
	rec := record(wal.RMHash, op, main, nil)
	rec.Blocks = rec.Blocks[:0]
	for _, id := range ids {
		rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: id, Rel: testRel, Block: 100 + pg.BlockNumber(id)})
	}
	return rec
}

// with gives a block of rec data.
func with(rec *wal.Record, id uint8, data []byte) *wal.Record {
	b := rec.Block(id)
	b.HasData, b.Data = true, data
	return rec
}

// le32 is numbers as they lie in a record.
func le32(values ...uint32) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// hashTuple is an index tuple of 16 bytes with that hash code.
func hashTuple(code byte) []byte { return indexTupleOf(code, 1) }

// hashCodes are the hash codes on a page, in line pointer order.
func hashCodes(t *testing.T, p pg.Page) (codes []byte) {
	t.Helper()
	for off := pg.OffsetNumber(1); int(off) <= p.NumItems(); off++ {
		b, err := item(p, off)
		if err != nil || len(b) != 16 {
			t.Fatalf("line pointer %d: %x %v", off, b, err)
		}
		codes = append(codes, b[8])
	}
	return codes
}

// hashPageWith is a hash page at LSN 1 with tuples of those hash codes.
func hashPageWith(t *testing.T, flag uint16, codes ...byte) pg.Page {
	t.Helper()
	p := newPage()
	initHashPage(p, 7, 3, flag)
	for i, c := range codes {
		if err := insertItem(p, hashTuple(c), pg.OffsetNumber(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	p.SetLSN(1)
	return p
}

// metaPage is a new index's metapage of 4 buckets at LSN 1.
func metaPage(t *testing.T) pg.Page {
	t.Helper()
	p := newPage()
	main := binary.LittleEndian.AppendUint64(nil, math.Float64bits(1000))
	main = append(append(main, le32(450)...), 0x33, 1) // procedure 450, 307 tuples a bucket
	if r := mustApply(t, p, hashRecord(hashrec.OpInitMetaPage, main, 0), 0, Env{}); r != Changed || p.LSN() != 0x1040 {
		t.Fatalf("%v at %s", r, p.LSN())
	}
	p.SetLSN(1)
	return p
}

func hashOpaqueFields(t *testing.T, p pg.Page) (prev, next, bucket uint32, flag uint16) {
	t.Helper()
	o, err := hashOpaqueOf(p)
	if err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint32(o), binary.LittleEndian.Uint32(o[4:]), binary.LittleEndian.Uint32(o[8:]), o.flag()
}

func metaOf(t *testing.T, p pg.Page) hashMeta {
	t.Helper()
	m, err := hashMetaOf(p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m hashMeta) tuples() float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(m[metaTuples:]))
}

func TestHashNewIndex(t *testing.T) {
	p := metaPage(t)
	m := metaOf(t, p)
	for at, want := range map[int]uint32{
		0: hashMagic, 4: 4, 16: 8152<<16 | 307, 20: 15<<16 | 4096, metaMaxBucket: 3, metaHighMask: 7, metaLowMask: 3, metaSplitPoint: 2,
		metaFirstFree: 0, metaMaps: 0, 48: 450, metaSpares + 8: 1, metaSpares + 12: 0,
	} {
		if got := m.u32(at); got != want {
			t.Errorf("metapage at %d: %#x, want %#x", at, got, want)
		}
	}
	if m.tuples() != 0 || p.Lower() != 4568 {
		t.Errorf("%v tuples, lower %d", m.tuples(), p.Lower())
	}
	rec, bitmap := hashRecord(hashrec.OpInitBitmapPage, []byte{0, 0x10}, 0, 1), newPage()
	mustApply(t, bitmap, rec, 0, Env{})
	mustApply(t, p, rec, 1, Env{})
	if m.u32(metaMaps) != 1 || m.u32(metaMapBlocks) != 5 || p.LSN() != rec.End {
		t.Errorf("%d bitmap pages, the first at %d", m.u32(metaMaps), m.u32(metaMapBlocks))
	}
	bits := bitmap[pg.PageHeaderSize : pg.PageHeaderSize+4096]
	if !bytes.Equal(bits, bytes.Repeat([]byte{0xFF}, 4096)) || bitmap.Lower() != 4120 || bitmap[4120] != 0 {
		t.Error("not all bits of a new bitmap page are set, or more than its size")
	}
	if prev, next, bucket, flag := hashOpaqueFields(t, bitmap); prev != math.MaxUint32 || next != math.MaxUint32 || bucket != math.MaxUint32 || flag != 4 {
		t.Errorf("bitmap page: %d %d %d %#x", prev, next, bucket, flag)
	}
}

// TestHashBuckets: split point phases and their buckets, by _hash_spareindex and _hash_get_totalbuckets.
func TestHashBuckets(t *testing.T) {
	for n, want := range map[uint32]uint32{1: 0, 2: 1, 3: 2, 4: 2, 5: 3, 512: 9, 513: 10, 640: 10, 641: 11, 1024: 13, 1025: 14, 1280: 14, 1 << 30: 93} {
		if got := hashSpareIndex(n); got != want {
			t.Errorf("bucket %d: phase %d, want %d", n, got, want)
		}
	}
	for phase, want := range map[uint32]uint32{0: 1, 1: 2, 9: 512, 10: 640, 11: 768, 13: 1024, 14: 1280, 17: 2048, 93: 1 << 30} {
		if got := hashTotalBuckets(phase); got != want {
			t.Errorf("phase %d: %d buckets, want %d", phase, got, want)
		}
	}
}

func TestHashInsert(t *testing.T) {
	rec := with(hashRecord(hashrec.OpInsert, []byte{2, 0}, 0, 1), 0, hashTuple(20))
	p, meta := hashPageWith(t, hashBucketPage, 10, 30), metaPage(t)
	mustApply(t, p, rec, 0, Env{})
	mustApply(t, meta, rec, 1, Env{})
	if c := hashCodes(t, p); !bytes.Equal(c, []byte{10, 20, 30}) || metaOf(t, meta).tuples() != 1 {
		t.Errorf("%v, %v tuples", c, metaOf(t, meta).tuples())
	}
	if r := mustApply(t, p, rec, 0, Env{}); r != Skipped || p.NumItems() != 3 {
		t.Errorf("again: %v", r)
	}
	held := hashPageWith(t, hashBucketPage, 10, 30)
	if n := testing.AllocsPerRun(100, func() {
		copy(p, held)
		mustApply(t, p, rec, 0, Env{})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHashAddOvflPage(t *testing.T) {
	grown := hashRecord(hashrec.OpAddOvflPage, []byte{0, 0x10, 0}, 0, 1, 2, 3, 4)
	with(with(with(grown, 0, le32(3)), 2, le32(33)), 4, le32(9))
	added, left, bitmap, more, meta := filledPage(t, 1), hashPageWith(t, hashBucketPage), newPage(), newPage(), metaPage(t)
	if err := initHashBitmap(bitmap, 4096); err != nil {
		t.Fatal(err)
	}
	clear(bitmap[pg.PageHeaderSize : pg.PageHeaderSize+8])
	for id, p := range []pg.Page{added, left, bitmap, more, meta} {
		if r := mustApply(t, p, grown, uint8(id), Env{}); r != Changed || p.LSN() != grown.End {
			t.Errorf("block %d: %v", id, r)
		}
	}
	if prev, next, bucket, flag := hashOpaqueFields(t, added); prev != 101 || next != math.MaxUint32 || bucket != 3 || flag != hashOverflowPage || added.NumItems() != 0 {
		t.Errorf("new page: %d %d %d %#x", prev, next, bucket, flag)
	}
	if prev, next, _, _ := hashOpaqueFields(t, left); prev != 7 || next != 100 {
		t.Errorf("page before it: %d %d", prev, next)
	}
	if got := bitmap[pg.PageHeaderSize : pg.PageHeaderSize+8]; !bytes.Equal(got, []byte{0, 0, 0, 0, 2, 0, 0, 0}) {
		t.Errorf("bits %x", got)
	}
	if more[pg.PageHeaderSize] != 0xFF || more.Lower() != 4120 {
		t.Error("no new bitmap page")
	}
	m := metaOf(t, meta)
	if m.u32(metaFirstFree) != 9 || m.u32(metaMaps) != 1 || m.u32(metaMapBlocks) != 103 || m.u32(metaSpares+8) != 3 {
		t.Errorf("metapage: first free %d, %d maps, %d spares", m.u32(metaFirstFree), m.u32(metaMaps), m.u32(metaSpares+8))
	}
	recycled := with(hashRecord(hashrec.OpAddOvflPage, []byte{0, 0x10, 1}, 0, 1, 2, 4), 4, le32(10))
	meta.SetLSN(1)
	mustApply(t, meta, recycled, 4, Env{})
	if m.u32(metaFirstFree) != 10 || m.u32(metaMaps) != 1 || m.u32(metaSpares+8) != 3 {
		t.Error("a page used again counts as a new one")
	}
	plain := with(hashRecord(hashrec.OpAddOvflPage, []byte{0, 0x10, 0}, 0, 1, 4), 4, le32(11))
	meta.SetLSN(1)
	mustApply(t, meta, plain, 4, Env{})
	if m.u32(metaMaps) != 1 || m.u32(metaSpares+8) != 4 {
		t.Error("a new page without a bitmap page of its own")
	}
}

func TestHashSplit(t *testing.T) {
	rec := with(hashRecord(hashrec.OpSplitAllocatePage, []byte{4, 0, 0, 0, 0x22, 0, 0x12, 0, 3}, 0, 1, 2), 2, le32(7, 15, 3, 6))
	old, fresh, meta := hashPageWith(t, hashBucketPage, 10), filledPage(t, 1), metaPage(t)
	for id, p := range []pg.Page{old, fresh, meta} {
		mustApply(t, p, rec, uint8(id), Env{})
	}
	if prev, next, bucket, flag := hashOpaqueFields(t, old); prev != 4 || next != math.MaxUint32 || bucket != 3 || flag != 0x22 || old.NumItems() != 1 {
		t.Errorf("old bucket: %d %d %d %#x", prev, next, bucket, flag)
	}
	if prev, next, bucket, flag := hashOpaqueFields(t, fresh); prev != 4 || next != math.MaxUint32 || bucket != 4 || flag != 0x12 || fresh.NumItems() != 0 {
		t.Errorf("new bucket: %d %d %d %#x", prev, next, bucket, flag)
	}
	m := metaOf(t, meta)
	if m.u32(metaMaxBucket) != 4 || m.u32(metaLowMask) != 7 || m.u32(metaHighMask) != 15 || m.u32(metaSplitPoint) != 3 || m.u32(metaSpares+12) != 6 {
		t.Errorf("metapage: %x", []byte(m[:80]))
	}
	done := hashRecord(hashrec.OpSplitComplete, []byte{0x42, 0, 2, 0}, 0, 1)
	old.SetLSN(1)
	fresh.SetLSN(1)
	mustApply(t, old, done, 0, Env{})
	mustApply(t, fresh, done, 1, Env{})
	_, _, _, oldFlag := hashOpaqueFields(t, old)
	if _, _, _, newFlag := hashOpaqueFields(t, fresh); oldFlag != 0x42 || newFlag != 2 {
		t.Errorf("complete: %#x %#x", oldFlag, newFlag)
	}
	old.SetLSN(1)
	mustApply(t, old, hashRecord(hashrec.OpSplitCleanup, nil, 0), 0, Env{})
	if _, _, _, flag := hashOpaqueFields(t, old); flag != hashBucketPage {
		t.Errorf("cleaned up: %#x", flag)
	}
	if _, err := Apply(old, hashRecord(hashrec.OpSplitPage, nil, 0), &hashRecord(hashrec.OpSplitPage, nil, 0).Blocks[0], Env{}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a split page without its image: %v", err)
	}
}

// movedData is two tuples for a page with the codes 10 and 30: the second one's number counts the first.
func movedData() []byte {
	return append(append([]byte{2, 0, 3, 0}, hashTuple(20)...), hashTuple(25)...)
}

func TestHashMovePageContents(t *testing.T) {
	rec := with(with(hashRecord(hashrec.OpMovePageContents, []byte{2, 0, 0}, 0, 1, 2), 1, movedData()), 2, []byte{1, 0, 3, 0})
	first, to, from := hashPageWith(t, hashBucketPage, 1), hashPageWith(t, hashOverflowPage, 10, 30), hashPageWith(t, hashOverflowPage, 20, 22, 25)
	before := append(pg.Page(nil), first...)
	if r := mustApply(t, first, rec, 0, Env{}); r != Skipped || !bytes.Equal(first, before) {
		t.Errorf("the bucket's first page, which is only locked: %v", r)
	}
	if r := mustApply(t, newPage(), rec, 0, Env{}); r != Missing {
		t.Errorf("the bucket's first page, which is not there: %v", r)
	}
	mustApply(t, to, rec, 1, Env{})
	mustApply(t, from, rec, 2, Env{})
	if a, b := hashCodes(t, to), hashCodes(t, from); !bytes.Equal(a, []byte{10, 20, 25, 30}) || !bytes.Equal(b, []byte{22}) {
		t.Errorf("written %v, left %v", a, b)
	}
}

func TestHashSqueezePage(t *testing.T) {
	main := []byte{8, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0}
	rec := with(with(with(hashRecord(hashrec.OpSqueezePage, main, 0, 1, 2, 3, 4, 5, 6), 1, movedData()), 5, le32(33)), 6, le32(2))
	bitmap := newPage()
	if err := initHashBitmap(bitmap, 4096); err != nil {
		t.Fatal(err)
	}
	pages := []pg.Page{hashPageWith(t, hashBucketPage), hashPageWith(t, hashOverflowPage, 10, 30), hashPageWith(t, hashOverflowPage, 20, 25),
		hashPageWith(t, hashOverflowPage), hashPageWith(t, hashOverflowPage), bitmap, metaPage(t)}
	for id, p := range pages {
		want := Changed
		if id == 0 {
			want = Skipped
		}
		if r := mustApply(t, p, rec, uint8(id), Env{}); r != want {
			t.Errorf("block %d: %v", id, r)
		}
	}
	if c := hashCodes(t, pages[1]); !bytes.Equal(c, []byte{10, 20, 25, 30}) {
		t.Errorf("written %v", c)
	}
	if _, next, _, _ := hashOpaqueFields(t, pages[1]); next != math.MaxUint32 {
		t.Errorf("the page written is not the one before: its next is %d", next)
	}
	if prev, next, bucket, flag := hashOpaqueFields(t, pages[2]); prev != math.MaxUint32 || next != math.MaxUint32 || bucket != math.MaxUint32 || flag != 0 || pages[2].NumItems() != 0 {
		t.Errorf("freed: %d %d %d %#x", prev, next, bucket, flag)
	}
	_, next, _, _ := hashOpaqueFields(t, pages[3])
	if prev, _, _, _ := hashOpaqueFields(t, pages[4]); next != 9 || prev != 8 {
		t.Errorf("neighbours: next %d, prev %d", next, prev)
	}
	if bits := bitmap[pg.PageHeaderSize+3 : pg.PageHeaderSize+6]; !bytes.Equal(bits, []byte{0xFF, 0xFD, 0xFF}) || metaOf(t, pages[6]).u32(metaFirstFree) != 2 {
		t.Errorf("bits %x, first free %d", bits, metaOf(t, pages[6]).u32(metaFirstFree))
	}
}

// TestHashSqueezeWritesNothing: what redo does with the page that could have been written, but for its tuples, differs by flags and major.
func TestHashSqueezeWritesNothing(t *testing.T) {
	for _, s := range []struct {
		major         pg.Major
		primary, prev byte
		want          Result
		next          uint32
	}{
		{pg.PG16, 1, 0, Changed, math.MaxUint32}, {pg.PG17, 1, 0, Skipped, math.MaxUint32}, {pg.PG16, 0, 1, Changed, 9}, {pg.PG18, 1, 1, Changed, 9},
	} {
		rec := hashRecord(hashrec.OpSqueezePage, []byte{8, 0, 0, 0, 9, 0, 0, 0, 0, 0, s.primary, s.prev}, 1, 3)
		rec.Major = s.major
		p := hashPageWith(t, hashBucketPage, 10)
		r := mustApply(t, p, rec, 1, Env{})
		if _, next, _, _ := hashOpaqueFields(t, p); r != s.want || next != s.next || (p.LSN() == rec.End) != (r == Changed) {
			t.Errorf("%+v: %v, next %d, LSN %s", s, r, next, p.LSN())
		}
		_, err := Apply(hashPageWith(t, hashBucketPage), rec, rec.Block(3), Env{})
		if (err != nil) != (s.prev == 1) {
			t.Errorf("%+v: the page before as a block of its own: %v", s, err)
		}
	}
}

func TestHashDelete(t *testing.T) {
	for _, clears := range []byte{0, 1} {
		rec := with(hashRecord(hashrec.OpDelete, []byte{clears, 0}, 0, 1), 1, []byte{2, 0})
		first, p := hashPageWith(t, hashBucketPage, 1), hashPageWith(t, hashOverflowPage|hashHasDeadTuples, 10, 20, 30)
		if r := mustApply(t, first, rec, 0, Env{}); r != Skipped || first.LSN() != 1 {
			t.Errorf("the bucket's first page, which is only locked: %v", r)
		}
		mustApply(t, p, rec, 1, Env{})
		want := uint16(hashOverflowPage | hashHasDeadTuples)
		if clears == 1 {
			want = hashOverflowPage
		}
		if _, _, _, flag := hashOpaqueFields(t, p); !bytes.Equal(hashCodes(t, p), []byte{10, 30}) || flag != want {
			t.Errorf("left %v, flag %#x", hashCodes(t, p), flag)
		}
	}
}

func TestHashVacuumOnePage(t *testing.T) {
	for major, main := range map[pg.Major][]byte{
		pg.PG15: {1, 0, 0, 0, 3, 0, 0, 0, 1, 0, 2, 0, 4, 0}, pg.PG16: {1, 0, 0, 0, 3, 0, 0, 0xAA, 1, 0, 2, 0, 4, 0},
	} {
		rec := hashRecord(hashrec.OpVacuumOnePage, main, 0, 1)
		rec.Major = major
		p, meta := hashPageWith(t, hashBucketPage|hashHasDeadTuples, 10, 20, 30, 40), metaPage(t)
		metaOf(t, meta).addTuples(5)
		mustApply(t, p, rec, 0, Env{})
		mustApply(t, meta, rec, 1, Env{})
		if _, _, _, flag := hashOpaqueFields(t, p); !bytes.Equal(hashCodes(t, p), []byte{30}) || flag != hashBucketPage || metaOf(t, meta).tuples() != 2 {
			t.Errorf("%d: left %v, flag %#x, %v tuples", major, hashCodes(t, p), flag, metaOf(t, meta).tuples())
		}
	}
}

func TestHashUpdateMetaPage(t *testing.T) {
	meta := metaPage(t)
	mustApply(t, meta, hashRecord(hashrec.OpUpdateMetaPage, binary.LittleEndian.AppendUint64(nil, math.Float64bits(12)), 0), 0, Env{})
	if n := metaOf(t, meta).tuples(); n != 12 {
		t.Errorf("%v tuples", n)
	}
}
