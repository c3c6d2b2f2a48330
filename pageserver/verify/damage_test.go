package verify

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// TestDamage redoes records and pages with a few bytes changed at random, mostly where they matter: each is refused as corrupt
// or leaves a page whose pointers are in order, and none makes redo or a mask panic.
func TestDamage(t *testing.T) {
	tries := 5_000
	if pgtest.Long() {
		tries = 500_000
	}
	eachFixture(t, func(t *testing.T, r recorded) {
		seed := pgtest.Seed(t)
		list, rng := r.steps(t, 100), rand.New(rand.NewPCG(seed, uint64(r.major)))
		page := pg.Page(make([]byte, pg.BlockSize))
		var scratch redo.Scratch
		refused := 0
		for range tries {
			s := &list[rng.IntN(len(list))]
			copy(page, s.page)
			rec := s.rec
			rec.Main = damage(rng, s.rec.Main)
			damagePage(rng, page)
			blk := s.rec.Blocks[s.blk]
			blk.Data = damage(rng, blk.Data)
			blk.HasImage, blk.ApplyImage = false, false
			// A generic record writes what bytes it likes, pointers too.
			sane := rec.RMID != wal.RMGeneric && ordered(page)
			result, err := redo.Apply(page, &rec, &blk, redo.Env{})
			switch {
			case err != nil && !errors.Is(err, pg.ErrCorrupt):
				t.Fatalf("an error that is not typed: %v", err)
			case err != nil:
				refused++
			case result == redo.Changed && sane && blk.Fork != pg.VMFork && !ordered(page):
				t.Fatalf("%s: pointers %d %d %d", rec.TypeName(), page.Lower(), page.Upper(), page.Special())
			}
			_, _, _ = redo.Compare(rec.RMID, page, page, blk.Block, &scratch)
		}
		t.Logf("%d tried, %d refused", tries, refused)
	})
}

// damage changes up to three bytes of a copy, mostly among the first.
func damage(rng *rand.Rand, b []byte) []byte {
	b = append([]byte(nil), b...)
	if len(b) == 0 {
		return b
	}
	for range rng.IntN(4) {
		n := len(b)
		if rng.IntN(4) > 0 {
			n = min(n, 60)
		}
		b[rng.IntN(n)] = byte(rng.IntN(256)) >> rng.IntN(8)
	}
	return b
}

// damagePage changes up to three bytes, mostly of the line pointers.
func damagePage(rng *rand.Rand, p pg.Page) {
	for range rng.IntN(4) {
		switch n := p.NumItems(); {
		case rng.IntN(4) == 0:
			p[rng.IntN(pg.BlockSize)] = byte(rng.IntN(256))
		case rng.IntN(3) == 0 || n == 0:
			p[12+rng.IntN(8)] = byte(rng.IntN(256))
		default:
			p[pg.PageHeaderSize+rng.IntN(4*n)] = byte(rng.IntN(256))
		}
	}
}
