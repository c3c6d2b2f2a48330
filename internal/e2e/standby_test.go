package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// standbyOf starts a streaming standby, of the name standby.
func standbyOf(t *testing.T, primary *pgtest.Server) *pgtest.Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "standby")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	copyData(t, primary, filepath.Join(dir, "data"))
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	auto := filepath.Join(dir, "data", "postgresql.auto.conf")
	b, err := os.ReadFile(auto)
	if err != nil {
		t.Fatal(err)
	}
	// The last line of a setting wins.
	text := fmt.Sprintf("%s\nport = %d\nunix_socket_directories = '%s'\nprimary_conninfo = 'host=127.0.0.1 port=%d user=postgres application_name=standby'\n",
		b, port, dir, primary.Port())
	if err := os.WriteFile(auto, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "standby.signal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return pgtest.NewTestServer(t, pgtest.Options{Bin: primary.BinDir(), Dir: dir, Port: port, KeepData: true})
}

// copyData takes a base backup, or a cold copy where the binaries come without pg_basebackup.
func copyData(t *testing.T, primary *pgtest.Server, to string) {
	t.Helper()
	var cmd *exec.Cmd
	if program := filepath.Join(primary.BinDir(), "pg_basebackup"); exists(program) {
		cmd = exec.CommandContext(t.Context(), program, "-D", to, "-c", "fast", "-X", "stream", "-d", primary.ConnString("postgres"))
	} else {
		if err := primary.Stop(pgtest.Fast); err != nil {
			t.Fatal(err)
		}
		cmd = exec.CommandContext(t.Context(), "cp", "-a", primary.DataDir(), to)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(cmd.Args, " "), err, out)
	}
	if !primary.Running() {
		if err := primary.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
