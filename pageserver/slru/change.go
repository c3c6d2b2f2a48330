package slru

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// Op is what a Change does.
type Op uint8

// The changes of a page, and then those that remove segments.
const (
	Zero   Op = iota // the page begins anew, all zeros
	Status           // transactions have ended
	Time             // transactions have committed at a time
	Offset           // where a multixact's members begin
	Member           // members of a multixact

	CutBefore   // segments wholly before Page go (SimpleLruTruncate)
	CutSegments // segments From up to To, which stays, go, perhaps over the end of the numbers (PerformMembersTruncation)
	CutAll      // all go (DeactivateCommitTs)
)

// Change is what a record does to one page, or to segments. Changes of one record are applied in order; applied twice
// they do no more than once.
type Change struct {
	Kind   Kind
	Op     Op
	Status byte   // Status: CLOGCommitted or CLOGAborted
	Origin uint16 // Time: of the commit
	Page   uint32
	ID     uint32 // Status, Time: a transaction, 0 if there is only XIDs. Offset: the multixact. Member: offset of the first
	Value  uint32 // Offset
	From   uint32 // CutSegments
	To     uint32
	Time   pg.TimestampTz
	XIDs   xlrec.XIDs             // Status, Time: more transactions on the page; a view of the record
	Member xlrec.MultiXactMembers // Member: those on the page; a view of the record
}

// CutsSegments says that the change is not one of a page.
func (c *Change) CutsSegments() bool { return c.Op >= CutBefore }

// What became of a transaction (TRANSACTION_STATUS_*); 0 is in progress.
const (
	CLOGCommitted = 1
	CLOGAborted   = 2
)

// Apply makes the change on its page, pg.BlockSize bytes.
func (c *Change) Apply(page []byte) {
	switch c.Op {
	case Zero:
		clear(page)
	case Status:
		if c.ID != 0 {
			setStatus(page, c.ID, c.Status)
		}
		for i := range c.XIDs.Len() {
			setStatus(page, uint32(c.XIDs.At(i)), c.Status)
		}
	case Time:
		if c.ID != 0 {
			setTime(page, c.ID, c.Time, c.Origin)
		}
		for i := range c.XIDs.Len() {
			setTime(page, uint32(c.XIDs.At(i)), c.Time, c.Origin)
		}
	case Offset:
		binary.LittleEndian.PutUint32(page[c.ID%OffsetsPerPage*4:], c.Value)
	case Member:
		for i := range c.Member.Len() {
			m := c.Member.At(i)
			status, xid := memberAt(c.ID + uint32(i))
			page[status] = byte(m.Status)
			binary.LittleEndian.PutUint32(page[xid:], uint32(m.XID))
		}
	}
}

// setStatus is TransactionIdSetStatusBit.
func setStatus(page []byte, xid uint32, status byte) {
	at, shift := xid%CLOGXacts/clogXactsByte, xid%clogXactsByte*2
	page[at] = page[at]&^(3<<shift) | status<<shift
}

// StatusOf reads a transaction's status on its page of the commit log (TransactionIdGetStatus).
func StatusOf(page []byte, xid pg.XID) byte {
	return page[uint32(xid)%CLOGXacts/clogXactsByte] >> (xid % clogXactsByte * 2) & 3
}

// setTime is TransactionIdSetCommitTs.
func setTime(page []byte, xid uint32, at pg.TimestampTz, origin uint16) {
	e := page[xid%CommitTsXacts*commitTsEntry:]
	binary.LittleEndian.PutUint64(e, uint64(at))
	binary.LittleEndian.PutUint16(e[8:], origin)
}

// TimeOf reads when a transaction committed, 0 if it is not known, and where it came from (TransactionIdGetCommitTsData).
func TimeOf(page []byte, xid pg.XID) (at pg.TimestampTz, origin uint16) {
	e := page[uint32(xid)%CommitTsXacts*commitTsEntry:]
	return pg.TimestampTz(binary.LittleEndian.Uint64(e)), binary.LittleEndian.Uint16(e[8:])
}

// OffsetOf reads where a multixact's members begin, 0 if that is not known.
func OffsetOf(page []byte, multi pg.MultiXactID) uint32 {
	return binary.LittleEndian.Uint32(page[uint32(multi)%OffsetsPerPage*4:])
}

// memberAt is where a member's status and id lie on its page (MXOffsetToFlagsOffset, MXOffsetToMemberOffset).
func memberAt(offset uint32) (status, xid int) {
	group := int(offset/MembersPerGroup) % memberGroups * memberGroupSize
	i := int(offset % MembersPerGroup)
	return group + i, group + MembersPerGroup + 4*i
}

// MemberOf reads the member at an offset.
func MemberOf(page []byte, offset uint32) xlrec.MultiXactMember {
	status, xid := memberAt(offset)
	return xlrec.MultiXactMember{
		XID: pg.XID(binary.LittleEndian.Uint32(page[xid:])), Status: xlrec.MultiXactStatus(page[status]),
	}
}

// Next is where the counters stand.
type Next struct {
	Multi  pg.MultiXactID
	Offset uint32 // of the next multixact's first member
}

// Mask sets to zero what may differ on a page between redo and a server that has stopped: the next multixact's offset, which
// newer minor releases set ahead and older ones do not, and the status of members to come, which a crash may leave
// (TrimMultiXact).
func Mask(k Kind, no uint32, page []byte, next Next) {
	switch k {
	case Offsets:
		if multi := max(1, uint32(next.Multi)); k.Page(multi) == no {
			binary.LittleEndian.PutUint32(page[multi%OffsetsPerPage*4:], 0)
		}
	case Members:
		if k.Page(next.Offset) != no {
			return
		}
		for o := next.Offset; ; o++ {
			status, _ := memberAt(o)
			page[status] = 0
			if o%MembersPerGroup == MembersPerGroup-1 {
				return
			}
		}
	}
}
