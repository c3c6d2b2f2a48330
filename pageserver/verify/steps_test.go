package verify

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// stepsPerType is how many records of each type these tests take from a fixture.
const stepsPerType = 20

// TestApplyTwice: a page that has a record is left alone, and so is one that does not exist where the record does not make it.
func TestApplyTwice(t *testing.T) {
	eachFixture(t, func(t *testing.T, r recorded) {
		env := redo.Env{HintsLogged: true} // else VISIBLE leaves no LSN on the heap's page
		for _, s := range r.steps(t, stepsPerType) {
			blk := &s.rec.Blocks[s.blk]
			if blk.ApplyImage {
				continue
			}
			apply := func(page pg.Page) (redo.Result, []byte) {
				result, err := redo.Apply(page, &s.rec, blk, env)
				if err != nil {
					t.Fatalf("%s block %d at %s: %v", s.rec.TypeName(), blk.ID, s.rec.LSN, err)
				}
				return result, bytes.Clone(page)
			}
			page := bytes.Clone(s.page)
			result, once := apply(page)
			again, twice := apply(page)
			if result == redo.Changed && pg.Page(once).LSN() != s.rec.End {
				t.Errorf("%s block %d at %s: LSN %s after it, its end is %s", s.rec.TypeName(), blk.ID, s.rec.LSN, pg.Page(once).LSN(), s.rec.End)
			}
			if !bytes.Equal(once, twice) || again == redo.Changed && !blk.WillInit {
				t.Errorf("%s block %d at %s, applied again: %s", s.rec.TypeName(), blk.ID, s.rec.LSN, again)
			}
			if blk.WillInit || blk.Fork == pg.VMFork {
				continue
			}
			if result, page := apply(make(pg.Page, pg.BlockSize)); result == redo.Changed || !bytes.Equal(page, make([]byte, pg.BlockSize)) {
				t.Errorf("%s block %d at %s on a page that does not exist: %s", s.rec.TypeName(), blk.ID, s.rec.LSN, result)
			}
		}
	})
}

// anyLength are the record types whose main data may have any length.
var anyLength = map[string]string{"LOG": "what follows the head is the sequence's tuple"}

// TestApplyRefusesOtherLengths: a record whose main data is a byte shorter or longer than it was written is refused, by the redo of
// one of its blocks at least.
func TestApplyRefusesOtherLengths(t *testing.T) {
	eachFixture(t, func(t *testing.T, r recorded) {
		page := pg.Page(make([]byte, pg.BlockSize))
		refuses := map[string]map[uint8]bool{} // by type and block: whether every record was refused
		for _, s := range r.steps(t, stepsPerType) {
			blk, name := &s.rec.Blocks[s.blk], s.rec.TypeName()
			if blk.ApplyImage {
				continue
			}
			if refuses[name] == nil {
				refuses[name] = map[uint8]bool{}
			}
			if _, seen := refuses[name][blk.ID]; !seen {
				refuses[name][blk.ID] = true
			}
			main := s.rec.Main
			mains := [][]byte{append(bytes.Clone(main), 0)}
			if len(main) > 0 {
				mains = append(mains, main[:len(main)-1])
			}
			for _, m := range mains {
				s.rec.Main = m
				copy(page, s.page)
				if _, err := redo.Apply(page, &s.rec, blk, redo.Env{}); err == nil {
					refuses[name][blk.ID] = false
				} else if !errors.Is(err, pg.ErrCorrupt) {
					t.Errorf("%s at %s: %v", placeOf(&s), s.rec.LSN, err)
				}
			}
		}
		for name, blocks := range refuses {
			if !slices.Contains(slices.Collect(maps.Values(blocks)), true) && anyLength[name] == "" {
				t.Errorf("%s is taken with a byte more or less by the redo of each block: %v", name, blocks)
			}
		}
		t.Logf("refused, by block: %v", refuses)
	})
}
