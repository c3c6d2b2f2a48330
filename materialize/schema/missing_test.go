package schema

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

// literals compresses b with pglz as if nothing in it repeated: eight literals behind each control byte.
func literals(b []byte) []byte {
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(b)))
	for part := range slices.Chunk(b, 8) {
		out = append(append(out, 0), part...)
	}
	return append(binary.LittleEndian.AppendUint32(nil, uint32(4+len(out))<<2|2), out...)
}

// TestMissingValue: the element of attmissingval, whatever form Postgres keeps the array in.
func TestMissingValue(t *testing.T) {
	text := append(binary.LittleEndian.AppendUint32(nil, (4+300)<<2), bytes.Repeat([]byte("x"), 300)...)
	for _, c := range []struct {
		name string
		len  int16
		elem []byte
	}{{"int4", 4, []byte{1, 2, 3, 4}}, {"text", -1, text}} {
		var array []byte
		for _, n := range []uint32{1, 0, 23, 1, 1} { // ndim, dataoffset, elemtype, dim, lower bound
			array = binary.LittleEndian.AppendUint32(array, n)
		}
		array = append(array, c.elem...)
		plain := append(binary.LittleEndian.AppendUint32(nil, uint32(4+len(array))<<2), array...)
		for form, varlena := range map[string][]byte{"plain": plain, "compressed": literals(array)} {
			got, err := missingValue(varlena, Column{Len: c.len})
			if err != nil || !bytes.Equal(got, c.elem) {
				t.Errorf("%s, %s: %.40q, %v", c.name, form, got, err)
			}
		}
		for form, varlena := range map[string][]byte{"cut": plain[:12], "two dimensions": append([]byte{plain[0], plain[1], 0, 0, 2}, plain[5:]...), "compressed and cut": literals(array)[:20]} {
			if _, err := missingValue(varlena, Column{Len: c.len}); !errors.Is(err, pg.ErrCorrupt) {
				t.Errorf("%s, %s: %v", c.name, form, err)
			}
		}
	}
}
