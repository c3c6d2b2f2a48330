package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pg"
)

// mustShow waits until the server as a whole is in a state; words are part of its reason. The process has to live on.
func (r *rig) mustShow(want admin.State, words ...string) {
	r.t.Helper()
	var st admin.Status
	for range 600 {
		if got, err := r.tarn.client().Status(r.t.Context()); err == nil {
			if st = got; st.State == want {
				break
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	if st.State != want || !r.tarn.running() {
		r.t.Fatalf("state %q (running %v): %s; want %q", st.State, r.tarn.running(), st.Error, want)
	}
	for _, word := range words {
		if !strings.Contains(st.Error, word) {
			r.t.Errorf("the status does not name %q: %s", word, st.Error)
		}
	}
	if ready, why, err := r.tarn.client().Ready(r.t.Context()); ready || err != nil || len(why) == 0 {
		r.t.Errorf("ready %v, %v, %v while %s", ready, why, err, want)
	}
}

// The source has removed WAL that tarn had not received. It says so and goes on serving what it has; a resync begins anew.
func TestWALGap(t *testing.T) {
	r := newRig(t, 15, []string{`CREATE TABLE t (i int)`, `INSERT INTO t SELECT generate_series(1, 1000)`})
	r.exec(`ALTER SYSTEM SET max_wal_size = '32MB'`, `ALTER SYSTEM SET min_wal_size = '32MB'`, `SELECT pg_reload_conf()`)
	r.tarn.startReady()
	r.mustBeEqual()
	r.tarn.stop()
	oldest := `SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'`
	before, err := r.pg.QueryText(t.Context(), database, oldest)
	if err != nil {
		t.Fatal(err)
	}
	r.exec(`SELECT pg_drop_replication_slot('tarn')`, `UPDATE t SET i = -i`, `CREATE TABLE later AS SELECT 1 AS one`)
	for range 4 {
		r.exec(`SELECT pg_switch_wal()`, `CHECKPOINT`)
	}
	if after, err := r.pg.QueryText(t.Context(), database, oldest); err != nil || after == before {
		t.Fatalf("the oldest segment was %s and is %s, %v: no gap", before, after, err)
	}
	r.tarn.start()
	r.mustShow(admin.StateWALGap, "resync --all")
	if sum, err := r.queryOne(database, `SELECT sum(i) FROM lake.public.t`); err != nil || sum != "500500" {
		t.Fatalf("what was published: %s, %v", sum, err)
	}
	if out, code := r.tarn.run("wait", "--lsn", "FFFF/0", "--timeout", "5s"); code != 1 || !strings.Contains(out, "resync --all") {
		t.Errorf("tarn wait at a gap: exit %d: %s", code, out)
	}
	r.tarn.kill9() // the gap is there after a restart as well
	r.tarn.start()
	r.mustShow(admin.StateWALGap, "resync --all")
	r.verb("resync", "--all")
	r.tarn.waitReady()
	r.mustBeEqual()
	r.exec(`DELETE FROM t WHERE i % 2 = 0`)
	r.mustBeEqual()
}

// A byte of archived WAL that a restart has to read has flipped: the timeline stops there and says where, what is published
// is served on, and the bytes are left as they are.
func TestCorruptArchivedWAL(t *testing.T) {
	r := newRig(t, 18, []string{`CREATE TABLE t (i int)`, `INSERT INTO t SELECT generate_series(1, 1000)`})
	r.tarn.startReady()
	r.exec(`UPDATE t SET i = -i`)
	lsn, err := demo.FlushLSN(t.Context(), r.pg)
	if err != nil {
		t.Fatal(err)
	}
	r.exec(`SELECT pg_switch_wal()`, `INSERT INTO t VALUES (0)`)
	r.mustBeEqual()
	segment, at := r.archived(lsn - 100)
	r.tarn.kill9()
	if err := os.RemoveAll(r.tarn.dataDir()); err != nil {
		t.Fatal(err)
	}
	damaged := flip(t, segment, at)
	r.tarn.start()
	r.mustShow(admin.StateCorrupt, "timeline stops at 0/")
	if sum, err := r.queryOne(database, `SELECT sum(i) FROM lake.public.t`); err != nil || sum != "-500500" {
		t.Fatalf("what was published: %s, %v", sum, err)
	}
	r.exec(`INSERT INTO t VALUES (1)`, `SELECT pg_switch_wal()`, `INSERT INTO t VALUES (2)`) // WAL is received and kept on
	end, err := demo.FlushLSN(t.Context(), r.pg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for received := pg.LSN(0); received < end; time.Sleep(20 * time.Millisecond) {
		st, err := r.tarn.client().Status(ctx)
		if err != nil {
			t.Fatalf("WAL behind the damage is not received: %s of %s: %v", received, end, err)
		}
		received = st.CommitLSN
	}
	if now, err := os.ReadFile(segment); err != nil || string(now) != damaged {
		t.Fatalf("the damaged segment was touched: %v", err)
	}
	r.tarn.stop()
	flip(t, segment, at) // put right from a copy, say
	r.tarn.startReady()
	r.mustBeEqual()
}

// archived finds the sealed segment of an LSN in the store, and the position in it.
func (r *rig) archived(lsn pg.LSN) (path string, at int64) {
	r.t.Helper()
	const size = 16 << 20
	name := fmt.Sprintf("%08X%08X%08X", 1, uint64(lsn)/size>>8, uint64(lsn)/size&0xFF)
	for range 200 {
		err := filepath.WalkDir(r.tarn.storeDir(), func(p string, d fs.DirEntry, err error) error {
			if info, ierr := os.Stat(p); err == nil && ierr == nil && filepath.Base(p) == name && info.Size() == size {
				path = p
			}
			return err
		})
		if err == nil && path != "" {
			return path, int64(lsn) % size
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Fatalf("no sealed segment %s in the store", name)
	return "", 0
}

// flip changes one bit of a file and returns what it holds then.
func flip(t *testing.T, path string, at int64) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x10
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tarn as a synchronous standby: a commit returns when tarn has it, and waits while there is no tarn.
func TestSynchronousSource(t *testing.T) {
	r := newRig(t, 15, []string{`CREATE TABLE t (i int)`})
	b, err := os.ReadFile(r.tarn.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.tarn.config, []byte(strings.Replace(string(b), "slot: tarn", "slot: tarn, synchronous: true", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	r.tarn.startReady()
	r.exec(`ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`)
	for range 100 {
		if state, err := r.pg.QueryText(t.Context(), database, `SELECT coalesce(min(sync_state), '') FROM pg_stat_replication WHERE state = 'streaming'`); err != nil {
			t.Fatal(err)
		} else if state == "sync" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	began := time.Now()
	for i := range 50 {
		r.exec(fmt.Sprintf(`INSERT INTO t VALUES (%d)`, i))
	}
	t.Logf("50 commits in %v", time.Since(began))
	r.mustBeEqual()
	r.tarn.kill9()
	conn := r.connect()
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), `INSERT INTO t VALUES (1000)`)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("a commit returned (%v) though nobody has it", err)
	case <-time.After(time.Second):
	}
	r.tarn.start()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the commit still waits though tarn is back")
	}
	r.tarn.waitReady()
	r.mustBeEqual()
}

// The store was emptied and the data directory is as it was: everything is copied anew.
func TestEmptiedStore(t *testing.T) {
	r := newDemoRig(t, 18)
	stop := r.write(nil)
	time.Sleep(time.Second)
	r.tarn.kill9()
	if err := os.RemoveAll(r.tarn.storeDir()); err != nil {
		t.Fatal(err)
	}
	r.tarn.startReady()
	time.Sleep(time.Second)
	stop()
	r.mustBeEqual()
	r.ledgerMustHold()
	r.tarn.stop()
	r.tarn.startReady()
	r.mustBeEqual()
}
