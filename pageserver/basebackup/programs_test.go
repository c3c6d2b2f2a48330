package basebackup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// program runs one of 15's client programs, which only a distribution's server has beside it; done is false where there is none.
func program(t *testing.T, name string, args ...string) (out string, done bool, err error) {
	bin, err := pgtest.Bin(15)
	if err != nil {
		return "", false, err
	}
	path := filepath.Join(bin, name)
	if _, err := os.Stat(path); err != nil {
		t.Logf("not done: %v", err)
		return "", false, nil
	}
	text, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, text)
	}
	return string(text), true, err
}

// pgAmcheck speaks to servers of all versions.
func pgAmcheck(t *testing.T, srv *pgtest.Server) error {
	_, _, err := program(t, "pg_amcheck", "-h", "127.0.0.1", "-p", fmt.Sprint(srv.Port()), "-U", "postgres", "--all", "--heapallindexed", "--rootdescend")
	return err
}

// pgChecksums is of 15 and checks nothing else.
func pgChecksums(t *testing.T, release, dir string) error {
	if !strings.HasPrefix(release, "15") {
		return nil
	}
	out, done, err := program(t, "pg_checksums", "--check", "-D", dir)
	if err == nil && done && !strings.Contains(out, "Bad checksums:  0") {
		err = fmt.Errorf("pg_checksums: %s", out)
	}
	return err
}

// dumpAll is what pg_dumpall says of a server of 15, but for what is not in the WAL: rows of unlogged tables, and how far ahead of
// its record a sequence is.
func dumpAll(t *testing.T, release string, srv *pgtest.Server) (string, error) {
	if !strings.HasPrefix(release, "15") {
		return "", nil
	}
	out, _, err := program(t, "pg_dumpall", "-h", "127.0.0.1", "-p", fmt.Sprint(srv.Port()), "-U", "postgres", "--no-unlogged-table-data")
	var kept strings.Builder
	for line := range strings.Lines(out) {
		// A tablespace's location is another; the key of restrict is random.
		if !strings.Contains(line, "pg_catalog.setval") && !strings.HasPrefix(line, "CREATE TABLESPACE") && !strings.Contains(line, "restrict ") {
			kept.WriteString(line)
		}
	}
	return kept.String(), err
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is %q, want %q", i, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// waldump finds the record from the head of its page, and from itself.
func waldump(t *testing.T, major int, dir string, report Report) error {
	if major != 15 {
		return nil
	}
	for _, from := range []pg.LSN{report.CheckPoint &^ (wal.PageSize - 1), report.CheckPoint} {
		out, done, err := program(t, "pg_waldump", "-p", filepath.Join(dir, "pg_wal"), "-s", from.String(), "-n", "1")
		if err == nil && done && !strings.Contains(out, fmt.Sprintf("CHECKPOINT_SHUTDOWN redo %s", report.CheckPoint)) {
			err = fmt.Errorf("pg_waldump from %s: %s", from, out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
