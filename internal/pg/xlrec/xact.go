package xlrec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record types of RM_XACT_ID (access/xact.h), in xl_info under XactOpMask.
const (
	XactOpMask         = 0x70
	XactCommit         = 0x00
	XactPrepare        = 0x10
	XactAbort          = 0x20
	XactCommitPrepared = 0x30
	XactAbortPrepared  = 0x40
	XactAssignment     = 0x50
	XactInvalidations  = 0x60
	XactHasInfo        = 0x80 // XLOG_XACT_HAS_INFO: xinfo follows the time
)

// xinfo bits (access/xact.h).
const (
	XInfoHasDBInfo       = 1 << 0
	XInfoHasSubxacts     = 1 << 1
	XInfoHasRels         = 1 << 2
	XInfoHasInvals       = 1 << 3
	XInfoHasTwophase     = 1 << 4
	XInfoHasOrigin       = 1 << 5
	XInfoHasAELocks      = 1 << 6
	XInfoHasGID          = 1 << 7
	XInfoHasDroppedStats = 1 << 8

	XInfoApplyFeedback      = 1 << 29 // XACT_COMPLETION_APPLY_FEEDBACK
	XInfoUpdateRelcacheFile = 1 << 30 // XACT_COMPLETION_UPDATE_RELCACHE_FILE
	XInfoForceSyncCommit    = 1 << 31 // XACT_COMPLETION_FORCE_SYNC_COMMIT

	xinfoKnown = 1<<9 - 1 | XInfoApplyFeedback | XInfoUpdateRelcacheFile | XInfoForceSyncCommit
)

// Commit is COMMIT and COMMIT PREPARED (xl_xact_parsed_commit).
type Commit struct {
	Time  pg.TimestampTz
	XInfo uint32
	DB    pg.OID // MyDatabaseId, 0 if not named
	Spc   pg.OID // MyDatabaseTableSpace

	Subxacts     XIDs
	DroppedRels  Rels // every fork of these goes
	DroppedStats StatsItems
	Invals       Invals

	PreparedXID pg.XID // of the prepared transaction that commits, else 0: use it in place of the record's
	GID         []byte // its name, if wal_level is logical

	OriginLSN  pg.LSN
	OriginTime pg.TimestampTz
}

// Abort is ABORT and ABORT PREPARED (xl_xact_parsed_abort); the fields mean what they do in Commit.
type Abort struct {
	Time  pg.TimestampTz
	XInfo uint32
	DB    pg.OID
	Spc   pg.OID

	Subxacts     XIDs
	DroppedRels  Rels
	DroppedStats StatsItems

	PreparedXID pg.XID
	GID         []byte

	OriginLSN  pg.LSN
	OriginTime pg.TimestampTz
}

// DecodeCommit decodes XLOG_XACT_COMMIT and XLOG_XACT_COMMIT_PREPARED (ParseCommitRecord).
func DecodeCommit(major pg.Major, main []byte, info uint8) (Commit, error) {
	c := newCursor("XACT COMMIT", main)
	r := c.xactEnd(major, info, true)
	if info&XactOpMask == XactCommitPrepared && r.PreparedXID == 0 {
		c.Fail("COMMIT PREPARED names no transaction")
	}
	return r, c.Done()
}

// DecodeAbort decodes XLOG_XACT_ABORT and XLOG_XACT_ABORT_PREPARED (ParseAbortRecord).
func DecodeAbort(major pg.Major, main []byte, info uint8) (Abort, error) {
	c := newCursor("XACT ABORT", main)
	r := c.xactEnd(major, info, false)
	if info&XactOpMask == XactAbortPrepared && r.PreparedXID == 0 {
		c.Fail("ABORT PREPARED names no transaction")
	}
	return Abort{
		Time: r.Time, XInfo: r.XInfo, DB: r.DB, Spc: r.Spc,
		Subxacts: r.Subxacts, DroppedRels: r.DroppedRels, DroppedStats: r.DroppedStats,
		PreparedXID: r.PreparedXID, GID: r.GID, OriginLSN: r.OriginLSN, OriginTime: r.OriginTime,
	}, c.Done()
}

// xactEnd reads the parts in their fixed order; an abort has the same ones but invalidations.
func (c *cursor) xactEnd(major pg.Major, info uint8, commit bool) (r Commit) {
	r.Time = c.time()
	if info&XactHasInfo != 0 {
		r.XInfo = c.U32()
	}
	if r.XInfo&^xinfoKnown != 0 {
		c.Fail("unknown xinfo bits %#x", r.XInfo&^xinfoKnown)
	}
	has := func(bit uint32) bool { return r.XInfo&bit != 0 }
	if has(XInfoHasDBInfo) {
		r.DB, r.Spc = c.oid(), c.oid()
	}
	if has(XInfoHasSubxacts) {
		r.Subxacts = XIDs(c.Array(c.i32(), 4))
	}
	if has(XInfoHasRels) {
		r.DroppedRels = Rels(c.Array(c.i32(), 12))
	}
	if has(XInfoHasDroppedStats) {
		r.DroppedStats = c.stats(major, c.i32())
	}
	if commit && has(XInfoHasInvals) {
		r.Invals = Invals(c.Array(c.i32(), InvalSize))
	}
	if has(XInfoHasTwophase) {
		r.PreparedXID = c.xid()
		if has(XInfoHasGID) {
			r.GID = c.CString()
		}
	}
	if has(XInfoHasOrigin) {
		r.OriginLSN, r.OriginTime = c.lsn(), c.time()
	}
	return r
}

// Assignment ties subtransactions to their top-level transaction for standbys (xl_xact_assignment).
type Assignment struct {
	Top      pg.XID
	Subxacts XIDs
}

// DecodeAssignment decodes XLOG_XACT_ASSIGNMENT.
func DecodeAssignment(main []byte) (Assignment, error) {
	c := newCursor("XACT ASSIGNMENT", main)
	r := Assignment{Top: c.xid()}
	r.Subxacts = XIDs(c.Array(c.i32(), 4))
	return r, c.Done()
}

// DecodeXactInvalidations decodes XLOG_XACT_INVALIDATIONS (xl_xact_invals).
func DecodeXactInvalidations(main []byte) (Invals, error) {
	c := newCursor("XACT INVALIDATION", main)
	r := Invals(c.Array(c.i32(), InvalSize))
	return r, c.Done()
}

// DropsNothing says that a transaction record neither removes files nor ends or begins a prepared transaction: it only sets the
// fate of its transactions. It looks at the flags alone and trusts a record no further than that.
func DropsNothing(main []byte, info uint8) bool {
	switch info & XactOpMask {
	case XactCommit, XactAbort:
		return info&XactHasInfo == 0 || len(main) >= 12 && binary.LittleEndian.Uint32(main[8:])&XInfoHasRels == 0
	case XactAssignment, XactInvalidations:
		return true
	}
	return false
}
