package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// Transaction ids wrap around under a running workload: rows before and after 2^32, transactions and prepared ones that are
// open over it, multixacts, restarts on both sides.
func TestTransactionIDsWrapAround(t *testing.T) {
	r := newRig(t, 15, []string{`CREATE TABLE t (i int PRIMARY KEY, v text)`, `INSERT INTO t SELECT i, 'old' FROM generate_series(1, 2000) i`})
	if err := demo.CreateSchema(t.Context(), r.connect()); err != nil {
		t.Fatal(err)
	}
	// Nothing may be older than half the circle: go round in steps, freezing everything after each.
	for _, xid := range []uint32{2_000_000_000, 4_000_000_000, 1<<32 - 300} {
		r.jumpTo(xid)
	}
	r.tarn.startReady()
	r.mustBeEqual()
	open := r.connect()
	for _, sql := range []string{`BEGIN`, `INSERT INTO t VALUES (-1, 'open before')`, `SAVEPOINT a`, `UPDATE t SET v = 'open' WHERE i = 5`} {
		if _, err := open.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.connect().Exec(t.Context(), `BEGIN; UPDATE t SET v = 'prepared' WHERE i = 7; PREPARE TRANSACTION 'before'`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	stop := r.write(func(w *demo.Workload) { w.Reconnect = true })
	for range 40 {
		time.Sleep(250 * time.Millisecond)
		r.exec(`UPDATE t SET v = v || '.' WHERE i % 100 = 3`, `BEGIN; SELECT FROM t WHERE i < 90 AND i > 80 FOR SHARE; SAVEPOINT s; UPDATE t SET v = 'locked' WHERE i = 88; COMMIT`)
		if r.nextXID() > 1<<32 {
			break
		}
		if r.nextXID() > 1<<32-150 && r.tarn.running() {
			r.tarn.kill9()
			r.tarn.start()
		}
	}
	if next := r.nextXID(); next < 1<<32 {
		t.Fatalf("the next transaction is %d: no wraparound", next)
	}
	stop()
	r.tarn.waitReady()
	r.mustBeEqual()
	if _, err := open.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	r.tarn.kill9()
	r.tarn.startReady()
	r.exec(`COMMIT PREPARED 'before'`)
	r.mustBeEqual()
	r.exec(`VACUUM FREEZE t`, `UPDATE t SET v = 'after' WHERE i % 9 = 0`, `DELETE FROM t WHERE i % 7 = 0`, `VACUUM FULL t`)
	r.mustBeEqual()
	if err := r.pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.tarn.kill9()
	if err := os.RemoveAll(r.tarn.dataDir()); err != nil {
		t.Fatal(err)
	}
	r.tarn.startReady()
	r.exec(`INSERT INTO t VALUES (-2, 'last')`)
	r.mustBeEqual()
	r.ledgerMustHold()
}

// nextXID is the full id of the next transaction.
func (r *rig) nextXID() (xid uint64) {
	r.t.Helper()
	text, err := r.pg.QueryText(r.t.Context(), database, `SELECT pg_snapshot_xmax(pg_current_snapshot())::text`)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := fmt.Sscan(text, &xid); err != nil {
		r.t.Fatal(err)
	}
	return xid
}

// jumpTo makes xid the next transaction's id, and freezes every row of every database.
func (r *rig) jumpTo(xid uint32) {
	r.t.Helper()
	if err := r.pg.Stop(pgtest.Fast); err != nil {
		r.t.Fatal(err)
	}
	info, err := os.Stat(r.pg.DataDir())
	if err != nil {
		r.t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	const perSegment = 8192 * 4 * 32 // transactions in a file of the commit log
	file := filepath.Join(r.pg.DataDir(), "pg_xact", fmt.Sprintf("%04X", xid/perSegment))
	if err := os.WriteFile(file, make([]byte, 8192*32), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chown(file, int(owner.Uid), int(owner.Gid)); err != nil {
		r.t.Fatal(err)
	}
	program := filepath.Join(r.pg.BinDir(), "pg_resetwal")
	if _, err := os.Stat(program); err != nil {
		pgtest.Missing(r.t, "these binaries come without pg_resetwal")
	}
	cmd := exec.CommandContext(r.t.Context(), program, "-f", "-x", fmt.Sprint(xid), "-D", r.pg.DataDir())
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	cmd.Dir = r.pg.DataDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("pg_resetwal: %v: %s", err, out)
	}
	if err := r.pg.Restart(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.exec(`UPDATE pg_database SET datallowconn = true`)
	for _, name := range []string{"postgres", "template1", "template0", database} {
		if err := r.pg.Exec(r.t.Context(), name, `VACUUM FREEZE`); err != nil {
			r.t.Fatal(err)
		}
	}
	r.exec(`CHECKPOINT`)
}

// A transaction with more subtransactions than a proc array entry holds, open over publications and a kill.
func TestManySubtransactionsOpen(t *testing.T) {
	r := newRig(t, 18, []string{`CREATE TABLE t (i int, v text)`, `INSERT INTO t SELECT i, 'old' FROM generate_series(1, 200) i`})
	r.tarn.startReady()
	open := r.connect()
	var sql strings.Builder
	sql.WriteString("BEGIN;")
	for i := range 150 {
		fmt.Fprintf(&sql, "SAVEPOINT s; INSERT INTO t VALUES (%d, 'sub'); UPDATE t SET v = 'changed' WHERE i = %d;", 1000+i, i+1)
		if i%3 == 0 {
			sql.WriteString("ROLLBACK TO s;")
		} else if i%3 == 1 {
			sql.WriteString("RELEASE s;")
		}
	}
	if _, err := open.Exec(t.Context(), sql.String(), pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	r.exec(`INSERT INTO t VALUES (5000, 'beside')`, `CHECKPOINT`)
	if report := r.mustBeEqual(); report.Rows() != 201 {
		t.Fatal(report)
	}
	r.tarn.kill9()
	r.tarn.startReady()
	if _, err := open.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if report := r.mustBeEqual(); report.Rows() != 301 {
		t.Fatal(report)
	}
}

// A partitioned table with an unlogged leaf cannot be whole: it stands still and says why, and comes back by itself.
func TestUnloggedPartition(t *testing.T) {
	r := newRig(t, 18, []string{`CREATE TABLE p (i int, v text) PARTITION BY LIST (i)`, `CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)`,
		`CREATE TABLE p2 PARTITION OF p DEFAULT`, `INSERT INTO p SELECT i % 3, 'v' FROM generate_series(1, 300) i`})
	r.tarn.startReady()
	r.mustBeEqual()
	r.exec(`ALTER TABLE p1 SET UNLOGGED`, `INSERT INTO p VALUES (2, 'more')`)
	r.mustBe("public.p", admin.TableError, "unlogged")
	r.exec(`ALTER TABLE p RENAME TO q`, `CREATE TABLE p (i int)`)
	r.mustBe("public.q", admin.TableError, "unlogged")
	r.mustBe("public.p", admin.TableLive, "")
	r.exec(`DROP TABLE p`, `UPDATE q SET v = 'changed' WHERE i = 1`)
	r.tarn.kill9()
	r.tarn.startReady()
	r.exec(`ALTER TABLE p1 SET LOGGED`)
	r.mustBe("public.q", admin.TableLive, "")
	r.mustBeEqual()
}
