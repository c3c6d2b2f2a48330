package verify

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestPromotion redoes the WAL of a server across its promotion. The folder holds what a standby may hold: files of the former
// timeline that go on behind the switch, with whole records that never became history, in its segment and in later ones.
func TestPromotion(t *testing.T) {
	for _, major := range majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL%d", major), func(t *testing.T) {
			srv := pgtest.NewFixture(t, pgtest.SmallWAL(major, map[string]string{"wal_consistency_checking": "all", "wal_keep_size": "1GB"}))
			fill := func(s string) {
				srv.Do(`CREATE TABLE IF NOT EXISTS t (i int PRIMARY KEY, s text)`, `INSERT INTO t SELECT (SELECT coalesce(max(i), 0) FROM t) + g, '`+s+`' FROM generate_series(1, 300) g`,
					`UPDATE t SET s = '`+s+`' WHERE i % 3 = 0`, `DELETE FROM t WHERE i % 10 = 0`)
			}
			dir := t.TempDir()
			base, folder := filepath.Join(dir, "base"), filepath.Join(dir, "wal")
			copyTo := func(to string, from ...string) {
				t.Helper()
				if out, err := exec.Command("cp", append([]string{"-a", "-n", "-t", to}, from...)...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			segments := func() (files []string) {
				files, _ = filepath.Glob(filepath.Join(srv.DataDir(), "pg_wal", "0000*"))
				return files
			}
			for _, d := range []string{base, folder} {
				if err := os.Mkdir(d, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			fill("before")
			srv.FastStop(20 * time.Second)
			copyTo(base, srv.DataDir()+"/.")
			srv.StartAgain()
			fill("both")
			srv.FastStop(20 * time.Second)
			srv.Must(srv.Save())
			srv.StartAgain()
			for range 10 {
				fill("lost")
			}
			srv.Kill()
			copyTo(folder, segments()...) // what follows does not replace it
			srv.Must(srv.Restore())
			srv.StartAsStandby()
			srv.Do("SELECT pg_promote()")
			for range 3 {
				fill("new")
			}
			srv.FastStop(20 * time.Second)
			copyTo(folder, segments()...)

			r, err := Run(t.Context(), Options{Base: base, WAL: folder, Final: srv.DataDir()})
			if err != nil || !r.OK() {
				t.Fatalf("%v: %+v", err, r)
			}
			t.Logf("%d records, %d images from %s to %s", r.Records, r.ImagesCompared, r.Start, r.End)

			// Without the first file of the new timeline the former one's must not stand in for it beyond the switch.
			text, err := os.ReadFile(filepath.Join(folder, "00000002.history"))
			srv.Must(err)
			h, err := pg.ParseHistory(2, string(text))
			srv.Must(err)
			fork := h.Ancestors[0].End
			srv.Must(os.Remove(filepath.Join(folder, pg.WALFileName(2, fork, 1<<20))))
			r, err = Run(t.Context(), Options{Base: base, WAL: folder})
			if !errors.Is(err, pg.ErrCorrupt) || !strings.Contains(err.Error(), pg.WALFileName(2, fork, 1<<20)) || r.End > fork {
				t.Fatalf("redone to %s, the switch is at %s: %v", r.End, fork, err)
			}
		})
	}
}
