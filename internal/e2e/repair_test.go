package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// tornRows is all rows of the tables that nothing writes to when the server is killed, as one value.
const tornRows = `SELECT md5(string_agg(md5(t::text), '' ORDER BY id)) || (SELECT md5(string_agg(s, '' ORDER BY id)) FROM torn_toast) || (SELECT count(*) FROM torn_moved) FROM torn t`

// tornTables have every kind of index; the buffers of the test's servers are far fewer than their pages, so that most pages were written
// out, each at another LSN, when the server is killed.
var tornTables = []string{
	`CREATE EXTENSION IF NOT EXISTS amcheck`,
	`CREATE TABLE torn (id int PRIMARY KEY, n int, s text, tags int[], p point)`,
	`CREATE INDEX ON torn (s)`, `CREATE INDEX ON torn USING hash (n)`, `CREATE INDEX ON torn USING gin (tags)`, `CREATE INDEX ON torn USING gist (p)`,
	`CREATE INDEX ON torn USING spgist (p)`, `CREATE INDEX ON torn USING brin (id)`,
	`INSERT INTO torn SELECT g, g, md5(g::text), ARRAY[g % 50, g % 7], point(g % 100, g % 83) FROM generate_series(1, 20000) g`,
	`CREATE TABLE torn_toast (id int PRIMARY KEY, s text)`, `ALTER TABLE torn_toast ALTER s SET STORAGE EXTERNAL`,
	`INSERT INTO torn_toast SELECT g, repeat(md5(g::text), 100) FROM generate_series(1, 300) g`,
	`CREATE TABLE torn_moved (id int)`, `INSERT INTO torn_moved SELECT generate_series(1, 5000)`, `CREATE UNLOGGED TABLE torn_scratch (id int PRIMARY KEY)`,
	`VACUUM ANALYZE`,
}

// tornLoad is what happens between the checkpoint and the crash.
var tornLoad = []string{
	`INSERT INTO torn SELECT g, g, md5(g::text), ARRAY[g % 50, g % 7], point(g % 100, g % 83) FROM generate_series(20001, 24000) g`,
	`UPDATE torn SET n = n + 100000, s = md5(s), p = point(n % 91, n % 17) WHERE id % 3 = 0`, `DELETE FROM torn WHERE id % 7 = 0`, `VACUUM torn`,
	`UPDATE torn SET tags = ARRAY[id % 13] WHERE id % 5 = 0`, `UPDATE torn_toast SET s = repeat(md5(s), 90) WHERE id % 2 = 0`,
	`DELETE FROM torn_moved WHERE id > 2000`, `VACUUM torn_moved`, // cut short
	`INSERT INTO torn_scratch SELECT generate_series(1, 1000)`, `CREATE TABLE torn_new AS SELECT * FROM torn`, `CREATE INDEX ON torn_new (s)`, `UPDATE torn_new SET n = 0 WHERE id % 4 = 0`,
	`CREATE TABLE torn_gone AS SELECT * FROM torn`, `UPDATE torn_gone SET n = 1`, `DROP TABLE torn_gone`,
	`SELECT count(*) FROM torn WHERE n > 0`, // hints
}

// A primary that ran without full page writes is killed under load, and pages that it has written since its last checkpoint are torn. By
// itself it does not come back, or not with its rows. `tarn repair` puts the pages back, and then it does: with all rows,
// right checksums and sound indexes; and tarn goes on with it.
func TestRepair(t *testing.T) {
	for _, c := range []struct {
		release   string
		checksums bool
		tarn      string
	}{{"15.19", false, "away"}, {"16.15", true, "running"}, {"17.11", false, "stopped"}, {"18.6", true, "stopped"}} {
		t.Run(c.release, func(t *testing.T) {
			if (c.release == "16.15" || c.release == "17.11") && !pgtest.Long() {
				t.Skip("make test-long: 16 and 17 beside 15 and 18")
			}
			r := newTornRig(t, c.release, c.checksums)
			if c.tarn == "away" { // from before the last checkpoint on: the WAL that leads there is in pg_wal alone
				r.exec(`UPDATE torn SET n = n - 1 WHERE id % 11 = 0`)
				r.tarn.kill9()
				r.exec(`UPDATE torn SET n = n + 1 WHERE id % 10 = 0`)
			}
			want := r.crash(t, c.tarn == "stopped")
			if n := r.tear(t); n < 200 {
				t.Fatalf("only %d pages were torn", n)
			}
			r.mustNotComeBack(t, want)
			before := r.files(t)
			dry := r.repair(t, "--dry-run")
			if dry.PutBack < 200 || dry.Blocks < dry.PutBack || (dry.Torn > 0) != c.checksums || !sameFiles(before, r.files(t)) {
				t.Errorf("dry run: %+v", dry)
			}
			first, again := r.repair(t), r.repair(t)
			// tarn, when it is stopped, makes pages durable that are newer than the checkpoint; on a slow machine it does while it runs.
			if first.PutBack != dry.PutBack || first.PageLSN == first.RedoLSN && c.tarn == "stopped" || first.PageLSN < first.RedoLSN || first.PageLSN > first.EndLSN {
				t.Errorf("%+v, the dry run said %+v", first, dry)
			}
			if again.PutBack != 0 || again.Torn != 0 || again.FSM != 0 || again.Same != first.Same+first.PutBack {
				t.Errorf("a second run is no repetition: %+v after %+v", again, first)
			}
			t.Logf("%+v", first)
			r.mustComeBack(t, want)
		})
	}
}

// tornRig is a rig whose server ran without full page writes.
type tornRig struct {
	*rig
	stop       func() // ends the load that runs when the server is killed
	checkpoint map[string][]byte
}

func newTornRig(t *testing.T, release string, checksums bool) *tornRig {
	t.Helper()
	r := &tornRig{rig: &rig{t: t, journal: demo.NewJournal(), seed: pgtest.Seed(t)}}
	arg := "--data-checksums"
	if !checksums {
		arg = "--encoding=UTF8" // which it is anyway
		if strings.HasPrefix(release, "18") {
			arg = "--no-data-checksums"
		}
	}
	r.on(pgtest.Options{Release: release, InitdbArgs: []string{arg}, Settings: map[string]string{
		"full_page_writes": "off", "fsync": "off", "shared_buffers": "1MB", "checkpoint_timeout": "1h", "max_wal_size": "4GB", "bgwriter_delay": "10ms", "autovacuum_naptime": "1s",
	}}, tornTables)
	if err := demo.CreateSchema(t.Context(), r.connect()); err != nil {
		t.Fatal(err)
	}
	r.tarn.startReady()
	return r
}

// crash puts load on the server and kills it, and returns what its quiet tables held. Tarn may be stopped in the middle of the load.
func (r *tornRig) crash(t *testing.T, stopTarn bool) (rows string) {
	t.Helper()
	r.exec("CHECKPOINT")
	r.checkpoint = r.files(t)
	r.stop = r.write(func(w *demo.Workload) { w.Reconnect = true })
	r.exec(tornLoad[:len(tornLoad)/2]...)
	if stopTarn {
		r.caughtUp()
		r.tarn.stop()
	}
	r.exec(tornLoad[len(tornLoad)/2:]...)
	rows, err := r.pg.QueryText(t.Context(), database, tornRows)
	if err != nil {
		t.Fatal(err)
	}
	open := r.connect() // never commits
	for _, sql := range []string{"BEGIN", "UPDATE torn SET n = -1 WHERE id % 2 = 0", "DELETE FROM torn_toast"} {
		if _, err := open.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.pg.Kill9(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// files are the relation files of all databases.
func (r *tornRig) files(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, dir := range []string{"base", "global"} {
		err := filepath.WalkDir(filepath.Join(r.pg.DataDir(), dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.ContainsAny(e.Name()[:1], "123456789") {
				return err
			}
			files[path], err = os.ReadFile(path)
			if os.IsNotExist(err) {
				err = nil
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func sameFiles(a, b map[string][]byte) bool {
	for path := range a {
		if !bytes.Equal(a[path], b[path]) {
			return false
		}
	}
	return len(a) == len(b)
}

// tear leaves of each page that was written since the checkpoint one half, the first or the second; the other one is what it was then. A
// third of those that a record has changed keep nothing but their LSN.
func (r *tornRig) tear(t *testing.T) (torn int) {
	t.Helper()
	redo := r.redo(t)
	rng := rand.New(rand.NewPCG(r.seed, 21))
	for path, now := range r.files(t) {
		then := r.checkpoint[path]
		for at := 0; at+pg.BlockSize <= len(now); at += pg.BlockSize {
			page, old := pg.Page(now[at:at+pg.BlockSize]), make(pg.Page, pg.BlockSize)
			if at < len(then) {
				copy(old, then[at:])
			}
			if bytes.Equal(page, old) {
				continue
			}
			torn++
			hint := strings.HasSuffix(path, "_fsm") || strings.HasSuffix(path, "_vm")
			switch half := pg.BlockSize / 2; {
			case !hint && page.LSN() > redo && rng.IntN(3) == 0:
				for i := 8; i < pg.BlockSize; i++ {
					page[i] = byte(rng.Uint32())
				}
			case rng.IntN(2) == 0:
				copy(page[:half], old[:half])
			default:
				copy(page[half:], old[half:])
			}
		}
		if err := overwrite(path, now); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d pages torn", torn)
	return torn
}

// overwrite leaves the file's owner as it is.
func overwrite(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err2 := f.Close(); err == nil {
		err = err2
	}
	return err
}

func (r *tornRig) redo(t *testing.T) pg.LSN {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.pg.DataDir(), "global", "pg_control"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := control.Parse(b)
	if err != nil || c.State != control.InProduction {
		t.Fatalf("%v, %v", c.State, err)
	}
	return c.CheckPoint.Redo
}

// mustNotComeBack starts the stock server on a copy of the torn directory. If it starts, its rows are others.
func (r *tornRig) mustNotComeBack(t *testing.T, want string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "torn")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if out, err := exec.Command("cp", "-a", r.pg.DataDir(), filepath.Join(dir, "data")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Remove(filepath.Join(dir, "data", "postmaster.pid")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	srv, err := pgtest.Start(t.Context(), pgtest.Options{Bin: r.pg.BinDir(), Dir: dir, KeepData: true})
	if err != nil {
		t.Logf("without repair: %.600s", err)
		return
	}
	defer srv.Remove()
	rows, err := srv.QueryText(t.Context(), database, tornRows)
	t.Logf("without repair: it starts; %v", err)
	if err == nil && rows == want {
		t.Error("the server has all its rows without repair: nothing was torn")
	}
}

// tornReport is what `tarn repair --json` prints.
type tornReport struct {
	Clean                                               bool
	RedoLSN                                             pg.LSN `json:"redo_lsn"`
	EndLSN                                              pg.LSN `json:"end_lsn"`
	PageLSN                                             pg.LSN `json:"page_lsn"`
	Blocks, Rebuilt, Relations, Same, Torn, FSM, Absent int64
	PutBack                                             int64 `json:"put_back"`
}

func (r *tornRig) repair(t *testing.T, args ...string) (rep tornReport) {
	t.Helper()
	out, code := r.tarn.run(append([]string{"repair", "-D", r.pg.DataDir(), "--json"}, args...)...)
	if code != 0 {
		t.Fatalf("tarn repair %v: exit code %d: %s", args, code, out)
	}
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return rep
}

// mustComeBack starts the repaired server and looks at everything.
func (r *tornRig) mustComeBack(t *testing.T, want string) {
	t.Helper()
	ctx := context.Background()
	if err := r.pg.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if !r.tarn.running() {
		r.tarn.start()
	}
	time.Sleep(300 * time.Millisecond)
	r.stop()
	rows, err := r.pg.QueryText(ctx, database, tornRows)
	if err != nil || rows != want {
		t.Errorf("rows %s, want %s (%v)", rows, want, err)
	}
	for _, sql := range []string{
		`SELECT count(*) FROM pg_class c, LATERAL verify_heapam(c.oid) WHERE relkind IN ('r', 't', 'm') AND relpersistence <> 't'`,
		`SELECT count(bt_index_parent_check(c.oid, true, true)) - count(*) FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE relkind = 'i' AND amname = 'btree' AND relpersistence <> 't'`,
		`SELECT count(*) FROM torn_scratch`,
		`SELECT (SELECT count(*) FROM torn) - (SELECT count(*) FROM torn WHERE tags && (SELECT array_agg(g) FROM generate_series(0, 50) g))`,
	} {
		if n, err := r.pg.QueryText(ctx, database, sql); err != nil || n != "0" {
			t.Errorf("%s: %s, %v", sql, n, err)
		}
	}
	r.exec("SET enable_seqscan = off", "SELECT count(*) FROM torn WHERE s > ''", "UPDATE torn SET n = n + 1", "VACUUM (FREEZE) torn", "INSERT INTO torn_moved SELECT generate_series(1, 10000)", "CHECKPOINT")
	r.tarn.waitReady()
	r.mustBeEqual()
	r.ledgerMustHold()
	if err := r.pg.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	if program := filepath.Join(r.pg.BinDir(), "pg_checksums"); exists(program) {
		out, err := exec.Command(program, "--check", "-D", r.pg.DataDir()).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "not enabled") {
			t.Errorf("pg_checksums: %v: %s", err, out)
		}
	}
	if rep := r.repair(t); !rep.Clean || rep.PutBack != 0 {
		t.Errorf("after a clean shutdown: %+v", rep)
	}
}

// What `tarn repair` must not touch: a server that runs, another cluster, a standby, and a server whose disk has lost WAL that the store has.
func TestRepairRefuses(t *testing.T) {
	r := newTornRig(t, "18.6", true)
	refused := func(what, code string, args ...string) {
		t.Helper()
		if out, exit := r.tarn.run(append([]string{"repair"}, args...)...); exit != 1 || !strings.Contains(out, code) {
			t.Errorf("%s: exit code %d: %s", what, exit, out)
		}
	}
	data := r.pg.DataDir()
	refused("a running server", "TARN-0521", "-D", data)
	refused("no data directory", "TARN-0503", "-D", t.TempDir())
	r.exec("CHECKPOINT", "UPDATE torn SET n = n + 1")
	r.caughtUp()
	if err := r.pg.Kill9(); err != nil {
		t.Fatal(err)
	}
	other := pgtest.NewTestServer(t, pgtest.Options{Release: "18.6"})
	if err := other.Exec(t.Context(), "postgres", "CREATE TABLE t ()"); err != nil {
		t.Fatal(err)
	}
	if err := other.Kill9(); err != nil {
		t.Fatal(err)
	}
	refused("another cluster", "TARN-0522", "-D", other.DataDir())
	for _, name := range []string{"standby.signal", "backup_label"} {
		path := filepath.Join(data, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(name, "TARN-0520", "-D", data)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	end := r.repair(t, "--dry-run").EndLSN
	path := filepath.Join(data, "pg_wal", pg.WALFileName(1, end-1, 16<<20))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := int(end-end.SegmentStart(16<<20)) - 20000
	if at < 0 {
		t.Fatalf("the last segment holds %d bytes", at+20000)
	}
	lost := bytes.Clone(b)
	clear(lost[at:])
	if err := overwrite(path, lost); err != nil {
		t.Fatal(err)
	}
	refused("lost WAL", "TARN-0523", "-D", data)
	if err := overwrite(path, b); err != nil {
		t.Fatal(err)
	}
	if rep := r.repair(t); rep.EndLSN != end {
		t.Error(fmt.Sprint(rep))
	}
}
