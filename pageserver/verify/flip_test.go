package verify

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"sort"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// flipped is WAL in memory that goes on in later segments, and hands out little at a time.
type flipped struct{ memory }

func (f flipped) Read(lsn pg.LSN, dst []byte) (int, error) {
	return f.memory.Read(lsn, dst[:min(len(dst), wal.PageSize)])
}

func (f flipped) HasValidSegmentAfter(lsn pg.LSN) bool {
	return lsn.SegmentStart(fixtureSegment)+fixtureSegment < f.start+pg.LSN(len(f.wal))
}

// place is a record's place and content.
type place struct {
	lsn, end pg.LSN
	digest   uint64
	name     string
}

var flipSeed = maphash.MakeSeed()

// digestOf covers everything a Record holds.
func digestOf(rec *wal.Record) uint64 {
	var h maphash.Hash
	h.SetSeed(flipSeed)
	number := func(n ...uint64) {
		for _, v := range n {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], v)
			h.Write(b[:])
		}
	}
	number(uint64(rec.LSN), uint64(rec.End), uint64(rec.Prev), uint64(rec.XID), uint64(rec.TopXID), uint64(rec.Origin), uint64(rec.RMID), uint64(rec.Info),
		uint64(rec.TotLen), uint64(len(rec.Main)))
	h.Write(rec.Main)
	for i := range rec.Blocks {
		b := &rec.Blocks[i]
		number(uint64(b.ID), uint64(b.Rel.Spc), uint64(b.Rel.DB), uint64(b.Rel.Rel), uint64(b.Fork), uint64(b.Block), uint64(b.ImageInfo),
			uint64(b.HoleOffset), uint64(b.HoleLength), uint64(len(b.Data)), uint64(len(b.Image)))
		h.WriteString(fmt.Sprint(b.WillInit, b.HasData, b.HasImage, b.ApplyImage))
		h.Write(b.Data)
		h.Write(b.Image)
	}
	return h.Sum64()
}

// flipTest is one segment of a fixture, with WAL before and behind it.
type flipTest struct {
	t       *testing.T
	o       wal.Options
	source  flipped
	records []place

	refused, harmless int
}

// openFlips takes the fixture's first whole segment that another one follows.
func openFlips(t *testing.T, r recorded) (f *flipTest, from pg.LSN) {
	f = &flipTest{t: t, o: r.read(t)}
	m := f.o.Source.(memory)
	m.wal = bytes.Clone(m.wal)
	from = m.start.SegmentStart(fixtureSegment)
	if from < m.start {
		from += fixtureSegment
	}
	if m.start+pg.LSN(len(m.wal)) <= from+fixtureSegment+2*wal.PageSize {
		return nil, 0
	}
	f.source = flipped{m}
	h, err := wal.ParsePageHeader(m.wal[from-m.start:])
	if err != nil {
		t.Fatal(err)
	}
	f.o.Source, f.o.SystemID, f.o.Timeline = f.source, h.SystemID, h.Timeline
	reader, err := wal.NewReader(f.o)
	if err != nil {
		t.Fatal(err)
	}
	for {
		rec, err := reader.Next()
		if err == io.EOF {
			return f, from
		}
		if err != nil {
			t.Fatal(err)
		}
		f.records = append(f.records, place{rec.LSN, rec.End, digestOf(rec), rec.RMID.String() + "/" + rec.TypeName()})
	}
}

// flip flips one bit and reads what is around it.
func (f *flipTest) flip(at pg.LSN, bit int) {
	b := &f.source.wal[at-f.source.start]
	*b ^= 1 << bit
	defer func() { *b ^= 1 << bit }()
	i := sort.Search(len(f.records), func(i int) bool { return f.records[i].lsn > at }) - 1
	hit := f.records[max(0, i)]
	i = max(0, i-1)
	o := f.o
	o.Start = f.records[i].lsn
	reader, err := wal.NewReader(o)
	if err != nil {
		f.t.Fatal(err)
	}
	for ; i < len(f.records) && f.records[i].lsn < at+2*wal.PageSize; i++ {
		rec, err := reader.Next()
		if err == io.EOF && f.refusedAtEnd(i, hit) {
			f.refused++
			return
		}
		if err != nil {
			f.check(at, bit, hit, err)
			f.refused++
			return
		}
		if want := f.records[i]; rec.LSN != want.lsn || rec.End != want.end || digestOf(rec) != want.digest {
			f.t.Errorf("bit %d of the byte at %s: a %s at %s was accepted that is not the one written", bit, at, rec.TypeName(), rec.LSN)
			return
		}
	}
	f.harmless++
}

// refusedAtEnd says that whoever reads to the end refuses the end before record i (verifier.ended): it is no end but the record that is
// hit, which goes on in the last segment, and WAL follows.
func (f *flipTest) refusedAtEnd(i int, hit place) bool {
	if i == 0 || f.records[i] != hit {
		return false
	}
	last := (f.source.start + pg.LSN(len(f.source.wal)) - 1).SegmentStart(fixtureSegment)
	_, goesOn := wal.GoesOn(f.source, f.records[i-1].end, fixtureSegment)
	return hit.end > last && goesOn
}

// check holds a refusal to naming the place, and the record where its header was not what was flipped.
func (f *flipTest) check(at pg.LSN, bit int, hit place, err error) {
	var corrupt *pg.CorruptError
	var tli *wal.TimelineError
	var sys *wal.SystemIDError
	var named pg.LSN
	switch {
	case errors.As(err, &corrupt):
		named = corrupt.LSN
	case errors.As(err, &tli):
		named = tli.LSN
	case errors.As(err, &sys):
		named = sys.LSN
	default:
		f.t.Errorf("bit %d of the byte at %s: %v", bit, at, err)
		return
	}
	if named < hit.lsn || named > at+wal.PageSize {
		f.t.Errorf("bit %d of the byte at %s, in the record at %s: %v", bit, at, hit.lsn, err)
	}
	if strings.Contains(err.Error(), "incorrect checksum") && at >= hit.lsn+24+wal.LongPageHeaderSize && !strings.Contains(err.Error(), hit.name) {
		f.t.Errorf("bit %d of the byte at %s, in a %s: %v", bit, at, hit.name, err)
	}
}

// TestBitFlips flips one bit of WAL at a time: it is refused where it is, with a reason, or what is read is what was written. In
// a short run bytes are a sample; in a long one they are all of a segment, for the heap's fixtures.
func TestBitFlips(t *testing.T) {
	eachFixture(t, func(t *testing.T, r recorded) {
		f, from := openFlips(t, r)
		if f == nil {
			if r.name != "seq" { // which is less than two segments
				t.Error("no segment that is followed by another one")
			}
			return
		}
		step := pg.LSN(1009)
		if pgtest.Long() && r.name == "heap" {
			step = 1
		}
		for at := from; at < from+fixtureSegment; at += step {
			f.flip(at, int(at/step*5%8))
		}
		for at := from; at < from+fixtureSegment; at += 8191 { // a byte of each page, further on in each
			for bit := range 8 {
				f.flip(at, bit)
			}
		}
		for page := from; page < from+fixtureSegment; page += 16 * wal.PageSize { // headers
			for i := range pg.LSN(wal.LongPageHeaderSize) {
				for bit := range 8 {
					f.flip(page+i, bit)
				}
			}
		}
		t.Logf("%d refused, %d harmless", f.refused, f.harmless)
		if f.refused < 9*f.harmless {
			t.Errorf("%d of %d were harmless: the flips hit little", f.harmless, f.refused+f.harmless)
		}
	})
}
