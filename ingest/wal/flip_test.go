package wal

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/walfixture"
)

// TestEveryByteFlip damages each byte of a stretch of WAL in turn: it is noticed, or it changes nothing.
func TestEveryByteFlip(t *testing.T) {
	if undetected := flipBytes(t, false); undetected != 0 {
		t.Errorf("%d damaged bytes changed a record unnoticed", undetected)
	}
}

// TestFlipTestSeesMissingCRC plants the fault the test above is for.
func TestFlipTestSeesMissingCRC(t *testing.T) {
	if undetected := flipBytes(t, true); undetected == 0 {
		t.Error("without checksums no damage went unnoticed: the flip test sees nothing")
	}
}

func flipBytes(t *testing.T, skipCRC bool) (undetected int) {
	w := fixture(t, pg.PG18)
	// The segment's last pages, and the first of the next one with the long header, hold records that cross both.
	const from, length = walfixture.SegmentSize - 2*PageSize, 3 * PageSize
	start := w.Start + from
	cut := &walfixture.WAL{Start: start, Bytes: bytes.Clone(w.Bytes[from : from+length]), SegmentLen: w.SegmentLen}
	buf := make([]byte, 8*PageSize)
	read := func() ([]digest, error) {
		r := newReader(t, Options{Source: cut, Start: start, Timeline: 1, Major: pg.PG18, SystemID: 0})
		r.skipCRC, r.buf = skipCRC, buf
		return readAll(r)
	}
	want, err := read()
	if err != io.EOF || len(want) < 30 {
		t.Fatalf("%d records, then %v", len(want), err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	detected, harmless := 0, 0
	step := 1
	if skipCRC {
		step = 5 // a sample shows that the test sees
	}
	for i := 0; i < len(cut.Bytes); i += step {
		cut.Bytes[i] ^= byte(1 << rng.IntN(8))
		got, err := read()
		switch {
		case err != io.EOF, len(got) < len(want) && samePrefix(got, want):
			// An error, or the stream seems to end in the middle of a record: the position tells.
			detected++
		case samePrefix(got, want) && len(got) == len(want):
			harmless++
		default:
			undetected++
		}
		cut.Bytes[i] = w.Bytes[from+i]
	}
	t.Logf("checksums off %t: of %d bytes %d detected, %d harmless, %d undetected", skipCRC, length, detected, harmless, undetected)
	return undetected
}

func samePrefix(got, want []digest) bool {
	for i := range got {
		if i >= len(want) || got[i] != want[i] {
			return false
		}
	}
	return true
}
