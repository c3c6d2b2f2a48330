package pgtest_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarn-db/tarn/internal/pgtest"
)

func TestServerLife(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) { serverLife(t, major) })
	}
}

func serverLife(t *testing.T, major int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	srv := pgtest.NewTestServer(t, pgtest.Options{Major: major, Databases: []string{"app"}, Settings: map[string]string{"wal_keep_size": "32MB"}})

	version, err := srv.QueryText(ctx, "app", "SHOW server_version")
	if err != nil || !strings.HasPrefix(version, fmt.Sprint(major)) {
		t.Fatalf("server_version = %q, %v; want %d", version, err, major)
	}
	if err := srv.Exec(ctx, "app", "CREATE TABLE t (i int)", "INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	repl, err := pgconn.Connect(ctx, srv.ReplConnString("app")+"&replication=true")
	if err != nil {
		t.Fatalf("replication connection: %v", err)
	}
	if res, err := repl.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll(); err != nil || len(res[0].Rows) != 1 {
		t.Fatalf("IDENTIFY_SYSTEM: %v, %v", res, err)
	}
	repl.Close(ctx)

	if err := srv.Kill9(); err != nil {
		t.Fatal(err)
	}
	if srv.Running() {
		t.Fatal("it runs after Kill9")
	}
	if err := srv.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := srv.QueryText(ctx, "app", "SELECT count(*)::text FROM t"); err != nil || n != "1" {
		t.Fatalf("rows after kill -9 and recovery: %q, %v", n, err)
	}
	if err := srv.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.Connect(ctx, srv.ConnString("app")); err == nil {
		t.Fatal("a stopped server took a connection")
	}
}

// A backend that outlives Kill9 could still commit. One that is busy is the test: it does not notice its postmaster's death.
func TestKill9LeavesNoBackend(t *testing.T) {
	ctx := context.Background()
	srv := pgtest.NewTestServer(t, pgtest.Options{})
	conn, err := pgx.Connect(ctx, srv.ConnString("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	pid := conn.PgConn().PID()
	go func() { _, _ = conn.Exec(ctx, "SELECT count(*) FROM generate_series(1, 1000000000000)") }()
	time.Sleep(100 * time.Millisecond)
	if err := srv.Kill9(); err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil && !strings.Contains(string(stat), ") Z ") {
		t.Fatalf("the backend is still there: %s", stat)
	}
}

// The role tarn is given must not be able to read a table: a test that passes only with more rights would hide it.
func TestReplicatorCannotReadTables(t *testing.T) {
	ctx := context.Background()
	srv := pgtest.NewTestServer(t, pgtest.Options{})
	if err := srv.Exec(ctx, "postgres", "CREATE TABLE secret (i int)"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, srv.ReplConnString("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SELECT * FROM secret"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Fatalf("reading as replicator: %v; want permission denied", err)
	}
}

func TestStartReportsTheServersOwnMessage(t *testing.T) {
	_, err := pgtest.Start(context.Background(), pgtest.Options{Settings: map[string]string{"shared_buffers": "nonsense"}})
	if err == nil || !strings.Contains(err.Error(), "shared_buffers") {
		t.Fatalf("Start with a bad setting: %v; want the server's message about it", err)
	}
}

func TestBinPrefersEnvironment(t *testing.T) {
	want, err := pgtest.Bin(15)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TARN_PGBIN", "14=/nowhere,99="+want)
	if got, err := pgtest.Bin(99); err != nil || got != want {
		t.Fatalf("Bin(99) = %q, %v; want %q", got, err, want)
	}
	if _, err := pgtest.Bin(98); err == nil || !strings.Contains(err.Error(), "TARN_PGBIN") {
		t.Fatalf("Bin(98) = %v; want an error that says what to set", err)
	}
}
