package e2e

import (
	"fmt"
	"strings"
)

// tableOps change what tables there are and what they look like.
func tableOps() []stressOp {
	return []stressOp{
		{"create", 8, createTable}, {"create as", 2, createAs},
		{"drop", 5, with(plain, `DROP TABLE %s CASCADE`)},
		{"rename", 3, func(w *stressWriter) error { return w.rename() }},
		{"swap names", 3, swapNames},
		{"set schema", 2, on(plain, func(w *stressWriter, t string) ([]string, error) {
			return []string{"ALTER TABLE " + t + " SET SCHEMA " + w.oneOf([]string{"s", `"S ""ü"" x"`, "s2"})}, nil
		})},
		{"schema", 1, fixed(`CREATE SCHEMA IF NOT EXISTS s2`, `CREATE TABLE s2.a (id bigint)`, `INSERT INTO s2.a VALUES (1)`)},
		{"rename schema", 1, func(w *stressWriter) error {
			return w.all(w.oneOf([]string{`ALTER SCHEMA s2 RENAME TO s3`, `ALTER SCHEMA s3 RENAME TO s2`, `DROP SCHEMA IF EXISTS s3 CASCADE`}))
		}},
		{"drop and create again", 2, on(plain, func(w *stressWriter, t string) ([]string, error) {
			return []string{fmt.Sprintf("BEGIN; DROP TABLE %[1]s CASCADE; CREATE TABLE %[1]s (id bigint, other text); INSERT INTO %[1]s SELECT i, 'again' FROM generate_series(1, 50) i; %[2]s", t, w.ending())}, nil
		})},
		{"add column", 8, addColumn},
		{"drop column", 4, onColumn(func(w *stressWriter, t string, c tableColumn) string {
			return "ALTER TABLE " + t + " DROP COLUMN " + c.name
		})},
		{"rename column", 4, onColumn(func(w *stressWriter, t string, c tableColumn) string {
			return "ALTER TABLE " + t + " RENAME COLUMN " + c.name + " TO " + w.oneOf(stressColumnNames)
		})},
		{"change type", 8, changeType},
		{"not null", 1, onColumn(func(w *stressWriter, t string, c tableColumn) string {
			return "ALTER TABLE " + t + " ALTER COLUMN " + c.name + " SET DEFAULT NULL"
		})},
		{"storage", 2, onColumn(func(w *stressWriter, t string, c tableColumn) string {
			return "ALTER TABLE " + t + " ALTER COLUMN " + c.name + " SET STORAGE " + w.oneOf([]string{"EXTERNAL", "EXTENDED", "MAIN", "PLAIN"})
		})},
		{"truncate", 3, on(anyTable, func(w *stressWriter, t string) ([]string, error) {
			sql, err := w.insert(t, 40)
			return []string{"BEGIN; TRUNCATE " + t + " CASCADE; " + sql + "; " + w.ending()}, err
		})},
		{"create and truncate", 1, func(w *stressWriter) error {
			t := w.oneOf(stressTableNames)
			return w.do(`BEGIN; CREATE TABLE %[1]s (id bigint, c1 text); INSERT INTO %[1]s SELECT 1, 'x' FROM generate_series(1, 500); TRUNCATE %[1]s; INSERT INTO %[1]s VALUES (2); %[2]s`, t, w.ending())
		}},
		{"ddl and dml in one transaction", 4, ddlAndDML},
		{"vacuum", 4, with(stored, `VACUUM %s`)}, {"vacuum freeze", 2, with(stored, `VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) %s`)},
		{"vacuum full", 3, with(stored, `VACUUM FULL %s`)},
		{"vacuum full of catalogs", 1, func(w *stressWriter) error {
			return w.all("VACUUM FULL pg_catalog." + w.oneOf([]string{"pg_class", "pg_attribute", "pg_type", "pg_enum", "pg_inherits", "pg_namespace", "pg_database"}))
		}},
		{"cluster", 2, fixed(`CLUSTER s.t1 USING t1_pkey`)}, {"reindex", 1, with(stored, `REINDEX TABLE %s`)},
		{"index", 1, with(stored, `CREATE INDEX ON %s (id)`)},
		{"refresh", 2, fixed(`REFRESH MATERIALIZED VIEW s.mv`)}, {"refresh concurrently", 2, fixed(`REFRESH MATERIALIZED VIEW CONCURRENTLY s.mv`)},
		{"unlogged", 1, with(plain, `ALTER TABLE %s SET UNLOGGED`)}, {"logged", 2, with(`c.relpersistence = 'u' AND c.relkind = 'r'`, `ALTER TABLE %s SET LOGGED`)},
		{"tablespace", 2, func(w *stressWriter) error {
			return onTable(w, stored, "ALTER TABLE %s SET TABLESPACE "+w.oneOf([]string{"pg_default", "ts"}))
		}},
		{"new partition", 3, newPartition},
		{"attach", 3, attach},
		{"reshape", 3, reshape},
		{"detach", 2, with(`c.relispartition AND c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 's.p'::regclass)`, `ALTER TABLE s.p DETACH PARTITION %s`)},
		{"detach concurrently", 1, with(`c.relispartition AND c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 's.p'::regclass)`, `ALTER TABLE s.p DETACH PARTITION %s CONCURRENTLY`)},
		{"default partition", 1, fixed(`DROP TABLE IF EXISTS s.pd`, `CREATE TABLE s.pd PARTITION OF s.p DEFAULT`)},
		{"drop partition", 2, with(`c.relname IN ('p1', 'p2', 'p3', 'p4', 'p5', 'p6')`, `DROP TABLE %s`)},
		{"detach finalize", 1, with(`c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhdetachpending)`, `ALTER TABLE s.p DETACH PARTITION %s FINALIZE`)},
		{"inherit", 2, on(plain, func(w *stressWriter, t string) ([]string, error) {
			return []string{fmt.Sprintf("CREATE TABLE %s (own int) INHERITS (%s)", w.oneOf(stressTableNames), t)}, nil
		})},
		{"enum", 2, func(w *stressWriter) error {
			n := w.rng.IntN(100)
			return w.all([]string{fmt.Sprintf(`ALTER TYPE s.mood ADD VALUE 'mood%d' BEFORE 'ok'`, n),
				`DO $$ BEGIN EXECUTE format('ALTER TYPE s.mood RENAME VALUE %L TO %L', (enum_range(NULL::s.mood))[1], 'renamed' || (random() * 100000)::int); END $$`}[w.rng.IntN(2)])
		}},
		{"many columns", 1, func(w *stressWriter) error {
			var b strings.Builder
			for i := range 120 {
				fmt.Fprintf(&b, ", m%d %s", i, []string{"int", "text", "numeric(9,3)", "bool"}[i%4])
			}
			t := w.oneOf(stressTableNames)
			return w.all(fmt.Sprintf("CREATE TABLE %s (id bigint%s)", t, b.String()), "INSERT INTO "+t+" (id, m1, m117) SELECT i, 'x', 'y' FROM generate_series(1, 50) i")
		}},
		{"no columns", 2, func(w *stressWriter) error { return w.do("CREATE TABLE %s ()", w.oneOf(stressTableNames)) }},
	}
}

func onTable(w *stressWriter, condition string, sql string) error {
	t, err := w.pick(condition)
	if err != nil {
		return err
	}
	return w.all(strings.ReplaceAll(sql, "%s", t))
}

func createTable(w *stressWriter) error {
	t := w.oneOf(stressTableNames)
	var cols []string
	for i := range w.rng.IntN(4) {
		cols = append(cols, ", "+stressColumnNames[i]+" "+stressColumns[w.rng.IntN(len(stressColumns))].typ)
	}
	if err := w.do("CREATE TABLE %s (id bigint%s)", t, strings.Join(cols, "")); err != nil {
		return err
	}
	sql, err := w.insert(t, 100)
	if err != nil {
		return err
	}
	return w.all(sql)
}

func createAs(w *stressWriter) error {
	from, err := w.pick(anyTable)
	if err != nil {
		return err
	}
	return w.do("CREATE TABLE %s AS SELECT * FROM %s", w.oneOf(stressTableNames), from)
}

// rename gives a table another name of the same schema.
func (w *stressWriter) rename() error {
	t, err := w.pick(plain)
	if err != nil {
		return err
	}
	return w.do("ALTER TABLE %s RENAME TO %s", t, w.oneOf([]string{`n0`, `n1`, `"N 3"`, `"n.4"`, `"n""5"`, `ñ6`}))
}

func swapNames(w *stressWriter) error {
	return w.do(`BEGIN; ALTER TABLE s.n0 RENAME TO swap; ALTER TABLE s.n1 RENAME TO n0; ALTER TABLE s.swap RENAME TO n1; %s`, w.ending())
}

func addColumn(w *stressWriter) error {
	t, err := w.pick(anyTable + ` AND NOT c.relispartition`)
	if err != nil {
		return err
	}
	col, name := stressColumns[w.rng.IntN(len(stressColumns))], w.oneOf(stressColumnNames)
	constant := strings.NewReplacer("%%", "%", "i::text", "'42'", " i ", " 42 ", "(i ", "(42 ", "|| i", "|| 42").Replace(" " + col.value + " ")
	switch w.rng.IntN(5) {
	case 0:
		return w.do("%s", fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", t, name, col.typ))
	case 1:
		return w.do("%s", fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s timestamptz DEFAULT clock_timestamp()", t, name))
	case 2:
		return w.do("%s", fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s text GENERATED ALWAYS AS ('g' || id) STORED", t, name))
	}
	return w.do("%s", fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s DEFAULT (%s)::%s", t, name, col.typ, constant, col.typ))
}

// onColumn runs a statement on a column, other than those the fixed statements name, of a table.
func onColumn(statement func(w *stressWriter, table string, c tableColumn) string) func(*stressWriter) error {
	return func(w *stressWriter) error {
		t, err := w.pick(anyTable + ` AND NOT c.relispartition`)
		if err != nil {
			return err
		}
		cols, err := w.columns(t)
		if err != nil {
			return err
		}
		var free []tableColumn
		for _, c := range cols {
			if c.name != "id" && c.name != "k" && (t != "s.t1" && t != "s.t0" || strings.Contains(c.name, "c")) && c.name != "doc" && c.name != "c" {
				free = append(free, c)
			}
		}
		if len(free) == 0 {
			return nil
		}
		return w.do("%s", statement(w, t, free[w.rng.IntN(len(free))]))
	}
}

// changeType gives a column a type that its values may need a rewrite for, or not.
func changeType(w *stressWriter) error {
	return onColumn(func(w *stressWriter, t string, c tableColumn) string {
		to := "text"
		for _, known := range stressColumns {
			if len(known.to) > 0 && canonicalType(known.typ) == c.typ {
				to = w.oneOf(known.to)
			}
		}
		return fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT, ALTER COLUMN %s TYPE %s USING %s::%s", t, c.name, c.name, to, c.name, to)
	})(w)
}

// canonicalType is how format_type prints one of our types.
func canonicalType(typ string) string {
	return strings.NewReplacer("varchar", "character varying", "int4range", "int4range", "bool", "boolean", "float8", "double precision",
		"char(", "character(").Replace(map[string]string{"int": "integer", "timestamp": "timestamp without time zone",
		"timestamptz": "timestamp with time zone"}[typ] + map[bool]string{true: typ}[typ != "int" && typ != "timestamp" && typ != "timestamptz"])
}

func ddlAndDML(w *stressWriter) error {
	if err := w.do("BEGIN"); err != nil {
		return err
	}
	for range 2 {
		if err := w.do("SAVEPOINT d"); err != nil {
			return err
		}
		if addColumn(w) != nil || w.change(1) != nil || changeType(w) != nil {
			if err := w.do("ROLLBACK TO d"); err != nil {
				return err
			}
		}
	}
	return w.do("%s", w.ending())
}

// newPartition adds a leaf whose columns lie in another order, or a partitioned one with leaves of its own.
func newPartition(w *stressWriter) error {
	n := w.rng.IntN(6)
	lo := 10 + 10*n
	if n%2 == 0 {
		return w.do(`BEGIN; CREATE TABLE s.p%[1]d PARTITION OF s.p FOR VALUES FROM (%[2]d) TO (%[3]d) PARTITION BY HASH (id);
			CREATE TABLE s.p%[1]da PARTITION OF s.p%[1]d FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE s.p%[1]db PARTITION OF s.p%[1]d FOR VALUES WITH (MODULUS 2, REMAINDER 1); COMMIT`, n+1, lo, lo+10)
	}
	return w.do("CREATE TABLE s.p%d PARTITION OF s.p FOR VALUES FROM (%d) TO (%d)", n+1, lo, lo+10)
}

// attach makes a table of its own a partition. Its columns lie in another order and one was dropped.
func attach(w *stressWriter) error {
	n := w.rng.IntN(6)
	lo := 10 + 10*n
	cols, err := w.columns("s.p")
	if err != nil {
		return err
	}
	var b strings.Builder
	for i := len(cols) - 1; i >= 0; i-- {
		fmt.Fprintf(&b, ", %s %s", cols[i].name, cols[i].typ)
	}
	return w.all(fmt.Sprintf("CREATE TABLE s.p%d (gone int%s)", n+1, b.String()), fmt.Sprintf("ALTER TABLE s.p%d DROP COLUMN gone", n+1),
		fmt.Sprintf("INSERT INTO s.p%d (id, k) SELECT i, %d FROM generate_series(1, 60) i", n+1, lo+1),
		fmt.Sprintf("DELETE FROM s.p WHERE k >= %d AND k < %d", lo, lo+10),
		fmt.Sprintf("ALTER TABLE s.p ATTACH PARTITION s.p%d FOR VALUES FROM (%d) TO (%d)", n+1, lo, lo+10))
}

// reshape puts another column in the place of one of a partition's, whose file stays the same.
func reshape(w *stressWriter) error {
	leaf, err := w.pick(`c.relispartition AND c.relkind = 'r' AND c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 's.p'::regclass)`)
	if err != nil {
		return err
	}
	var bound string
	if err := w.conn.QueryRow(w.ctx, `SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = $1::text::regclass`, leaf).Scan(&bound); err != nil {
		return err
	}
	cols, err := w.columns("s.p")
	if err != nil || len(cols) < 3 {
		return err
	}
	c := cols[2+w.rng.IntN(len(cols)-2)] // neither id nor k, by which it is partitioned
	return w.do("BEGIN; ALTER TABLE s.p DETACH PARTITION %[1]s; ALTER TABLE %[1]s DROP COLUMN %[2]s; ALTER TABLE %[1]s ADD COLUMN %[2]s %[3]s; ALTER TABLE s.p ATTACH PARTITION %[1]s %[4]s; %[5]s",
		leaf, c.name, c.typ, bound, w.ending())
}

// databaseOps make and remove databases and fill them.
func databaseOps() []stressOp {
	return []stressOp{
		{"create database", 2, func(w *stressWriter) error {
			return w.do("CREATE DATABASE d%d STRATEGY %s TEMPLATE %s", w.rng.IntN(3), w.oneOf([]string{"wal_log", "file_copy"}), w.oneOf([]string{"template1", "d0", "d1", "template0"}))
		}},
		{"fill database", 2, func(w *stressWriter) error {
			name := fmt.Sprintf("d%d", w.rng.IntN(3))
			return w.pg.Exec(w.ctx, name, `CREATE TABLE IF NOT EXISTS t (id int, v text)`, `INSERT INTO t SELECT i, repeat('v', 3000) FROM generate_series(1, 30) i`, `DELETE FROM t WHERE id < 10`)
		}},
		{"rename database", 1, func(w *stressWriter) error {
			return w.do("ALTER DATABASE d%d RENAME TO d%d", w.rng.IntN(3), w.rng.IntN(3))
		}},
		{"move database", 1, func(w *stressWriter) error {
			return w.do("ALTER DATABASE d%d SET TABLESPACE %s", w.rng.IntN(3), w.oneOf([]string{"ts", "pg_default"}))
		}},
		{"database's own tablespace", 1, func(w *stressWriter) error {
			return w.do("CREATE DATABASE d%d STRATEGY %s TABLESPACE ts", w.rng.IntN(3), w.oneOf([]string{"wal_log", "file_copy"}))
		}},
		{"drop database", 1, func(w *stressWriter) error { return w.do("DROP DATABASE d%d WITH (FORCE)", w.rng.IntN(3)) }},
	}
}
