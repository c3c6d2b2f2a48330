package e2e

import (
	"fmt"
	"strings"
	"time"
)

// stressOps are what sessions do against a server of a major version, to rows, tables and databases.
func stressOps(major int) []stressOp {
	return append(sessionOps(major), databaseOps()...)
}

// sessionOps are what sessions do to what one database has.
func sessionOps(major int) []stressOp {
	ops := append(rowOps(), tableOps()...)
	if major >= 17 {
		ops = append(ops, stressOp{"merge returning", 2, with(`c.relname = 't1'`,
			`MERGE INTO %s t USING (SELECT generate_series(1, 40) AS i) x ON t.id = x.i WHEN MATCHED AND x.i % 5 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET n = t.n + 1 WHEN NOT MATCHED BY SOURCE AND t.id % 97 = 0 THEN DELETE WHEN NOT MATCHED THEN INSERT (id, n) VALUES (x.i, 0)`)})
	}
	if major >= 18 {
		ops = append(ops, stressOp{"add virtual column", 1, with(anyTable, `ALTER TABLE %s ADD COLUMN virt text GENERATED ALWAYS AS ('v' || id) VIRTUAL`)})
	}
	return ops
}

// rowOps change rows.
func rowOps() []stressOp {
	return []stressOp{
		{"dml", 30, one((*stressWriter).dml, anyTable)},
		{"dml on a leaf", 3, one((*stressWriter).dml, partition)},
		{"insert many", 3, on(anyTable, func(w *stressWriter, t string) ([]string, error) {
			sql, err := w.insert(t, 3000)
			return []string{sql}, err
		})},
		{"transaction", 10, transaction},
		{"savepoints", 6, savepoints},
		{"many subtransactions", 2, fixed(
			`DO $$ BEGIN FOR i IN 1..90 LOOP BEGIN INSERT INTO s.t1 (id, n) VALUES (100000 + (random() * 1000000)::int, i); IF i % 7 = 0 THEN RAISE 'x'; END IF; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$`)},
		{"subtransactions rolled back", 2, fixed("BEGIN",
			`DO $$ BEGIN FOR i IN 1..90 LOOP BEGIN UPDATE s.t1 SET n = -i WHERE id = i; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$`, "ROLLBACK")},
		{"long transaction", 2, longTransaction},
		{"prepare", 3, prepare}, {"commit prepared", 2, finishPrepared("COMMIT")}, {"rollback prepared", 1, finishPrepared("ROLLBACK")},
		{"hot updates", 6, fixed(`UPDATE s.t1 SET n = n + 1 WHERE id = (random() * 500)::int`, `UPDATE s.t1 SET n = n + 1 WHERE id < (random() * 50)::int`)},
		{"lock rows", 6, lockRows},
		{"on conflict", 4, fixed(`INSERT INTO s.t1 (id, a, n) SELECT (random() * 600)::int, 'conflict', i FROM generate_series(1, 3) i ON CONFLICT (id) DO UPDATE SET n = s.t1.n + 1, a = excluded.a`,
			`INSERT INTO s.t1 (id, n) SELECT i, i FROM generate_series(1, 30) i ON CONFLICT DO NOTHING`)},
		{"merge", 3, fixed(`MERGE INTO s.t1 t USING (SELECT generate_series(1, 60) AS i) x ON t.id = x.i WHEN MATCHED AND x.i % 9 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET n = t.n + 1 WHEN NOT MATCHED THEN INSERT (id, n) VALUES (x.i, 0)`)},
		{"large values", 4, fixed(`UPDATE s.t1 SET doc = jsonb_build_object('big', (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, (random() * 600)::int))) WHERE id = (random() * 500)::int`,
			`UPDATE s.t1 SET a = repeat('a' || id, (random() * 9000)::int) WHERE id = (random() * 500)::int`)},
		{"copy", 4, copyIn(false)}, {"aborted copy", 2, copyIn(true)},
		{"copy freeze", 3, copyFreeze},
		{"move between partitions", 4, fixed(`UPDATE s.p SET k = (k + 7) % 70 WHERE random() < 0.1`)},
		{"delete all", 1, with(anyTable, `DELETE FROM %s`)},
		{"temporary table", 3, fixed(`CREATE TEMP TABLE temp AS SELECT * FROM s.t1`, `ALTER TABLE temp ADD COLUMN z int DEFAULT 5`, `DROP TABLE temp`)},
	}
}

// one runs one statement on a table picked by a condition.
func one(statement func(*stressWriter, string) (string, error), condition string) func(*stressWriter) error {
	return on(condition, func(w *stressWriter, table string) ([]string, error) {
		sql, err := statement(w, table)
		return []string{sql}, err
	})
}

// some statements on rows of any table, in the transaction that is open.
func (w *stressWriter) change(n int) error {
	for range n {
		table, err := w.pick(anyTable)
		if err != nil {
			return err
		}
		sql, err := w.dml(table)
		if err != nil {
			return err
		}
		if err := w.do("%s", sql); err != nil {
			return err
		}
	}
	return nil
}

func (w *stressWriter) ending() string {
	return w.oneOf([]string{"COMMIT", "COMMIT", "COMMIT", "ROLLBACK"})
}

func transaction(w *stressWriter) error {
	if err := w.do("BEGIN"); err != nil {
		return err
	}
	if err := w.change(1 + w.rng.IntN(4)); err != nil {
		return err
	}
	return w.do("%s", w.ending())
}

func savepoints(w *stressWriter) error {
	if err := w.do("BEGIN"); err != nil {
		return err
	}
	for i := range 2 + w.rng.IntN(3) {
		if err := w.do("SAVEPOINT p%d", i); err != nil {
			return err
		}
		_ = w.change(1 + w.rng.IntN(2))
		if end := []string{"RELEASE", "ROLLBACK TO"}[w.rng.IntN(2)]; end == "RELEASE" && w.conn.PgConn().TxStatus() == 'T' {
			if err := w.do("RELEASE p%d", i); err != nil {
				return err
			}
		} else if err := w.do("ROLLBACK TO p%d", i); err != nil {
			return err
		}
	}
	return w.do("%s", w.ending())
}

// longTransaction is open over many publications, or until the server dies.
func longTransaction(w *stressWriter) error {
	if err := w.do("BEGIN"); err != nil {
		return err
	}
	for range 3 {
		if err := w.change(2); err != nil {
			return err
		}
		pause := time.After(time.Duration(w.rng.IntN(700)) * time.Millisecond)
		if w.turn != nil {
			continue // others have their turns meanwhile
		}
		select {
		case <-w.ctx.Done():
		case <-pause:
		}
	}
	return w.do("%s", w.ending())
}

func prepare(w *stressWriter) error {
	if err := w.do("BEGIN"); err != nil {
		return err
	}
	if err := w.do("SAVEPOINT a; UPDATE s.t1 SET n = n + 1 WHERE id = %d; RELEASE a", 1+w.rng.IntN(500)); err != nil {
		return err
	}
	if err := w.change(2); err != nil {
		return err
	}
	if w.rng.IntN(3) == 0 {
		n := w.rng.IntN(9)
		if err := w.do("CREATE TABLE s.y%d (id bigint, v text); INSERT INTO s.y%d SELECT i, repeat('v', 5000) FROM generate_series(1, 20) i", n, n); err != nil {
			return err
		}
	}
	return w.do("PREPARE TRANSACTION 'x%d'", w.rng.IntN(6))
}

// finishPrepared ends a transaction that was prepared by whomever, perhaps before a crash. They must not live long: each
// holds locks that others wait for.
func finishPrepared(how string) func(*stressWriter) error {
	return func(w *stressWriter) error {
		var name string
		if err := w.conn.QueryRow(w.ctx, `SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 1`).Scan(&name); err != nil {
			return err
		}
		return w.do("%s PREPARED '%s'", how, name)
	}
}

// lockRows leaves multixacts behind, some with an updater.
func lockRows(w *stressWriter) error {
	strength := w.oneOf([]string{"KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"})
	return w.all("BEGIN", fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM s.t1 WHERE id BETWEEN %[1]d AND %[1]d + 20 FOR %[2]s) x", w.rng.IntN(300), strength),
		"SELECT pg_sleep(random() * 0.05)", fmt.Sprintf("SAVEPOINT a; UPDATE s.t1 SET n = n + 1 WHERE id = %d", w.rng.IntN(320)), w.ending())
}

// copyIn loads rows with COPY; a value that does not parse aborts it at the end.
func copyIn(abort bool) func(*stressWriter) error {
	return func(w *stressWriter) error {
		var b strings.Builder
		for i := range 1 + w.rng.IntN(2000) {
			fmt.Fprintf(&b, "%d\tcopied %s\t%d\t\\N\n", i, strings.Repeat("x", w.rng.IntN(60)), i%9)
		}
		if abort {
			b.WriteString("no number\n")
		}
		err := w.run("COPY s.t0 (id, a, b, c) FROM STDIN", b.String())
		if abort && err != nil && w.ctx.Err() == nil {
			return nil
		}
		return err
	}
}

// copyFreeze writes rows that are frozen from the start, in a table that is new or truncated in the same transaction.
func copyFreeze(w *stressWriter) error {
	table := w.oneOf(stressTableNames)
	first := "TRUNCATE " + table
	if w.rng.IntN(2) == 0 {
		first = fmt.Sprintf("CREATE TABLE %s (id bigint, c1 text)", table)
	}
	if err := w.all("BEGIN", first); err != nil {
		return err
	}
	if err := w.run("COPY "+table+" (id) FROM STDIN (FREEZE)", "1\n2\n3\n4\n"); err != nil {
		return err
	}
	return w.do("%s", w.ending())
}
