package pg_test

import (
	"errors"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/rectest"
)

// TestIndexTuples: each is as long as its header says, and as many as were asked for use up what is there.
func TestIndexTuples(t *testing.T) {
	const eight, twelve = "0000 0100 0200 0800 ", "0000 0100 0300 0ca0 11111111 " // with t_info's upper bits
	rectest.OnlyItsLength(t, "two tuples", rectest.Hex(t, eight+twelve), func(b []byte) error {
		tuples, err := pg.DecodeIndexTuples("two", b, 2)
		var sizes [3]int
		for i := 0; err == nil; i++ {
			tuple, ok := tuples.Next()
			if !ok {
				break
			}
			sizes[i] = len(tuple)
		}
		if err == nil && sizes != [3]int{8, 12} {
			t.Errorf("tuples of %v bytes", sizes)
		}
		return err
	})
	for name, s := range map[string]string{"no length": "0000 0100 0200 0000", "shorter than a header": "0000 0100 0200 0700", "only flags": "0000 0100 0200 00e0"} {
		if _, err := pg.IndexTupleSize(rectest.Hex(t, s)); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTID: a block number lies there in halves, the upper one first, each little-endian.
func TestTID(t *testing.T) {
	want, bytes := pg.TID{Block: 0x00030002, Offset: 0x0104}, [pg.TIDSize]byte{}
	want.Put(bytes[:])
	if bytes != [pg.TIDSize]byte{3, 0, 2, 0, 4, 1} || pg.TIDAt(bytes[:]) != want {
		t.Errorf("%x is %v", bytes, pg.TIDAt(bytes[:]))
	}
}
