package basebackup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestPlantedFaults: a directory that lacks a thing does not pass for whole.
func TestPlantedFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	r := newRig(t, pgtest.Options{Release: "18.6", InitdbArgs: []string{"--data-checksums"}, Settings: map[string]string{
		"wal_level": "logical", "track_commit_timestamp": "on", "wal_log_hints": "on",
	}})
	ctx := context.Background()
	conn := r.connect("postgres")
	r.script(conn, strings.ReplaceAll(before, "OLD", r.serverFolder("old")))
	_ = conn.Close(ctx)
	r.importStopped()
	r.script(r.connect("postgres"), middle)
	m := r.moment("planted")
	scratch := r.one("postgres", "select pg_relation_filepath('scratch')")
	wide := r.one("postgres", "select pg_relation_filepath('wide')")
	plain := "base/" + r.one("postgres", "select oid::text from pg_database where datname = 'plain'")
	early := r.one("postgres", "select split_part(pg_relation_filepath('early'), '/', 1) || '/' || split_part(pg_relation_filepath('early'), '/', 2)")
	r.must(r.Kill9())
	tl := r.at(m.lsn)

	remove := func(name string) func(t *testing.T, dir string, report Report) {
		return func(t *testing.T, dir string, _ Report) {
			found, err := filepath.Glob(filepath.Join(dir, name))
			if err != nil || len(found) == 0 {
				t.Fatalf("nothing to remove: %v", err)
			}
			for _, f := range found {
				if err := os.RemoveAll(f); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for i, f := range []struct {
		name  string
		plant func(t *testing.T, dir string, report Report)
	}{
		{"nothing", func(*testing.T, string, Report) {}},
		{"an unlogged table's main fork is missing", remove(scratch)},
		{"a page has no checksum", func(t *testing.T, dir string, _ Report) {
			edit(t, filepath.Join(dir, wide), func(b []byte) { b[3*pg.BlockSize+8], b[3*pg.BlockSize+9] = 0, 0 })
		}},
		{"a page is zeros", func(t *testing.T, dir string, _ Report) {
			edit(t, filepath.Join(dir, wide), func(b []byte) { clear(b[3*pg.BlockSize : 4*pg.BlockSize]) })
		}},
		{"the commit log is missing", remove("pg_xact/0000")},
		{"commit times are missing", remove("pg_commit_ts/*")},
		{"a database's relation map is missing", remove(plain + "/pg_filenode.map")},
		{"a database's PG_VERSION is missing", remove(plain + "/PG_VERSION")},
		{"prepared transactions are missing", remove("pg_twophase/*")},
		{"origins are missing", remove("pg_logical/replorigin_checkpoint")},
		{"a tablespace is missing", remove(early)},
		{"the next transaction id is too low", func(t *testing.T, dir string, _ Report) {
			edit(t, filepath.Join(dir, "global/pg_control"), func(b []byte) {
				c, err := control.Parse(b)
				c.CheckPoint.NextXID -= 40
				if err = errors.Join(err, control.Patch(b, c)); err != nil {
					t.Fatal(err)
				}
			})
		}},
		{"the checkpoint's record is damaged", func(t *testing.T, dir string, report Report) {
			edit(t, segmentOf(dir, report), func(b []byte) { b[report.CheckPoint%(16<<20)+30] ^= 1 })
		}},
		{"pg_control is missing", remove("global/pg_control")},
	} {
		t.Run(f.name, func(t *testing.T) {
			dir, report := r.backup(tl, fmt.Sprint("planted", i))
			defer os.RemoveAll(filepath.Dir(dir))
			f.plant(t, dir, report)
			srv, err := r.start(dir)
			if err == nil {
				err = errors.Join(r.inspect(t, srv, m, report), srv.Remove())
			}
			if (err == nil) != (f.name == "nothing") {
				t.Errorf("%v", err)
			}
			if err != nil {
				t.Logf("seen: %.300s", err)
			}
		})
	}
}

// edit changes a file's bytes.
func edit(t *testing.T, path string, change func(b []byte)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	was := bytes.Clone(b)
	if change(b); bytes.Equal(b, was) {
		t.Fatal("nothing changed")
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func segmentOf(dir string, report Report) string {
	return filepath.Join(dir, "pg_wal", pg.WALFileName(report.Timeline, report.CheckPoint, 16<<20))
}
