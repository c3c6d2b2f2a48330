package pgtest_test

import (
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestCopiesAreClustersOfTheirOwn starts copies of one data directory, which must recover like any server and not be taken
// for each other.
func TestCopiesAreClustersOfTheirOwn(t *testing.T) {
	for _, major := range pgtest.Majors() {
		seen := map[string]bool{}
		for range 3 {
			srv := pgtest.NewFixture(t, pgtest.Options{Major: major, InitdbArgs: []string{"--wal-segsize=1", "--data-checksums"}})
			id := srv.One("SELECT system_identifier FROM pg_control_system()")
			if seen[id] {
				t.Errorf("%d: two servers with the system identifier %s", major, id)
			}
			seen[id] = true
			srv.Do("CREATE TABLE t AS SELECT g FROM generate_series(1, 50000) g")
			srv.Kill()
			srv.StartAgain()
			if n := srv.One("SELECT count(*) FROM t"); n != "50000" {
				t.Errorf("%d: %s rows after recovery", major, n)
			}
		}
	}
}

func TestRestore(t *testing.T) {
	srv := pgtest.NewFixture(t, pgtest.Options{})
	srv.Do("CREATE TABLE t AS SELECT 1 AS i")
	if srv.Save() == nil {
		t.Error("a running server was saved")
	}
	srv.FastStop(10 * time.Second)
	srv.Must(srv.Save())
	srv.StartAgain()
	srv.Do("INSERT INTO t VALUES (2)")
	srv.Kill()
	srv.Must(srv.Restore())
	srv.StartAgain()
	if n := srv.One("SELECT count(*) FROM t"); n != "1" {
		t.Errorf("%s rows, want the one that was saved", n)
	}
}
