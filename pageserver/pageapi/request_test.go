package pageapi

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/pageapi/pagepb"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// FuzzRequests: whatever bytes a client sends are refused as such, or name pages: at most PagesMax, each with a key of a page.
func FuzzRequests(f *testing.F) {
	fork := &pagepb.RelFork{SpcOid: 1663, DbOid: 5, RelNumber: 16384}
	for _, m := range []proto.Message{
		&pagepb.GetPagesRequest{At: &pagepb.ReadAt{Branch: "b", Lsn: 1}, Ranges: []*pagepb.BlockRange{{Fork: fork, Block: 7, Count: 3}, {Fork: fork, Block: 1<<32 - 2, Count: 1}}},
		&pagepb.GetPagesRequest{At: &pagepb.ReadAt{Lsn: 1, MinLsn: 2}, Ranges: []*pagepb.BlockRange{{Fork: fork, Block: 1<<32 - 1, Count: 1<<32 - 1}, {}}},
		&pagepb.GetSlruSegmentRequest{Kind: -1, Segment: 1<<32 - 1}, &pagepb.GetSlruSegmentRequest{Kind: 4, Segment: 3},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	refused := func(t *testing.T, err error) bool {
		if err != nil && fault.CodeOf(err) != fault.RequestBad {
			t.Errorf("refused as %v", err)
		}
		return err != nil
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var many pagepb.GetPagesRequest
		if proto.Unmarshal(b, &many) == nil {
			if w, err := decodePosition(many.GetAt()); !refused(t, err) && (len(w.Branch) > branchMax || w.LSN != 0 && w.MinLSN != 0) {
				t.Errorf("position %+v", w)
			}
			if ranges, err := decodeRanges(many.GetRanges()); !refused(t, err) {
				checkKeys(t, ranges)
			}
		}
		var one pagepb.GetSlruSegmentRequest
		if proto.Unmarshal(b, &one) == nil {
			if kind, first, err := decodeSegment(&one); !refused(t, err) && (kind >= slru.Kinds || first >= kind.PagesMax()) {
				t.Errorf("segment at page %d of SLRU %d", first, kind)
			}
		}
	})
}

func checkKeys(t *testing.T, ranges []blockRange) {
	var keys []key.Key
	for i := range ranges {
		r := &ranges[i]
		if before := len(keys); r.count < 1 || r.count > PagesMax {
			t.Fatalf("range of %d blocks", r.count)
		} else if keys = r.appendKeys(keys); len(keys) != before+r.count || keys[before].Block() != r.first {
			t.Fatalf("range %+v has keys %v", r, keys[before:])
		}
	}
	if len(keys) == 0 || len(keys) > PagesMax {
		t.Errorf("%d pages", len(keys))
	}
	for _, k := range keys {
		if _, err := key.Decode(k[:]); err != nil || !k.IsPage() || k.Kind() != key.Block || k.Block() == pg.InvalidBlock {
			t.Errorf("key %s: %v", k, err)
		}
	}
}
