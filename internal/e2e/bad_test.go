package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// refusalTimeout bounds how long tarn may take to say what is wrong.
const refusalTimeout = 60 * time.Second

// mustRefuse runs `tarn serve`, which has to end with one of the exit codes and a last line that names each of the words.
func (tn *tarn) mustRefuse(codes []int, words ...string) {
	tn.t.Helper()
	tn.start()
	select {
	case <-tn.exited:
	case <-time.After(refusalTimeout):
		tn.t.Fatalf("tarn serve goes on after %v; want it to end and name %v", refusalTimeout, words)
	}
	log, err := os.ReadFile(tn.logPath())
	if err != nil {
		tn.t.Fatal(err)
	}
	code := tn.cmd.ProcessState.ExitCode()
	if !strings.Contains(fmt.Sprint(codes), fmt.Sprint(code)) {
		tn.t.Errorf("exit code %d, want one of %v", code, codes)
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	last := lines[len(lines)-1]
	for _, word := range words {
		if !strings.Contains(strings.ToLower(last), strings.ToLower(word)) {
			tn.t.Errorf("the last line does not name %q: %s", word, last)
		}
	}
	if strings.Contains(string(log), "goroutine ") {
		tn.t.Errorf("it panicked:\n%s", log)
	}
}

// What a user can get wrong: each is refused in one line that names the thing, and nothing hangs.
func TestBadInputs(t *testing.T) {
	srv := pgtest.NewTestServer(t, pgtest.Options{Databases: []string{database}})
	if err := srv.Exec(t.Context(), database, `CREATE ROLE plain LOGIN PASSWORD 'p'`, `CREATE TABLE t (i int)`); err != nil {
		t.Fatal(err)
	}
	url := func(user, password string) string {
		return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", user, password, srv.Port(), database)
	}
	failed, usage := []int{1}, []int{2}

	t.Run("role without REPLICATION", func(t *testing.T) {
		hba, err := os.ReadFile(filepath.Join(srv.DataDir(), "pg_hba.conf"))
		if err != nil {
			t.Fatal(err)
		}
		setHBA(t, srv, string(hba)+"host replication plain 127.0.0.1/32 scram-sha-256\n")
		newTarn(t, url("plain", "p")).mustRefuse(failed, "REPLICATION", "plain")
	})
	t.Run("wrong password", func(t *testing.T) {
		newTarn(t, url("replicator", "wrong")).mustRefuse(failed, "password")
	})
	t.Run("pg_hba refuses", func(t *testing.T) {
		hba, err := os.ReadFile(filepath.Join(srv.DataDir(), "pg_hba.conf"))
		if err != nil {
			t.Fatal(err)
		}
		setHBA(t, srv, "local all postgres trust\nhost all postgres 127.0.0.1/32 trust\n")
		defer setHBA(t, srv, string(hba))
		newTarn(t, srv.ReplConnString(database)).mustRefuse(failed, "pg_hba")
	})
	t.Run("nobody listens", func(t *testing.T) {
		newTarn(t, "postgres://replicator@"+freeAddr(t)+"/app").mustRefuse(failed, "connect")
	})
	t.Run("slot in use", func(t *testing.T) {
		holdSlot(t, srv)
		newTarn(t, srv.ReplConnString(database)).mustRefuse(failed, "slot", "tarn")
	})
	t.Run("port taken", func(t *testing.T) {
		tn := newTarn(t, srv.ReplConnString(database))
		l, err := net.Listen("tcp", tn.httpAddr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		tn.mustRefuse(failed, "taken", tn.httpAddr)
	})
	t.Run("store not writable", func(t *testing.T) {
		tn := newTarn(t, srv.ReplConnString(database))
		if err := os.WriteFile(tn.storeDir(), []byte("a file, not a folder"), 0o600); err != nil {
			t.Fatal(err)
		}
		tn.mustRefuse(failed, "store", tn.storeDir())
	})
	t.Run("unknown key", func(t *testing.T) {
		tn := newTarn(t, srv.ReplConnString(database))
		tn.appendConfig("stroe: file:///x\n")
		tn.mustRefuse(usage, "stroe", "store")
	})
	t.Run("source of another cluster", func(t *testing.T) {
		tn := newTarn(t, srv.ReplConnString(database))
		tn.startReady()
		tn.stop()
		other := pgtest.NewTestServer(t, pgtest.Options{Databases: []string{database}})
		b, err := os.ReadFile(tn.config)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), srv.ReplConnString(database), other.ReplConnString(database))
		if err := os.WriteFile(tn.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		tn.mustRefuse(failed, "system")
	})
}

// These need servers of their own settings.
func TestBadSources(t *testing.T) {
	t.Run("wal_level minimal", func(t *testing.T) {
		srv := pgtest.NewTestServer(t, pgtest.Options{Databases: []string{database}, Settings: map[string]string{
			"wal_level": "minimal", "max_wal_senders": "0",
		}})
		newTarn(t, srv.ReplConnString(database)).mustRefuse([]int{1}, "wal")
	})
	t.Run("standby", func(t *testing.T) {
		srv := pgtest.NewTestServer(t, pgtest.Options{Databases: []string{database}})
		newTarn(t, standbyOf(t, srv).ReplConnString(database)).mustRefuse([]int{1}, "standby")
	})
}

func setHBA(t *testing.T, srv *pgtest.Server, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(srv.DataDir(), "pg_hba.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := srv.Reload(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // the postmaster reads it when it gets to it
}

// holdSlot streams from the slot tarn wants, for as long as the test runs.
func holdSlot(t *testing.T, srv *pgtest.Server) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), srv.ReplConnString(database)+"&replication=true")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	if _, err := conn.Exec(t.Context(), "CREATE_REPLICATION_SLOT tarn PHYSICAL RESERVE_WAL").ReadAll(); err != nil {
		t.Fatal(err)
	}
	lsn, err := srv.QueryText(t.Context(), database, "SELECT pg_current_wal_flush_lsn()::text")
	if err != nil {
		t.Fatal(err)
	}
	conn.Frontend().SendQuery(&pgproto3.Query{String: "START_REPLICATION SLOT tarn PHYSICAL " + lsn})
	if err := conn.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		active, err := srv.QueryText(t.Context(), database, "SELECT count(*)::text FROM pg_replication_slots WHERE active")
		if err != nil {
			t.Fatal(err)
		}
		if active == "1" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the slot did not become active")
}
