package e2e

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/lakecheck"
)

// cellSetup are tables for what the demo's workload does not do: TOAST of each storage, chains of HOT updates that are
// pruned, rows that are locked and frozen, and columns of types that servers store in several ways.
var cellSetup = []string{
	`CREATE TABLE toasted (id int PRIMARY KEY, outside text, packed text, doc jsonb, n int)`,
	`ALTER TABLE toasted ALTER COLUMN outside SET STORAGE EXTERNAL`,
	`INSERT INTO toasted SELECT i, repeat(md5(i::text), 100 * (i % 7)), repeat('packed ', 1000 * i), jsonb_build_object('k', repeat('v' || i, 3000)), 0 FROM generate_series(1, 30) i`,
	`CREATE TABLE hot (id int PRIMARY KEY, n int, filler text) WITH (fillfactor = 60, autovacuum_enabled = off)`,
	`INSERT INTO hot SELECT i, 0, repeat('x', i % 90) FROM generate_series(1, 2000) i`,
	`CREATE TABLE pk (id int PRIMARY KEY, v int)`, `INSERT INTO pk SELECT i, 0 FROM generate_series(1, 300) i`,
	`CREATE TABLE fk (id int, r int REFERENCES pk)`,
	`CREATE TABLE shaped (id int, s text)`, `INSERT INTO shaped SELECT i, 'shape ' || i FROM generate_series(1, 1000) i`,
	// An index of each kind: no row is read from one, and what WAL they write must not be in the way.
	`CREATE EXTENSION bloom`, `CREATE TABLE searched (id int, words tsvector, place point, named text)`, `CREATE INDEX ON searched USING gin (words)`, `CREATE INDEX ON searched USING gist (place)`,
	`CREATE INDEX ON searched USING spgist (named)`, `CREATE INDEX ON searched USING brin (id)`, `CREATE INDEX ON searched USING hash (named)`, `CREATE INDEX ON searched USING bloom (id, named)`,
	`INSERT INTO searched SELECT i, to_tsvector('simple', 'word' || i), point(i, i / 3.0), 'name ' || i FROM generate_series(1, 1000) i`,
	`CREATE TABLE emptied (id int, s text)`, `INSERT INTO emptied SELECT i, 'gone' FROM generate_series(1, 3000) i`,
}

// cellScript is played by three sessions while the demo's workload runs.
var cellScript = xactScript{
	// Multixacts of lockers and an updater, in each order of their ends.
	"a:BEGIN", "a:SELECT * FROM pk WHERE id <= 100 FOR KEY SHARE", "b:BEGIN", "b:INSERT INTO fk SELECT i, i FROM generate_series(1, 100) i",
	"c:BEGIN", "c:UPDATE pk SET v = 1 WHERE id BETWEEN 51 AND 150", "c:COMMIT", "b:ROLLBACK",
	"b:BEGIN", "b:UPDATE pk SET v = 2 WHERE id <= 50", "b:ROLLBACK", "a:COMMIT",
	"a:BEGIN", "a:SELECT * FROM pk WHERE id <= 20 FOR SHARE", "b:BEGIN", "b:SELECT * FROM pk WHERE id <= 20 FOR SHARE", "a:COMMIT", "b:COMMIT",
	// Subtransactions that come and go.
	"a:BEGIN", "a:SAVEPOINT s1", "a:UPDATE pk SET v = 3 WHERE id <= 20", "a:SAVEPOINT s2", "a:UPDATE pk SET v = 4 WHERE id <= 10", "a:ROLLBACK TO s2",
	"a:RELEASE s1", "a:DELETE FROM pk WHERE id = 300", "a:SAVEPOINT s3", "a:INSERT INTO pk SELECT i, 3 FROM generate_series(1001, 1100) i", "a:ROLLBACK TO s3", "a:COMMIT",
	// HOT chains, pruned by readers and by VACUUM; line pointers that are given to others.
	"UPDATE hot SET n = n + 1", "UPDATE hot SET n = n + 1 WHERE id % 2 = 0", "UPDATE hot SET n = n + 1 WHERE id % 2 = 0", "SELECT count(*) FROM hot WHERE n > 1",
	"DELETE FROM hot WHERE id % 5 = 0", "VACUUM hot", "INSERT INTO hot SELECT i, -1, 'new' FROM generate_series(3001, 3500) i", "UPDATE hot SET id = id + 10000 WHERE id % 7 = 0",
	"VACUUM (FREEZE) hot", "UPDATE hot SET n = n + 1 WHERE id < 100", "CHECKPOINT",
	// A transaction that is rolled back, and one that is prepared over all that follows.
	"b:BEGIN", "b:DELETE FROM hot WHERE id > 1000", "b:INSERT INTO shaped SELECT i, 'never' FROM generate_series(1, 500) i", "b:ROLLBACK",
	"b:BEGIN", "b:UPDATE pk SET v = 9 WHERE id > 250", "b:SAVEPOINT s", "b:DELETE FROM pk WHERE id > 280", "b:ROLLBACK TO s", "b:INSERT INTO pk SELECT i, 9 FROM generate_series(2001, 2100) i",
	"b:PREPARE TRANSACTION 'stays'", "b:BEGIN", "b:UPDATE shaped SET s = 'prepared' WHERE id < 10", "b:PREPARE TRANSACTION 'goes'",
	"UPDATE toasted SET n = n + 1", "UPDATE toasted SET outside = outside || 'x' WHERE id % 2 = 0", "UPDATE toasted SET doc = doc || '{\"k2\": 1}', packed = NULL WHERE id % 5 = 0",
	"DELETE FROM toasted WHERE id % 3 = 0", "VACUUM toasted", "INSERT INTO toasted SELECT id + 100, reverse(outside), packed, doc, n FROM toasted", "VACUUM FULL toasted", "UPDATE toasted SET n = n + 1",
	"ROLLBACK PREPARED 'goes'",
	// Indexes of each kind, changes that come from another server, what is no row of a table, and a record longer than a segment of 1 MiB.
	"INSERT INTO searched SELECT i, to_tsvector('simple', 'other' || i), point(i, -i), 'other ' || i FROM generate_series(1001, 3000) i", "DELETE FROM searched WHERE id % 3 = 0", "VACUUM searched",
	"SELECT pg_replication_origin_create('elsewhere')", "c:SELECT pg_replication_origin_session_setup('elsewhere')", "c:BEGIN", "c:SELECT pg_replication_origin_xact_setup('0/1234', now())",
	"c:UPDATE searched SET named = 'from elsewhere' WHERE id < 300", "c:SAVEPOINT s", "c:DELETE FROM searched WHERE id < 50", "c:COMMIT", "c:SELECT pg_replication_origin_session_reset()", "SELECT pg_replication_origin_drop('elsewhere')",
	"CREATE SEQUENCE numbers", "SELECT nextval('numbers')", "SELECT lo_from_bytea(0, repeat('large', 5000)::bytea)", "SELECT pg_logical_emit_message(false, 'tarn', repeat('long ', 700000))",
	// DDL.
	"ALTER TABLE shaped ADD COLUMN given int DEFAULT 7", "UPDATE shaped SET given = 8 WHERE id % 2 = 0", "ALTER TABLE shaped RENAME COLUMN s TO named", "ALTER TABLE shaped ALTER COLUMN given TYPE bigint",
	"BEGIN; ALTER TABLE shaped DROP COLUMN named; ALTER TABLE shaped ADD COLUMN named text DEFAULT 'again'; COMMIT", "CREATE INDEX ON shaped (id)", "CLUSTER shaped USING shaped_id_idx", "VACUUM FULL pg_class",
	"BEGIN; TRUNCATE emptied; ROLLBACK", "BEGIN; TRUNCATE emptied; INSERT INTO emptied VALUES (1, 'after'); COMMIT",
	"CREATE TABLE shrunk AS SELECT i FROM generate_series(1, 20000) i", "DELETE FROM shrunk WHERE i > 500", "VACUUM shrunk", "INSERT INTO shrunk SELECT i FROM generate_series(1, 1000) i",
	"CREATE UNLOGGED TABLE logged AS SELECT i FROM generate_series(1, 500) i", "ALTER TABLE logged SET LOGGED", "DELETE FROM logged WHERE i % 2 = 0",
	"COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; seq 1 3000 > frozen.csv'", "BEGIN; CREATE TABLE frozen (i int); COPY frozen FROM PROGRAM 'cat frozen.csv' WITH (FREEZE); COMMIT", "DELETE FROM frozen WHERE i % 3 = 0",
}

// prepare makes the tables, tablespaces and databases that are there when tarn attaches.
func (r *cellRig) prepare() {
	r.t.Helper()
	if err := demo.CreateSchema(r.t.Context(), r.connect()); err != nil {
		r.t.Fatal(err)
	}
	r.exec(cellSetup...)
	if r.cell["wal_level"] == "logical" { // with somebody to decode it, so that the server writes what only decoding needs
		r.exec(`SELECT pg_create_logical_replication_slot('other', 'pgoutput')`, `ALTER TABLE hot REPLICA IDENTITY FULL`)
	}
	if r.cell["tablespaces"] == "yes" {
		r.exec(`COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; mkdir -p ../ts1 ../ts2 ../ts3'`, r.tablespace(1),
			`CREATE TABLE placed (id int PRIMARY KEY USING INDEX TABLESPACE ts1, s text) TABLESPACE ts1`, `INSERT INTO placed SELECT i, repeat(md5(i::text), i % 300) FROM generate_series(1, 600) i`,
			`CREATE TABLE indexed (id int, s text)`, `INSERT INTO indexed SELECT i, 'indexed' FROM generate_series(1, 500) i`, `CREATE INDEX indexed_id ON indexed (id) TABLESPACE ts1`,
			`CREATE DATABASE placed TABLESPACE ts1`)
		r.execIn("placed", cellDatabase("placed")...)
	}
	if r.cell["databases"] == "several" {
		r.exec(`CREATE DATABASE model`, `CREATE DATABASE renamed`)
		r.execIn("model", cellDatabase("model")...)
		r.execIn("renamed", cellDatabase("renamed")...)
	}
}

// cellDatabase are tables of another database, named as those of app.
func cellDatabase(name string) []string {
	return []string{
		`CREATE TABLE hot (id int PRIMARY KEY, n text)`, `INSERT INTO hot SELECT i, '` + name + ` ' || i FROM generate_series(1, 700) i`,
		`CREATE TABLE toasted (id int, big text)`, `ALTER TABLE toasted ALTER COLUMN big SET STORAGE EXTERNAL`, `INSERT INTO toasted SELECT i, repeat('` + name + `', 1000 * i) FROM generate_series(1, 10) i`,
	}
}

func (r *cellRig) tablespace(n int) string {
	dir := strings.TrimSuffix(r.pg.DataDir(), "/data")
	return fmt.Sprintf(`CREATE TABLESPACE ts%d LOCATION '%s/ts%d'`, n, dir, n)
}

func (r *cellRig) execIn(db string, statements ...string) {
	r.t.Helper()
	if err := r.pg.Exec(r.t.Context(), db, statements...); err != nil {
		r.t.Fatalf("%s: %v", db, err)
	}
}

// live is what happens while the workload runs and tarn follows.
func (r *cellRig) live() {
	r.t.Helper()
	if r.cell["wal_compression"] == bothMethods {
		defer r.set("wal_compression", "zstd")
	}
	if r.cell["full_page_writes"] == switched {
		r.exec("CHECKPOINT")
	}
	cellScript.run(r.t, r.rig)
	if r.cell["full_page_writes"] == switched {
		r.set("full_page_writes", "on")
		r.exec("UPDATE hot SET n = n + 1", "CHECKPOINT")
	}
	if r.cell["tablespaces"] == "yes" {
		r.moveTablespaces()
	}
	if r.cell["databases"] == "several" {
		r.moveDatabases()
	}
}

// moveTablespaces makes tablespaces, moves tables, indexes and a database between them, and drops one.
func (r *cellRig) moveTablespaces() {
	r.t.Helper()
	r.exec(r.tablespace(2), r.tablespace(3), `ALTER TABLE placed SET TABLESPACE ts2`, `UPDATE placed SET s = 'moved' WHERE id % 2 = 0`, `ALTER INDEX placed_pkey SET TABLESPACE pg_default`,
		`BEGIN; ALTER TABLE hot SET TABLESPACE ts2; DELETE FROM hot WHERE id % 11 = 0; ROLLBACK`, `ALTER TABLE toasted SET TABLESPACE ts2`, `UPDATE toasted SET n = n + 1`,
		`CREATE TABLE brief (i int) TABLESPACE ts3`, `INSERT INTO brief SELECT generate_series(1, 500)`, `DROP TABLE brief`, `CHECKPOINT`, `DROP TABLESPACE ts3`,
		`ALTER INDEX indexed_id SET TABLESPACE ts2`, `ALTER TABLE indexed SET TABLESPACE ts1`, `DELETE FROM indexed WHERE id % 3 = 0`,
		`ALTER DATABASE placed SET TABLESPACE ts2`)
	r.execIn("placed", `UPDATE hot SET n = 'moved' WHERE id % 2 = 0`, `INSERT INTO toasted VALUES (11, repeat('m', 30000))`, `ALTER TABLE toasted SET TABLESPACE ts1`, `DELETE FROM toasted WHERE id = 1`)
}

// moveDatabases copies databases by both strategies, renames and drops some.
func (r *cellRig) moveDatabases() {
	r.t.Helper()
	r.exec(`CREATE DATABASE walcopy TEMPLATE model STRATEGY wal_log`, `CREATE DATABASE filecopy TEMPLATE model STRATEGY file_copy`, `CREATE DATABASE brief TEMPLATE model STRATEGY file_copy`)
	for _, db := range []string{"walcopy", "filecopy"} {
		r.execIn(db, `UPDATE hot SET n = '`+db+`' WHERE id % 3 = 0`, `INSERT INTO toasted VALUES (11, repeat('t', 30000))`, `CREATE TABLE own AS SELECT i FROM generate_series(1, 100) i`)
	}
	r.execIn("model", `DELETE FROM hot WHERE id % 2 = 0`, `VACUUM hot`)
	r.exec(`DROP DATABASE brief`, `ALTER DATABASE renamed RENAME TO named`, `CREATE DATABASE renamed TEMPLATE named`)
	r.execIn("named", `DELETE FROM hot WHERE id < 100`)
	r.exec(`DROP DATABASE walcopy`, `CREATE DATABASE walcopy TEMPLATE named STRATEGY wal_log`)
}

// crash kills tarn or Postgres under load, with a transaction open and one prepared, and goes on.
func (r *cellRig) crash() {
	r.t.Helper()
	open := r.connect()
	if _, err := open.Exec(r.t.Context(), `BEGIN; UPDATE shaped SET given = -1; DELETE FROM pk WHERE id < 50`, pgx.QueryExecModeSimpleProtocol); err != nil {
		r.t.Fatal(err)
	}
	stop := r.write(func(w *demo.Workload) { w.Reconnect = true })
	time.Sleep(time.Second)
	if r.cell["crash"] == "tarn" {
		r.tarn.kill9()
		r.exec(`UPDATE hot SET n = n + 1 WHERE id % 3 = 0`, `VACUUM hot`)
		r.tarn.start()
	} else {
		r.killPostgres()
	}
	time.Sleep(time.Second)
	stop()
	r.tarn.waitReady()
	r.exec(`COMMIT PREPARED 'stays'`, `UPDATE hot SET n = n + 1 WHERE id % 5 = 1`, `VACUUM (FREEZE)`, `INSERT INTO shaped (id) SELECT i FROM generate_series(1, 300) i`)
	_ = open.Close(context.Background()) // rolled back, if the crash has not
}

// mustBeEqualEverywhere compares every database as soon as the lake has caught up.
func (r *cellRig) mustBeEqualEverywhere() {
	r.t.Helper()
	r.caughtUp()
	names, err := r.pg.QueryText(r.t.Context(), "postgres", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'")
	if err != nil {
		r.t.Fatal(err)
	}
	tables, rows := 0, int64(0)
	for _, name := range strings.Fields(names) {
		report := r.compareIn(name)
		if !report.Equal() {
			r.t.Fatalf("the lake is not equal to database %s:\n%.6000s", name, report)
		}
		tables, rows = tables+len(report.Tables), rows+report.Rows()
	}
	r.t.Logf("databases %s: %d tables, %d rows equal through each of %d readers", names, tables, rows, len(r.readers))
}

// compareIn compares all tables of a database.
func (r *cellRig) compareIn(db string) lakecheck.Report {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, r.pg.ConnString(db))
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	report, err := lakecheck.Compare(ctx, conn, r.tarn.catalogURL(), db, nil, r.readers...)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}
