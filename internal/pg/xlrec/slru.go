package xlrec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record types of RM_CLOG_ID (access/clog.h).
const (
	ClogZeroPage = 0x00
	ClogTruncate = 0x10
)

// Record types of RM_COMMIT_TS_ID (access/commit_ts.h).
const (
	CommitTsZeroPage = 0x00
	CommitTsTruncate = 0x10
)

// Record types of RM_MULTIXACT_ID (access/multixact.h).
const (
	MultiXactZeroOffPage = 0x00
	MultiXactZeroMemPage = 0x10
	MultiXactCreateID    = 0x20
	MultiXactTruncateID  = 0x30
)

// DecodeZeroPage decodes the page number of XLOG CLOG_ZEROPAGE, COMMIT_TS_ZEROPAGE, MULTIXACT_ZERO_OFF_PAGE and
// MULTIXACT_ZERO_MEM_PAGE.
func DecodeZeroPage(major pg.Major, main []byte) (page int64, err error) {
	c := newCursor("SLRU ZEROPAGE", main)
	page = c.pageno(major)
	return page, c.Done()
}

// ClogTrunc removes commit log segments before Page (xl_clog_truncate).
type ClogTrunc struct {
	Page        int64
	OldestXID   pg.XID
	OldestXIDDB pg.OID
}

// DecodeClogTruncate decodes CLOG_TRUNCATE.
func DecodeClogTruncate(major pg.Major, main []byte) (ClogTrunc, error) {
	c := newCursor("CLOG TRUNCATE", main)
	r := ClogTrunc{Page: c.pageno(major), OldestXID: c.xid(), OldestXIDDB: c.oid()}
	return r, c.Done()
}

// CommitTsTrunc removes commit timestamp segments before Page (xl_commit_ts_truncate).
type CommitTsTrunc struct {
	Page      int64
	OldestXID pg.XID
}

// DecodeCommitTsTruncate decodes COMMIT_TS_TRUNCATE.
func DecodeCommitTsTruncate(major pg.Major, main []byte) (CommitTsTrunc, error) {
	c := newCursor("CommitTs TRUNCATE", main)
	r := CommitTsTrunc{Page: c.pageno(major), OldestXID: c.xid()}
	return r, c.Done()
}

// MultiXactStatus is a member's mode (MultiXactStatus).
type MultiXactStatus uint32

// Member modes (access/multixact.h); those from NoKeyUpdate up have updated or deleted the tuple.
const (
	MultiXactForKeyShare    MultiXactStatus = 0
	MultiXactForShare       MultiXactStatus = 1
	MultiXactForNoKeyUpdate MultiXactStatus = 2
	MultiXactForUpdate      MultiXactStatus = 3
	MultiXactNoKeyUpdate    MultiXactStatus = 4
	MultiXactUpdate         MultiXactStatus = 5
)

// IsUpdate is ISUPDATE_from_mxstatus.
func (s MultiXactStatus) IsUpdate() bool { return s > MultiXactForUpdate }

// MultiXactMember is one transaction of a multixact.
type MultiXactMember struct {
	XID    pg.XID
	Status MultiXactStatus
}

// MultiXactMembers is an array of MultiXactMember.
type MultiXactMembers []byte

func (a MultiXactMembers) Len() int { return len(a) / 8 }

// At is element i, which must be below Len.
func (a MultiXactMembers) At(i int) MultiXactMember {
	b := a[8*i : 8*i+8]
	return MultiXactMember{
		XID:    pg.XID(binary.LittleEndian.Uint32(b)),
		Status: MultiXactStatus(binary.LittleEndian.Uint32(b[4:])),
	}
}

// MultiXactCreate gives a multixact its members (xl_multixact_create). Offset wraps at 2^32, perhaps inside Members.
type MultiXactCreate struct {
	ID      pg.MultiXactID
	Offset  uint32 // of the first member in pg_multixact/members
	Members MultiXactMembers
}

// DecodeMultiXactCreate decodes XLOG_MULTIXACT_CREATE_ID.
func DecodeMultiXactCreate(main []byte) (MultiXactCreate, error) {
	c := newCursor("MultiXact CREATE_ID", main)
	r := MultiXactCreate{ID: pg.MultiXactID(c.U32()), Offset: c.U32()}
	r.Members = MultiXactMembers(c.Array(c.i32(), 8))
	for i := range r.Members.Len() {
		if s := r.Members.At(i).Status; s > MultiXactUpdate {
			c.Fail("member status %d", s)
		}
	}
	return r, c.Done()
}

// MultiXactTruncate removes [StartOffset, EndOffset) multixacts and their members (xl_multixact_truncate).
type MultiXactTruncate struct {
	OldestDB    pg.OID
	StartOffset pg.MultiXactID
	EndOffset   pg.MultiXactID
	StartMember uint32
	EndMember   uint32
}

// DecodeMultiXactTruncate decodes XLOG_MULTIXACT_TRUNCATE_ID.
func DecodeMultiXactTruncate(main []byte) (MultiXactTruncate, error) {
	c := newCursor("MultiXact TRUNCATE_ID", main)
	r := MultiXactTruncate{
		OldestDB:    c.oid(),
		StartOffset: pg.MultiXactID(c.U32()), EndOffset: pg.MultiXactID(c.U32()),
		StartMember: c.U32(), EndMember: c.U32(),
	}
	return r, c.Done()
}
