package xlrec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// GenericPagesMax is MAX_GENERIC_XLOG_PAGES: a generic record's block ids are below it.
const GenericPagesMax = 4

// Fragment is bytes to overwrite on a page.
type Fragment struct {
	Offset int // bytes from the page's start
	Data   []byte
}

// Delta is a generic record's data for one block: fragments up to its end. The record has no main data.
//
//	each: 0 offset uint16   2 length uint16   4 length bytes
type Delta []byte

// Next takes the next fragment off the delta. The error is a *pg.CorruptError: the delta is cut short, or writes beyond the page.
// The caller asks while the delta is not empty.
func (d *Delta) Next() (Fragment, error) {
	b := *d
	if len(b) < 4 {
		return Fragment{}, pg.Corruptf("a generic delta ends within a fragment's header")
	}
	offset, length := int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
	switch {
	case length > len(b)-4:
		return Fragment{}, pg.Corruptf("a generic delta ends within a fragment")
	case offset+length > pg.BlockSize:
		return Fragment{}, pg.Corruptf("a fragment of a generic delta runs off the page")
	}
	*d = b[4+length:]
	return Fragment{Offset: offset, Data: b[4 : 4+length : 4+length]}, nil
}
