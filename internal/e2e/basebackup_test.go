package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// rowsQuery is all rows of a few tables, as one value.
const rowsQuery = `SELECT md5(string_agg(r, ';' ORDER BY r)) FROM (SELECT 'a' || a::text r FROM accounts a UNION ALL SELECT 'b' || md5(b::text) FROM big b
	UNION ALL SELECT 's' || last_value FROM numbers UNION ALL SELECT 'm' || m::text FROM summed m) all_rows`

// moment is what the source's tables held at an LSN, and at a time.
type moment struct {
	lsn  pg.LSN
	at   time.Time
	rows string
}

func (r *rig) moment() (m moment) {
	r.t.Helper()
	var err error
	if m.rows, err = r.pg.QueryText(r.t.Context(), database, rowsQuery); err != nil {
		r.t.Fatal(err)
	}
	if m.lsn, err = demo.FlushLSN(r.t.Context(), r.pg); err != nil {
		r.t.Fatal(err)
	}
	if err = r.connect().QueryRow(r.t.Context(), "SELECT clock_timestamp()").Scan(&m.at); err != nil {
		r.t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	return m
}

// restored starts a stock server on what `tarn basebackup` writes.
func (r *rig) restored(args ...string) *pgtest.Server {
	r.t.Helper()
	dir, err := os.MkdirTemp("", "restored")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	if out, code := r.tarn.run(append([]string{"basebackup", "-D", data}, args...)...); code != 0 {
		r.t.Fatalf("tarn basebackup %v: exit code %d: %s", args, code, out)
	}
	return r.startOn(dir)
}

// startOn starts a stock server on dir/data.
func (r *rig) startOn(dir string) *pgtest.Server {
	r.t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		r.t.Fatal(err)
	}
	for name, text := range map[string]string{
		"postgresql.auto.conf": fmt.Sprintf("port = %d\nunix_socket_directories = '%s'\n", port, dir), "pg_hba.conf": "host all postgres 127.0.0.1/32 trust\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "data", name), []byte(text), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	srv := pgtest.NewTestServer(r.t, pgtest.Options{Bin: r.pg.BinDir(), Dir: dir, Port: port, KeepData: true})
	log, err := os.ReadFile(srv.LogPath())
	if err != nil || !strings.Contains(string(log), "database system was shut down at") || strings.Contains(string(log), "redo") {
		r.t.Errorf("the server did not start as one that was shut down: %v\n%s", err, log)
	}
	return srv
}

// TestBasebackup restores a cluster at LSNs, times and branches, while tarn runs, after it was killed and stopped: a stock server starts on
// each without recovery, has the rows of then, and goes its own way.
func TestBasebackup(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, 15, []string{
		"CREATE TABLE accounts (id int PRIMARY KEY, balance int)", "INSERT INTO accounts SELECT i, 0 FROM generate_series(1, 5000) i",
		"CREATE TABLE big (id int, t text)", "ALTER TABLE big ALTER t SET STORAGE EXTERNAL", "CREATE SEQUENCE numbers",
		"CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY)", "INSERT INTO scratch VALUES (1)",
		"CREATE MATERIALIZED VIEW summed AS SELECT sum(balance) FROM accounts",
	})
	r.tarn.startReady()
	r.caughtUp()
	var moments []moment
	for i := range 4 {
		r.exec(fmt.Sprintf("UPDATE accounts SET balance = balance + %d WHERE id %% 4 = %d", i+1, i), fmt.Sprintf("INSERT INTO big VALUES (%d, repeat('%d', 20000))", i, i),
			"SELECT setval('numbers', (random() * 1000000)::int)", "REFRESH MATERIALIZED VIEW summed", "CHECKPOINT")
		moments = append(moments, r.moment())
		r.exec("BEGIN", "DELETE FROM accounts WHERE id % 3 = 0", "ROLLBACK")
	}
	r.caughtUp()
	check := func(what string, srv *pgtest.Server, want moment) {
		t.Helper()
		rows, err := srv.QueryText(ctx, database, rowsQuery)
		if err != nil || rows != want.rows {
			t.Errorf("%s: rows %s, want %s of %s (%v)", what, rows, want.rows, want.lsn, err)
		}
		if err := srv.Exec(ctx, database, "INSERT INTO scratch VALUES (1), (2)", "UPDATE accounts SET balance = -1", "VACUUM accounts", "CREATE TABLE mine AS SELECT * FROM big"); err != nil {
			t.Errorf("%s: it cannot be written to: %v", what, err)
		}
		if program := filepath.Join(srv.BinDir(), "pg_amcheck"); exists(program) {
			_ = srv.Exec(ctx, database, "CREATE EXTENSION amcheck")
			out, err := exec.Command(program, "--heapallindexed", "--rootdescend", "-d", database, "-h", "127.0.0.1", "-p", fmt.Sprint(srv.Port()), "-U", "postgres").CombinedOutput()
			if err != nil {
				t.Errorf("%s: pg_amcheck: %v: %s", what, err, out)
			}
		}
		if err := srv.Stop(pgtest.Fast); err != nil {
			t.Error(err)
		}
	}
	check("at an LSN", r.restored("--at", moments[0].lsn.String()), moments[0])
	check("at a time", r.restored("--at", moments[1].at.Format(time.RFC3339Nano), "--json"), moments[1])
	if out, code := r.tarn.run("branch", "create", "kept", "--at", moments[2].lsn.String()); code != 0 {
		t.Fatalf("branch create: %d %s", code, out)
	}
	r.tarn.kill9()
	check("a branch, after a crash", r.restored("--branch", "kept"), moments[2])
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	tar := exec.Command("sh", "-c", `"$0" basebackup --config "$1" --format tar -D - | tar -x -C "$2"`, path, r.tarn.config, filepath.Join(dir, "data"))
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("a tar stream: %v: %s", err, out)
	}
	if out, code := r.tarn.run("basebackup", "-D", filepath.Join(dir, "data")); code != 1 || !strings.Contains(out, "TARN-0408") {
		t.Errorf("a directory that is not empty: %d %s", code, out)
	}
	short, err := os.MkdirTemp("", "tar") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	if err := os.Rename(filepath.Join(dir, "data"), filepath.Join(short, "data")); err != nil {
		t.Fatal(err)
	}
	check("a tar stream of the end", r.startOn(short), moments[3])
	r.tarn.startReady()
	if rep := r.mustBeEqual(); len(rep.Tables) == 0 {
		t.Error("nothing was compared at the source")
	}
}
