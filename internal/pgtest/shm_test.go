package pgtest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestNoSharedMemoryLeft: the kernel's table of segments is small, and a full one keeps every server from starting.
func TestNoSharedMemoryLeft(t *testing.T) {
	for name, killed := range map[string]bool{"removed": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			srv := pgtest.NewFixture(t, pgtest.Options{})
			mapped := sharedFiles(t, srv)
			if len(mapped) < 2 {
				t.Fatalf("only %v: nothing to look for", mapped)
			}
			if killed {
				srv.Kill()
			}
			if err := srv.Remove(); err != nil {
				t.Fatal(err)
			}
			segments := sharedSegments(t)
			for _, m := range mapped {
				if _, err := os.Stat(m); err == nil || slices.Contains(segments, m) {
					t.Errorf("%s is left", m)
				}
			}
		})
	}
}

// sharedSegments lists the System V identifiers of all servers, the second column of the kernel's table.
func sharedSegments(t *testing.T) (ids []string) {
	t.Helper()
	table, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		pgtest.Missing(t, err)
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 1 {
			ids = append(ids, f[1])
		}
	}
	return ids
}

// sharedFiles lists the System V identifiers and the files in /dev/shm that a server's postmaster has mapped.
func sharedFiles(t *testing.T, srv pgtest.Fixture) (names []string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("reads the maps of another account's process")
	}
	pid, err := os.ReadFile(filepath.Join(srv.DataDir(), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile(filepath.Join("/proc", strings.Fields(string(pid))[0], "maps"))
	if err != nil {
		pgtest.Missing(t, err)
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		switch {
		case len(f) < 6:
		case strings.HasPrefix(f[5], "/SYSV"):
			names = append(names, f[4])
		case strings.HasPrefix(f[5], "/dev/shm/"):
			names = append(names, f[5])
		}
	}
	return names
}
