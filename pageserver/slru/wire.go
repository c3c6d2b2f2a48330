package slru

import (
	"encoding/binary"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// A change of a page as delta layers have it; its SLRU and page are the key's:
//
//	0 op uint8   1 status uint8   2 origin uvarint   id uvarint   value uvarint   time varint
//	then, to the end: ids uint32 each, little-endian, of Status and Time; members of Member, as in the WAL

// Append encodes a change that CutsSegments is not true of.
func (c *Change) Append(dst []byte) []byte {
	dst = append(dst, byte(c.Op), c.Status)
	dst = binary.AppendUvarint(dst, uint64(c.Origin))
	dst = binary.AppendUvarint(dst, uint64(c.ID))
	dst = binary.AppendUvarint(dst, uint64(c.Value))
	dst = binary.AppendVarint(dst, int64(c.Time))
	dst = append(dst, c.XIDs...)
	return append(dst, c.Member...)
}

// DecodeChange is the inverse of Append. The change is a view of b.
func DecodeChange(k Kind, page uint32, b []byte) (c Change, err error) {
	bad := func(what string) (Change, error) {
		return Change{}, &pg.CorruptError{What: fmt.Sprintf("change of page %d of %s: %s", page, k, what)}
	}
	if len(b) < 2 || Op(b[0]) > Member {
		return bad("no kind of change")
	}
	c = Change{Kind: k, Page: page, Op: Op(b[0]), Status: b[1]}
	b = b[2:]
	var numbers [3]uint64
	for i := range numbers {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > 1<<32-1 {
			return bad("a number is missing or too great")
		}
		numbers[i], b = v, b[n:]
	}
	at, n := binary.Varint(b)
	if n <= 0 || numbers[0] > 1<<16-1 || c.Status > 3 {
		return bad("a number is missing or too great")
	}
	c.Origin, c.ID, c.Value, c.Time = uint16(numbers[0]), uint32(numbers[1]), uint32(numbers[2]), pg.TimestampTz(at)
	switch b = b[n:]; c.Op {
	case Status, Time:
		c.XIDs = xlrec.XIDs(b)
		if len(b)%4 != 0 {
			return bad(fmt.Sprintf("%d bytes of transaction ids", len(b)))
		}
	case Member:
		c.Member = xlrec.MultiXactMembers(b)
		if len(b)%8 != 0 || uint32(c.Member.Len()) > MembersPerPage-c.ID%MembersPerPage {
			return bad(fmt.Sprintf("%d bytes of members", len(b)))
		}
	default:
		if len(b) != 0 {
			return bad(fmt.Sprintf("%d bytes too many", len(b)))
		}
	}
	return c, nil
}
