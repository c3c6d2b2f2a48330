package verify

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// step is one block of one record and the page before it, kept.
type step struct {
	rec  wal.Record
	page pg.Page
	blk  int // index into rec.Blocks
}

// placeName names a record's type and a block of it: "INSERT 0".
func placeName(rec *wal.Record, blk *wal.BlockRef) string {
	return fmt.Sprintf("%s %d", rec.TypeName(), blk.ID)
}

func placeOf(s *step) string { return placeName(&s.rec, &s.rec.Blocks[s.blk]) }

// steps keeps what each record of a fixture does to its manager's pages, at most perType times for a record type and block id;
// 0 keeps all.
func (r recorded) steps(t testing.TB, perType int) (list []step) {
	v, seen := r.verifier(), map[string]int{}
	v.fault = func(before, _ pg.Page, rec *wal.Record, blk *wal.BlockRef) {
		place := placeName(rec, blk)
		if !r.has(rec) || perType > 0 && seen[place] >= perType {
			return
		}
		seen[place]++
		s := step{rec: *rec, page: append(pg.Page(nil), before...)}
		s.rec.Main = append([]byte(nil), rec.Main...)
		s.rec.Blocks = append([]wal.BlockRef(nil), rec.Blocks...)
		for i := range s.rec.Blocks {
			s.rec.Blocks[i].Data = append([]byte(nil), rec.Blocks[i].Data...)
			s.rec.Blocks[i].Image = append([]byte(nil), rec.Blocks[i].Image...)
			if rec.Blocks[i].ID == blk.ID {
				s.blk = i
			}
		}
		list = append(list, s)
	}
	if err := v.redo(context.Background(), r.read(t), nil); err != nil {
		t.Fatal(err)
	}
	return list
}

// Bits of a byte of FuzzApply's refs, above a block id of 5 bits.
const (
	fuzzInit  = 0x20
	fuzzBlock = 0x40 // block 9, else 7
	fuzzVM    = 0x80
)

// fuzzRefs packs the block references of a record, that of the step first.
func (s *step) fuzzRefs() (refs []byte) {
	order := append([]wal.BlockRef{s.rec.Blocks[s.blk]}, s.rec.Blocks...)
	for i, b := range order {
		if i > 0 && b.ID == order[0].ID {
			continue
		}
		ref := b.ID
		if b.WillInit {
			ref |= fuzzInit
		}
		if b.Block != order[0].Block {
			ref |= fuzzBlock
		}
		if b.Fork == pg.VMFork {
			ref |= fuzzVM
		}
		refs = append(refs, ref)
	}
	return refs
}

// fuzzRecord is the inverse. All blocks but the first have otherData.
func fuzzRecord(major, rmid, info uint8, main, data, otherData, refs []byte) *wal.Record {
	rec := &wal.Record{
		Major: pg.Major(15 + major%4), RMID: wal.RMID(rmid), Info: info, Main: main,
		LSN: 1 << 62, End: 1<<62 + 64, XID: 1000,
	}
	for i, ref := range refs[:min(len(refs), 8)] {
		b := wal.BlockRef{
			ID: ref & 0x1F, Rel: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}, Block: 7,
			WillInit: ref&fuzzInit != 0, Data: data,
		}
		if i > 0 {
			b.Data = otherData
		}
		b.HasData = len(b.Data) > 0
		if ref&fuzzBlock != 0 {
			b.Block = 9
		}
		if ref&fuzzVM != 0 {
			b.Fork, b.Block = pg.VMFork, 0
		}
		if rec.Block(b.ID) == nil {
			rec.Blocks = append(rec.Blocks, b)
		}
	}
	return rec
}

// FuzzApply gives redo records and pages that no server wrote: it may refuse them with a typed error, and must neither
// panic nor leave a page whose pointers are out of order. The masks get what redo leaves.
func FuzzApply(f *testing.F) {
	for _, r := range allRecorded() {
		for _, s := range r.steps(f, 2) {
			var otherData []byte
			for i, b := range s.rec.Blocks {
				if i != s.blk && b.HasData {
					otherData = b.Data
				}
			}
			f.Add(uint8(r.major-pg.PG15), uint8(s.rec.RMID), s.rec.Info, s.rec.Main, s.rec.Blocks[s.blk].Data, otherData, []byte(s.page), s.fuzzRefs())
		}
	}
	f.Fuzz(func(t *testing.T, major, rmid, info uint8, main, data, otherData, page, refs []byte) {
		rec := fuzzRecord(major, rmid, info, main, data, otherData, refs)
		p := pg.Page(make([]byte, pg.BlockSize))
		copy(p, page)
		p.SetLSN(0)
		// A generic record writes what bytes it likes, pointers too.
		sane := rec.RMID != wal.RMGeneric && (p.IsNew() || ordered(p))
		var s redo.Scratch
		for i := range rec.Blocks {
			result, err := redo.Apply(p, rec, &rec.Blocks[i], redo.Env{HintsLogged: info&1 != 0})
			if err != nil {
				if !errors.Is(err, pg.ErrCorrupt) {
					t.Fatalf("an error that is not typed: %v", err)
				}
				return
			}
			if result == redo.Changed && sane && !p.IsNew() && !ordered(p) {
				t.Fatalf("pointers %d %d %d", p.Lower(), p.Upper(), p.Special())
			}
		}
		for _, c := range redo.ImplicitVM(rec, nil) {
			redo.ApplyVM(p, c, rec.End+1)
		}
		_, _, _ = redo.Compare(rec.RMID, p, p, 7, &s)
	})
}

// ordered says whether a page's pointers are in their order.
func ordered(p pg.Page) bool {
	return p.Lower() >= pg.PageHeaderSize && p.Lower() <= p.Upper() && p.Upper() <= p.Special() && p.Special() <= pg.BlockSize
}

// BenchmarkApply redoes a fixture's records on the pages before them; one op is one block of a record.
func BenchmarkApply(b *testing.B) {
	for _, r := range allRecorded() {
		b.Run(r.String(), func(b *testing.B) {
			list := r.steps(b, 0)
			page := pg.Page(make([]byte, pg.BlockSize))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s := &list[i%len(list)]
				copy(page, s.page)
				if _, err := redo.Apply(page, &s.rec, &s.rec.Blocks[s.blk], redo.Env{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestApplyDoesNotAllocate holds for every record type that has no image to apply.
func TestApplyDoesNotAllocate(t *testing.T) {
	eachFixture(t, func(t *testing.T, r recorded) {
		page := pg.Page(make([]byte, pg.BlockSize))
		var changes []redo.VMChange
		for _, s := range r.steps(t, 3) {
			if s.rec.Blocks[s.blk].ApplyImage {
				continue
			}
			n := testing.AllocsPerRun(10, func() {
				copy(page, s.page)
				if _, err := redo.Apply(page, &s.rec, &s.rec.Blocks[s.blk], redo.Env{}); err != nil {
					t.Fatal(err)
				}
				changes = redo.ImplicitVM(&s.rec, changes[:0])
			})
			if n != 0 {
				t.Errorf("%s block %d: %v allocations", s.rec.TypeName(), s.rec.Blocks[s.blk].ID, n)
			}
		}
	})
}
