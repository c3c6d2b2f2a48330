package waldump_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestOverwrittenContrecord loses the end of a record that spans pages, as a crash can, and lets the server recover:
// it writes on at the lost page and says so in the WAL (OVERWRITE_CONTRECORD).
func TestOverwrittenContrecord(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			srv := startServer(t, major, 1)
			runAll(t, srv, []string{
				`CREATE TABLE t (i int)`,
				`SELECT pg_logical_emit_message(false, 'tarn', repeat('z', 50000))`,
				`INSERT INTO t VALUES (1)`,
			})
			if err := srv.Kill9(); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(srv.DataDir(), "pg_wal")
			lost := loseEndOfMessage(t, dir)
			restartAfterKill(t, srv)
			runAll(t, srv, []string{`INSERT INTO t VALUES (2)`})
			if err := srv.Stop(pgtest.Fast); err != nil {
				t.Fatal(err)
			}
			r := readerOf(t, dir, 0)
			found := false
			for {
				rec, err := r.Next()
				if err != nil {
					break
				}
				if rec.LSN == lost {
					t.Errorf("the record at %s that was cut off was returned", lost)
				}
				if rec.RMID == wal.RMXLog && rec.Op() == xlrec.XLogOverwriteContrecord {
					found = true
					if o, err := xlrec.DecodeOverwriteContrecord(rec.Main); err != nil || o.Overwritten != lost {
						t.Errorf("%+v, %v, want the record at %s", o, err, lost)
					}
				}
			}
			if !found {
				t.Error("no OVERWRITE_CONTRECORD was read")
			}
			if end, want := r.Position().Complete, readControl(t, srv.DataDir()); end <= want.CheckPointLSN {
				t.Errorf("reading ended at %s, before the checkpoint at %s", end, want.CheckPointLSN)
			}
		})
	}
}

// restartAfterKill tries again while a backend of the killed server, which is in a session of its own and leaves when it
// notices the postmaster's death, still holds the shared memory.
func restartAfterKill(t *testing.T, srv *pgtest.Server) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := srv.Restart(context.Background())
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "shared memory block") || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func readerOf(t *testing.T, dir string, tli pg.TimelineID) *wal.Reader {
	t.Helper()
	src, err := waldir.Open(dir, waldir.Options{Timeline: tli})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	r, err := wal.NewReader(wal.Options{Source: src, Start: src.First(), Timeline: src.Timeline(), EndAtInvalid: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// loseEndOfMessage zeroes WAL from the third page of the last logical message on and returns the message's LSN.
func loseEndOfMessage(t *testing.T, dir string) (lost pg.LSN) {
	t.Helper()
	r := readerOf(t, dir, 0)
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		if rec.RMID == wal.RMLogicalMsg {
			lost = rec.LSN
		}
	}
	if lost == 0 {
		t.Fatal("no logical message in the WAL")
	}
	cut := lost&^(wal.PageSize-1) + 2*wal.PageSize
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	const seg = 1 << 20
	for _, e := range entries {
		_, start, ok := pg.ParseWALFileName(e.Name(), seg)
		if !ok || start+seg <= cut {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, e.Name()), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		from := max(start, cut) - start
		if _, err := f.WriteAt(make([]byte, seg-from), int64(from)); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return lost
}

// TestReadsAcrossPromotion reads from timeline 1 into timeline 2 and, by request, timeline 1 alone.
func TestReadsAcrossPromotion(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			srv := startServer(t, major, 1)
			runAll(t, srv, []string{`CREATE TABLE t (i int)`, `INSERT INTO t SELECT generate_series(1, 20000)`})
			if err := srv.Stop(pgtest.Fast); err != nil {
				t.Fatal(err)
			}
			signal := filepath.Join(srv.DataDir(), "standby.signal")
			if err := os.WriteFile(signal, nil, 0o666); err != nil {
				t.Fatal(err)
			}
			os.Chmod(signal, 0o666)
			if err := srv.Restart(context.Background()); err != nil {
				t.Fatal(err)
			}
			runAll(t, srv, []string{`SELECT pg_promote()`})
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
				if s, err := srv.QueryText(context.Background(), "postgres", `SELECT pg_is_in_recovery()::text`); err == nil && s == "false" {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("not promoted")
				}
			}
			runAll(t, srv, []string{`INSERT INTO t SELECT generate_series(1, 20000)`, `CHECKPOINT`})
			if err := srv.Stop(pgtest.Fast); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(srv.DataDir(), "pg_wal")
			c := readControl(t, srv.DataDir())
			if c.CheckPoint.TimelineID != 2 || c.State != control.ShutDown {
				t.Fatalf("pg_control: timeline %d, %s", c.CheckPoint.TimelineID, c.State)
			}
			end, recovered := drain(t, readerOf(t, dir, 0))
			if end <= c.CheckPointLSN || recovered == 0 {
				t.Errorf("read to %s, END_OF_RECOVERY at %s; the last checkpoint is at %s", end, recovered, c.CheckPointLSN)
			}
			if end1, none := drain(t, readerOf(t, dir, 1)); none != 0 || end1 > recovered || end1 == 0 {
				t.Errorf("timeline 1 alone: read to %s, END_OF_RECOVERY at %s", end1, none)
			}
		})
	}
}

// drain reads to the end and returns it, and where an END_OF_RECOVERY record was, which begins a timeline.
func drain(t *testing.T, r *wal.Reader) (end, recovered pg.LSN) {
	t.Helper()
	for {
		rec, err := r.Next()
		if err != nil {
			t.Log(err)
			return r.Position().Complete, recovered
		}
		if rec.RMID == wal.RMXLog && rec.Op() == xlrec.XLogEndOfRecovery {
			e, err := xlrec.DecodeEndOfRecovery(rec.Major, rec.Main)
			if err != nil || e.TimelineID != 2 || e.PrevTimelineID != 1 {
				t.Errorf("%+v, %v", e, err)
			}
			recovered = rec.LSN
		}
	}
}

// TestSegmentSizes reads WAL of the smallest, a middling and the largest segment size.
func TestSegmentSizes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	sizes := []int{1, 64}
	if pgtest.Long() {
		sizes = append(sizes, 1024)
	}
	for _, mib := range sizes {
		t.Run(fmt.Sprint(mib), func(t *testing.T) {
			srv := startServer(t, 18, mib)
			runAll(t, srv, []string{`CREATE TABLE t (i int)`, `SELECT pg_switch_wal()`, `INSERT INTO t SELECT generate_series(1, 1000)`})
			if err := srv.Stop(pgtest.Fast); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(srv.DataDir(), "pg_wal")
			r := readerOf(t, dir, 0)
			end, _ := drain(t, r)
			c := readControl(t, srv.DataDir())
			if r.SegmentSize() != int64(mib)<<20 || c.WALSegmentSize != int64(mib)<<20 || end <= c.CheckPointLSN {
				t.Errorf("segment size %d, pg_control's %d, read to %s, checkpoint at %s", r.SegmentSize(), c.WALSegmentSize, end, c.CheckPointLSN)
			}
		})
	}
}
