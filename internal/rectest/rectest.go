// Package rectest holds what the tests of record decoders have in common.
package rectest

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

// Hex reads hexadecimal with spaces.
func Hex(t testing.TB, s string) []byte {
	t.Helper()
	out, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// OnlyItsLength says that a decoder takes data, and refuses it with a byte more and cut to each shorter length.
func OnlyItsLength(t testing.TB, what string, data []byte, decode func(data []byte) error) {
	t.Helper()
	if err := decode(data); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if err := decode(append(data[:len(data):len(data)], 0)); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("%s with a byte more: %v", what, err)
	}
	for n := range data {
		if err := decode(data[:n:n]); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s cut to %d bytes: %v", what, n, err)
		}
	}
}
