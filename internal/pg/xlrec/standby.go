package xlrec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record types of RM_STANDBY_ID (storage/standbydefs.h).
const (
	StandbyLock          = 0x00
	StandbyRunningXacts  = 0x10
	StandbyInvalidations = 0x20
)

// RunningXacts lists the transactions in progress (xl_running_xacts): an id below NextXID that is neither here nor in
// the commit log has crashed.
type RunningXacts struct {
	SubxidOverflow  bool // Subxids is incomplete
	NextXID         pg.XID
	OldestRunning   pg.XID
	LatestCompleted pg.XID
	XIDs            XIDs // top-level
	Subxids         XIDs
}

// DecodeRunningXacts decodes XLOG_RUNNING_XACTS.
func DecodeRunningXacts(main []byte) (RunningXacts, error) {
	c := newCursor("Standby RUNNING_XACTS", main)
	xcnt, subxcnt := c.i32(), c.i32()
	r := RunningXacts{SubxidOverflow: c.Bool()}
	c.Skip(3)
	r.NextXID, r.OldestRunning, r.LatestCompleted = c.xid(), c.xid(), c.xid()
	r.XIDs = XIDs(c.Array(xcnt, 4))
	r.Subxids = XIDs(c.Array(subxcnt, 4))
	return r, c.Done()
}

// StandbyLockEntry is an AccessExclusiveLock a transaction holds (xl_standby_lock).
type StandbyLockEntry struct {
	XID pg.XID
	DB  pg.OID
	Rel pg.OID // the relation's OID, not its file
}

// StandbyLocks is an array of xl_standby_lock.
type StandbyLocks []byte

func (a StandbyLocks) Len() int { return len(a) / 12 }

// At is element i, which must be below Len.
func (a StandbyLocks) At(i int) StandbyLockEntry {
	b := a[12*i : 12*i+12]
	return StandbyLockEntry{
		XID: pg.XID(binary.LittleEndian.Uint32(b)),
		DB:  pg.OID(binary.LittleEndian.Uint32(b[4:])),
		Rel: pg.OID(binary.LittleEndian.Uint32(b[8:])),
	}
}

// DecodeStandbyLock decodes XLOG_STANDBY_LOCK.
func DecodeStandbyLock(main []byte) (StandbyLocks, error) {
	c := newCursor("Standby LOCK", main)
	r := StandbyLocks(c.Array(c.i32(), 12))
	return r, c.Done()
}

// StandbyInvals are cache invalidations of a transaction without an id (xl_invalidations).
type StandbyInvals struct {
	DB, Spc           pg.OID
	RelcacheInitInval bool
	Invals            Invals
}

// DecodeStandbyInvalidations decodes XLOG_INVALIDATIONS.
func DecodeStandbyInvalidations(main []byte) (StandbyInvals, error) {
	c := newCursor("Standby INVALIDATIONS", main)
	r := StandbyInvals{DB: c.oid(), Spc: c.oid(), RelcacheInitInval: c.Bool()}
	c.Skip(3)
	r.Invals = Invals(c.Array(c.i32(), InvalSize))
	return r, c.Done()
}
