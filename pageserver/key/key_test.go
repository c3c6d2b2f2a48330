package key

import (
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// TestGolden pins the bytes: objects in users' stores hold them.
func TestGolden(t *testing.T) {
	rel := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}
	for want, k := range map[string]Key{
		"000000067f0000000500004000010000002a": OfBlock(rel, pg.FSMFork, 42),
		"000000067f000000050000400000ffffffff": OfBlock(rel, pg.MainFork, SizeBlock),
		"010000067f00000005000040000000000000": OfRelation(rel),
		"020000000200000000000000000000000007": OfSLRU(pg.OID(slru.Members), 7),
		"030000067f00000005000000000000000000": OfRelMap(1663, 5),
		"0400000000000000000000000000000002ff": OfTwoPhase(767),
		"050000000000000000000000000000000000": OfControl(),
		"060000000000000000000000000000000000": OfSettings(),
		"070000000000000000000000000000000007": OfImage(7),
	} {
		if got := hex.EncodeToString(k[:]); got != want {
			t.Errorf("%s encodes as %s, want %s", k, got, want)
		}
		if back, err := Decode(k[:]); err != nil || back != k {
			t.Errorf("Decode(%s) = %v, %v", want, back, err)
		}
	}
	bad := OfImage(0)
	bad[0]++
	if _, err := Decode(bad[:]); err == nil {
		t.Error("an unknown kind was accepted")
	}
	if _, err := Decode(bad[:17]); err == nil {
		t.Error("a short key was accepted")
	}
}

// TestOrder: keys sort as their fields do, one after the other.
func TestOrder(t *testing.T) {
	gen := rapid.Custom(func(t *rapid.T) Key {
		n := rapid.Uint32Range(0, 3)
		return Make(Kind(n.Draw(t, "kind")), pg.RelFileLocator{Spc: pg.OID(n.Draw(t, "spc")), DB: pg.OID(n.Draw(t, "db")),
			Rel: pg.OID(rapid.Uint32().Draw(t, "rel"))}, pg.ForkNumber(n.Draw(t, "fork")), pg.BlockNumber(rapid.Uint32().Draw(t, "block")))
	})
	fields := func(k Key) [6]uint64 {
		r := k.Rel()
		return [6]uint64{uint64(k.Kind()), uint64(r.Spc), uint64(r.DB), uint64(r.Rel), uint64(k.Fork()), uint64(k.Block())}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		want := 0
		fa, fb := fields(a), fields(b)
		for i := range fa {
			if fa[i] != fb[i] {
				want = 1
				if fa[i] < fb[i] {
					want = -1
				}
				break
			}
		}
		if got := a.Compare(b); got != want {
			t.Fatalf("Compare(%s, %s) = %d, want %d", a, b, got, want)
		}
	})
}
