package waldump_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/internal/walfixture"
)

// decodeState runs the decoder of a record that carries state and walks what it returned; ok is false for the records
// of other managers.
func decodeState(major pg.Major, id wal.RMID, info uint8, main []byte) (ok bool, err error) {
	op := info & 0xF0
	switch id {
	case wal.RMXact:
		return decodeXact(major, info, main)
	case wal.RMXLog:
		return decodeXLog(major, op, main)
	case wal.RMSmgr:
		if op == xlrec.SmgrCreate {
			_, err = xlrec.DecodeSmgrCreate(main)
		} else {
			_, err = xlrec.DecodeSmgrTruncate(main)
		}
	case wal.RMClog:
		if op == xlrec.ClogZeroPage {
			_, err = xlrec.DecodeZeroPage(major, main)
		} else {
			_, err = xlrec.DecodeClogTruncate(major, main)
		}
	case wal.RMCommitTs:
		if op == xlrec.CommitTsZeroPage {
			_, err = xlrec.DecodeZeroPage(major, main)
		} else {
			_, err = xlrec.DecodeCommitTsTruncate(major, main)
		}
	case wal.RMMultiXact:
		switch op {
		case xlrec.MultiXactCreateID:
			var r xlrec.MultiXactCreate
			r, err = xlrec.DecodeMultiXactCreate(main)
			if err == nil && r.Members.Len() == 0 {
				err = errors.New("multixact without members")
			}
		case xlrec.MultiXactTruncateID:
			_, err = xlrec.DecodeMultiXactTruncate(main)
		default:
			_, err = xlrec.DecodeZeroPage(major, main)
		}
	case wal.RMDbase:
		switch op {
		case xlrec.DbaseCreateFileCopy:
			_, err = xlrec.DecodeDBCreateFileCopy(main)
		case xlrec.DbaseCreateWALLog:
			_, err = xlrec.DecodeDBCreateWALLog(main)
		default:
			_, err = xlrec.DecodeDBDrop(main)
		}
	case wal.RMTblspc:
		if op == xlrec.TblspcCreate {
			_, err = xlrec.DecodeTblspcCreate(main)
		} else {
			_, err = xlrec.DecodeTblspcDrop(main)
		}
	case wal.RMRelMap:
		var r xlrec.RelmapNew
		if r, err = xlrec.DecodeRelmapUpdate(major, main); err == nil {
			_, err = control.ParseRelMap(major, r.File)
		}
	case wal.RMStandby:
		switch op {
		case xlrec.StandbyLock:
			_, err = xlrec.DecodeStandbyLock(main)
		case xlrec.StandbyRunningXacts:
			_, err = xlrec.DecodeRunningXacts(main)
		default:
			_, err = xlrec.DecodeStandbyInvalidations(main)
		}
	case wal.RMReplOrigin:
		if op == xlrec.ReplOriginSet {
			_, err = xlrec.DecodeReplOriginSet(main)
		} else {
			_, err = xlrec.DecodeReplOriginDrop(main)
		}
	case wal.RMLogicalMsg:
		_, err = xlrec.DecodeLogicalMessage(main)
	default:
		return false, nil
	}
	return true, err
}

func decodeXact(major pg.Major, info uint8, main []byte) (ok bool, err error) {
	switch info & xlrec.XactOpMask {
	case xlrec.XactCommit, xlrec.XactCommitPrepared:
		var r xlrec.Commit
		r, err = xlrec.DecodeCommit(major, main, info)
		for i := range r.DroppedStats.Len() {
			if it := r.DroppedStats.At(i); err == nil && it.Objid>>32 != 0 {
				err = errors.New("statistics of an object above 2^32")
			}
		}
	case xlrec.XactAbort, xlrec.XactAbortPrepared:
		_, err = xlrec.DecodeAbort(major, main, info)
	case xlrec.XactPrepare:
		_, err = xlrec.DecodePrepare(major, main)
	case xlrec.XactAssignment:
		_, err = xlrec.DecodeAssignment(main)
	case xlrec.XactInvalidations:
		_, err = xlrec.DecodeXactInvalidations(main)
	}
	return true, err
}

func decodeXLog(major pg.Major, op uint8, main []byte) (ok bool, err error) {
	switch op {
	case xlrec.XLogCheckpointShutdown, xlrec.XLogCheckpointOnline:
		_, err = xlrec.DecodeCheckPoint(major, main)
	case xlrec.XLogNextOID:
		_, err = xlrec.DecodeNextOID(main)
	case xlrec.XLogBackupEnd:
		_, err = xlrec.DecodeBackupEnd(main)
	case xlrec.XLogParameterChange:
		_, err = xlrec.DecodeParameterChange(main)
	case xlrec.XLogRestorePoint:
		_, err = xlrec.DecodeRestorePoint(main)
	case xlrec.XLogFPWChange:
		_, err = xlrec.DecodeFPWChange(main)
	case xlrec.XLogEndOfRecovery:
		_, err = xlrec.DecodeEndOfRecovery(major, main)
	case xlrec.XLogOverwriteContrecord:
		_, err = xlrec.DecodeOverwriteContrecord(main)
	case xlrec.XLogCheckpointRedo:
		_, err = xlrec.DecodeCheckpointRedo(major, main)
	default:
		return false, nil
	}
	return true, err
}

// checkState reads to the end of WAL, decodes each record that carries state, and also each of its proper prefixes
// and it with a byte more, which must be refused.
func checkState(t *testing.T, r *wal.Reader) (counts map[string]int) {
	t.Helper()
	counts = map[string]int{}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return counts
		}
		if err != nil {
			t.Fatal(err)
		}
		ok, err := decodeState(rec.Major, rec.RMID, rec.Info, rec.Main)
		if err != nil {
			t.Fatalf("PostgreSQL %d: %s: %v: % x", rec.Major, rec.LSN, err, rec.Main)
		}
		name := waldumpName(rec)
		if counts[name]++; !ok || counts[name] > 3 || len(rec.Main) > 5000 {
			continue
		}
		for n := range len(rec.Main) + 2 {
			cut := append(make([]byte, 0, n), append(rec.Main, 0)[:n]...)
			if _, err := decodeState(rec.Major, rec.RMID, rec.Info, cut); n != len(rec.Main) && !errors.Is(err, pg.ErrCorrupt) {
				t.Errorf("PostgreSQL %d: %s %s: %d of %d bytes: %v", rec.Major, name, rec.LSN, n, len(rec.Main), err)
			}
		}
	}
}

func TestStateOfFixtures(t *testing.T) {
	for _, m := range []pg.Major{pg.PG15, pg.PG18} {
		w, err := walfixture.Load(m)
		if err != nil {
			t.Fatal(err)
		}
		r, err := wal.NewReader(wal.Options{Source: w, Start: w.Start})
		if err != nil {
			t.Fatal(err)
		}
		counts := checkState(t, r)
		for _, want := range []string{"Transaction/COMMIT_PREPARED", "Transaction/ABORT_PREPARED", "Transaction/PREPARE", "MultiXact/CREATE_ID",
			"Storage/TRUNCATE", "XLOG/CHECKPOINT_ONLINE", "LogicalMessage/MESSAGE"} {
			if counts[want] == 0 {
				t.Errorf("PostgreSQL %d: no %s in the fixture", m, want)
			}
		}
	}
}

// TestStateOfEachMajor decodes a whole workload of each major that is installed, and its data directory's own files.
func TestStateOfEachMajor(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	majors := []pg.Major{pg.PG18}
	if pgtest.Long() {
		majors = append(majors, pg.PG16, pg.PG17)
	}
	for _, m := range majors {
		t.Run(fmt.Sprint(int(m)), func(t *testing.T) {
			srv, dir := bulkyServer(t, int(m))
			src, err := waldir.Open(dir, waldir.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			c := readControl(t, srv.DataDir())
			if c.Major != m || c.State != control.ShutDown {
				t.Errorf("pg_control: PostgreSQL %d, %s", c.Major, c.State)
			}
			r, err := wal.NewReader(wal.Options{Source: src, Start: src.First(), SystemID: c.SystemID, Major: m, EndAtInvalid: true})
			if err != nil {
				t.Fatal(err)
			}
			counts := checkState(t, r)
			t.Log(counts)
			// The last record is the shutdown checkpoint pg_control names: nothing before the end was taken for it.
			if last := lastRecord(t, src); last != c.CheckPointLSN {
				t.Errorf("last record at %s, pg_control has the checkpoint at %s", last, c.CheckPointLSN)
			}
			for name := range counts {
				if strings.Contains(name, "UNKNOWN") {
					t.Errorf("unknown record type %s", name)
				}
			}
		})
	}
}
