package basebackup

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/pageserver"
)

// rig is a source whose data directory was imported while it was stopped. It goes on; its WAL stays.
type rig struct {
	*pgtest.Server
	t      *testing.T
	opts   pgtest.Options
	folder string // with tablespaces, and what is written
	pages  pageserver.Options
}

// newRig starts a source.
func newRig(t *testing.T, opts pgtest.Options) *rig {
	t.Helper()
	settings := map[string]string{
		"fsync": "off", "autovacuum": "off", "shared_buffers": "32MB", "wal_keep_size": "8GB", "checkpoint_timeout": "1h",
		"max_prepared_transactions": "10", "allow_in_place_tablespaces": "on", "log_min_messages": "log", "lock_timeout": "10s",
	}
	for k, v := range opts.Settings {
		settings[k] = v
	}
	opts.Settings = settings
	r := &rig{t: t, opts: opts}
	r.Server = pgtest.NewTestServer(t, opts)
	// Not t.TempDir: with a long test name its path does not fit into a Unix socket's address.
	var err error
	if r.folder, err = os.MkdirTemp("", "bb"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(r.folder) })
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) do(db string, statements ...string) {
	r.t.Helper()
	r.must(r.Exec(context.Background(), db, statements...))
}

func (r *rig) one(db, sql string) string {
	r.t.Helper()
	text, err := r.QueryText(context.Background(), db, sql)
	r.must(err)
	return text
}

// serverFolder makes a folder for a tablespace that the source's account may write.
func (r *rig) serverFolder(name string) string {
	r.t.Helper()
	path := filepath.Join(r.folder, name)
	r.must(os.Mkdir(path, 0o755))
	info, err := os.Stat(r.DataDir())
	r.must(err)
	r.must(chownLike(path, info))
	r.must(os.Chmod(r.folder, 0o755))
	return path
}

// importStopped stops the source, imports what it left, and starts it again.
func (r *rig) importStopped() {
	r.t.Helper()
	r.must(r.Stop(pgtest.Fast))
	r.importFiles(func() (start, end pg.LSN) { return 0, 0 })
	r.must(r.Restart(context.Background()))
}

// importOnline imports what the running source has, as a base backup.
func (r *rig) importOnline() {
	r.t.Helper()
	ctx := context.Background()
	conn := r.connect("postgres")
	defer conn.Close(ctx)
	lsn := func(sql string) pg.LSN {
		var text string
		r.must(conn.QueryRow(ctx, sql).Scan(&text))
		lsn, err := pg.ParseLSN(text)
		r.must(err)
		return lsn
	}
	start := lsn("select pg_backup_start('test', true)::text")
	r.importFiles(func() (pg.LSN, pg.LSN) { return start, lsn("select lsn::text from pg_backup_stop(false)") })
}

// importFiles imports the data directory, with the tablespace_map that a base backup has.
func (r *rig) importFiles(between func() (start, end pg.LSN)) {
	r.t.Helper()
	ctx := context.Background()
	r.pages = pageserver.Options{Store: objstore.NewMem(), MemoryBytes: 64 << 20, History: pageserver.History{Window: 1 << 60}}
	im, err := pageserver.NewImport(ctx, r.pages, pageserver.ImportInfo{})
	r.must(err)
	defer im.Abort()
	r.must(importTree(ctx, im, 0, r.DataDir()))
	links, err := os.ReadDir(filepath.Join(r.DataDir(), "pg_tblspc"))
	r.must(err)
	for _, e := range links {
		to, err := os.Readlink(filepath.Join(r.DataDir(), "pg_tblspc", e.Name()))
		if err != nil {
			continue // in place
		}
		oid, err := strconv.ParseUint(e.Name(), 10, 32)
		r.must(err)
		r.must(importTree(ctx, im, pg.OID(oid), to))
		line := fmt.Sprintf("%d %s\n", oid, to)
		r.must(im.File(ctx, 0, "tablespace_map", int64(len(line)), strings.NewReader(line)))
	}
	start, end := between()
	t, err := im.Finish(ctx, start, end)
	r.must(err)
	r.must(t.Close())
}

func importTree(ctx context.Context, im *pageserver.Import, spc pg.OID, root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.Contains(path, "/pg_wal/") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return im.File(ctx, spc, filepath.ToSlash(rel), int64(len(data)), bytes.NewReader(data))
	})
}

// at opens the timeline at an LSN; 0 is the end of the source's WAL.
func (r *rig) at(lsn pg.LSN) *pageserver.Timeline {
	r.t.Helper()
	ctx := context.Background()
	t, to, err := pageserver.OpenPast(ctx, r.pages, pageserver.Target{LSN: lsn}, objstore.NewMem())
	r.must(err)
	r.t.Cleanup(func() { _ = t.Close() })
	r.must(t.Replay(ctx, r.reader(r.DataDir(), t.RedoLSN()), to))
	return t
}

// reader reads a data directory's WAL.
func (r *rig) reader(dir string, from pg.LSN) *wal.Reader {
	r.t.Helper()
	src, err := waldir.Open(filepath.Join(dir, "pg_wal"), waldir.Options{})
	r.must(err)
	r.t.Cleanup(func() { _ = src.Close() })
	reader, err := wal.NewReader(wal.Options{Source: src, Start: from, EndAtInvalid: true})
	r.must(err)
	return reader
}

// lsn is where the source's next record goes.
func (r *rig) lsn() pg.LSN {
	r.t.Helper()
	lsn, err := pg.ParseLSN(r.one("postgres", "select pg_current_wal_insert_lsn()::text"))
	r.must(err)
	return lsn
}

// backup writes the timeline into a folder of its own, tablespaces beside it.
func (r *rig) backup(t *pageserver.Timeline, name string) (dir string, report Report) {
	r.t.Helper()
	dir = filepath.Join(r.folder, name, "data")
	o := Options{Tablespaces: map[string]string{}}
	for _, ts := range t.Cluster().Tablespaces {
		if ts.Path != "" {
			o.Tablespaces[ts.Path] = filepath.Join(r.folder, name, "ts", strconv.Itoa(int(ts.OID)))
		}
	}
	report, err := Write(context.Background(), t, &Directory{Path: dir, NoSync: true}, o)
	r.must(err)
	return dir, report
}

// start starts a server of the source's version on a directory as it is, but for where it listens and who may come in.
func (r *rig) start(dir string) (*pgtest.Server, error) {
	port, err := pgtest.FreePort()
	if err != nil {
		return nil, err
	}
	parent := filepath.Dir(dir)
	settings := fmt.Sprintf("port = %d\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '%s'\nshared_buffers = '32MB'\nfsync = off\n"+
		"autovacuum = off\nallow_in_place_tablespaces = on\nwal_keep_size = '8GB'\nlog_min_messages = log\ntimezone = UTC\nlock_timeout = '10s'\n", port, parent)
	if err := appendFile(filepath.Join(dir, "postgresql.auto.conf"), settings); err != nil {
		return nil, err
	}
	hba, err := os.ReadFile(filepath.Join(dir, "pg_hba.conf"))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "pg_hba.conf"), append([]byte("host all postgres 127.0.0.1/32 trust\n"), hba...), 0o600); err != nil {
		return nil, err
	}
	srv, err := pgtest.Start(context.Background(), pgtest.Options{Release: r.opts.Release, Major: r.opts.Major, Dir: parent, Port: port, KeepData: true})
	if err == nil {
		r.t.Cleanup(func() { _ = srv.Remove() })
	}
	return srv, err
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// connect opens a connection that stays until the test's end.
func (r *rig) connect(db string) *pgx.Conn {
	r.t.Helper()
	conn, err := pgx.Connect(context.Background(), r.ConnString(db))
	r.must(err)
	r.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
