package pgtest_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// closedFolder makes a folder that only root may enter, as /root is, and a temporary folder that must be empty at the test's
// end. Neither is in t.TempDir, whose path may be too long for a socket's.
func closedFolder(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a server runs as somebody else for root alone")
	}
	root, err := os.MkdirTemp("", "pgreach")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	closed, tmp := filepath.Join(root, "closed"), filepath.Join(root, "tmp")
	for dir, mode := range map[string]os.FileMode{root: 0o755, closed: 0o700, tmp: 0o777} {
		if err := os.MkdirAll(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TMPDIR", tmp)
	t.Cleanup(func() {
		if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
			t.Errorf("left in the temporary folder: %v, %v", left, err)
		}
		if info, err := os.Stat(closed); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the closed folder is %v, %v", info.Mode(), err)
		}
	})
	return closed
}

// serverTree is the folder above a version's programs.
func serverTree(t *testing.T, major int) string {
	t.Helper()
	bin, err := pgtest.Bin(major)
	if err != nil {
		pgtest.Missing(t, err)
	}
	bin, err = filepath.EvalSymlinks(bin)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(bin)
}

// TestStartBelowClosedFolder runs a server of binaries that its account cannot reach.
func TestStartBelowClosedFolder(t *testing.T) {
	closed := closedFolder(t)
	home := filepath.Join(closed, "pg")
	if out, err := exec.Command("cp", "-a", serverTree(t, 18), home).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// One file that only root may read, and a link on the way.
	if err := os.Chmod(filepath.Join(home, "bin", "initdb"), 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(closed, "current")
	if err := os.Symlink(home, link); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	srv, err := pgtest.Start(ctx, pgtest.Options{Bin: filepath.Join(link, "bin")})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := srv.QueryText(ctx, "postgres", "SHOW server_version"); err != nil || !strings.HasPrefix(v, "18.") {
		t.Errorf("server_version = %q, %v", v, err)
	}
	copied := filepath.Dir(srv.BinDir())
	if strings.HasPrefix(copied, closed) {
		t.Errorf("the server runs from %s", srv.BinDir())
	}
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the copy's folder is %v, %v: others than the server's group could enter, or it could write", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(home, "bin", "initdb")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("initdb is %v now, %v", info.Mode(), err)
	}
	if err := srv.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := pgtest.Start(ctx, pgtest.Options{Bin: filepath.Join(link, "bin"), Settings: map[string]string{"shared_buffers": "nonsense"}}); err == nil {
		t.Error("a server started with a setting that makes no sense")
	}
}

// TestLinkBelowClosedFolder needs no copy: what the link leads to is open.
func TestLinkBelowClosedFolder(t *testing.T) {
	closed, home := closedFolder(t), serverTree(t, 18)
	link := filepath.Join(closed, "pg")
	if err := os.Symlink(home, link); err != nil {
		t.Fatal(err)
	}
	srv := pgtest.NewTestServer(t, pgtest.Options{Bin: filepath.Join(link, "bin")})
	if got := srv.BinDir(); got != filepath.Join(home, "bin") {
		t.Errorf("the server runs from %s, want %s", got, home)
	}
}
