package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/lakecheck"
)

// After a mixed workload with DDL every table is equal, on the oldest and the newest server.
func TestEqualAfterMixedWorkload(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			r := newDemoRig(t, major)
			r.mustBeEqual() // the initial copy
			stop := r.write(func(w *demo.Workload) { w.DDL, w.DDLSpread = true, 4*time.Second })
			time.Sleep(6 * time.Second)
			stop()
			report := r.mustBeEqual()
			r.ledgerMustHold()
			t.Logf("%d tables, %d rows equal", len(report.Tables), report.Rows())
			r.tarn.stop()
		})
	}
}

// The harness itself: Postgres as it is now against the lake as it was one row ago has to be red, or green says nothing.
func TestHarnessNoticesADifference(t *testing.T) {
	r := newRig(t, 15, []string{`CREATE TABLE t (i int)`, `INSERT INTO t SELECT generate_series(1, 100)`})
	r.tarn.startReady()
	r.mustBeEqual()
	publications, err := r.tarn.client().Publications(t.Context())
	if err != nil || len(publications) == 0 {
		t.Fatalf("publications: %v, %v", publications, err)
	}
	before := database + "@" + publications[len(publications)-1].LSN.String()
	r.exec(`UPDATE t SET i = -1 WHERE i = 7`)
	r.mustBeEqual()
	report := r.compare(before)
	if report.Equal() || len(report.Tables[0].Differences) != 4 {
		t.Fatalf("one updated row, two readers: want one row missing and one extra in each:\n%s", report)
	}
}

// The sum over three tables is the same in every publication that readers can pin, while writers run and after.
func TestSumHoldsInEveryPublication(t *testing.T) {
	r := newDemoRig(t, 15)
	stop := r.write(nil)
	checked := map[string]bool{}
	until := time.Now().Add(8 * time.Second)
	for time.Now().Before(until) {
		r.checkPublications(checked, 4)
	}
	stop()
	r.caughtUp()
	r.checkPublications(checked, 40)
	if len(checked) < 10 {
		t.Fatalf("only %d publications were checked", len(checked))
	}
	t.Logf("%d publications, each with sum %d", len(checked), demo.TotalBalance)
}

// checkPublications checks up to limit publications not seen yet, newest first.
func (r *rig) checkPublications(checked map[string]bool, limit int) {
	r.t.Helper()
	publications, err := r.tarn.client().Publications(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for i := len(publications) - 1; i >= 0 && limit > 0; i-- {
		lsn := publications[i].LSN.String()
		if checked[lsn] {
			continue
		}
		limit--
		sum, err := r.queryOne(database+"@"+lsn, demo.SumQuery)
		if err != nil {
			r.t.Fatalf("at %s: %v", lsn, err)
		}
		if sum != fmt.Sprint(demo.TotalBalance) {
			r.t.Fatalf("at %s the balances sum up to %s, want %d: a transaction is torn", lsn, sum, demo.TotalBalance)
		}
		checked[lsn] = true
	}
}

// A pinned warehouse shows the same rows however late it is read.
func TestPinnedLSNDoesNotChange(t *testing.T) {
	r := newDemoRig(t, 18)
	r.caughtUp()
	publications, err := r.tarn.client().Publications(t.Context())
	if err != nil || len(publications) == 0 {
		t.Fatalf("publications: %v, %v", publications, err)
	}
	warehouse := database + "@" + publications[len(publications)-1].LSN.String()
	const fingerprint = "SELECT count(*) || ' ' || sum(hash(id, balance)) FROM lake.public.accounts"
	before, err := r.queryOne(warehouse, fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	stop := r.write(nil)
	time.Sleep(3 * time.Second)
	stop()
	r.caughtUp()
	after, err := r.queryOne(warehouse, fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	now, err := r.queryOne(database, fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	if before != after || before == now {
		t.Fatalf("%s: %s, later %s; newest %s", warehouse, before, after, now)
	}
	if _, err := r.queryOne(database+"@0/1", fingerprint); err == nil {
		t.Fatal("a warehouse below the first publication was served")
	}
}

func TestStatusSpeaksOfTheLake(t *testing.T) {
	r := newRig(t, 15, []string{`CREATE TABLE t (i int)`, `INSERT INTO t SELECT generate_series(1, 1000)`})
	r.tarn.startReady()
	r.mustBeEqual()
	out, code := r.tarn.run("status", "--json")
	if code != 0 || !strings.Contains(out, `"app.public.t"`) || !strings.Contains(out, `"live"`) {
		t.Fatalf("tarn status --json: exit %d: %s", code, out)
	}
	lsns, err := r.readers[0].LSNs(t.Context(), r.tarn.catalogURL(), database, lakecheck.TableName{Namespace: "public", Table: "t"})
	if err != nil || len(lsns) == 0 {
		t.Fatalf("tarn.lsn of the snapshots: %v, %v", lsns, err)
	}
	if out, code := r.tarn.run("wait", "--lsn", "FFFFFFFF/0", "--timeout", "200ms"); code != 3 {
		t.Fatalf("tarn wait for an LSN far away: exit %d, want 3: %s", code, out)
	}
	for _, stage := range []string{"commit", "redo", "cut", "published"} {
		if out, code := r.tarn.run("wait", "--lsn", lsns[0], "--for", stage, "--timeout", "10s"); code != 0 {
			t.Fatalf("tarn wait for a published LSN to be %s: exit %d: %s", stage, code, errors.New(out))
		}
		if out, code := r.tarn.run("wait", "--lsn", "FFFFFFFF/0", "--for", stage, "--timeout", "200ms"); code != 3 {
			t.Fatalf("tarn wait for an LSN far away to be %s: exit %d, want 3: %s", stage, code, out)
		}
	}
}
