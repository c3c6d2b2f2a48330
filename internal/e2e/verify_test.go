package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// `tarn wal verify` reads WAL of any segment size: a server's own images are compared, and one byte that is wrong in the
// base is found.
func TestVerifyReadsEachSegmentSize(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for release, size := range map[string]int{"15.1": 1, "16.15": 64} {
		t.Run(fmt.Sprintf("%s,%dMiB", release, size), func(t *testing.T) {
			srv := pgtest.NewFixture(t, pgtest.Options{Release: release, InitdbArgs: []string{fmt.Sprintf("--wal-segsize=%d", size)}, Settings: map[string]string{
				"wal_consistency_checking": "all", "full_page_writes": "off", "fsync": "off", "autovacuum": "off", "wal_keep_size": "1GB",
			}})
			srv.Do("CREATE TABLE t AS SELECT i, repeat('x', i % 300) AS s FROM generate_series(1, 3000) i", "CHECKPOINT")
			file := srv.One("SELECT pg_relation_filepath('t')")
			srv.Must(srv.Stop(pgtest.Fast))
			base := filepath.Join(t.TempDir(), "base")
			srv.Must(os.CopyFS(base, os.DirFS(srv.DataDir())))
			srv.StartAgain()
			srv.Do("UPDATE t SET s = s || 'y' WHERE i % 3 = 0", "DELETE FROM t WHERE i % 7 = 0", "VACUUM t", "SELECT pg_switch_wal()", "INSERT INTO t SELECT i, 'again' FROM generate_series(1, 3000) i",
				"SELECT pg_logical_emit_message(false, 'tarn', repeat('long ', 1000000))", "UPDATE t SET i = -i")
			srv.Must(srv.Stop(pgtest.Fast))
			verify := func() (report struct {
				Records        int64 `json:"records"`
				ImagesCompared int64 `json:"images_compared"`
				Mismatches     int64 `json:"mismatches"`
			}, failed bool) {
				out, err := exec.CommandContext(t.Context(), path, "wal", "verify", "--json", "--base", base, "--wal", filepath.Join(srv.DataDir(), "pg_wal")).Output()
				if bad := json.Unmarshal(out, &report); bad != nil {
					t.Fatalf("%v, %v: %s", err, bad, out)
				}
				return report, err != nil
			}
			if r, failed := verify(); failed || r.Records < 6000 || r.ImagesCompared < 6000 || r.Mismatches != 0 {
				t.Errorf("verified: %+v, failed %v", r, failed)
			}
			f, err := os.OpenFile(filepath.Join(base, file), os.O_RDWR, 0)
			srv.Must(err)
			_, err = f.WriteAt([]byte("z"), 8189) // the first tuple's string
			srv.Must(err)
			srv.Must(f.Close())
			if r, failed := verify(); !failed || r.Mismatches == 0 {
				t.Errorf("with a byte that is wrong: %+v, failed %v", r, failed)
			}
		})
	}
}
