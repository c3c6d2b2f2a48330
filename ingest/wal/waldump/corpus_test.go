package waldump_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// workload makes records of each resource manager. Statements run one by one on one connection.
var workload = []string{
	`CREATE TABLE t (id int PRIMARY KEY, a text, b int[], p point, r int4range)`,
	`CREATE INDEX t_gin ON t USING gin (b)`,
	`CREATE INDEX t_gist ON t USING gist (p)`,
	`CREATE INDEX t_spgist ON t USING spgist (p)`,
	`CREATE INDEX t_brin ON t USING brin (id) WITH (pages_per_range = 2, autosummarize = off)`,
	`CREATE INDEX t_hash ON t USING hash (a)`,
	`INSERT INTO t SELECT i, 'v' || i, ARRAY[i, i+1, i%7], point(i, i%100), int4range(i, i+10) FROM generate_series(1, 400) i`,
	`SELECT brin_summarize_new_values('t_brin')`,
	`UPDATE t SET a = a || 'x', b = b || 5 WHERE id % 3 = 0`,
	`DELETE FROM t WHERE id % 5 = 0`,
	`VACUUM t`,
	`VACUUM FREEZE t`,
	`CREATE TABLE big (id serial PRIMARY KEY, v text)`,
	`ALTER TABLE big ALTER v SET STORAGE EXTERNAL`,
	`INSERT INTO big (v) SELECT repeat(md5(i::text), 150) FROM generate_series(1, 10) i`,
	`BEGIN`,
	`INSERT INTO t VALUES (1001, 'sub')`,
	`SAVEPOINT s1`,
	`INSERT INTO t VALUES (1002, 'sub')`,
	`SAVEPOINT s2`,
	`CREATE TABLE in_sub (i int)`,
	`ROLLBACK TO s2`,
	`UPDATE t SET a = 'z' WHERE id = 1001`,
	`COMMIT`,
	`BEGIN`,
	`SELECT * FROM t WHERE id = 7 FOR KEY SHARE`,
	`SAVEPOINT s`,
	`UPDATE t SET a = 'multi' WHERE id = 7`,
	`COMMIT`,
	`BEGIN`,
	`CREATE TABLE aborted (i int)`,
	`INSERT INTO aborted SELECT generate_series(1, 100)`,
	`ROLLBACK`,
	`BEGIN`,
	`CREATE TABLE prepared (i int)`,
	`SAVEPOINT s`,
	`INSERT INTO prepared VALUES (1)`,
	`DROP TABLE big`,
	`PREPARE TRANSACTION 'first one'`,
	`COMMIT PREPARED 'first one'`,
	`BEGIN`,
	`INSERT INTO t VALUES (2001, 'p')`,
	`PREPARE TRANSACTION 'second'`,
	`ROLLBACK PREPARED 'second'`,
	`CREATE SEQUENCE s`,
	`SELECT nextval('s') FROM generate_series(1, 70)`,
	`CREATE TABLE c (i int, j text)`,
	`INSERT INTO c SELECT i, repeat('k', 100) FROM generate_series(1, 200) i`,
	`TRUNCATE c`,
	`INSERT INTO c SELECT i, repeat('k', 100) FROM generate_series(1, 200) i`,
	`DELETE FROM c WHERE i > 10`,
	`VACUUM c`,
	`CREATE UNLOGGED TABLE u (i int)`,
	`ALTER TABLE c ADD COLUMN k int DEFAULT 3`,
	`VACUUM FULL c`,
	`LOCK TABLE c`,
	`SELECT pg_create_restore_point('here')`,
	`SELECT pg_logical_emit_message(false, 'tarn', 'hello')`,
	`SELECT pg_logical_emit_message(true, 'tarn', repeat('x', 300000))`,
	`SET wal_compression = pglz`,
	`CHECKPOINT`,
	`UPDATE t SET a = 'pglz' WHERE id < 100`,
	`SET wal_compression = lz4`,
	`CHECKPOINT`,
	`UPDATE t SET a = 'lz4' WHERE id < 100`,
	`SET wal_compression = zstd`,
	`CHECKPOINT`,
	`UPDATE t SET a = 'zstd' WHERE id < 100`,
	`SET wal_compression = off`,
	`SELECT pg_switch_wal()`,
	`INSERT INTO c VALUES (5, 'after a switch')`,
	`DROP TABLE c`,
}

// bulky is what is too large for a fixture.
var bulky = []string{
	`CREATE DATABASE copied STRATEGY file_copy`,
	`CREATE DATABASE logged STRATEGY wal_log`,
	`DROP DATABASE logged`,
	`SET allow_in_place_tablespaces = on`,
	`CREATE TABLESPACE ts LOCATION ''`,
	`CREATE TABLE in_ts (i int) TABLESPACE ts`,
	`DROP TABLE in_ts`,
	`DROP TABLESPACE ts`,
	`SELECT pg_logical_emit_message(false, 'tarn', repeat('y', 40000000))`,
	`DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE 'CREATE TABLE many' || i || ' (i int)'; END LOOP; END $$`,
	`DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE 'DROP TABLE many' || i; END LOOP; END $$`,
	`DO $$ BEGIN FOR i IN 1..200 LOOP BEGIN INSERT INTO t VALUES (5000 + i); EXCEPTION WHEN others THEN NULL; END; END LOOP; END $$`,
	`INSERT INTO t SELECT i, 'v' || i, ARRAY[i, i+1, i%7], point(i, i%100), int4range(i, i+10) FROM generate_series(10000, 40000) i`,
	`UPDATE t SET a = a || 'x', b = b || 5 WHERE id % 3 = 0`,
	`DELETE FROM t WHERE id % 4 <> 0`,
	`VACUUM (FREEZE) t`,
	`REINDEX TABLE t`,
	`VACUUM FULL`,
	`SELECT pg_switch_wal()`,
	`CHECKPOINT`,
}

var settings = map[string]string{
	"max_prepared_transactions": "5",
	"wal_level":                 "logical",
	"track_commit_timestamp":    "on",
	"wal_keep_size":             "8GB",
	"max_wal_size":              "8GB",
	"autovacuum":                "off",
	"fsync":                     "off",
	"log_min_messages":          "error",
	"enable_indexscan":          "on",
	"wal_consistency_checking":  "",
	"full_page_writes":          "on",
	"hot_standby":               "on",
}

// runAll executes statements on one session.
func runAll(t *testing.T, srv *pgtest.Server, statements []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, srv.ConnString("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil && !tolerated(s, err) {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// tolerated: LOCK TABLE outside a transaction fails by design, and not each build has lz4 and zstd.
func tolerated(statement string, err error) bool {
	return strings.HasPrefix(statement, "LOCK") || strings.HasPrefix(statement, "SET wal_compression")
}

// startServer starts a server with the given segment size in MiB.
func startServer(t *testing.T, major, segMiB int) *pgtest.Server {
	return pgtest.NewTestServer(t, pgtest.Options{Major: major, Settings: settings, InitdbArgs: []string{fmt.Sprintf("--wal-segsize=%d", segMiB)}})
}

// tool returns a program beside the server's; only packaged servers have them.
func tool(t *testing.T, srv *pgtest.Server, name string) string {
	path := filepath.Join(srv.BinDir(), name)
	if _, err := os.Stat(path); err != nil {
		pgtest.Missing(t, "no "+name+" beside the server in "+srv.BinDir())
	}
	return path
}

func runTool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil && !strings.Contains(errs.String(), "invalid record length") && !strings.Contains(errs.String(), "invalid magic") {
		t.Fatalf("%s %v: %v\n%s", name, args, err, errs.String())
	}
	return string(out)
}
