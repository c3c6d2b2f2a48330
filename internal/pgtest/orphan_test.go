package pgtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestServerEndsWithItsProcess: a test that runs into its time limit ends without a chance to stop its servers.
func TestServerEndsWithItsProcess(t *testing.T) {
	const asChild = "TARN_TEST_ORPHAN"
	if os.Getenv(asChild) != "" {
		srv := pgtest.NewFixture(t, pgtest.Options{})
		pid, err := os.ReadFile(filepath.Join(srv.DataDir(), "postmaster.pid"))
		srv.Must(err)
		fmt.Printf("postmaster %s\n", strings.Fields(string(pid))[0])
		os.Exit(3)
	}
	if runtime.GOOS != "linux" {
		t.Skip("the kernel tells of a parent's death on Linux alone")
	}
	tmp, err := os.MkdirTemp("", "pgorphan")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestServerEndsWithItsProcess$")
	child.Env = append(os.Environ(), asChild+"=1", "TMPDIR="+tmp)
	out, err := child.Output()
	if _, ended := err.(*exec.ExitError); !ended {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscanf(string(out), "postmaster %d\n", &pid); err != nil {
		pgtest.Missing(t, "no server in the child: ", string(out))
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server outlived its process: %s", stat)
		}
	}
}
