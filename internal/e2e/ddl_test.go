package e2e

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

// Each step is followed by a comparison of the whole database: schema, types, rows, tables that came and went.
func TestDDL(t *testing.T) {
	r := newRig(t, 18, []string{
		`CREATE TABLE t (id int, a text, b numeric(8,2))`,
		`INSERT INTO t SELECT i, 'row ' || i, i * 1.5 FROM generate_series(1, 2000) i`,
	})
	r.tarn.startReady()
	for _, step := range [][]string{
		{`ALTER TABLE t ADD COLUMN c int`, `UPDATE t SET c = id WHERE id < 50`},
		{`ALTER TABLE t ADD COLUMN d text DEFAULT 'given'`, `INSERT INTO t (id) VALUES (-1)`},
		{`ALTER TABLE t ADD COLUMN e timestamptz DEFAULT now()`},
		{`ALTER TABLE t ADD COLUMN long text DEFAULT repeat('kept compressed in the catalog ', 200)`},
		{`ALTER TABLE t ADD COLUMN list int[] DEFAULT '{1,NULL,3}'`, `ALTER TABLE t ADD COLUMN ch "char" DEFAULT 'x'`},
		{`BEGIN; ALTER TABLE t DROP COLUMN ch; ALTER TABLE t ADD COLUMN ch "char" DEFAULT 'y'; COMMIT`},
		{`ALTER TABLE t RENAME COLUMN a TO alpha`, `UPDATE t SET alpha = NULL WHERE id = 3`},
		{`ALTER TABLE t DROP COLUMN b`, `DELETE FROM t WHERE id % 10 = 0`},
		{`ALTER TABLE t ADD COLUMN b text`, `UPDATE t SET b = 'another b' WHERE id % 7 = 0`},
		{`ALTER TABLE t ALTER COLUMN c TYPE bigint`},
		{`ALTER TABLE t ALTER COLUMN d TYPE varchar(20)`},
		{`ALTER TABLE t ALTER COLUMN id TYPE text USING 'id' || id`},
		{`VACUUM FULL t`},
		{`CREATE INDEX t_id ON t (id)`, `CLUSTER t USING t_id`, `UPDATE t SET b = 'after' WHERE c = 9`},
		{`VACUUM t`, `VACUUM FREEZE t`},
		{`CREATE TABLE fresh (id int PRIMARY KEY, v text)`, `INSERT INTO fresh VALUES (1, 'one')`},
		{`ALTER TABLE fresh RENAME TO renamed`},
		{`BEGIN; ALTER TABLE t RENAME TO x; ALTER TABLE renamed RENAME TO t; ALTER TABLE x RENAME TO renamed; COMMIT`},
		{`BEGIN; ALTER TABLE t RENAME TO x; ALTER TABLE renamed RENAME TO t; ALTER TABLE x RENAME TO renamed; COMMIT`,
			`BEGIN; ALTER TABLE t RENAME COLUMN alpha TO x; ALTER TABLE t RENAME COLUMN b TO alpha; ALTER TABLE t RENAME COLUMN x TO b; COMMIT`},
		{`BEGIN; DROP TABLE renamed; CREATE TABLE renamed (id int, other text); INSERT INTO renamed VALUES (2, 'two'); COMMIT`},
		{`BEGIN; CREATE TABLE never (i int); INSERT INTO never VALUES (1); ROLLBACK`, `BEGIN; TRUNCATE t; ROLLBACK`},
		{`TRUNCATE t`, `INSERT INTO t (id) VALUES ('after truncate')`},
		{`CREATE TABLE p (id int, v text) PARTITION BY LIST (id)`, `CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)`,
			`CREATE TABLE p2 PARTITION OF p DEFAULT`, `INSERT INTO p SELECT i % 3, 'p' || i FROM generate_series(1, 300) i`},
		{`UPDATE p SET id = 2 WHERE id = 1 AND v < 'p2'`},
		// A partition's file stays the same, and another of its columns stands for v.
		{`BEGIN; ALTER TABLE p DETACH PARTITION p1; ALTER TABLE p1 DROP COLUMN v; ALTER TABLE p1 ADD COLUMN v text;
			ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1); COMMIT`, `INSERT INTO p VALUES (1, 'one again')`},
		{`ALTER TABLE p ADD COLUMN w int DEFAULT 7`, `UPDATE p SET v = 'with w' WHERE id = 0`},
		{`ALTER TABLE p DETACH PARTITION p1`},
		{`CREATE MATERIALIZED VIEW mv AS SELECT id, count(*) AS n FROM p GROUP BY id`},
		{`INSERT INTO p VALUES (9, 'nine')`, `REFRESH MATERIALIZED VIEW mv`},
		{`CREATE SCHEMA other`, `ALTER TABLE renamed SET SCHEMA other`, `CREATE TABLE other."Odd Name.x" ("a b" int)`},
		{`CREATE TYPE color AS ENUM ('red', 'green')`, `CREATE TABLE colors (c color)`, `INSERT INTO colors VALUES ('red'), ('green')`},
		{`ALTER TYPE color RENAME VALUE 'red' TO 'crimson'`, `ALTER TYPE color ADD VALUE 'blue'`, `INSERT INTO colors VALUES ('blue')`},
		{`CREATE SCHEMA "dot. and blank"`, `CREATE TABLE "dot. and blank".t (i int)`, `INSERT INTO "dot. and blank".t VALUES (1)`},
		{`DROP MATERIALIZED VIEW mv`, `DROP TABLE p`, `DROP SCHEMA other CASCADE`},
	} {
		r.exec(step...)
		r.caughtUp()
		if report := r.compare(database); !report.Equal() {
			t.Fatalf("after %s:\n%s", strings.Join(step, "; "), report)
		}
	}
}

// Neither a prepared transaction nor one that is open shows, and both do once they have committed, also over a restart.
func TestPreparedAndOpenTransactions(t *testing.T) {
	r := newRig(t, 15, []string{`CREATE TABLE t (i int)`, `INSERT INTO t VALUES (0)`})
	r.tarn.startReady()
	ctx := t.Context()
	open := r.connect()
	if _, err := open.Exec(ctx, `BEGIN; INSERT INTO t VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`BEGIN; INSERT INTO t VALUES (2); SAVEPOINT s; INSERT INTO t VALUES (3); ROLLBACK TO s; INSERT INTO t VALUES (4); PREPARE TRANSACTION 'stays'`,
		`BEGIN; INSERT INTO t VALUES (5); UPDATE t SET i = -1 WHERE i = 0; PREPARE TRANSACTION 'goes'`,
	} {
		if _, err := r.connect().Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	r.exec(`INSERT INTO t VALUES (100)`, `CHECKPOINT`)
	r.mustBeEqual()
	r.tarn.kill9()
	r.tarn.startReady()
	r.exec(`COMMIT PREPARED 'stays'`, `ROLLBACK PREPARED 'goes'`)
	if _, err := open.Exec(ctx, `COMMIT`); err != nil {
		t.Fatal(err)
	}
	report := r.mustBeEqual()
	if report.Rows() != 5 { // 0, 1, 2, 4, 100
		t.Fatalf("%d rows, want 5:\n%s", report.Rows(), report)
	}
}

// Large values stay whole when other columns of their row change, and go when their row goes.
func TestTOAST(t *testing.T) {
	r := newRig(t, 15, []string{
		`CREATE TABLE t (id int, big text, packed text, doc jsonb, n int)`,
		`ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL`,
		`INSERT INTO t SELECT i, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 100 * i)),
		 repeat('compress me ', 1000 * i), jsonb_build_object('k', repeat('v' || i, 5000)), 0 FROM generate_series(1, 40) i`,
	})
	r.tarn.startReady()
	for _, sql := range []string{
		`UPDATE t SET n = n + 1`,
		`UPDATE t SET big = big || 'x' WHERE id % 2 = 0`,
		`UPDATE t SET big = NULL, doc = doc || '{"k2": 1}' WHERE id % 5 = 0`,
		`DELETE FROM t WHERE id % 3 = 0`,
		`VACUUM t`,
		`INSERT INTO t SELECT id + 100, reverse(big), packed, doc, n FROM t`,
		`UPDATE t SET n = n + 1`,
		`VACUUM FULL t`,
		`UPDATE t SET n = n + 1`,
	} {
		r.exec(sql)
		r.caughtUp()
		if report := r.compare(database); !report.Equal() {
			t.Fatalf("after %s:\n%.3000s", sql, report)
		}
	}
}

// One table the lake cannot hold is marked and holds nobody else up.
func TestOneBadTableHoldsNobodyUp(t *testing.T) {
	r := newRig(t, 15, []string{
		`CREATE TABLE good (i int)`, `INSERT INTO good VALUES (1)`,
		`CREATE TABLE bad (a int[])`, `INSERT INTO bad VALUES ('{{1,2},{3,4}}')`, // no list of int holds this
	})
	r.tarn.addRule(strict)
	r.tarn.startReady()
	r.exec(`INSERT INTO good VALUES (2)`)
	r.caughtUp()
	report := r.compare(database, lakecheck.TableName{Namespace: "public", Table: "good"})
	if !report.Equal() {
		t.Fatalf("the good table:\n%s", report)
	}
	status, err := r.tarn.client().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range status.Tables {
		if table.Name == "app.public.bad" {
			if table.State != "error" || table.Error == "" {
				t.Fatalf("the bad table: %+v; want state error and the reason", table)
			}
			return
		}
	}
	t.Fatalf("the bad table is not in the status: %+v", status.Tables)
}

// A database whose DROP was cut short is no database any more: Postgres lets nobody in, and the lake does not show it.
func TestHalfDroppedDatabase(t *testing.T) {
	r := newRig(t, 15, []string{`CREATE TABLE t (i int)`, `CREATE DATABASE d`})
	if err := r.pg.Exec(t.Context(), "d", `CREATE TABLE t (i int)`, `INSERT INTO t VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	r.tarn.startReady()
	if rows, err := r.queryOne("d", `SELECT count(*) FROM lake.public.t`); err != nil || rows != "1" {
		t.Fatalf("before: %s, %v", rows, err)
	}
	r.exec(`UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'd'`) // as DROP DATABASE does first
	r.mustBeEqual()
	if rows, err := r.queryOne("d", `SELECT count(*) FROM lake.public.t`); err == nil {
		t.Fatalf("the table is still there, with %s rows", rows)
	}
	r.exec(`DROP DATABASE d`, `CREATE DATABASE d`)
	r.mustBeEqual()
}
