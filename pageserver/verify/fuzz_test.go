package verify

import (
	"context"
	"errors"
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

// steps keeps what each record of a fixture does to its heap and map pages, at most perOp times for a record type; 0 keeps
// all.
func steps(t testing.TB, major, perOp int) (list []step) {
	v := fixtureVerifier(major)
	seen := map[string]int{}
	v.fault = func(before, _ pg.Page, rec *wal.Record, blk *wal.BlockRef) {
		op := opName(rec)
		if op == "" || perOp > 0 && seen[op] >= perOp {
			return
		}
		seen[op]++
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
	if err := v.redo(context.Background(), readFixture(t, major), nil); err != nil {
		t.Fatal(err)
	}
	return list
}

// FuzzApply gives redo records and pages that no server wrote: it may refuse them with a typed error, and must neither
// panic nor leave a page whose pointers are out of order.
func FuzzApply(f *testing.F) {
	for _, major := range fixtureMajors {
		for _, s := range steps(f, major, 3) {
			b := s.rec.Blocks[s.blk]
			f.Add(uint8(major-15), uint8(s.rec.RMID), s.rec.Info, s.rec.Main, []byte(b.Data), []byte(s.page), b.ID, len(s.rec.Blocks) > 1, b.Fork == pg.VMFork)
		}
	}
	f.Fuzz(func(t *testing.T, major, rmid, info uint8, main, data, page []byte, id uint8, second, vm bool) {
		rec := &wal.Record{
			Major: pg.Major(15 + major%4), RMID: wal.RMID(rmid), Info: info, Main: main,
			LSN: 1 << 62, End: 1<<62 + 64, XID: 1000,
		}
		rel := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}
		rec.Blocks = []wal.BlockRef{{ID: id, Rel: rel, Block: 7, Data: data, HasData: true}}
		if vm {
			rec.Blocks[0].Fork, rec.Blocks[0].Block = pg.VMFork, 0
		}
		if second {
			rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: id ^ 1, Rel: rel, Block: 8})
		}
		p := pg.Page(make([]byte, pg.BlockSize))
		copy(p, page)
		p.SetLSN(0)
		sane := p.IsNew() || p.Lower() >= pg.PageHeaderSize && p.Lower() <= p.Upper() && p.Upper() <= p.Special() && p.Special() <= pg.BlockSize
		var s redo.Scratch
		for i := range rec.Blocks {
			result, err := redo.Apply(p, rec, &rec.Blocks[i], redo.Env{HintsLogged: info&1 != 0})
			if err != nil {
				if !errors.Is(err, pg.ErrCorrupt) {
					t.Fatalf("an error that is not typed: %v", err)
				}
				return
			}
			if result == redo.Changed && sane && !p.IsNew() && (p.Lower() > p.Upper() || p.Upper() > p.Special()) {
				t.Fatalf("pointers %d %d %d", p.Lower(), p.Upper(), p.Special())
			}
		}
		for _, c := range redo.ImplicitVM(rec, nil) {
			redo.ApplyVM(p, c, rec.End+1)
		}
		redo.CompareHeap(p, p, 7, &s)
	})
}

// BenchmarkApply redoes a fixture's heap records on the pages before them; one op is one block of a record.
func BenchmarkApply(b *testing.B) {
	for _, major := range fixtureMajors {
		b.Run(map[int]string{15: "PostgreSQL15", 18: "PostgreSQL18"}[major], func(b *testing.B) {
			list := steps(b, major, 0)
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
	for _, major := range fixtureMajors {
		page := pg.Page(make([]byte, pg.BlockSize))
		var changes []redo.VMChange
		for _, s := range steps(t, major, 3) {
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
				t.Errorf("PostgreSQL %d %s: %v allocations", major, opName(&s.rec), n)
			}
		}
	}
}
