package basebackup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// releases are the servers that tests start: each major's ends in a long run, else one of the oldest and one of the newest major.
func releases() []string {
	if pgtest.Long() {
		return pgtest.Releases()
	}
	return []string{"15.19", "18.6"}
}

// TestServers: a source of each release does a little of everything. Of an LSN in the midst of that, with transactions open, and of the
// end after a crash a directory is written; the same release starts on each without recovery and has what the source had, page for page
// readable, and goes on: commits what was prepared, writes, is stopped and started, crashes and recovers.
func TestServers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	for _, release := range releases() {
		t.Run(release, func(t *testing.T) {
			r := newRig(t, pgtest.Options{Release: release, InitdbArgs: []string{"--data-checksums"}, Settings: map[string]string{
				"wal_level": "logical", "track_commit_timestamp": "on", "wal_log_hints": "on",
			}})
			ctx := context.Background()
			conn := r.connect("postgres")
			r.script(conn, strings.ReplaceAll(before, "OLD", r.serverFolder("old")))
			_ = conn.Close(ctx)
			r.importStopped()

			conn, other := r.connect("postgres"), r.connect("postgres")
			for _, db := range []string{"plain", "placed"} {
				in := r.connect(db)
				r.script(in, inDatabases)
				_ = in.Close(ctx)
			}
			r.script(conn, middle)
			r.multixacts(other, conn)
			wasMiddle := r.moment("middle")
			r.script(other, "commit; drop table of_nobody")
			r.script(conn, after)
			wasEnd := r.moment("end")
			r.must(r.Kill9())

			for _, m := range []moment{wasMiddle, wasEnd} {
				t.Run(m.name, func(t *testing.T) { r.moments(t, m) })
			}
		})
	}
}

// moment is what the source was at an LSN.
type moment struct {
	name    string
	lsn     pg.LSN
	rows    rows
	commits string // when transactions committed
	dump    string // of pg_dumpall
}

const commitTimes = `select md5(string_agg(s::text || coalesce(pg_xact_commit_timestamp(s::text::xid)::text, ''), ',' order by s)) from generate_series(%d, %d) s`

func (r *rig) moment(name string) moment {
	r.t.Helper()
	m := moment{name: name, lsn: r.lsn()}
	r.one("postgres", "select pg_logical_emit_message(true, 'flush', '')::text") // WAL up to there must outlive the server
	var err error
	m.rows, err = readRows(context.Background(), r.Server)
	r.must(err)
	m.commits = r.one("postgres", fmt.Sprintf(commitTimes, 750, 780))
	m.dump, err = dumpAll(r.t, r.opts.Release, r.Server)
	r.must(err)
	return m
}

func (r *rig) moments(t *testing.T, m moment) {
	ctx := context.Background()
	tl := r.at(m.lsn)
	dir, report := r.backup(tl, m.name)
	t.Logf("%+v", report)
	if report.LSN > m.lsn || report.Previous == 0 || report.Previous >= report.LSN || report.Unlogged == 0 || report.Prepared == 0 {
		t.Errorf("report %+v of %s", report, m.lsn)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	files(t, dir)
	must(sameCheckPoint(dir, report))
	must(r.joins(dir, report))
	srv, err := r.start(dir)
	if err != nil {
		t.Fatal(err)
	}
	must(r.inspect(t, srv, m, report))
	must(pgAmcheck(t, srv))
	must(usable(ctx, srv))

	must(srv.Stop(pgtest.Fast))
	must(pgChecksums(t, r.opts.Release, dir))
	must(srv.Restart(ctx))
	must(startedClean(srv))
	must(srv.Exec(ctx, "postgres", "create table before_crash as select generate_series(1, 1000) i", "insert into scratch (t) values ('lost')"))
	must(srv.Kill9())
	must(srv.Restart(ctx))
	if log, err := os.ReadFile(srv.LogPath()); err != nil || !strings.Contains(string(log), "redo starts at") {
		t.Errorf("no recovery after a crash: %v", err)
	}
	if text, err := srv.QueryText(ctx, "postgres", "select (select count(*) from before_crash) || ' ' || (select count(*) from scratch)"); err != nil || text != "1000 0" {
		t.Errorf("after a crash: %s, %v", text, err)
	}
	_, err = checkPages(ctx, srv)
	must(err)
	must(srv.Stop(pgtest.Fast))
	must(r.joins(dir, report))
	must(r.seam(tl, dir, report))
}

// inspect looks at a server that was just started on a directory of the moment: all of it is there, and can be read.
func (r *rig) inspect(t *testing.T, srv *pgtest.Server, m moment, report Report) error {
	ctx := context.Background()
	if err := errors.Join(startedClean(srv), configured(ctx, srv)); err != nil {
		return err
	}
	got, err := readRows(ctx, srv)
	if err == nil {
		err = m.rows.differ(got)
	}
	if err != nil {
		return err
	}
	if text, err := srv.QueryText(ctx, "postgres", fmt.Sprintf(commitTimes, 750, 780)); err != nil || text != m.commits {
		return fmt.Errorf("commit times %s, %w, want %s", text, err, m.commits)
	}
	if dump, err := dumpAll(t, r.opts.Release, srv); err != nil || dump != m.dump {
		return fmt.Errorf("pg_dumpall: %s, %w", firstDifference(dump, m.dump), err)
	}
	if err := errors.Join(walinspect(ctx, srv, report), endPrepared(ctx, srv)); err != nil { // what is prepared holds locks
		return err
	}
	pages, err := checkPages(ctx, srv)
	t.Logf("%d tables, %d sequences, a dump of %d bytes, %d pages", len(got.hashes), len(got.sequences), len(m.dump), pages)
	return err
}

// endPrepared commits one of the transactions that were prepared and rolls the other back.
func endPrepared(ctx context.Context, srv *pgtest.Server) error {
	prepared, err := srv.QueryText(ctx, "postgres", "select string_agg(gid, ' ' order by gid) from pg_prepared_xacts")
	if err != nil || prepared != "goes stays" {
		return fmt.Errorf("prepared are %q, %w", prepared, err)
	}
	return srv.Exec(ctx, "postgres", "commit prepared 'stays'", "rollback prepared 'goes'")
}

// usable does what a user would: with what was prepared, unlogged tables, large objects, databases and all.
func usable(ctx context.Context, srv *pgtest.Server) error {
	// Not strategy wal_log: it logs the pages of visibility maps without what is on them (RelationCopyStorageUsingBuffer), and the
	// server's own are not what its WAL leads to.
	if err := srv.Exec(ctx, "postgres", "insert into scratch (t, a) select md5(i::text), array[i] from generate_series(1, 2000) i",
		"select nextval('loose')", "select * from made_by_two_phase", "insert into fresh values (1, 'x')", "insert into settled values (1)", "vacuum",
		"create database another strategy file_copy", "create table of_nobody (i int)", "insert into locked select i, 1 from generate_series(1000, 1500) i",
		"select 1 from locked for update", "update wide set a = a + 1 where id < 5000", "select pg_switch_wal()", "checkpoint", "drop database placed",
		"create table placed (i int) tablespace old", "reindex database postgres"); err != nil {
		return err
	}
	text, err := srv.QueryText(ctx, "postgres", "select (select count(*) from scratch where t = md5('77')) || ' ' || (select v from locked where id = 5) || ' ' || length(lo_get(4711))")
	if err != nil || text != "1 7 5000" {
		return fmt.Errorf("used: %q, %w", text, err)
	}
	return nil
}

// configured says that the server takes the files as they were written, and the settings that the WAL tells of.
func configured(ctx context.Context, srv *pgtest.Server) error {
	text, err := srv.QueryText(ctx, "postgres", `select concat_ws(' ', current_setting('max_connections'), current_setting('wal_level'), current_setting('track_commit_timestamp'),
		current_setting('wal_log_hints'), current_setting('max_prepared_transactions'), current_setting('data_checksums'),
		(select count(*) from pg_hba_file_rules where error is not null), (select count(*) from pg_hba_file_rules),
		(select count(*) from pg_file_settings where error is not null), (select remote_lsn from pg_replication_origin_status))`)
	if want := "50 logical on on 10 on 0 7 0 0/20001234"; err == nil && text != want {
		err = fmt.Errorf("configured as %q, want %q", text, want)
	}
	return err
}

// walinspect has the server itself read the record it started from.
func walinspect(ctx context.Context, srv *pgtest.Server, report Report) error {
	if err := srv.Exec(ctx, "postgres", "create extension if not exists pg_walinspect"); err != nil {
		return err
	}
	text, err := srv.QueryText(ctx, "postgres", fmt.Sprintf(`select concat_ws(' ', record_type, start_lsn, end_lsn, prev_lsn) from pg_get_wal_record_info('%s')`, report.CheckPoint))
	if want := fmt.Sprintf("CHECKPOINT_SHUTDOWN %s %s %s", report.CheckPoint, report.End, report.Previous); err == nil && text != want {
		err = fmt.Errorf("the record is %s, want %s", text, want)
	}
	return err
}

// files says what else a directory should be: modes, the control file, nothing that says otherwise.
func files(t *testing.T, dir string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "global/pg_control"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := control.Parse(b)
	if err != nil || c.State != control.ShutDown || c.CheckPointLSN != c.CheckPoint.Redo || len(b) != control.FileSize {
		t.Errorf("%+v, %v", c, err)
	}
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && (e.IsDir() && info.Mode().Perm() != 0o700 || e.Type().IsRegular() && info.Mode().Perm() != 0o600) {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sameCheckPoint: the server counts on from pg_control's copy of the checkpoint, whoever reads the WAL from the record.
func sameCheckPoint(dir string, report Report) error {
	file, err := os.ReadFile(filepath.Join(dir, "global/pg_control"))
	if err != nil {
		return err
	}
	c, err := control.Parse(file)
	if err != nil {
		return err
	}
	segment, err := os.ReadFile(filepath.Join(dir, "pg_wal", pg.WALFileName(report.Timeline, report.CheckPoint, c.WALSegmentSize)))
	if err != nil {
		return err
	}
	rec := segment[int64(report.CheckPoint)%c.WALSegmentSize:]
	cp, err := xlrec.DecodeCheckPoint(c.Major, rec[recordHeaderSize+2:checkPointRecSize])
	if err == nil && (cp != c.CheckPoint || cp.Redo != report.CheckPoint) {
		err = fmt.Errorf("the WAL's %+v, pg_control's %+v", cp, c.CheckPoint)
	}
	return err
}
