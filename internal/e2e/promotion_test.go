package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// The primary dies under load and its synchronous standby is promoted: the lake goes on with it, every acknowledged
// transaction once and no other, whenever tarn is killed on the way.
func TestFollowsPromotion(t *testing.T) {
	for _, major := range []int{15, 18} {
		for _, synchronous := range []bool{false, true} {
			if major == 18 && !synchronous {
				continue
			}
			t.Run(fmt.Sprintf("%d synchronous %v", major, synchronous), func(t *testing.T) {
				r := newRig(t, major, nil)
				if err := demo.CreateSchema(t.Context(), r.connect()); err != nil {
					t.Fatal(err)
				}
				old := r.pg
				standby := standbyOf(t, old)
				r.exec(`ALTER SYSTEM SET synchronous_standby_names = 'standby'`, `SELECT pg_reload_conf()`)
				// Nothing is published that the standby may lack: no publication is due while the primary dies.
				r.configure(old.ReplConnString(database), readWrite(old, standby), "interval: 100ms", "interval: 20s")
				if synchronous {
					r.configure("slot: tarn", "slot: tarn, synchronous: true")
				}
				r.exec(`CREATE TABLE prepared (i int)`)
				r.tarn.startReady()
				stop := r.write(func(w *demo.Workload) { w.Reconnect = true })
				time.Sleep(3 * time.Second)
				r.exec(`BEGIN; INSERT INTO prepared VALUES (1); SAVEPOINT s; INSERT INTO prepared VALUES (2); ROLLBACK TO s; PREPARE TRANSACTION 'over'`)
				if err := old.Kill9(); err != nil {
					t.Fatal(err)
				}
				stop()
				r.promote(standby)
				r.exec(`ALTER SYSTEM SET synchronous_standby_names = ''`, `SELECT pg_reload_conf()`)
				stop = r.write(nil)
				r.mustFollow(2)
				time.Sleep(500 * time.Millisecond)
				r.tarn.kill9()
				r.configure("interval: 20s", "interval: 100ms")
				for range 3 {
					r.tarn.start()
					time.Sleep(time.Duration(r.seed%700) * time.Millisecond)
					r.tarn.kill9()
				}
				stop() // what piles up while nothing runs is for the last start
				r.tarn.startReady()
				r.mustBeEqual()
				r.ledgerMustHold()
				r.exec(`UPDATE accounts SET balance = balance`, `COMMIT PREPARED 'over'`)
				r.mustBeEqual()
				if rows, err := r.queryOne(database, `SELECT sum(i) FROM lake.public.prepared`); err != nil || rows != "1" {
					t.Fatalf("rows prepared before the promotion: %s, %v", rows, err)
				}
				r.snapshotsMustSay("accounts", "1", "2")
				r.walMustCross(2)
				// The former primary comes back, first in the list. The stream is not looked for there, nor a slot made.
				if err := old.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := standby.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				r.mustSay("former primary")
				r.mustShow(admin.StateAttaching, "timeline 1", "timeline 2", "source.url")
				if n, err := old.QueryText(t.Context(), database, `SELECT count(*)::text FROM pg_replication_slots WHERE active`); err != nil || n != "0" {
					t.Fatalf("%s slots in use at the former primary, %v", n, err)
				}
				if err := old.Kill9(); err != nil {
					t.Fatal(err)
				}
				r.tarn.waitReady()
				r.exec(`UPDATE accounts SET balance = balance`)
				r.mustBeEqual()
			})
		}
	}
}

// A standby that lacks what tarn has received, archived and redone, but not published, is promoted. The rows of the former
// history's end are never seen; those in their places, with the same transaction ids, are.
func TestPromotionBelowReceived(t *testing.T) {
	for _, major := range []int{15, 18} {
		for _, running := range []bool{true, false} {
			if major == 18 && !running {
				continue
			}
			t.Run(fmt.Sprintf("%d running %v", major, running), func(t *testing.T) {
				r := newRig(t, major, []string{`CREATE TABLE t (i int, s text)`, `INSERT INTO t SELECT i, 'both' FROM generate_series(1, 1000) i`,
					`CREATE TABLE big (i int, s text)`, `ALTER TABLE big ALTER s SET STORAGE EXTERNAL`, `INSERT INTO big SELECT i, repeat('both', 3000) FROM generate_series(1, 20) i`})
				standby := standbyOf(t, r.pg)
				r.configure(r.pg.ReplConnString(database), readWrite(r.pg, standby), "interval: 100ms", "interval: 1h")
				r.tarn.startReady() // publishes once
				if err := standby.Stop(pgtest.Fast); err != nil {
					t.Fatal(err)
				}
				r.exec(change("lost")...)
				end, err := demo.FlushLSN(t.Context(), r.pg)
				if err != nil {
					t.Fatal(err)
				}
				for _, stage := range []admin.Stage{admin.StageCommit, admin.StageRedo} {
					if _, err := r.tarn.client().Wait(t.Context(), stage, end, publishTimeout); err != nil {
						t.Fatal(err)
					}
				}
				if !running {
					r.tarn.kill9()
				}
				if err := r.pg.Kill9(); err != nil {
					t.Fatal(err)
				}
				if err := standby.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				r.promote(standby)
				r.exec(change("new")...)
				if running {
					r.mustFollow(2)
					r.tarn.kill9()
				}
				r.configure("interval: 1h", "interval: 100ms")
				r.tarn.startReady()
				r.mustFollow(2)
				r.mustBeEqual()
				if n, err := r.queryOne(database, `SELECT count(*) FROM lake.public.t WHERE s = 'lost'`); err != nil || n != "0" {
					t.Fatalf("%s rows of the former history, %v", n, err)
				}
				r.walMustCross(2)
			})
		}
	}
}

// change writes the same rows to the same places, but for what is in them.
func change(s string) []string {
	return []string{
		`INSERT INTO t SELECT i, '` + s + `' FROM generate_series(2001, 3000) i`, `UPDATE t SET s = '` + s + `' WHERE i < 500`,
		`INSERT INTO big SELECT i, repeat('` + s + `', 3000) FROM generate_series(21, 40) i`, `DELETE FROM big WHERE i < 5`,
		`SELECT pg_switch_wal()`, `INSERT INTO t VALUES (0, '` + s + `')`,
	}
}

// Two promotions while tarn is down, and one more while it runs.
func TestPromotionsWhileDown(t *testing.T) {
	r := newRig(t, 15, []string{`CREATE TABLE t (i int, s text)`, `INSERT INTO t SELECT i, 'one' FROM generate_series(1, 1000) i`})
	r.tarn.startReady()
	r.mustBeEqual()
	r.tarn.stop()
	r.exec(`UPDATE t SET s = 'unseen' WHERE i % 7 = 0`)
	for _, s := range []string{"two", "three"} {
		r.again(true)
		r.exec(`INSERT INTO t SELECT i, '`+s+`' FROM generate_series(1, 100) i`, `DELETE FROM t WHERE i % 50 = 0`, `SELECT pg_switch_wal()`)
	}
	r.tarn.start()
	r.mustFollow(3)
	r.mustBeEqual()
	r.again(false)
	r.exec(`INSERT INTO t SELECT i, 'four' FROM generate_series(1, 100) i`)
	r.mustFollow(4)
	r.mustBeEqual()
	r.walMustCross(4)
	// From the store alone.
	r.tarn.stop()
	if err := os.RemoveAll(r.tarn.dataDir()); err != nil {
		t.Fatal(err)
	}
	r.tarn.startReady()
	r.exec(`DELETE FROM t WHERE i % 3 = 0`)
	r.mustBeEqual()
}

// A primary that has removed the WAL that is needed since the promotion: there is a gap, and the way out is named.
func TestPromotionWithoutWAL(t *testing.T) {
	r := &rig{t: t, seed: pgtest.Seed(t)}
	r.on(pgtest.Options{Major: 15, InitdbArgs: []string{"--wal-segsize=1"}, Settings: map[string]string{"min_wal_size": "2MB", "max_wal_size": "2MB"}},
		[]string{`CREATE TABLE t (i int, s text)`, `INSERT INTO t SELECT i, 'x' FROM generate_series(1, 1000) i`})
	r.tarn.startReady()
	r.mustBeEqual()
	r.tarn.stop()
	r.again(false)
	r.exec(`SELECT pg_drop_replication_slot('tarn')`) // slots do not follow to a standby
	for range 5 {
		r.exec(`INSERT INTO t SELECT i, repeat('y', 1000) FROM generate_series(1, 1000) i`, `SELECT pg_switch_wal()`, `CHECKPOINT`)
	}
	r.tarn.start()
	r.mustShow(admin.StateWALGap, "removed", "tarn resync --all")
	r.verb("resync", "--all")
	r.tarn.waitReady()
	r.mustBeEqual()
}

// again makes the source a standby of nobody and promotes it: the next timeline. kill is a power cut before.
func (r *rig) again(kill bool) {
	r.t.Helper()
	var err error
	if kill {
		err = r.pg.Kill9()
	} else {
		err = r.pg.Stop(pgtest.Fast)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.pg.DataDir(), "standby.signal"), nil, 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := r.pg.Restart(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.promote(r.pg)
}

// promote promotes a standby, which is the source from then on.
func (r *rig) promote(standby *pgtest.Server) {
	r.t.Helper()
	r.pg = standby
	if ok, err := r.pg.QueryText(r.t.Context(), database, `SELECT pg_promote()::text`); err != nil || ok != "true" {
		r.t.Fatalf("pg_promote: %s %v", ok, err)
	}
}

// readWrite is a URL that leads to whichever server takes writes.
func readWrite(servers ...*pgtest.Server) string {
	hosts := make([]string, len(servers))
	for i, s := range servers {
		hosts[i] = fmt.Sprintf("127.0.0.1:%d", s.Port())
	}
	return "postgres://replicator:" + pgtest.Password + "@" + strings.Join(hosts, ",") + "/" + database + "?sslmode=disable&target_session_attrs=read-write"
}

// configure replaces text in tarn.yaml: pairs of old and new.
func (r *rig) configure(pairs ...string) {
	r.t.Helper()
	b, err := os.ReadFile(r.tarn.config)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(b), pairs[i]) {
			r.t.Fatalf("tarn.yaml has no %q: %s", pairs[i], b)
		}
		b = []byte(strings.ReplaceAll(string(b), pairs[i], pairs[i+1]))
	}
	if err := os.WriteFile(r.tarn.config, b, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// mustFollow waits until the status shows the source's timeline, and tarn has redone what the source has.
func (r *rig) mustFollow(want pg.TimelineID) {
	r.t.Helper()
	end, err := demo.FlushLSN(r.t.Context(), r.pg)
	if err != nil {
		r.t.Fatal(err)
	}
	var st admin.Status
	for range 1200 {
		if st, err = r.tarn.client().Status(r.t.Context()); err == nil && st.Source.Timeline == want && st.State == admin.StateStreaming && st.RedoLSN >= end {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Fatalf("timeline %d is not followed to %s: %+v %v", want, end, st, err)
}

// mustSay waits until the status' error names a word.
func (r *rig) mustSay(word string) {
	r.t.Helper()
	var st admin.Status
	for range 600 {
		var err error
		if st, err = r.tarn.client().Status(r.t.Context()); err == nil && strings.Contains(st.Error, word) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Fatalf("the status does not say %q: %s", word, st.Error)
}

// snapshotsMustSay reads from a table's snapshots of which timelines they are.
func (r *rig) snapshotsMustSay(table string, timelines ...string) {
	r.t.Helper()
	resp, err := http.Get(r.tarn.catalogURL() + "/v1/" + database + "/namespaces/public/tables/" + table)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Metadata struct {
			Snapshots []struct{ Summary map[string]string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		r.t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range got.Metadata.Snapshots {
		seen[s.Summary["tarn.timeline"]] = true
	}
	for _, tli := range timelines {
		if !seen[tli] {
			r.t.Errorf("no snapshot of timeline %s: %v", tli, seen)
		}
	}
}

// walMustCross dumps the WAL in the store, past the switch to a timeline, whose history file is the server's.
func (r *rig) walMustCross(tli pg.TimelineID) {
	r.t.Helper()
	path, err := binary()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := exec.CommandContext(r.t.Context(), path, "wal", "dump", "--store", "file://"+r.tarn.storeDir(), "--rmgr", "XLOG").CombinedOutput()
	if n := strings.Count(string(out), "END_OF_RECOVERY"); err != nil || n != int(tli)-1 {
		r.t.Errorf("wal dump of the store: %v, %d switches of timeline, want %d: %.300s", err, n, tli-1, out)
	}
	name := pg.HistoryFileName(tli)
	own, err := os.ReadFile(filepath.Join(r.pg.DataDir(), "pg_wal", name))
	stored, err2 := os.ReadFile(fmt.Sprintf("%s/wal/%08X/%s", r.tarn.storeDir(), uint32(tli), name))
	if err := errors.Join(err, err2); err != nil || string(own) != string(stored) {
		r.t.Errorf("history file: %q, the server's is %q: %v", stored, own, err)
	}
}
