package basebackup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestSecondTimeline: of a source that was promoted the directory is on its new timeline, and the server on it can be copied, for which
// it must have the timeline's history: the source's if it was given, else a file that says nothing.
func TestSecondTimeline(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	r := newRig(t, pgtest.Options{Major: 15})
	ctx := context.Background()
	r.importStopped()
	r.do("postgres", "create table one as select generate_series(1, 1000) i")
	r.must(r.Stop(pgtest.Fast))
	r.must(os.WriteFile(filepath.Join(r.DataDir(), "standby.signal"), nil, 0o644))
	r.must(r.Restart(ctx))
	r.do("postgres", "select pg_promote()", "create table two as select generate_series(1, 1000) i")
	r.must(r.Stop(pgtest.Fast))
	history, err := os.ReadFile(filepath.Join(r.DataDir(), "pg_wal", "00000002.history"))
	r.must(err)
	for _, text := range []string{string(history), ""} {
		tl := r.at(0)
		dir := filepath.Join(r.folder, fmt.Sprint("history", len(text)), "data")
		report, err := Write(ctx, tl, &Directory{Path: dir, NoSync: true}, Options{History: text})
		r.must(err)
		if report.Timeline != 2 {
			t.Errorf("%+v", report)
		}
		r.must(r.joins(dir, report))
		srv, err := r.start(dir)
		r.must(err)
		tables := func(srv *pgtest.Server) {
			t.Helper()
			rows, err := srv.QueryText(ctx, "postgres", "select (select count(*) from one) || ' ' || (select count(*) from two)")
			if err != nil || rows != "1000 1000" {
				t.Errorf("rows %s, %v", rows, err)
			}
		}
		tables(srv)
		r.must(startedClean(srv))
		hba := filepath.Join(dir, "pg_hba.conf")
		b, err := os.ReadFile(hba)
		r.must(err)
		r.must(os.WriteFile(hba, append([]byte("host replication postgres 127.0.0.1/32 trust\n"), b...), 0o600))
		r.must(srv.Reload())
		// It asks for WAL from its segment's start on, where there are zeros before the checkpoint, and does not read them.
		again := filepath.Join(filepath.Dir(dir), "copy", "data")
		_, done, err := program(t, "pg_basebackup", "-h", "127.0.0.1", "-p", fmt.Sprint(srv.Port()), "-U", "postgres", "-c", "fast", "-X", "stream", "-D", again)
		r.must(err)
		if done {
			copied, err := r.start(again)
			r.must(err)
			tables(copied)
			r.must(copied.Remove())
		}
		r.must(srv.Remove())
	}
}
