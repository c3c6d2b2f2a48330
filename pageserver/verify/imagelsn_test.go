package verify

import (
	"context"
	"slices"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// TestImageLSN: redo that leaves another LSN on a page than the server does is noticed at the next record of that page.
func TestImageLSN(t *testing.T) {
	eachFixture(t, func(t *testing.T, r recorded) {
		if r.name == "seq" {
			return // each record builds its page from nothing: what it was before does not count
		}
		planted := 0
		v := r.verifier()
		v.fault = func(_, after pg.Page, rec *wal.Record, blk *wal.BlockRef) {
			if r.has(rec) && blk.Fork == pg.MainFork && after.LSN() == rec.End && v.report.LSNMismatches == 0 {
				after.SetLSN(rec.End - 8)
				planted++
			}
		}
		_ = v.redo(context.Background(), r.read(t), nil)
		if v.report.LSNMismatches == 0 || planted == 0 {
			t.Errorf("planted %d times, never found", planted)
		}
	})
}

// TestNoteHint: hints leave LSNs on the primary's page until a record changes it, and no longer.
func TestNoteHint(t *testing.T) {
	hint := &wal.Record{RMID: wal.RMXLog, Info: xlrec.XLogFPIForHint, End: 0x200}
	change := &wal.Record{RMID: wal.RMHeap, End: 0x400}
	blk, other := &wal.BlockRef{Block: 7}, &wal.BlockRef{Block: 8}
	st := &fork{}
	st.noteHint(0x100, hint, blk)
	st.noteHint(0x150, hint, other)
	hint.End = 0x300
	st.noteHint(0x200, hint, blk)
	if got, want := st.hints[7], []pg.LSN{0x100, 0x200, 0x200, 0x300}; !slices.Equal(got, want) {
		t.Errorf("after two hints %v, want %v", got, want)
	}
	st.noteHint(0x300, change, blk)
	if len(st.hints[7]) != 0 || len(st.hints[8]) != 2 {
		t.Errorf("after a record that changes the page: %v", st.hints)
	}
}
