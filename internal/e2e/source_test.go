package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// A source that goes away for a while: the status says so and the process lives, also when it was asked for a new base
// backup meanwhile, which it takes once the source is back.
func TestSourceGoesAway(t *testing.T) {
	r := newRig(t, 18, []string{`CREATE TABLE t (i int)`, `INSERT INTO t SELECT generate_series(1, 1000)`})
	r.tarn.startReady()
	r.mustBeEqual()
	for _, resync := range []bool{false, true} {
		if err := r.pg.Stop(pgtest.Fast); err != nil {
			t.Fatal(err)
		}
		r.mustShow(admin.StateAttaching)
		if resync {
			r.verb("resync", "--all")
			time.Sleep(2 * time.Second)
			r.mustShow(admin.StateAttaching, "check that the server runs")
		}
		if sum, err := r.queryOne(database, `SELECT count(*) FROM lake.public.t`); err != nil || sum == "0" {
			t.Fatalf("what was published: %s, %v", sum, err)
		}
		if err := r.pg.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.exec(`INSERT INTO t VALUES (0)`)
		r.tarn.waitReady()
		r.mustBeEqual()
	}
}

// The server gives up on a slot that holds more WAL than it may, while tarn is there but does not get on.
func TestSlotIsInvalidated(t *testing.T) {
	r := &rig{t: t, seed: pgtest.Seed(t)}
	r.on(pgtest.Options{Major: 15, Settings: map[string]string{
		"max_slot_wal_keep_size": "16MB", "min_wal_size": "32MB", "max_wal_size": "32MB", "wal_sender_timeout": "3s",
	}}, []string{`CREATE TABLE t (i int)`, `INSERT INTO t SELECT generate_series(1, 1000)`})
	r.tarn.startReady()
	r.mustBeEqual()
	if err := r.tarn.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// A walsender that a checkpoint tells to go may wait to say so to us for as long as we are stopped, and the checkpoint for it.
	for active, rounds := "true", 0; active != "false"; rounds++ {
		if rounds == 300 {
			t.Fatal("the server does not give a silent standby up")
		}
		time.Sleep(100 * time.Millisecond)
		var err error
		if active, err = r.pg.QueryText(t.Context(), database, `SELECT active::text FROM pg_replication_slots`); err != nil {
			t.Fatal(err)
		}
	}
	for lost, rounds := false, 0; !lost; rounds++ {
		if rounds == 100 {
			t.Fatal("the slot is not invalidated")
		}
		r.exec(`INSERT INTO t SELECT generate_series(1, 1000)`, `SELECT pg_switch_wal()`, `CHECKPOINT`)
		status, err := r.pg.QueryText(t.Context(), database, `SELECT coalesce(wal_status, '') FROM pg_replication_slots`)
		if err != nil {
			t.Fatal(err)
		}
		lost = status == "lost"
	}
	if err := r.tarn.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	r.mustShow(admin.StateWALGap, "resync --all", "max_slot_wal_keep_size")
	r.verb("resync", "--all")
	r.tarn.waitReady()
	r.mustBeEqual()
}

// A failover to a standby that lacks what is published, and no pages of before are kept: tarn stops and says so, and a resync makes
// the lake the new server's, row for row, though the same transaction ids and line pointers mean other rows there.
func TestFailoverBelowPublished(t *testing.T) {
	r := newRig(t, 15, []string{`CREATE TABLE t (i int, s text)`, `INSERT INTO t SELECT i, 'both' FROM generate_series(1, 1000) i`})
	standby := standbyOf(t, r.pg)
	r.point(r.pg, standby)
	r.tarn.appendConfig("history: {window: 0}\n")
	r.tarn.startReady()
	r.mustBeEqual()
	if err := standby.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.exec(`INSERT INTO t SELECT i, 'lost' FROM generate_series(2001, 3000) i`, `UPDATE t SET s = 'lost' WHERE i < 500`, `SELECT pg_switch_wal()`)
	}
	r.mustBeEqual()
	r.tarn.stop() // pages are made durable behind the fork
	r.failOver(r.pg, standby)
	r.tarn.start()
	r.mustShow(admin.StateDiverged, "forked", "the oldest point is", "resync --all")
	r.exec(`INSERT INTO t SELECT i, 'new' FROM generate_series(2001, 3000) i`, `UPDATE t SET s = 'new' WHERE i < 500`)
	r.tarn.kill9() // it is diverged after a restart as well
	r.tarn.start()
	r.mustShow(admin.StateDiverged, "resync --all")
	r.verb("resync", "--all")
	for range 2 { // amid the base backup or behind it, in the former history's place or in none
		time.Sleep(time.Duration(r.seed%400) * time.Millisecond)
		r.tarn.kill9()
		r.tarn.start()
	}
	for range 3 {
		r.exec(`SELECT pg_switch_wal()`, `INSERT INTO t VALUES (0, 'later')`)
	}
	r.tarn.waitReady()
	r.mustBeEqual()
}

// point makes tarn's source whichever of the servers is up.
func (r *rig) point(servers ...*pgtest.Server) {
	r.t.Helper()
	var hosts, ports []string
	for _, s := range servers {
		hosts, ports = append(hosts, "127.0.0.1"), append(ports, fmt.Sprint(s.Port()))
	}
	url := fmt.Sprintf("host=%s port=%s user=replicator password="+pgtest.Password+" sslmode=disable dbname=%s", strings.Join(hosts, ","), strings.Join(ports, ","), database)
	b, err := os.ReadFile(r.tarn.config)
	if err != nil {
		r.t.Fatal(err)
	}
	text := strings.ReplaceAll(string(b), servers[0].ReplConnString(database), url)
	if err := os.WriteFile(r.tarn.config, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// A second tarn on the same store takes over. The first stops, says which is which, and takes over in its turn once it is
// started again.
func TestTwoOnOneStore(t *testing.T) {
	r := newRig(t, 18, []string{`CREATE TABLE t (i int)`, `INSERT INTO t SELECT generate_series(1, 1000)`})
	r.tarn.startReady()
	r.mustBeEqual()
	other := newTarn(t, r.pg.ReplConnString(database))
	b, err := os.ReadFile(other.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other.config, []byte(strings.Replace(string(b), other.storeDir(), r.tarn.storeDir(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	other.start()
	time.Sleep(time.Second)
	r.exec(`INSERT INTO t VALUES (0)`)
	r.mustShow(admin.StateStopped, "another tarn has taken over this store")
	other.waitReady()
	first := r.tarn
	r.turnTo(other)
	r.mustBeEqual()
	first.kill9()
	r.exec(`DELETE FROM t WHERE i % 3 = 0`)
	r.mustBeEqual()
	other.stop()
	r.turnTo(first)
	first.startReady()
	r.exec(`INSERT INTO t VALUES (-1)`)
	r.mustBeEqual()
}

// turnTo goes on with another tarn, and another DuckDB: one that has talked to two catalogs may send a request to the
// former, over a connection it kept (seen with 1.5.5).
func (r *rig) turnTo(tn *tarn) {
	r.t.Helper()
	r.tarn = tn
	r.readers[1] = startReader(r.t, lakecheck.DuckDB)
}

// A connection that breaks amid the base backup begins it anew.
func TestBaseBackupBreaksOff(t *testing.T) {
	r := newRig(t, 15, []string{`CREATE TABLE t (i int, s text)`, `INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 400000) i`})
	r.tarn.start()
	for ended, began := "0", time.Now(); ended == "0"; {
		if time.Since(began) > time.Minute {
			t.Fatal("the base backup was not seen under way")
		}
		var err error
		ended, err = r.pg.QueryText(t.Context(), database, `SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_replication WHERE state = 'backup'`)
		if err != nil {
			t.Fatal(err)
		}
	}
	r.tarn.waitReady()
	if log := r.tarn.logTail(); !strings.Contains(log, "beginning it anew") {
		t.Errorf("the log does not speak of it:\n%s", log)
	}
	r.mustBeEqual()
}
