package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// largeSums is what is compared of a table too large to compare row by row in little time.
const largeSums = `SELECT count(*) || ' ' || coalesce(sum(i), 0) || ' ' || coalesce(sum(length(v)), 0) || ' ' || count(DISTINCT v)`

// mustSum compares largeSums of table large in Postgres and the lake, and returns it.
func (r *rig) mustSum() string {
	r.t.Helper()
	lsn, err := demo.FlushLSN(r.t.Context(), r.pg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.tarn.waitPublishedWithin(lsn, 15*time.Minute) // gigabytes of WAL wait
	want, err := r.pg.QueryText(r.t.Context(), database, largeSums+" FROM large")
	if err != nil {
		r.t.Fatal(err)
	}
	if got, err := r.queryOne(database, largeSums+" FROM lake.public.large"); err != nil || got != want {
		r.t.Fatalf("the lake has %s, Postgres %s: %v", got, want, err)
	}
	return want
}

// A transaction of a million rows, or of ten, is nowhere until it commits, while others are published beside it, and then
// everywhere at once; one that is aborted never is. What tarn takes for it is bounded.
func TestLargeTransaction(t *testing.T) {
	rows := 1_000_000
	if pgtest.Long() {
		rows = 10_000_000
	}
	r := newRig(t, 18, []string{`CREATE TABLE large (i bigint, v text)`, `CREATE TABLE beside (i int)`})
	r.tarn.appendConfig("memory: 256MiB\n")
	r.tarn.startReady()
	conn := r.connect()
	do := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	do("BEGIN")
	do(fmt.Sprintf("INSERT INTO large SELECT i, 'row ' || i %% 1000 FROM generate_series(1, %d) i", rows))
	do(fmt.Sprintf("SAVEPOINT s; INSERT INTO large SELECT -i, 'never' FROM generate_series(1, %d) i; ROLLBACK TO s", rows/10))
	r.exec(`INSERT INTO beside VALUES (1)`)
	if got := r.mustSum(); got != "0 0 0 0" {
		t.Fatalf("rows of an open transaction are seen: %s", got)
	}
	do("UPDATE large SET v = 'changed' WHERE i % 10 = 0")
	do("COMMIT")
	committed := r.mustSum()
	t.Logf("%s; the most memory that tarn took: %d MiB", committed, r.peakMiB())
	// An aborted bulk load leaves its rows in the pages.
	_, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(strings.Repeat("7\taborted\n", rows/5)+"no number\n"), "COPY large FROM STDIN")
	if err == nil {
		t.Fatal("COPY should have failed")
	}
	r.exec(`INSERT INTO beside VALUES (2)`)
	if got := r.mustSum(); got != committed {
		t.Fatalf("after an aborted COPY there is %s, before there was %s", got, committed)
	}
	r.exec(`VACUUM large`, `DELETE FROM large WHERE i % 3 = 0`)
	r.mustSum()
	// Four times the budget: the runtime's own share and the page cache of redo are beside it.
	if peak := r.peakMiB(); peak > 1024 {
		t.Errorf("tarn took %d MiB of memory", peak)
	}
}

// peakMiB is the most memory that tarn's process ever had (VmHWM).
func (r *rig) peakMiB() (mib int) {
	r.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.tarn.cmd.Process.Pid))
	if err != nil {
		r.t.Skip("no /proc here")
	}
	_, text, _ := strings.Cut(string(b), "VmHWM:")
	if _, err := fmt.Sscan(text, &mib); err != nil {
		r.t.Fatal(err)
	}
	return mib / 1024
}

// A thousand sessions sit in transactions that have written: they hold nothing up, are not seen, and each is whole in the
// lake once it ends, whichever way.
func TestIdleInTransaction(t *testing.T) {
	sessions := 60
	if pgtest.Long() {
		sessions = 1000
	}
	r := &rig{t: t, seed: pgtest.Seed(t)}
	r.on(pgtest.Options{Major: 15, Settings: map[string]string{"max_connections": fmt.Sprint(sessions + 50)}}, []string{`CREATE TABLE t (i int, v text)`, `INSERT INTO t SELECT i, 'old' FROM generate_series(1, 3000) i`})
	r.tarn.startReady()
	conns := make([]*pgx.Conn, sessions)
	for i := range conns {
		conns[i] = r.connect()
		sql := fmt.Sprintf("BEGIN; INSERT INTO t VALUES (%d, 'idle'); UPDATE t SET v = 'changed' WHERE i = %d", 10_000+i, i+1)
		if _, err := conns[i].Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	r.exec(`INSERT INTO t VALUES (-1, 'beside')`, `CHECKPOINT`)
	if report := r.mustBeEqual(); report.Rows() != 3001 {
		t.Fatal(report)
	}
	r.tarn.kill9()
	r.tarn.startReady()
	for i, conn := range conns {
		if i%3 == 2 {
			continue
		}
		if _, err := conn.Exec(t.Context(), []string{"COMMIT", "ROLLBACK"}[i%3]); err != nil {
			t.Fatal(err)
		}
	}
	if report := r.mustBeEqual(); report.Rows() != int64(3001+(sessions+2)/3) {
		t.Fatal(report)
	}
	if state := r.state("public.t").State; state != admin.TableLive {
		t.Fatalf("the table is %s", state)
	}
}
