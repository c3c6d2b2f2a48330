package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// TestAgainstServers redoes what real servers wrote under a busy workload with a crash in the middle: every page they
// logged an image of, and every heap and visibility map page they stopped with, must come out the same.
func TestAgainstServers(t *testing.T) {
	for _, from := range sources() {
		t.Run(fmt.Sprintf("%s,%dMiB,checksums=%t", from.release, from.segments, from.checksums), func(t *testing.T) {
			c := makeCorpus(t, from, pgtest.Seed(t), 4)
			checkCorpus(t, c)
		})
	}
}

func checkCorpus(t *testing.T, c corpus) {
	t.Helper()
	v, err := open(c.base)
	if err != nil {
		t.Fatal(err)
	}
	defer v.pages.base.Close()
	seen := map[string]int64{}
	v.fault = func(_, _ pg.Page, rec *wal.Record, blk *wal.BlockRef) {
		if blk.Fork == pg.VMFork {
			seen["VM by reference, "+rec.RMID.String()]++
		}
		seen["VM implied"] += int64(len(redo.ImplicitVM(rec, nil)))
		seen[rec.RMID.String()+"/"+rec.TypeName()]++
	}
	started := time.Now()
	err = v.redoFolder(context.Background(), c.wal, nil)
	r := v.finish()
	took := time.Since(started)
	if err != nil {
		t.Fatalf("after %s: %v", r.End, err)
	}
	final, err := v.compareFinal(context.Background(), c.final)
	if err != nil {
		t.Fatal(err)
	}
	final.Differ -= lostByServer(t, c, final)
	r.Final = final
	text, _ := json.Marshal(r)
	t.Logf("%s; %.0f records/s", text, float64(r.Records)/took.Seconds())
	t.Logf("redone: %v", seen)
	for _, m := range r.First {
		t.Errorf("%v", m)
	}
	for _, d := range final.First {
		t.Errorf("final: %v", d)
	}
	if len(final.First) > 0 && final.First[0].Fork != "" {
		c.logHistory(t, v, final.First[0])
	}
	if !r.OK() || r.Skipped != 0 || final.Unknown != 0 {
		t.Errorf("not verified: %d images, %d skipped, %d mismatches, %d invalid pages; final %d pages, %d differ, %d unknown",
			r.ImagesCompared, r.Skipped, r.Mismatches, r.InvalidPages, final.HeapPages, final.Differ, final.Unknown)
	}
	end := pg.LSN(0)
	if d, err := v.finalEnd(c.final); err == nil {
		end = d
	}
	if r.End < end {
		t.Errorf("the WAL was read to %s, the server stopped at %s", r.End, end)
	}
}

// lostByServer takes out of a comparison the pages that the server itself has lost, and says how many. Before 15.3 CREATE DATABASE by wal_log
// reads pg_class of its template as if it were unlogged (ScanSourceDatabasePgClass): until it leaves the buffers, checkpoints
// pass its changed pages over, and a crash then loses what the WAL before the checkpoint says of them.
func lostByServer(t *testing.T, c corpus, final *Final) (lost int64) {
	const pgClass = "/1259"
	if c.release != "15.1" || final.Differ > int64(len(final.First)) {
		return 0
	}
	final.First = slices.DeleteFunc(final.First, func(d PageDifference) bool {
		if !strings.HasSuffix(d.Name, pgClass) || d.Theirs >= d.Ours {
			return false
		}
		t.Logf("lost by the server: %v", d)
		lost++
		return true
	})
	return lost
}

// finalEnd is the start of the shutdown checkpoint of a stopped server: the WAL must have been read beyond it.
func (v *verifier) finalEnd(dir string) (pg.LSN, error) {
	w, err := open(dir)
	if err != nil {
		return 0, err
	}
	defer w.pages.base.Close()
	return w.control.CheckPointLSN, nil
}

// TestRunRefuses: what is not a base directory, or has no WAL, is an error that names it.
func TestRunRefuses(t *testing.T) {
	if _, err := Run(context.Background(), Options{Base: t.TempDir(), WAL: t.TempDir()}); err == nil {
		t.Error("an empty folder was taken for a data directory")
	}
	if r := (Report{}); r.OK() {
		t.Error("nothing compared counts as verified")
	}
}
