package verify

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// orphanScript makes files that pg_class names in every way there is: by a row, by the relation map, in a tablespace, with a TOAST table
// and indexes, anew after a rewrite, and by a row whose transaction is prepared.
var orphanScript = []string{
	"create tablespace inplace location ''", "create table t (id int primary key, s text)", "alter table t alter s set storage external", "insert into t values (1, repeat('x', 5000))",
	"create table moved (id int primary key) tablespace inplace", "insert into moved values (1)",
	"create table again (id int)", "insert into again values (1)", "vacuum full again", "vacuum full pg_class",
	"create table half (id int)", "insert into half values (1)",
	"begin; create table later (id int primary key); insert into later values (1); prepare transaction 'later'",
	"begin; savepoint a; create table sub (id int); insert into sub values (1); release a; prepare transaction 'sub'",
	"begin; drop table half; prepare transaction 'drop'",
	"begin; update pg_class set relname = 'never' where relname = 't'; rollback", "checkpoint",
}

// TestOrphans: files that no catalog names are counted and not compared; each that one names is.
func TestOrphans(t *testing.T) {
	for _, major := range majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL%d", major), func(t *testing.T) {
			srv := pgtest.NewFixture(t, pgtest.SmallWAL(major, map[string]string{"wal_consistency_checking": "all", "wal_keep_size": "1GB",
				"allow_in_place_tablespaces": "on", "max_prepared_transactions": "5"}))
			base := filepath.Join(t.TempDir(), "base")
			srv.FastStop(20 * time.Second)
			copyTree(t, srv.DataDir(), base)
			srv.StartAgain()
			srv.Do(orphanScript...)
			files := strings.Fields(srv.One(`select string_agg(pg_relation_filepath(c.oid), ' ') from pg_class c
				where relname in ('t', 't_pkey', 'moved', 'moved_pkey', 'again', 'half', 'pg_class', 'pg_attribute', 'pg_database', 'pg_language')
				or oid = (select reltoastrelid from pg_class where relname = 't')`))
			folder := filepath.Join("base", srv.One("select oid::text from pg_database where datname = 'postgres'"))
			later := filesAfter(t, srv.DataDir(), folder, srv.One("select max(relfilenode)::text from pg_class"))
			if len(files) != 11 || len(later) != 3 {
				t.Fatalf("%v, and of the prepared transaction %v", files, later)
			}
			lost := crashInTransaction(t, srv)
			srv.FastStop(20 * time.Second)

			data := srv.DataDir()
			run := func() Report {
				t.Helper()
				r, err := Run(t.Context(), Options{Base: base, WAL: filepath.Join(data, "pg_wal"), Final: data})
				srv.Must(err)
				return r
			}
			// The transactions that are prepared are told from the one that the crash has cut off, which has no end either.
			if r := run(); !r.OK() || r.Final.Orphans != 1 || !strings.HasSuffix(r.Final.FirstOrphans[0], "/"+lost+" main") {
				t.Fatalf("%+v, not %s", r.Final, lost)
			}
			for _, f := range append(files, later...) {
				path := filepath.Join(data, f)
				original, err := os.ReadFile(path)
				srv.Must(err)
				srv.Must(os.WriteFile(path, make([]byte, len(original)), 0o600))
				r := run()
				srv.Must(os.WriteFile(path, original, 0o600))
				if r.OK() || r.Final.Differ == 0 {
					t.Errorf("%s is of zeros: %+v", f, r.Final)
				}
			}
			// While one of the prepared transactions is not known, each that has no end may be one.
			twophase, _ := filepath.Glob(filepath.Join(data, "pg_twophase", "*"))
			b, err := os.ReadFile(twophase[0])
			srv.Must(err)
			b[len(b)-1] ^= 1
			srv.Must(os.WriteFile(twophase[0], b, 0o600))
			if r := run(); r.OK() || r.Final.Orphans != 0 {
				t.Errorf("a broken two-phase file: %+v", r.Final)
			}
			b[len(b)-1] ^= 1
			srv.Must(os.WriteFile(twophase[0], b, 0o600))
			// In a database whose map is broken nothing is left out.
			relMap := filepath.Join(data, folder, "pg_filenode.map")
			b, err = os.ReadFile(relMap)
			srv.Must(err)
			b[0] ^= 1
			srv.Must(os.WriteFile(relMap, b, 0o600))
			if r := run(); r.OK() || r.Final.Differ != 1 || r.Final.Orphans != 0 {
				t.Errorf("a broken map: %+v", r.Final)
			}
			b[0] ^= 1
			srv.Must(os.WriteFile(relMap, b, 0o600))
			copyTree(t, filepath.Join(data, files[0]), filepath.Join(data, folder, "99999"))
			copyTree(t, filepath.Join(data, files[0]), filepath.Join(data, "global", "99999_vm"))
			if r := run(); !r.OK() || r.Final.Orphans != 3 || len(r.Final.FirstOrphans) != 3 {
				t.Errorf("two files that nothing names: %+v", r.Final)
			}
		})
	}
}

// crashInTransaction kills the server while a transaction that has made a table runs, and returns the number of the table's file, which
// stays.
func crashInTransaction(t *testing.T, srv pgtest.Fixture) (file string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), srv.ConnString("postgres"))
	srv.Must(err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "begin; create table lost as select i from generate_series(1, 100) i")
	srv.Must(err)
	srv.Must(conn.QueryRow(t.Context(), "select pg_relation_filenode('lost')::text").Scan(&file))
	srv.Do("checkpoint")
	srv.Kill()
	srv.StartAgain()
	return file
}

// filesAfter lists the relations' files in a folder whose numbers are greater than last: tables and indexes, without their maps.
func filesAfter(t *testing.T, data, folder, last string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(data, folder))
	if err != nil {
		t.Fatal(err)
	}
	greatest, err := strconv.Atoi(last)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > greatest {
			list = append(list, filepath.Join(folder, e.Name()))
		}
	}
	return list
}
