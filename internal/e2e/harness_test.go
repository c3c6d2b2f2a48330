package e2e

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
)

const database = "app"

// rig is one scenario's Postgres, tarn and readers.
type rig struct {
	t       *testing.T
	pg      *pgtest.Server
	tarn    *tarn
	readers []*lakecheck.Reader // PyIceberg, DuckDB
	journal *demo.Journal
	seed    uint64
	runs    int // workloads so far
}

// newRig starts Postgres with the database app; setup prepares tables before tarn attaches, nil for none.
func newRig(t *testing.T, major int, setup []string) *rig {
	t.Helper()
	r := &rig{t: t, journal: demo.NewJournal(), seed: pgtest.Seed(t)}
	return r.on(pgtest.Options{Major: major}, setup)
}

// on starts the rig's servers.
func (r *rig) on(opts pgtest.Options, setup []string) *rig {
	t := r.t
	t.Helper()
	opts.Databases = []string{database}
	settings := map[string]string{"max_prepared_transactions": "10", "wal_sender_timeout": "5s", "checkpoint_timeout": "30s"}
	maps.Copy(settings, opts.Settings)
	opts.Settings = settings
	r.pg = pgtest.NewTestServer(t, opts)
	r.exec(setup...)
	r.tarn = newTarn(t, r.pg.ReplConnString(database))
	r.startReaders()
	return r
}

func (r *rig) startReaders(env ...string) {
	r.t.Helper()
	for _, name := range []string{lakecheck.PyIceberg, lakecheck.DuckDB} {
		r.readers = append(r.readers, startReader(r.t, name, env...))
	}
}

// newDemoRig is newRig with the tables of the demo's workload, and tarn running.
func newDemoRig(t *testing.T, major int) *rig {
	t.Helper()
	r := newRig(t, major, nil)
	conn := r.connect()
	if err := demo.CreateSchema(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	r.tarn.startReady()
	return r
}

func startReader(t *testing.T, name string, env ...string) *lakecheck.Reader {
	t.Helper()
	python, err := lakecheck.FindPython(t.Context(), name)
	if err != nil {
		pgtest.Missing(t, err)
	}
	reader, err := lakecheck.StartReader(t.Context(), python, name, env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	return reader
}

func (r *rig) connect() *pgx.Conn {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.pg.ConnString(database))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (r *rig) exec(statements ...string) {
	r.t.Helper()
	if err := r.pg.Exec(r.t.Context(), database, statements...); err != nil {
		r.t.Fatal(err)
	}
}

// write starts a workload in the background; the returned function stops it and waits.
func (r *rig) write(change func(*demo.Workload)) (stop func()) {
	r.t.Helper()
	r.runs++
	w := &demo.Workload{
		ConnString: r.pg.ConnString(database), Writers: 3, Pause: 5 * time.Millisecond, Seed: r.seed + uint64(r.runs),
		Run: r.runs - 1, Journal: r.journal,
	}
	if change != nil {
		change(w)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Write(ctx) }()
	stopped := false
	stop = func() {
		r.t.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("workload: %v", err)
		}
		r.t.Logf("workload %d: %+v", r.runs, w.Stats())
	}
	r.t.Cleanup(stop)
	return stop
}

// caughtUp waits until what is committed now is in the lake.
func (r *rig) caughtUp() {
	r.t.Helper()
	lsn, err := demo.FlushLSN(r.t.Context(), r.pg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.tarn.waitPublished(lsn)
}

// mustBeEqual waits until the lake has caught up and compares every table through both readers. Nothing may be writing.
func (r *rig) mustBeEqual() lakecheck.Report {
	r.t.Helper()
	r.caughtUp()
	report := r.compare(database)
	if !report.Equal() {
		r.t.Fatalf("the lake is not equal to Postgres:\n%s", report)
	}
	return report
}

func (r *rig) compare(warehouse string, tables ...lakecheck.TableName) lakecheck.Report {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, r.pg.ConnString(database))
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	report, err := lakecheck.Compare(ctx, conn, r.tarn.catalogURL(), warehouse, tables, r.readers...)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

// query runs SQL through DuckDB on a warehouse, such as app or app@0/1A2B3C4D.
func (r *rig) query(warehouse, sql string) ([][]*string, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	return r.readers[1].Query(ctx, r.tarn.catalogURL(), warehouse, sql)
}

// queryOne is query for one value of one row.
func (r *rig) queryOne(warehouse, sql string) (string, error) {
	r.t.Helper()
	rows, err := r.query(warehouse, sql)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 || rows[0][0] == nil {
		return "", fmt.Errorf("%s in %s: not one value", sql, warehouse)
	}
	return *rows[0][0], nil
}

// ledgerMustHold checks every transaction the workloads were told about against the lake.
func (r *rig) ledgerMustHold() {
	r.t.Helper()
	rows, err := r.query(database, "SELECT id FROM lake.public.transfers")
	if err != nil {
		r.t.Fatal(err)
	}
	ids := make([]int64, len(rows))
	for i, row := range rows {
		if ids[i], err = strconv.ParseInt(*row[0], 10, 64); err != nil {
			r.t.Fatal(err)
		}
	}
	acked, failed, unknown := r.journal.Counts()
	r.t.Logf("ledger: %d in the lake; %d acknowledged, %d failed, %d unknown", len(ids), acked, failed, unknown)
	if v := r.journal.Check(ids); !v.OK() {
		r.t.Fatalf("the lake against the journal: %d lost, %d ghosts, %d doubled: %.500s", len(v.Lost), len(v.Ghosts), len(v.Doubled), fmt.Sprint(v))
	}
}
