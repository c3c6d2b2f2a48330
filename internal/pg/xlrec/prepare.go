package xlrec

import (
	"bytes"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// Prepare is PREPARE TRANSACTION: the state file the server keeps for the transaction, without its closing CRC.
// Layout of the data (xl_xact_prepare in access/xact.h, EndPrepare in access/transam/twophase.c); each part is
// padded to 8 bytes:
//
//	 0 magic uint32   4 total_len uint32, of the file: the data and 4 bytes of CRC32C
//	 8 xid   12 database   16 prepared_at   24 owner
//	28 nsubxacts   32 ncommitrels   36 nabortrels   40 ncommitstats   44 nabortstats   48 ninvalmsgs
//	52 initfileinval bool   54 gidlen uint16, NUL included   56 origin_lsn   64 origin_timestamp
//	72 gid, subxacts, commit rels, abort rels, commit stats, abort stats, invalidations
//	   then per two-phase manager: len uint32, rmid uint8, pad, info uint16, data; ended by rmid 0
type Prepare struct {
	XID        pg.XID
	DB         pg.OID
	PreparedAt pg.TimestampTz
	Owner      pg.OID
	GID        []byte

	Subxacts    XIDs
	CommitRels  Rels // dropped if it commits
	AbortRels   Rels // dropped if it aborts
	CommitStats StatsItems
	AbortStats  StatsItems
	Invals      Invals

	InitFileInval bool
	OriginLSN     pg.LSN
	OriginTime    pg.TimestampTz

	State []byte // the whole main data: with its CRC32C appended, the file in pg_twophase
}

// TwophaseMagic is TWOPHASE_MAGIC, the first word of a state file in 15-18.
const TwophaseMagic = 0x57F94534

// DecodePrepare decodes XLOG_XACT_PREPARE (ParsePrepareRecord). The managers' own records are walked, not decoded.
func DecodePrepare(major pg.Major, main []byte) (Prepare, error) {
	c := newCursor("XACT PREPARE", main)
	if m := c.U32(); m != TwophaseMagic {
		c.Fail("magic %#x", m)
	}
	if n := c.U32(); uint64(n) != uint64(len(main))+4 {
		c.Fail("total length %d", n)
	}
	r := Prepare{XID: c.xid(), DB: c.oid(), PreparedAt: c.time(), Owner: c.oid(), State: main}
	nsub, ncrel, narel, ncstat, nastat, ninval := c.i32(), c.i32(), c.i32(), c.i32(), c.i32(), c.i32()
	r.InitFileInval = c.Bool()
	c.Skip(1)
	gidlen := int(c.U16())
	r.OriginLSN, r.OriginTime = c.lsn(), c.time()

	gid := c.Bytes(gidlen)
	if n := bytes.IndexByte(gid, 0); n >= 0 && n == gidlen-1 {
		r.GID = gid[:n:n]
	} else {
		c.Fail("name is not terminated")
	}
	c.Align()
	r.Subxacts = XIDs(c.Array(nsub, 4))
	c.Align()
	r.CommitRels = Rels(c.Array(ncrel, 12))
	c.Align()
	r.AbortRels = Rels(c.Array(narel, 12))
	c.Align()
	r.CommitStats = c.stats(major, ncstat)
	c.Align()
	r.AbortStats = c.stats(major, nastat)
	c.Align()
	r.Invals = Invals(c.Array(ninval, InvalSize))
	c.Align()
	c.twophaseRecords()
	return r, c.Done()
}

// twophaseRecords walks the managers' records to the closing one (ProcessRecords).
func (c *cursor) twophaseRecords() {
	for !c.Short() {
		n := c.U32()
		rmid := c.U8()
		c.Skip(1 + 2)
		if rmid == 0 && n == 0 {
			return
		}
		c.Skip(int(n))
		c.Align()
	}
}

// TwoPhaseName is the name of a prepared transaction's file in pg_twophase: its id in 8 hexadecimal digits, from 17 on with
// its epoch in 16. next is the next transaction id (TwoPhaseFilePath, AdjustToFullTransactionId).
func TwoPhaseName(major pg.Major, xid pg.XID, next pg.FullXID) string {
	if major < pg.PG17 {
		return fmt.Sprintf("%08X", uint32(xid))
	}
	epoch := uint32(next >> 32)
	if xid > pg.XID(next) {
		epoch-- // of before the ids wrapped
	}
	return fmt.Sprintf("%08X%08X", epoch, uint32(xid))
}
