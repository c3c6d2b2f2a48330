package cluster

import (
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// xlog is xlog_redo but for images of pages. Each type is decoded, those that change nothing here too.
func (s *State) xlog(rec *wal.Record, sets *slru.Sets, changes []slru.Change) ([]slru.Change, error) {
	var err error
	switch rec.Op() {
	case xlrec.XLogCheckpointShutdown, xlrec.XLogCheckpointOnline:
		return changes, s.checkpoint(rec)
	case xlrec.XLogParameterChange:
		return s.parameters(rec, sets, changes)
	case xlrec.XLogEndOfRecovery:
		return changes, s.endOfRecovery(rec)
	case xlrec.XLogNextOID:
		var oid pg.OID
		if oid, err = xlrec.DecodeNextOID(rec.Main); err == nil {
			s.CheckPoint.NextOID = oid // the counter wraps: the record is believed as it is
		}
	case xlrec.XLogFPWChange:
		var on bool
		if on, err = xlrec.DecodeFPWChange(rec.Main); err == nil {
			s.fullPageWrites(on, rec.LSN)
		}
	case xlrec.XLogCheckpointRedo:
		var level xlrec.WALLevel
		if level, err = xlrec.DecodeCheckpointRedo(rec.Major, rec.Main); err == nil {
			err = s.level(level)
		}
	case xlrec.XLogBackupEnd: // where a base backup is consistent is known from its own end
		_, err = xlrec.DecodeBackupEnd(rec.Main)
	case xlrec.XLogRestorePoint:
		_, err = xlrec.DecodeRestorePoint(rec.Main)
	case xlrec.XLogOverwriteContrecord: // the reader has passed over the record cut off
		_, err = xlrec.DecodeOverwriteContrecord(rec.Main)
	case xlrec.XLogSwitch, xlrec.XLogFPI, xlrec.XLogFPIForHint:
		if len(rec.Main) != 0 {
			err = &pg.CorruptError{What: fmt.Sprintf("XLOG record %#02x of %d bytes, which has none", rec.Info, len(rec.Main))}
		}
	case xlrec.XLogNoop: // may hold anything
	default:
		err = unknown(rec, "XLOG")
	}
	return changes, err
}

// checkpoint takes a checkpoint's counters over. Those of a shut down server are believed; those of an online one are as
// of when it began.
func (s *State) checkpoint(rec *wal.Record) error {
	c, err := xlrec.DecodeCheckPoint(rec.Major, rec.Main)
	if err != nil {
		return err
	}
	if err := s.level(c.WALLevel); err != nil {
		return err
	}
	s.Timeline = c.TimelineID
	if rec.Op() == xlrec.XLogCheckpointShutdown {
		s.fullPageWrites(c.FullPageWrites, rec.LSN)
	}
	old := s.CheckPoint
	if rec.Op() == xlrec.XLogCheckpointOnline {
		c.NextXID = max(c.NextXID, old.NextXID)
		c.NextOID, c.FullPageWrites = old.NextOID, old.FullPageWrites // from their own records
		advanceMulti(&c, old.NextMulti, old.NextMultiOffset)
		// The snapshot of a checkpoint is logged between its beginning and its record.
		if c.OldestActiveXID.Precedes(old.OldestActiveXID) {
			c.OldestActiveXID = old.OldestActiveXID
		}
		if c.OldestXID.Precedes(old.OldestXID) {
			c.OldestXID, c.OldestXIDDB = old.OldestXID, old.OldestXIDDB
		}
	}
	if multiPrecedes(c.OldestMulti, old.OldestMulti) { // MultiXactAdvanceOldest
		c.OldestMulti, c.OldestMultiDB = old.OldestMulti, old.OldestMultiDB
	}
	// No checkpoint moves these two in redo: commits and truncations do, and the settings.
	c.OldestCommitTsXID, c.NewestCommitTsXID = old.OldestCommitTsXID, old.NewestCommitTsXID
	s.CheckPoint = c
	return nil
}

// fullPageWrites notes the setting as a record has it. One that changes nothing, such as each start's, does not move the LSN.
func (s *State) fullPageWrites(on bool, lsn pg.LSN) {
	if s.CheckPoint.FullPageWrites != on {
		s.CheckPoint.FullPageWrites, s.FullPageWritesLSN = on, lsn
	}
}

// advanceMulti is MultiXactAdvanceNextMXact.
func advanceMulti(c *xlrec.CheckPoint, multi pg.MultiXactID, offset uint32) {
	if multiPrecedes(c.NextMulti, multi) {
		c.NextMulti = multi
	}
	if int32(c.NextMultiOffset-offset) < 0 { // MultiXactOffsetPrecedes
		c.NextMultiOffset = offset
	}
}

// multiPrecedes is MultiXactIdPrecedes.
func multiPrecedes(a, b pg.MultiXactID) bool { return int32(a-b) < 0 }

// level takes over a record's wal_level, if it says one.
func (s *State) level(l xlrec.WALLevel) error {
	if l == xlrec.WALLevelMinimal {
		return ErrWALMinimal
	}
	if l != xlrec.WALLevelUnknown {
		s.CheckPoint.WALLevel, s.Settings.WALLevel = l, l
	}
	return nil
}

func (s *State) endOfRecovery(rec *wal.Record) error {
	r, err := xlrec.DecodeEndOfRecovery(rec.Major, rec.Main)
	if err != nil {
		return err
	}
	s.Timeline = r.TimelineID
	return s.level(r.WALLevel)
}

// parameters takes the settings over, and begins or ends keeping commit times (CommitTsParameterChange).
func (s *State) parameters(rec *wal.Record, sets *slru.Sets, changes []slru.Change) ([]slru.Change, error) {
	p, err := xlrec.DecodeParameterChange(rec.Main)
	if err != nil {
		return changes, err
	}
	if p.WALLevel == xlrec.WALLevelMinimal {
		return changes, ErrWALMinimal
	}
	s.Settings = p
	if s.CheckPoint.WALLevel != xlrec.WALLevelUnknown {
		s.CheckPoint.WALLevel = p.WALLevel
	}
	if p.TrackCommitTimestamp {
		return s.ActivateCommitTs(sets, changes), nil
	}
	return s.deactivateCommitTs(changes), nil
}

// standby is standby_redo as far as the counters go (ProcArrayApplyRecoveryInfo).
func (s *State) standby(rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.StandbyLock:
		_, err := xlrec.DecodeStandbyLock(rec.Main)
		return err
	case xlrec.StandbyInvalidations:
		_, err := xlrec.DecodeStandbyInvalidations(rec.Main)
		return err
	case xlrec.StandbyRunningXacts:
		r, err := xlrec.DecodeRunningXacts(rec.Main)
		if err != nil {
			return err
		}
		if r.NextXID < pg.FirstNormalXID {
			return &pg.CorruptError{What: fmt.Sprintf("running transactions below %d", r.NextXID)}
		}
		if last := r.NextXID - 1; last >= pg.FirstNormalXID {
			s.NoteXID(last)
		} else {
			s.NoteXID(1<<32 - 1) // TransactionIdRetreat over the end
		}
		s.CheckPoint.OldestActiveXID = r.OldestRunning
		return nil
	}
	return unknown(rec, "standby")
}
