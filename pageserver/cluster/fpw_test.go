package cluster

import (
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// TestFullPageWrites: the setting is what the last XLOG_FPW_CHANGE or shutdown checkpoint says, since the first record that said so.
func TestFullPageWrites(t *testing.T) {
	w := newWorld()
	change := func(lsn pg.LSN, on uint8) *wal.Record {
		r := record(pg.PG18, wal.RMXLog, xlrec.XLogFPWChange, on)
		r.LSN = lsn
		return r
	}
	checkpoint := func(lsn pg.LSN, op uint8, on bool) *wal.Record {
		r := record(pg.PG18, wal.RMXLog, op, string(xlrec.AppendCheckPoint(nil, pg.PG18, xlrec.CheckPoint{WALLevel: xlrec.WALLevelReplica, TimelineID: 1, FullPageWrites: on})))
		r.LSN = lsn
		return r
	}
	for i, c := range []struct {
		rec   *wal.Record
		on    bool
		since pg.LSN
	}{
		{change(0x100, 1), true, 0x100},
		{change(0x200, 1), true, 0x100},                                     // as each start says it
		{checkpoint(0x300, xlrec.XLogCheckpointOnline, false), true, 0x100}, // as of its beginning
		{change(0x400, 0), false, 0x400},
		{checkpoint(0x500, xlrec.XLogCheckpointShutdown, false), false, 0x400},
		{checkpoint(0x600, xlrec.XLogCheckpointShutdown, true), true, 0x600},
	} {
		w.must(t, c.rec)
		if w.CheckPoint.FullPageWrites != c.on || w.FullPageWritesLSN != c.since {
			t.Errorf("record %d: %v since %s, want %v since %s", i, w.CheckPoint.FullPageWrites, w.FullPageWritesLSN, c.on, c.since)
		}
	}
}
