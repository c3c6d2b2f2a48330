package engines

// numbered makes a table of n rows with a few columns.
func numbered(table, n string) []string {
	return []string{
		"CREATE TABLE " + table + " (id int PRIMARY KEY, v text, n numeric(12,2), at timestamptz)",
		"INSERT INTO " + table + " SELECT i, 'row ' || i, i * 1.25, '2024-01-01 00:00:00+00'::timestamptz + i * interval '1 hour' FROM generate_series(1, " + n + ") i",
	}
}

var changeCases = []testCase{
	{name: "deletes", steps: [][]string{
		numbered("deletes", "3000"), {`DELETE FROM deletes WHERE id % 3 = 0`}, {`DELETE FROM deletes WHERE id % 7 = 0`, `DELETE FROM deletes WHERE id BETWEEN 100 AND 300`},
	}, checks: []check{same("deletes"), counts("deletes")}},
	{name: "update of many rows in one transaction", steps: [][]string{
		numbered("updates", "3000"), {`UPDATE updates SET v = v || '!', n = -n WHERE id % 2 = 0`}, {`UPDATE updates SET v = NULL WHERE id % 5 = 0`, `UPDATE updates SET at = NULL WHERE id = 1`},
	}, checks: []check{same("updates")}},
	{name: "update of a key", steps: [][]string{
		numbered("keys", "200"), {`UPDATE keys SET id = id + 1000 WHERE id <= 50`}, {`UPDATE keys SET id = id - 1000 WHERE id > 1000`, `UPDATE keys SET id = -id`},
	}, checks: []check{same("keys")}},
	{name: "delete all, then fill again", steps: [][]string{
		numbered("refilled", "500"), {`DELETE FROM refilled`}, {`INSERT INTO refilled SELECT i, 'again', i, now() FROM generate_series(1, 300) i`},
	}, checks: []check{same("refilled"), counts("refilled")}},
	{name: "delete all", steps: [][]string{numbered("emptied", "500"), {`DELETE FROM emptied`}}, checks: []check{same("emptied"), counts("emptied")}},
	{name: "rolled back", steps: [][]string{numbered("rolled", "50"), {
		`BEGIN; INSERT INTO rolled VALUES (1001, 'never'); UPDATE rolled SET v = 'never'; ROLLBACK`,
		`BEGIN; INSERT INTO rolled VALUES (1002, 'kept'); SAVEPOINT a; DELETE FROM rolled; ROLLBACK TO a; UPDATE rolled SET v = 'kept' WHERE id = 1; COMMIT`,
	}}, checks: []check{same("rolled")}},
	{name: "columns added, dropped, renamed", steps: [][]string{
		numbered("altered", "100"),
		{`ALTER TABLE altered ADD COLUMN added int DEFAULT 42`, `ALTER TABLE altered ADD COLUMN late text`, `INSERT INTO altered VALUES (1001, 'new', 1, now(), NULL, 'late')`},
		{`ALTER TABLE altered RENAME COLUMN v TO renamed`, `ALTER TABLE altered DROP COLUMN n`, `INSERT INTO altered VALUES (1002, 'newer', now(), 7, NULL)`},
	}, checks: []check{same("altered")}},
	{name: "column dropped and made again under its name", steps: [][]string{
		numbered("remade", "100"), {`ALTER TABLE remade DROP COLUMN v`, `ALTER TABLE remade ADD COLUMN v text`, `UPDATE remade SET v = 'second' WHERE id <= 10`},
	}, checks: []check{same("remade")}},
	{name: "columns that change places by name", steps: [][]string{
		{`CREATE TABLE swapped (a int, b int)`, `INSERT INTO swapped SELECT i, -i FROM generate_series(1, 50) i`},
		{`ALTER TABLE swapped RENAME a TO c; ALTER TABLE swapped RENAME b TO a; ALTER TABLE swapped RENAME c TO b`, `INSERT INTO swapped (a, b) VALUES (100, 200)`},
	}, checks: []check{same("swapped"), counts("swapped", terms("a", "int", "-10", "100")...)}},
	{name: "types changed", steps: [][]string{
		{`CREATE TABLE retyped (a int, b numeric(8,2), c varchar(10), d float4, e int)`, `INSERT INTO retyped SELECT i, i / 4.0, 't' || i, i * 0.1, i FROM generate_series(1, 50) i`},
		{`ALTER TABLE retyped ALTER a TYPE bigint, ALTER b TYPE numeric(12,2), ALTER c TYPE text, ALTER d TYPE float8, ALTER e TYPE text`, `INSERT INTO retyped VALUES (1::bigint << 40, 9999999999.99, repeat('x', 50), 1e300, 'text')`},
	}, checks: []check{same("retyped")}},
	{name: "truncated", steps: [][]string{numbered("truncated", "500"), {`TRUNCATE truncated`}, {`INSERT INTO truncated VALUES (1, 'after')`}}, checks: []check{same("truncated")}},
	{name: "rewritten by VACUUM FULL", steps: [][]string{
		numbered("vacuumed", "1000"), {`DELETE FROM vacuumed WHERE id % 2 = 0`}, {`VACUUM FULL vacuumed`, `UPDATE vacuumed SET v = 'later' WHERE id < 100`},
	}, checks: []check{same("vacuumed"), counts("vacuumed")}},
	{name: "pruned and filled by others", steps: [][]string{
		numbered("reused", "1000"), {`DELETE FROM reused WHERE id <= 500`, `VACUUM reused`}, {`INSERT INTO reused SELECT i, 'tenant', i, NULL FROM generate_series(2001, 2600) i`},
	}, checks: []check{same("reused")}},
	{name: "partitioned", steps: [][]string{
		{
			`CREATE TABLE parts (id int, d date, v text) PARTITION BY RANGE (d)`,
			`CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')`,
			`CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')`,
			`INSERT INTO parts SELECT i, '2024-01-01'::date + i % 60, 'v' || i FROM generate_series(1, 600) i WHERE i % 60 < 60`,
		},
		{`UPDATE parts SET d = d + 31 WHERE id % 10 = 0 AND d < '2024-01-29'`, `DELETE FROM parts WHERE id % 11 = 0`},
		{`ALTER TABLE parts DETACH PARTITION parts_a`, `CREATE TABLE parts_c PARTITION OF parts DEFAULT`, `INSERT INTO parts VALUES (9999, '2030-01-01', 'default')`},
	}, checks: []check{same("parts", "parts_a"), counts("parts", terms("d", "date", "2024-02-15")...), gone("parts_b")}},
	{name: "materialized view", steps: [][]string{
		{`CREATE TABLE mv_base (g int, n int)`, `INSERT INTO mv_base SELECT i % 7, i FROM generate_series(1, 700) i`,
			`CREATE MATERIALIZED VIEW mv AS SELECT g, sum(n) AS total, count(*) AS n FROM mv_base GROUP BY g`},
		{`DELETE FROM mv_base WHERE g = 3`, `REFRESH MATERIALIZED VIEW mv`},
	}, checks: []check{same("mv", "mv_base")}},
	{name: "big row groups", steps: [][]string{
		{`CREATE TABLE big (id int, v text, n numeric(12,2))`, `INSERT INTO big SELECT i, 'value ' || i % 1000, i * 0.01 FROM generate_series(1, 150000) i`},
		{`DELETE FROM big WHERE id % 1000 = 0`},
	}, checks: []check{counts("big", append(terms("id", "int", "75000"), terms("v", "string", "value 500")...)...), bounds("big", "id", "n", "v")}},
	{name: "many columns", steps: [][]string{
		{`DO $$ DECLARE cols text; BEGIN
			SELECT string_agg(format('c%s %s', i, (ARRAY['int', 'text', 'numeric(9,3)', 'date', 'bool'])[i % 5 + 1]), ', ') INTO cols FROM generate_series(1, 120) i;
			EXECUTE 'CREATE TABLE wide (' || cols || ')';
		END $$`, `INSERT INTO wide (c5, c1, c120) SELECT i, 'w' || i, i FROM generate_series(1, 40) i`},
		{`UPDATE wide SET c60 = c5, c61 = 'later' WHERE c5 % 2 = 0`},
	}, checks: []check{same("wide")}},
	{name: "empty table", steps: [][]string{{`CREATE TABLE empty (id bigint, v text)`}}, checks: []check{same("empty"), counts("empty", terms("id", "long", "1")...)}},
	{name: "a table without columns is not in the lake", steps: [][]string{{`CREATE TABLE bare ()`, `INSERT INTO bare DEFAULT VALUES`, `INSERT INTO bare DEFAULT VALUES`}}, checks: []check{gone("bare")}},
}
