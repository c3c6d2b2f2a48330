package waldump

import (
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// descTime is how pg_waldump prints times, in UTC.
const descTime = "2006-01-02 15:04:05.000000 MST"

// appendDesc appends what of a record's content helps to find one's way: the ends of transactions, files, databases
// and checkpoints. A record that does not parse is shown as such; the dump goes on.
func appendDesc(b []byte, rec *wal.Record) []byte {
	var err error
	at := len(b)
	switch rec.RMID {
	case wal.RMXact:
		b, err = appendXact(b, rec)
	case wal.RMSmgr:
		b, err = appendSmgr(b, rec)
	case wal.RMDbase:
		b, err = appendDbase(b, rec)
	case wal.RMXLog:
		b, err = appendXLog(b, rec)
	case wal.RMStandby:
		if rec.Op() == xlrec.StandbyRunningXacts {
			var r xlrec.RunningXacts
			r, err = xlrec.DecodeRunningXacts(rec.Main)
			b = fmt.Appendf(b, "nextXid %d latestCompletedXid %d oldestRunningXid %d", r.NextXID, r.LatestCompleted, r.OldestRunning)
			if n := r.XIDs.Len(); n > 0 {
				b = fmt.Appendf(b, "; %d xacts:%s", n, xids(r.XIDs))
			}
		}
	}
	if err != nil {
		return append(append(b[:at], "NOT VALID: "...), err.Error()...)
	}
	return b
}

func xids(a xlrec.XIDs) (s string) {
	for i := range a.Len() {
		s += fmt.Sprintf(" %d", a.At(i))
	}
	return s
}

func appendXact(b []byte, rec *wal.Record) ([]byte, error) {
	var c xlrec.Commit
	switch rec.Info & xlrec.XactOpMask {
	case xlrec.XactCommit, xlrec.XactCommitPrepared:
		var err error
		if c, err = xlrec.DecodeCommit(rec.Major, rec.Main, rec.Info); err != nil {
			return b, err
		}
	case xlrec.XactAbort, xlrec.XactAbortPrepared:
		a, err := xlrec.DecodeAbort(rec.Major, rec.Main, rec.Info)
		if err != nil {
			return b, err
		}
		c = xlrec.Commit{Time: a.Time, PreparedXID: a.PreparedXID, Subxacts: a.Subxacts, DroppedRels: a.DroppedRels}
	case xlrec.XactPrepare:
		p, err := xlrec.DecodePrepare(rec.Major, rec.Main)
		return fmt.Appendf(b, "gid %s: %s", p.GID, p.PreparedAt.Time().Format(descTime)), err
	case xlrec.XactAssignment:
		a, err := xlrec.DecodeAssignment(rec.Main)
		return fmt.Appendf(b, "xtop %d: subxacts:%s", a.Top, xids(a.Subxacts)), err
	default:
		return b, nil
	}
	if c.PreparedXID != 0 {
		b = fmt.Appendf(b, "%d: ", c.PreparedXID)
	}
	b = append(b, c.Time.Time().Format(descTime)...)
	for i := range c.DroppedRels.Len() {
		if i == 0 {
			b = append(b, "; rels:"...)
		}
		b = fmt.Appendf(b, " %s", c.DroppedRels.At(i))
	}
	if c.Subxacts.Len() > 0 {
		b = fmt.Appendf(b, "; subxacts:%s", xids(c.Subxacts))
	}
	return b, nil
}

func appendSmgr(b []byte, rec *wal.Record) ([]byte, error) {
	switch rec.Op() {
	case xlrec.SmgrCreate:
		r, err := xlrec.DecodeSmgrCreate(rec.Main)
		return fmt.Appendf(b, "rel %s fork %s", r.Rel, r.Fork), err
	case xlrec.SmgrTruncate:
		r, err := xlrec.DecodeSmgrTruncate(rec.Main)
		return fmt.Appendf(b, "rel %s to %d blocks flags %d", r.Rel, r.Block, r.Flags), err
	}
	return b, nil
}

func appendDbase(b []byte, rec *wal.Record) ([]byte, error) {
	switch rec.Op() {
	case xlrec.DbaseCreateFileCopy:
		r, err := xlrec.DecodeDBCreateFileCopy(rec.Main)
		return fmt.Appendf(b, "copy dir %d/%d to %d/%d", r.SrcSpc, r.SrcDB, r.Spc, r.DB), err
	case xlrec.DbaseCreateWALLog:
		r, err := xlrec.DecodeDBCreateWALLog(rec.Main)
		return fmt.Appendf(b, "create dir %d/%d", r.Spc, r.DB), err
	case xlrec.DbaseDrop:
		r, err := xlrec.DecodeDBDrop(rec.Main)
		b = append(b, "dir"...)
		for i := range r.Tablespaces.Len() {
			b = fmt.Appendf(b, " %d/%d", r.Tablespaces.At(i), r.DB)
		}
		return b, err
	}
	return b, nil
}

func appendXLog(b []byte, rec *wal.Record) ([]byte, error) {
	switch rec.Op() {
	case xlrec.XLogCheckpointShutdown, xlrec.XLogCheckpointOnline:
		c, err := xlrec.DecodeCheckPoint(rec.Major, rec.Main)
		kind := "online"
		if rec.Op() == xlrec.XLogCheckpointShutdown {
			kind = "shutdown"
		}
		return fmt.Appendf(b, "redo %s; tli %d; prev tli %d; fpw %t; xid %d:%d; oid %d; multi %d; offset %d; oldest xid %d; oldest running xid %d; %s",
			c.Redo, c.TimelineID, c.PrevTimelineID, c.FullPageWrites, c.NextXID>>32, uint32(c.NextXID), c.NextOID, c.NextMulti,
			c.NextMultiOffset, c.OldestXID, c.OldestActiveXID, kind), err
	case xlrec.XLogNextOID:
		oid, err := xlrec.DecodeNextOID(rec.Main)
		return fmt.Appendf(b, "%d", oid), err
	case xlrec.XLogFPWChange:
		on, err := xlrec.DecodeFPWChange(rec.Main)
		return fmt.Appendf(b, "%t", on), err
	case xlrec.XLogRestorePoint:
		r, err := xlrec.DecodeRestorePoint(rec.Main)
		return append(b, r.Name...), err
	case xlrec.XLogBackupEnd:
		l, err := xlrec.DecodeBackupEnd(rec.Main)
		return append(b, pg.LSN(l).String()...), err
	case xlrec.XLogOverwriteContrecord:
		r, err := xlrec.DecodeOverwriteContrecord(rec.Main)
		return fmt.Appendf(b, "lsn %s; time %s", r.Overwritten, r.Time.Time().Format(descTime)), err
	case xlrec.XLogEndOfRecovery:
		r, err := xlrec.DecodeEndOfRecovery(rec.Major, rec.Main)
		return fmt.Appendf(b, "tli %d; prev tli %d; time %s", r.TimelineID, r.PrevTimelineID, r.Time.Time().Format(descTime)), err
	}
	return b, nil
}
