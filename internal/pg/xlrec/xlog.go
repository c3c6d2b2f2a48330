package xlrec

import (
	"bytes"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record types of RM_XLOG_ID (catalog/pg_control.h).
const (
	XLogCheckpointShutdown  = 0x00
	XLogCheckpointOnline    = 0x10
	XLogNoop                = 0x20
	XLogNextOID             = 0x30
	XLogSwitch              = 0x40
	XLogBackupEnd           = 0x50
	XLogParameterChange     = 0x60
	XLogRestorePoint        = 0x70
	XLogFPWChange           = 0x80
	XLogEndOfRecovery       = 0x90
	XLogFPIForHint          = 0xA0
	XLogFPI                 = 0xB0
	XLogOverwriteContrecord = 0xD0
	XLogCheckpointRedo      = 0xE0 // from 17
)

// WALLevel is wal_level as the WAL stores it.
type WALLevel int32

// The levels (access/xlog.h); WALLevelUnknown where the major does not say.
const (
	WALLevelUnknown WALLevel = -1
	WALLevelMinimal WALLevel = 0
	WALLevelReplica WALLevel = 1
	WALLevelLogical WALLevel = 2
)

// CheckPoint is the body of a checkpoint record, and pg_control's copy of the last one (CheckPoint in
// catalog/pg_control.h):
//
//	 0 redo uint64   8 ThisTimeLineID   12 PrevTimeLineID   16 fullPageWrites bool
//	20 wal_level int32 (from 17; padding before)   24 nextXid uint64   32 nextOid   36 nextMulti
//	40 nextMultiOffset   44 oldestXid   48 oldestXidDB   52 oldestMulti   56 oldestMultiDB
//	64 time int64, seconds since 1970   72 oldestCommitTsXid   76 newestCommitTsXid   80 oldestActiveXid   88 end
type CheckPoint struct {
	Redo              pg.LSN
	TimelineID        pg.TimelineID
	PrevTimelineID    pg.TimelineID // differs from TimelineID at the end of a recovery
	FullPageWrites    bool
	WALLevel          WALLevel // WALLevelUnknown before 17
	NextXID           pg.FullXID
	NextOID           pg.OID
	NextMulti         pg.MultiXactID
	NextMultiOffset   uint32
	OldestXID         pg.XID
	OldestXIDDB       pg.OID
	OldestMulti       pg.MultiXactID
	OldestMultiDB     pg.OID
	Time              int64 // seconds since 1970-01-01 UTC
	OldestCommitTsXID pg.XID
	NewestCommitTsXID pg.XID
	OldestActiveXID   pg.XID // 0 in a shutdown checkpoint
}

// CheckPointSize is sizeof(CheckPoint) in 15-18, bytes.
const CheckPointSize = 88

// DecodeCheckPoint decodes XLOG_CHECKPOINT_SHUTDOWN and XLOG_CHECKPOINT_ONLINE.
func DecodeCheckPoint(major pg.Major, main []byte) (CheckPoint, error) {
	c := newCursor("XLOG CHECKPOINT", main)
	r := CheckPoint{
		Redo:       c.lsn(),
		TimelineID: c.tli(), PrevTimelineID: c.tli(),
		FullPageWrites: c.Bool(),
		WALLevel:       WALLevelUnknown,
	}
	c.Skip(3)
	if level := c.i32(); major >= pg.PG17 {
		r.WALLevel = c.walLevel(level)
	}
	r.NextXID = pg.FullXID(c.U64())
	r.NextOID = c.oid()
	r.NextMulti, r.NextMultiOffset = pg.MultiXactID(c.U32()), c.U32()
	r.OldestXID, r.OldestXIDDB = c.xid(), c.oid()
	r.OldestMulti, r.OldestMultiDB = pg.MultiXactID(c.U32()), c.oid()
	c.Skip(4)
	r.Time = int64(c.U64())
	r.OldestCommitTsXID, r.NewestCommitTsXID = c.xid(), c.xid()
	r.OldestActiveXID = c.xid()
	c.Skip(4)
	return r, c.Done()
}

func (c *cursor) walLevel(v int32) WALLevel {
	if v < 0 || v > int32(WALLevelLogical) {
		c.Fail("wal_level %d", v)
	}
	return WALLevel(v)
}

// DecodeCheckpointRedo decodes XLOG_CHECKPOINT_REDO (17 and up): the redo point of the online checkpoint to come.
func DecodeCheckpointRedo(major pg.Major, main []byte) (WALLevel, error) {
	c := newCursor("XLOG CHECKPOINT_REDO", main)
	if major < pg.PG17 {
		c.Fail("PostgreSQL %d has no such record", major)
	}
	r := c.walLevel(c.i32())
	return r, c.Done()
}

// DecodeNextOID decodes XLOG_NEXTOID: OIDs below the result may be in use.
func DecodeNextOID(main []byte) (pg.OID, error) {
	c := newCursor("XLOG NEXTOID", main)
	r := c.oid()
	return r, c.Done()
}

// DecodeBackupEnd decodes XLOG_BACKUP_END: the redo point at which the backup that ends here began.
func DecodeBackupEnd(main []byte) (pg.LSN, error) {
	c := newCursor("XLOG BACKUP_END", main)
	r := c.lsn()
	return r, c.Done()
}

// DecodeFPWChange decodes XLOG_FPW_CHANGE: full_page_writes from here on.
func DecodeFPWChange(main []byte) (bool, error) {
	c := newCursor("XLOG FPW_CHANGE", main)
	r := c.Bool()
	return r, c.Done()
}

// ParameterChange is written at start when a setting a standby depends on has changed (xl_parameter_change).
type ParameterChange struct {
	MaxConnections       int32
	MaxWorkerProcesses   int32
	MaxWALSenders        int32
	MaxPreparedXacts     int32
	MaxLocksPerXact      int32
	WALLevel             WALLevel
	WALLogHints          bool
	TrackCommitTimestamp bool
}

// DecodeParameterChange decodes XLOG_PARAMETER_CHANGE.
func DecodeParameterChange(main []byte) (ParameterChange, error) {
	c := newCursor("XLOG PARAMETER_CHANGE", main)
	r := ParameterChange{
		MaxConnections: c.i32(), MaxWorkerProcesses: c.i32(), MaxWALSenders: c.i32(),
		MaxPreparedXacts: c.i32(), MaxLocksPerXact: c.i32(),
	}
	r.WALLevel = c.walLevel(c.i32())
	r.WALLogHints, r.TrackCommitTimestamp = c.Bool(), c.Bool()
	c.Skip(2)
	return r, c.Done()
}

// RestorePoint is a name given to a place in the WAL (xl_restore_point).
type RestorePoint struct {
	Time pg.TimestampTz
	Name []byte
}

// restorePointNameSize is MAXFNAMELEN, bytes.
const restorePointNameSize = 64

// DecodeRestorePoint decodes XLOG_RESTORE_POINT.
func DecodeRestorePoint(main []byte) (RestorePoint, error) {
	c := newCursor("XLOG RESTORE_POINT", main)
	r := RestorePoint{Time: c.time()}
	name := c.Bytes(restorePointNameSize)
	n := bytes.IndexByte(name, 0)
	if n < 0 {
		c.Fail("name is not terminated")
		n = 0
	}
	r.Name = name[:n:n]
	return r, c.Done()
}

// EndOfRecovery is the first record of a new timeline (xl_end_of_recovery); 17 added the level.
type EndOfRecovery struct {
	Time           pg.TimestampTz
	TimelineID     pg.TimelineID
	PrevTimelineID pg.TimelineID
	WALLevel       WALLevel // WALLevelUnknown before 17
}

// DecodeEndOfRecovery decodes XLOG_END_OF_RECOVERY.
func DecodeEndOfRecovery(major pg.Major, main []byte) (EndOfRecovery, error) {
	c := newCursor("XLOG END_OF_RECOVERY", main)
	r := EndOfRecovery{Time: c.time(), TimelineID: c.tli(), PrevTimelineID: c.tli(), WALLevel: WALLevelUnknown}
	if major >= pg.PG17 {
		r.WALLevel = c.walLevel(c.i32())
		c.Skip(4)
	}
	return r, c.Done()
}

// OverwriteContrecord follows a record that a crash cut off and that will never be completed
// (xl_overwrite_contrecord).
type OverwriteContrecord struct {
	Overwritten pg.LSN // start of the cut record
	Time        pg.TimestampTz
}

// DecodeOverwriteContrecord decodes XLOG_OVERWRITE_CONTRECORD.
func DecodeOverwriteContrecord(main []byte) (OverwriteContrecord, error) {
	c := newCursor("XLOG OVERWRITE_CONTRECORD", main)
	r := OverwriteContrecord{Overwritten: c.lsn(), Time: c.time()}
	return r, c.Done()
}
