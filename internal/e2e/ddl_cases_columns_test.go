package e2e

// rows makes table t with 300 rows.
func rows(columns, values string) []string {
	return []string{"CREATE TABLE t (" + columns + ")", "INSERT INTO t SELECT " + values + " FROM generate_series(1, 300) i"}
}

func ddlCases() []ddlCase {
	var all []ddlCase
	for _, some := range [][]ddlCase{columnCases, typeCases, enumCases, storageCases, tableCases, partitionCases, generatedCases} {
		all = append(all, some...)
	}
	return all
}

var idA = rows("id int, a text", "i, 'a' || i")

// columnCases add, drop and rename columns.
var columnCases = []ddlCase{
	{name: "add_column", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t ADD b int`}, ids: "id=id a=a b=new"},
		{do: []string{`UPDATE t SET b = id WHERE id < 20`}, ops: "overwrite", ids: "b=b"},
	}},
	{name: "add_default", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t ADD b text DEFAULT 'given'`}, ops: "overwrite", ids: "a=a b=new", what: "no WAL of the heap"},
		{do: []string{`ALTER TABLE t ALTER b SET DEFAULT 'other'`, `INSERT INTO t VALUES (301, 'x')`}, ops: "append", ids: "b=b"},
		{do: []string{`ALTER TABLE t ALTER b DROP DEFAULT`}},
	}},
	{name: "add_not_null", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t ADD b int NOT NULL DEFAULT 5, ADD c timestamptz NOT NULL DEFAULT now()`}, ops: "overwrite", ids: "b=new c=new"},
		{do: []string{`ALTER TABLE t ALTER b DROP NOT NULL`, `UPDATE t SET b = NULL WHERE id = 1`}, ops: "overwrite", ids: "b=b"},
	}},
	{name: "add_volatile", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t ADD b float8 DEFAULT random(), ADD c timestamptz DEFAULT clock_timestamp()`}, ops: "overwrite", ids: "a=a b=new c=new"},
	}},
	{name: "add_rolled_back", setup: idA, steps: []ddlStep{
		{do: []string{`BEGIN; ALTER TABLE t ADD b int DEFAULT 7; UPDATE t SET b = 8; ROLLBACK`}, ids: "id=id a=a"},
		{do: []string{`BEGIN; ALTER TABLE t DROP a; DELETE FROM t; ROLLBACK`}, ids: "id=id a=a"},
		{do: []string{`ALTER TABLE t ADD b int DEFAULT 9`}, ops: "overwrite", ids: "b=new"},
	}},
	{name: "drop_column", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t DROP a`}, ids: "id=id"},
		{do: []string{`ALTER TABLE t ADD a text`}, ids: "id=id a=new"},
		{do: []string{`VACUUM FULL t`}, ops: "replace", ids: "a=a"},
		{do: []string{`BEGIN; ALTER TABLE t DROP a; ALTER TABLE t ADD a text DEFAULT 'again'; COMMIT`}, ops: "overwrite", ids: "a=new"},
	}},
	{name: "rename_column", setup: rows("id int, a text, b text", "i, 'a', 'b'"), steps: []ddlStep{
		{do: []string{`ALTER TABLE t RENAME a TO c`}, ids: "id=id c=a b=b"},
		{do: []string{`BEGIN; ALTER TABLE t RENAME c TO x; ALTER TABLE t RENAME b TO c; ALTER TABLE t RENAME x TO b; COMMIT`}, ids: "b=c c=b"},
		{do: []string{`UPDATE t SET b = 'B' WHERE id % 3 = 0`}, ops: "overwrite", ids: "b=b"},
	}},
	{name: "set_not_null", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t ALTER a SET NOT NULL`}, ids: "a=a"},
		{do: []string{`ALTER TABLE t ADD PRIMARY KEY (id)`}, ids: "id=id"},
		{do: []string{`ALTER TABLE t ALTER a DROP NOT NULL`, `ALTER TABLE t DROP CONSTRAINT t_pkey`}, ids: "a=a"},
	}},
	{name: "storage", setup: idA, steps: []ddlStep{
		{do: []string{`ALTER TABLE t ALTER a SET STORAGE EXTERNAL`, `ALTER TABLE t ALTER a SET STATISTICS 10`}, ids: "a=a"},
		{do: []string{`ALTER TABLE t ALTER a SET COMPRESSION pglz`, `UPDATE t SET a = repeat(md5(id::text), 400) WHERE id < 20`}, ops: "overwrite", ids: "a=a"},
		{do: []string{`ALTER TABLE t ALTER a SET STORAGE MAIN`, `UPDATE t SET a = reverse(a) WHERE id < 10`}, ops: "overwrite"},
		{do: []string{`ALTER TABLE t SET (fillfactor = 50, toast_tuple_target = 200)`, `VACUUM FULL t`}, ops: "replace"},
	}},
}

// typeCases change a column's type, with and without a rewrite of the heap.
var typeCases = []ddlCase{
	{name: "varchar", setup: rows("id int, a varchar(10)", "i, 'a' || i"), steps: []ddlStep{
		{do: []string{`ALTER TABLE t ALTER a TYPE varchar(20)`}, ids: "a=a"},
		{do: []string{`ALTER TABLE t ALTER a TYPE text`}, ids: "a=a"},
		{do: []string{`UPDATE t SET a = repeat('long ', 9) WHERE id = 1`}, ops: "overwrite", ids: "a=a"},
		{do: []string{`ALTER TABLE t ALTER a TYPE varchar(5) USING left(a, 3)`}, ops: "overwrite", ids: "a=a"},
		{do: []string{`ALTER TABLE t ALTER a TYPE char(7)`}, ops: "overwrite", ids: "a=a"},
	}},
	{name: "widen", setup: rows("id int, s smallint, f real", "i, i, i / 3.0"), steps: []ddlStep{
		{do: []string{`ALTER TABLE t ALTER s TYPE int`}, ops: "overwrite", ids: "s=s", what: "both are int in the lake"},
		{do: []string{`ALTER TABLE t ALTER s TYPE bigint, ALTER f TYPE double precision`}, ops: "overwrite", ids: "s=s f=f"},
		{do: []string{`INSERT INTO t VALUES (0, 5000000000, 1e300)`}, ops: "append", ids: "s=s f=f"},
		{do: []string{`ALTER TABLE t ALTER f TYPE real USING 1.5`}, ops: "overwrite", ids: "s=s f=new", what: "Iceberg does not narrow"},
		{do: []string{`DELETE FROM t WHERE id = 0`, `ALTER TABLE t ALTER s TYPE int`}, ops: "*", ids: "s=new f=f"},
	}},
	{name: "numerics", setup: rows("id int, n numeric(8,2)", "i, i / 7.0"), steps: []ddlStep{
		{do: []string{`ALTER TABLE t ALTER n TYPE numeric(12,2)`}, ops: "replace", ids: "n=n", what: "files are written again as the wider decimal; no value changed"},
		{do: []string{`ALTER TABLE t ALTER n TYPE numeric(12,4)`}, ops: "overwrite", ids: "n=new", what: "Iceberg does not change the scale"},
		{do: []string{`ALTER TABLE t ALTER n TYPE numeric(9,1)`}, ops: "overwrite", ids: "n=new"},
		{do: []string{`ALTER TABLE t ALTER n TYPE numeric`}, ops: "overwrite", ids: "n=new", what: "text"},
		{do: []string{`ALTER TABLE t ALTER n TYPE numeric(38,3)`}, ops: "overwrite", ids: "n=new"},
	}},
	{name: "numeric_lists", setup: rows("id int, n numeric(8,2)[], k int[]", "i, ARRAY[i, NULL, i / 3.0], ARRAY[i]"), steps: []ddlStep{
		{do: []string{`ALTER TABLE t ALTER n TYPE numeric(10,2)[]`}, ops: "*", ids: "n=n"},
		{do: []string{`ALTER TABLE t ALTER k TYPE bigint[]`}, ops: "overwrite", ids: "k=k"},
		{do: []string{`ALTER TABLE t ALTER k TYPE text[]`}, ops: "overwrite", ids: "k=new n=n"},
	}},
	{name: "int_to_text", setup: rows("id int, a int", "i, i"), steps: []ddlStep{
		{do: []string{`ALTER TABLE t ALTER a TYPE text`}, ops: "overwrite", ids: "a=new"},
		{do: []string{`ALTER TABLE t ALTER a TYPE int USING a::int + 1`}, ops: "overwrite", ids: "a=new"},
	}},
	{name: "times", setup: rows("id int, a timestamp, b timestamptz, c timestamp(3)", "i, '2020-01-01'::timestamp + i * interval '1 hour 1.234567 s', '2020-06-01+00'::timestamptz + i * interval '1 min', '2021-01-01'::timestamp + i * interval '1.0011 s'"), steps: []ddlStep{
		{do: []string{`ALTER TABLE t ALTER a TYPE timestamptz, ALTER b TYPE timestamp`}, ops: "overwrite", ids: "a=new b=new c=c", what: "under UTC the heap is not rewritten"},
		{do: []string{`SET timezone = 'America/St_Johns'`, `ALTER TABLE t ALTER a TYPE timestamp, ALTER b TYPE timestamptz`}, ops: "overwrite", ids: "a=new b=new"},
		{do: []string{`ALTER TABLE t ALTER c TYPE timestamp(6)`}, ids: "c=c"},
		{do: []string{`ALTER TABLE t ALTER c TYPE timestamp(0)`}, ops: "overwrite", ids: "c=c"},
		{do: []string{`ALTER TABLE t ALTER c TYPE date`}, ops: "overwrite", ids: "c=new"},
	}},
	{name: "cidr", setup: rows("id int, a cidr", "i, ('10.0.' || i % 200 || '.0/24')::cidr"), steps: []ddlStep{
		{do: []string{`INSERT INTO t VALUES (0, '10.1.2.3/32')`}, ops: "append"},
		{do: []string{`ALTER TABLE t ALTER a TYPE inet`}, ops: "overwrite", ids: "a=a", what: "no rewrite of the heap, and 10.1.2.3/32 is now printed 10.1.2.3"},
	}},
	{name: "bits", setup: rows("id int, a varbit(8)", "i, i::bit(8)"), steps: []ddlStep{
		{do: []string{`ALTER TABLE t ALTER a TYPE varbit(16)`}, ids: "a=a"},
		{do: []string{`ALTER TABLE t ALTER a TYPE varbit`}, ids: "a=a"},
	}},
	{name: "domains", setup: append([]string{`CREATE DOMAIN d AS int`, `CREATE DOMAIN n AS numeric(8,2)`}, rows("id int, a d, b n", "i, i, i / 9.0")...), steps: []ddlStep{
		{do: []string{`ALTER DOMAIN d ADD CONSTRAINT positive CHECK (VALUE > 0)`, `ALTER DOMAIN d SET DEFAULT 4`, `ALTER DOMAIN n SET NOT NULL`, `ALTER DOMAIN n RENAME TO n2`}, ids: "a=a b=b"},
		{do: []string{`INSERT INTO t (id, b) VALUES (0, 1)`, `ALTER DOMAIN d DROP CONSTRAINT positive`}, ops: "append"},
		{do: []string{`ALTER TABLE t ALTER a TYPE int`}, ops: "*", ids: "a=a"},
		{do: []string{`ALTER TABLE t ALTER b TYPE numeric(8,2), ALTER a TYPE d`}, ops: "*", ids: "a=a b=b"},
		{do: []string{`ALTER TABLE t ADD c d DEFAULT 6`}, ops: "overwrite", ids: "c=new"},
	}},
	{name: "bytes_to_text", setup: rows("id int, a bytea", "i, convert_to('a' || i, 'UTF8')"), steps: []ddlStep{
		{do: []string{`ALTER TABLE t ALTER a TYPE text USING convert_from(a, 'UTF8')`}, ops: "overwrite", ids: "a=new"},
		{do: []string{`ALTER TABLE t ALTER a TYPE jsonb USING to_jsonb(a)`}, ops: "overwrite", ids: "a=a", what: "both are string in the lake"},
	}},
}

// enumCases change what an enum's values are called.
var enumCases = []ddlCase{
	{name: "enums", setup: append([]string{`CREATE TYPE e AS ENUM ('x', 'y')`, `CREATE DOMAIN de AS e`}, rows("id int, a e, l e[], d de", "i, 'x', '{x,y}', 'y'")...), steps: []ddlStep{
		{do: []string{`ALTER TYPE e ADD VALUE 'w' BEFORE 'x'`}, ids: "a=a l=l"},
		{do: []string{`INSERT INTO t VALUES (0, 'w', '{w}', 'w')`}, ops: "append"},
		{do: []string{`ALTER TYPE e RENAME VALUE 'x' TO 'X'`}, ops: "overwrite", ids: "a=a l=l d=d", what: "no WAL of the heap"},
		{do: []string{`BEGIN; ALTER TYPE e RENAME VALUE 'X' TO 'gone'; ROLLBACK`}},
		{do: []string{`BEGIN; ALTER TYPE e RENAME VALUE 'X' TO 'tmp'; ALTER TYPE e RENAME VALUE 'y' TO 'X'; ALTER TYPE e RENAME VALUE 'tmp' TO 'y'; COMMIT`}, ops: "overwrite", ids: "a=a"},
		{do: []string{`ALTER TYPE e RENAME TO e2`, `ALTER TYPE e2 SET SCHEMA public`}, ids: "a=a"},
		{do: []string{`ALTER TABLE t ALTER a TYPE text`}, ops: "overwrite", ids: "a=a", what: "both are string in the lake"},
	}},
	{name: "enum_default", setup: append([]string{`CREATE TYPE e AS ENUM ('x', 'y')`}, idA...), steps: []ddlStep{
		{do: []string{`ALTER TABLE t ADD b e DEFAULT 'x'`}, ops: "overwrite", ids: "b=new"},
		{do: []string{`ALTER TYPE e RENAME VALUE 'x' TO 'other'`}, ops: "overwrite", ids: "b=b"},
	}},
}
