package materialize

import (
	"context"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/tidset"
)

// TestMembershipAgainstModel adds and removes dense and scattered files in any order and compares every block with a
// plain map of what should be there.
func TestMembershipAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		store := objstore.NewMem()
		sets, err := newSetCache(store, 1<<10) // small: most lookups read the object again
		if err != nil {
			rt.Fatal(err)
		}
		m := newMembership(sets)
		type at struct {
			blk pg.BlockNumber
			off pg.OffsetNumber
		}
		model := map[at]member{}
		var files []*liveFile
		for step := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			if len(files) > 0 && rapid.IntRange(0, 3).Draw(rt, "remove") == 0 {
				f := files[0]
				files = files[1:]
				if err := m.remove(ctx, f); err != nil {
					rt.Fatal(err)
				}
				for k, v := range model {
					if v.file == f {
						delete(model, k)
					}
				}
				continue
			}
			f := &liveFile{key: string(rune('a' + step)), deleted: roaring.New()}
			b := tidset.NewBuilder(tidset.Source{})
			stride := rapid.SampledFrom([]int{1, 1, 7}).Draw(rt, "stride")
			start := rapid.IntRange(0, 60).Draw(rt, "start")
			for blk := start; blk < 64; blk += stride {
				for off := pg.OffsetNumber(1); off < 4; off++ {
					k := at{pg.BlockNumber(blk), off}
					if _, taken := model[k]; taken || rapid.IntRange(0, 2).Draw(rt, "skip") == 0 {
						continue
					}
					xmin := pg.XID(100 + step)
					pos := uint32(b.Rows())
					if err := b.Add(pg.TID{Block: k.blk, Offset: off}, xmin); err != nil {
						rt.Fatal(err)
					}
					if rapid.IntRange(0, 5).Draw(rt, "deleted") == 0 {
						f.deleted.Add(pos)
						continue
					}
					model[k] = member{off: off, xmin: xmin, file: f, pos: pos}
				}
			}
			set := b.Finish()
			if _, err := store.Put(ctx, tidsKey(f.key), set.Encode(nil)); err != nil {
				rt.Fatal(err)
			}
			f.rows, f.lo, f.hi, f.blocks = set.Rows(), set.MinBlock(), set.MaxBlock(), set.Blocks()
			if err := m.add(ctx, f); err != nil {
				rt.Fatal(err)
			}
			files = append(files, f)
		}
		seen := 0
		for blk := pg.BlockNumber(0); blk < 64; blk++ {
			got, err := m.block(ctx, blk, nil)
			if err != nil {
				rt.Fatal(err)
			}
			for i, g := range got {
				if i > 0 && got[i-1].off >= g.off {
					rt.Fatalf("block %d is not in offset order: %v", blk, got)
				}
				if want := model[at{blk, g.off}]; want != g {
					rt.Fatalf("block %d offset %d: %+v, want %+v", blk, g.off, g, want)
				}
				seen++
			}
		}
		if seen != len(model) {
			rt.Fatalf("%d rows found, %d are there", seen, len(model))
		}
	})
}

func newTestFile(rows int64) *liveFile {
	return &liveFile{rows: rows, bytes: rows * 20, deleted: roaring.New()}
}
