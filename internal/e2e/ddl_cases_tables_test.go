package e2e

// storageCases change where and how a table's rows are stored, and none of them.
var storageCases = []ddlCase{
	{name: "vacuum_full", setup: idA, steps: []ddlStep{
		{do: []string{`VACUUM FULL t`}, ops: "replace", ids: "a=a"},
		{do: []string{`DELETE FROM t WHERE id % 2 = 0`, `UPDATE t SET a = 'b' WHERE id % 3 = 0`}, ops: "*"},
		{do: []string{`VACUUM (FULL, FREEZE) t`}, ops: "replace"},
		{do: []string{`UPDATE t SET a = 'after' WHERE id = 5`, `VACUUM FULL t`}, ops: "*"},
		{do: []string{`VACUUM (FREEZE) t`}},
	}},
	{name: "cluster", setup: append(idA[:2:2], `CREATE INDEX i ON t (a)`), steps: []ddlStep{
		{do: []string{`CLUSTER t USING i`}, ops: "replace"},
		{do: []string{`CLUSTER t`, `REINDEX TABLE t`}, ops: "replace"},
		{do: []string{`DROP INDEX i`, `CREATE INDEX ON t (id)`}},
	}},
	{name: "cluster_and_change", setup: append(idA[:2:2], `CREATE INDEX i ON t (a)`), steps: []ddlStep{
		{do: []string{`BEGIN; DELETE FROM t WHERE id = 7; INSERT INTO t VALUES (7, 'a7'); CLUSTER t USING i; COMMIT`}, ops: "overwrite", what: "as many rows, but not the same"},
		{do: []string{`BEGIN; CLUSTER t USING i; DELETE FROM t; ROLLBACK`}},
	}},
	{name: "full_with_toast", setup: []string{`CREATE TABLE t (id int, a text)`, `ALTER TABLE t ALTER a SET STORAGE EXTERNAL`, `INSERT INTO t SELECT i, repeat(md5(i::text), 300) FROM generate_series(1, 20) i`}, steps: []ddlStep{
		{do: []string{`VACUUM FULL t`}, ops: "replace"},
		{do: []string{`UPDATE t SET id = id + 100 WHERE id < 5`}, ops: "overwrite"},
	}},
	{name: "tablespace", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t SET TABLESPACE ts`}, ops: "replace"},
		{do: []string{`UPDATE t SET a = 'moved' WHERE id < 9`}, ops: "overwrite"},
		{do: []string{`ALTER TABLE t SET TABLESPACE pg_default`}, ops: "replace"},
		{do: []string{`BEGIN; ALTER TABLE t SET TABLESPACE ts; DELETE FROM t; ROLLBACK`}},
	}},
	{name: "unlogged", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t SET UNLOGGED`}, table: "gone", out: "unlogged"},
		{do: []string{`INSERT INTO t VALUES (1000, 'unseen')`}, table: "gone", out: "unlogged"},
		{do: []string{`ALTER TABLE t SET LOGGED`}, ops: "append", table: "new"},
		{do: []string{`DELETE FROM t WHERE id = 1000`}, ops: "delete"},
	}},
	{name: "truncated", setup: idA, steps: []ddlStep{
		{do: []string{`BEGIN; TRUNCATE t; ROLLBACK`}},
		{do: []string{`BEGIN; TRUNCATE t; INSERT INTO t VALUES (1, 'after'); COMMIT`}, ops: "overwrite", ids: "a=a"},
		{do: []string{`TRUNCATE t`}, ops: "delete", ids: "a=a"},
		{do: []string{`INSERT INTO t VALUES (2, 'again')`}, ops: "append"},
		{do: []string{`BEGIN; SAVEPOINT s; TRUNCATE t; INSERT INTO t VALUES (3, 'never'); ROLLBACK TO s; INSERT INTO t VALUES (4, 'kept'); COMMIT`}, ops: "append"},
		{do: []string{`BEGIN; TRUNCATE t; INSERT INTO t VALUES (5, 'x'); TRUNCATE t; INSERT INTO t VALUES (6, 'y'); COMMIT`}, ops: "overwrite"},
	}},
	{name: "access_method", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t SET ACCESS METHOD heap`, `ALTER TABLE t REPLICA IDENTITY FULL`, `ALTER TABLE t ENABLE ROW LEVEL SECURITY`, `ANALYZE t`}},
		{do: []string{`ALTER TABLE t OWNER TO pg_monitor`, `COMMENT ON TABLE t IS 'said'`, `ALTER TABLE t SET (autovacuum_enabled = off)`}},
	}},
}

// tableCases make, drop and rename tables and schemas.
var tableCases = []ddlCase{
	{name: "rename_table", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t RENAME TO u`}, as: "rename_table.u", ids: "id=id a=a"},
		{do: []string{`CREATE TABLE t (id int)`, `INSERT INTO t VALUES (1)`}, ids: "a=a"},
		{do: []string{`BEGIN; ALTER TABLE t RENAME TO x; ALTER TABLE u RENAME TO t; ALTER TABLE x RENAME TO u; COMMIT`}, as: "rename_table.t", ids: "a=a"},
	}},
	{name: "set_schema", setup: append(idA[:2:2], `CREATE SCHEMA set_schema_b`), steps: []ddlStep{
		{do: []string{`ALTER TABLE t SET SCHEMA set_schema_b`}, as: "set_schema_b.t", ids: "a=a"},
		{do: []string{`ALTER SCHEMA set_schema_b RENAME TO set_schema_c`}, as: "set_schema_c.t", ids: "a=a"},
		{do: []string{`INSERT INTO set_schema_c.t VALUES (0, 'x')`}, ops: "append", ids: "a=a"},
		{do: []string{`DROP SCHEMA set_schema_c CASCADE`}, table: "gone"},
	}},
	{name: "again_in_one", setup: idA, steps: []ddlStep{
		{do: []string{`BEGIN; DROP TABLE t; CREATE TABLE t (id int, a text); INSERT INTO t VALUES (1, 'new'); COMMIT`}, ops: "append", table: "new"},
		{do: []string{`BEGIN; DROP TABLE t; CREATE TABLE t (id int); INSERT INTO t VALUES (2); ROLLBACK`}, ids: "a=a"},
	}},
	{name: "again_in_two", setup: idA, steps: []ddlStep{
		{do: []string{`DROP TABLE t`, `CREATE TABLE t (id int, a text)`, `INSERT INTO t VALUES (1, 'new')`}, ops: "append", table: "new"},
		{do: []string{`DROP TABLE t`}, table: "gone"},
		{do: []string{`CREATE TABLE t AS SELECT i AS id, repeat('x', i) AS a FROM generate_series(1, 50) i`}, ops: "append", table: "new"},
		{do: []string{`DROP TABLE t`, `CREATE VIEW t AS SELECT 1 AS i`}, table: "gone"},
	}},
	{name: "mixed", setup: idA, steps: []ddlStep{
		{do: []string{`BEGIN; ALTER TABLE t ADD b int; UPDATE t SET b = id; SAVEPOINT s; ALTER TABLE t DROP a; DELETE FROM t; ALTER TABLE t ADD c int DEFAULT 1; ROLLBACK TO s;
			ALTER TABLE t ALTER b TYPE bigint; INSERT INTO t VALUES (0, 'x', 5000000000); COMMIT`}, ops: "overwrite", ids: "id=id a=a b=new"},
		{do: []string{`BEGIN; INSERT INTO t VALUES (-1, 'y', 0); ALTER TABLE t RENAME a TO aa; CREATE TABLE u AS SELECT * FROM t; DROP TABLE t; ALTER TABLE u RENAME TO t; COMMIT`}, ops: "append", table: "new"},
		{do: []string{`BEGIN; CREATE TABLE never (i int); INSERT INTO never VALUES (1); SAVEPOINT s; DROP TABLE never; ROLLBACK TO s; INSERT INTO t VALUES (-2, 'z', 1); ROLLBACK`}},
	}},
	{name: "matview", setup: append(idA[:2:2], `CREATE TABLE u AS SELECT * FROM t`, `DROP TABLE t`, `CREATE MATERIALIZED VIEW t AS SELECT id, a FROM u`, `CREATE UNIQUE INDEX ON t (id)`), steps: []ddlStep{
		{do: []string{`UPDATE u SET a = 'b' WHERE id = 1`, `REFRESH MATERIALIZED VIEW CONCURRENTLY t`}, ops: "overwrite", ids: "a=a"},
		{do: []string{`INSERT INTO u VALUES (0, 'x')`, `REFRESH MATERIALIZED VIEW t`}, ops: "overwrite", ids: "a=a"},
	}},
	{name: "inherits", setup: append(idA[:2:2], `CREATE TABLE u (own int) INHERITS (t)`, `INSERT INTO u VALUES (1, 'child', 2)`), steps: []ddlStep{
		{do: []string{`ALTER TABLE t ADD b int DEFAULT 3`}, ops: "overwrite", ids: "b=new"},
		{do: []string{`UPDATE t SET a = 'both' WHERE id = 1`, `ALTER TABLE t RENAME a TO aa`}, ops: "overwrite", ids: "aa=a"},
		{do: []string{`ALTER TABLE u NO INHERIT t`, `INSERT INTO u VALUES (2, 'alone', 3, 4)`}},
		{do: []string{`ALTER TABLE u INHERIT t`, `ALTER TABLE t DROP b`}, ids: "aa=aa"},
	}},
}

// partitionCases: one lake table for each root.
var partitionCases = []ddlCase{
	{name: "partitions", setup: []string{`CREATE TABLE t (id int, v text) PARTITION BY LIST (id)`, `CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)`, `CREATE TABLE t0 PARTITION OF t FOR VALUES IN (0)`,
		`CREATE TABLE t2 PARTITION OF t DEFAULT`, `INSERT INTO t SELECT i % 3, 'v' || i FROM generate_series(1, 300) i`}, steps: []ddlStep{
		{do: []string{`UPDATE t SET id = 2 WHERE id = 1 AND v < 'v2'`}, ops: "overwrite", what: "rows move"},
		{do: []string{`ALTER TABLE t DETACH PARTITION t1`}, ops: "delete", ids: "v=v"},
		{do: []string{`UPDATE t1 SET v = 'apart'`, `ALTER TABLE t ATTACH PARTITION t1 FOR VALUES IN (1)`}, ops: "*", ids: "v=v"},
		{do: []string{`VACUUM FULL t1`}, ops: "replace"},
		{do: []string{`ALTER TABLE t ADD w int DEFAULT 7`, `UPDATE t SET v = 'with w' WHERE id = 0`}, ops: "*", ids: "v=v w=new"},
		{do: []string{`TRUNCATE t1`}, ops: "delete"},
		{do: []string{`DROP TABLE t2`}, ops: "delete"},
		{do: []string{`CREATE INDEX i ON t0 (id)`, `BEGIN; ALTER TABLE t DETACH PARTITION t0; ALTER TABLE t0 DROP v; ALTER TABLE t0 ADD v text; CLUSTER t0 USING i; ALTER TABLE t ATTACH PARTITION t0 FOR VALUES IN (0); COMMIT`},
			ops: "overwrite", ids: "v=v", what: "the same rows in another file, and another of their columns stands for v"},
		{do: []string{`CREATE TABLE loose (w int, v text, id int)`, `INSERT INTO loose VALUES (5, 'other order', 3)`, `ALTER TABLE t ATTACH PARTITION loose FOR VALUES IN (3)`}, ops: "append"},
	}},
	{name: "detach_concurrently", setup: []string{`CREATE TABLE t (id int, v text) PARTITION BY LIST (id)`, `CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)`, `CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2)`,
		`INSERT INTO t SELECT 1 + i % 2, 'v' || i FROM generate_series(1, 100) i`}, steps: []ddlStep{
		{do: []string{`ALTER TABLE t DETACH PARTITION t1 CONCURRENTLY`}, ops: "delete"},
		{do: []string{`ALTER TABLE t ATTACH PARTITION t1 FOR VALUES IN (1)`}, ops: "append"},
	}},
	{name: "sub_partitions", setup: []string{`CREATE TABLE t (id int, k int, v text) PARTITION BY RANGE (k)`, `CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10) PARTITION BY HASH (id)`,
		`CREATE TABLE t1a PARTITION OF t1 FOR VALUES WITH (MODULUS 2, REMAINDER 0)`, `CREATE TABLE t1b PARTITION OF t1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)`, `CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20)`,
		`INSERT INTO t SELECT i, i % 20, 'v' FROM generate_series(1, 200) i`}, steps: []ddlStep{
		{do: []string{`UPDATE t SET k = k + 10 WHERE k < 3`}, ops: "overwrite"},
		{do: []string{`ALTER TABLE t RENAME v TO w`, `ALTER TABLE t DROP COLUMN w`, `ALTER TABLE t ADD w int`}, ids: "id=id w=new"},
		{do: []string{`ALTER TABLE t DETACH PARTITION t1`}, ops: "delete", what: "t1 is a table of its own"},
		{do: []string{`ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (0) TO (10)`}, ops: "append"},
	}},
}

// generatedCases: columns whose values the server makes.
var generatedCases = []ddlCase{
	{name: "stored", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t ADD b int GENERATED ALWAYS AS (id * 2) STORED`}, ops: "overwrite", ids: "b=new"},
		{do: []string{`UPDATE t SET id = id + 1000 WHERE id < 5`}, ops: "overwrite"},
		{do: []string{`ALTER TABLE t ALTER b DROP EXPRESSION`}, ids: "b=b"},
	}},
	{name: "virtual", major: 18, setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t ADD b int GENERATED ALWAYS AS (id * 2) VIRTUAL`}, ids: "a=a", out: "b (virtual generated"},
		{do: []string{`UPDATE t SET id = id + 1000 WHERE id < 5`}, ops: "overwrite", out: "b (virtual generated"},
		{do: []string{`ALTER TABLE t ALTER b SET EXPRESSION AS (id * 3)`, `ALTER TABLE t ADD c int DEFAULT 4`}, ops: "overwrite", ids: "c=new", out: "b (virtual generated"},
		{do: []string{`ALTER TABLE t DROP b`}, ids: "a=a c=c"},
	}},
	{name: "set_expression", major: 17, setup: append(idA[:2:2], `ALTER TABLE t ADD b int GENERATED ALWAYS AS (id * 2) STORED`), steps: []ddlStep{
		{do: []string{`ALTER TABLE t ALTER b SET EXPRESSION AS (id * 3)`}, ops: "overwrite", ids: "b=b"},
	}},
	{name: "identity", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t ADD b bigint GENERATED BY DEFAULT AS IDENTITY`}, ops: "overwrite", ids: "b=new"},
		{do: []string{`INSERT INTO t (id, a) VALUES (0, 'x')`, `ALTER TABLE t ALTER b RESTART WITH 5000`}, ops: "append"},
		{do: []string{`ALTER TABLE t ALTER b DROP IDENTITY`, `CREATE SEQUENCE q OWNED BY t.b`, `ALTER TABLE t ALTER b SET DEFAULT nextval('q')`, `INSERT INTO t (id, a) VALUES (-1, 'y')`}, ops: "append", ids: "b=b"},
		{do: []string{`ALTER TABLE t ADD s bigserial`}, ops: "overwrite", ids: "s=new"},
	}},
}
