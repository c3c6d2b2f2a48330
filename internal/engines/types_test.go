package engines

import "github.com/tarn-db/tarn/internal/lakecheck"

// one makes a case of one table, with rows that come through the initial copy and the same again through WAL.
func one(name, table, columns string, values ...string) testCase {
	create := "CREATE TABLE " + table + " (" + columns + ")"
	var insert []string
	for _, v := range values {
		insert = append(insert, "INSERT INTO "+table+" VALUES ("+v+")")
	}
	return testCase{name: name, steps: [][]string{append([]string{create}, insert...), insert}, checks: []check{same(table)}}
}

func limited(c testCase, engine, why, sees string) testCase {
	limits := map[string]limit{engine: {why, sees}}
	for name, l := range c.limits {
		limits[name] = l
	}
	c.limits = limits
	return c
}

const sparkTime = "Spark 4.1 with Iceberg 1.12 opens no table that has a column of type time"

var typeCases = []testCase{
	one("bool", "bools", "id int, v bool", "1, true", "2, false", "3, NULL"),
	one("integers", "integers", "a int2, b int4, c int8",
		"0, 0, 0", "-32768, -2147483648, -9223372036854775808", "32767, 2147483647, 9223372036854775807", "NULL, NULL, NULL"),
	one("oids", "oids", "a oid, b xid, c xid8", "0, '0', '0'", "4294967295, '4294967295', '9223372036854775807'", "NULL, NULL, NULL"),
	one("floats", "floats", "a float4, b float8", "0, 0", "'-0', '-0'", "'NaN', 'NaN'", "'Infinity', 'Infinity'", "'-Infinity', '-Infinity'",
		"0.1, 0.1", "3.4028235e38, 1.7976931348623157e308", "1.17549435e-38, 2.2250738585072014e-308", "1e-45, 5e-324", "NULL, NULL"),
	one("numeric with a scale", "decimals", "a numeric(9,0), b numeric(18,4), c numeric(38,0), d numeric(38,38), e numeric(5,-2), f numeric(2,4)",
		"0, 0, 0, 0, 0, 0", "999999999, 99999999999999.9999, 99999999999999999999999999999999999999, 0.99999999999999999999999999999999999999, 9999900, 0.0099",
		"-999999999, -99999999999999.9999, -99999999999999999999999999999999999999, -0.99999999999999999999999999999999999999, -9999900, -0.0099",
		"'NaN', 'NaN', 'NaN', 'NaN', 'NaN', 'NaN'", "NULL, NULL, NULL, NULL, NULL, NULL"),
	one("numeric without a scale", "numerics", "a numeric, b numeric(60,2)", "0, 0", "1.500, -0.01", "1e100, 1e50", "'NaN', 'NaN'", "'-Infinity', NULL", "NULL, NULL"),
	one("text", "texts", "a text, b varchar(12), c char(5), d name", "'plain', 'v', 'ab', 'name'", "'', '', '', ''", "NULL, NULL, NULL, NULL",
		`E'é "quoted"; \'12\':x\n\t\\ %', '日本語', 'ñ', 'имя'`, `'😀👩‍👩‍👧‍👦', ' blank ', ' a ', 'x'`, `E'\u0001\u007f\uFFFD', E'\r\n', 'A', 'N;'`),
	one("long text", "long_texts", "id int, v text, e text", "1, repeat('ab', 600000), NULL",
		"2, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 4000) i), repeat('ü', 3000)", "3, '', repeat('x', 2000)"),
	one("bytea", "byteas", "id int, v bytea", `1, '\x'`, `2, '\x00'`, `3, '\x00ff80fe0a27'`, "4, NULL",
		"5, decode((SELECT string_agg(md5(i::text), '') FROM generate_series(1, 2000) i), 'hex')"),
	one("uuid", "uuids", "id int, v uuid", "1, '00000000-0000-0000-0000-000000000000'", "2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'",
		"3, '123456789abcdef0123456789abcdef0'", "4, NULL"),
	one("date", "dates", "id int, v date", "1, '0001-01-01'", "2, '9999-12-31'", "3, '1970-01-01'", "4, '1969-12-31'", "5, '1582-10-10'", "6, '2024-02-29'",
		"7, 'infinity'", "8, '0044-03-15 BC'", "9, NULL"),
	limited(one("time", "times", "id int, v time", "1, '00:00:00'", "2, '23:59:59.999999'", "3, '12:34:56.000001'", "4, '24:00:00'", "5, NULL"),
		lakecheck.Spark, sparkTime, "Spark does not support time fields"),
	one("timestamp", "timestamps", "id int, v timestamp", "1, '0001-01-01 00:00:00'", "2, '9999-12-31 23:59:59.999999'", "3, '1969-12-31 23:59:59.999999'",
		"4, '1582-10-10 12:00:00'", "5, '1500-02-28 00:00:00.000001'", "6, '-infinity'", "7, NULL"),
	one("timestamptz", "timestamptzs", "id int, v timestamptz", "1, '0001-01-01 00:00:00+00'", "2, '9999-12-31 23:59:59.999999+00'",
		"3, '1969-12-31 23:59:59.999999+00'", "4, '2024-03-31 02:30:00+01'", "5, '1582-10-10 12:00:00+00'", "6, 'infinity'", "7, '0044-03-15 12:00:00+00 BC'", "8, NULL"),
	one("interval", "intervals", "id int, v interval", "1, '0'", "2, '1 year 2 months -3 days 4 hours 5 microseconds'", "3, '-178000000 years'", "4, '-1 microsecond'", "5, NULL"),
	one("json", "jsons", "id int, a json, b jsonb", `1, '{"b" : 1,  "a":2}', '{"b" : 1,  "a":2}'`, `2, 'null', 'null'`, `3, '"é\u00e9"', '"é\u00e9"'`, "4, NULL, NULL"),
	one("text of other types", "others", `a inet, b cidr, c macaddr, d bit(3), e varbit, f timetz, g tsvector, h point, i box, j pg_lsn`,
		"'10.0.0.1', '10.0.0.0/8', '08:00:2b:01:02:03', B'101', B'1', '01:02:03+02', 'a:1 b:2', '(1,2)', '(1,1),(0,0)', '0/1A'",
		"'::1/64', '::/0', 'ff:ff:ff:ff:ff:ff', B'000', B'', '23:59:59.999999-11:30', '', '(-0,1e300)', '(0,0),(0,0)', 'FFFFFFFF/0'",
		"NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"),
	{
		name: "enum and domain", steps: [][]string{{
			`CREATE TYPE mood AS ENUM ('sad', 'it''s', '')`, `CREATE DOMAIN small AS numeric(6,1) CHECK (VALUE > 0)`,
			`CREATE TABLE enums (m mood, d small)`, `INSERT INTO enums VALUES ('sad', 1.5), ('', 99999.9), (NULL, NULL)`,
		}, {`ALTER TYPE mood RENAME VALUE 'sad' TO 'glad'`, `ALTER TYPE mood ADD VALUE 'new'`, `INSERT INTO enums VALUES ('it''s', 2)`}},
		checks: []check{same("enums")},
	},
	one("arrays", "arrays", "id int, a int[], b text[], c timestamptz[], d numeric(10,3)[], f float8[], g bool[], h bytea[]",
		`1, '{1,NULL,3}', '{a,b;c,NULL,""}', '{2024-01-01 00:00:00+00,infinity}', '{1.5,NaN}', '{NaN,-0,0.1}', '{t,f,NULL}', '{"\\x00ff"}'`,
		`2, '{}', '{}', '{}', '{}', '{}', '{}', '{}'`, `3, '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}'`,
		"4, NULL, NULL, NULL, NULL, NULL, NULL, NULL", "5, (SELECT array_agg(i) FROM generate_series(1, 5000) i), NULL, NULL, NULL, NULL, NULL, NULL"),
	one("array of uuid", "uuid_arrays", "id int, v uuid[]", "1, '{00000000-0000-0000-0000-000000000001,NULL}'", "2, '{}'", "3, NULL"),
	limited(one("array of time", "time_arrays", "id int, v time[]", "1, '{12:00:00.000001,NULL}'", "2, '{}'", "3, NULL"),
		lakecheck.Spark, sparkTime, "Spark does not support time fields"),
	limited(testCase{name: "a time column that was dropped", steps: [][]string{
		{`CREATE TABLE once_timed (id int, v time, a int[])`, `INSERT INTO once_timed VALUES (1, '12:00:00', '{1}'), (2, NULL, NULL)`}, {`ALTER TABLE once_timed DROP COLUMN v`, `INSERT INTO once_timed VALUES (3)`},
	}, checks: []check{same("once_timed")}},
		lakecheck.Spark, "nor a file that has such a column, which was dropped since, and arrays, before VACUUM FULL has written it anew", "Unsupported logical type: TIME_MICROS"),
	one("array of interval", "interval_arrays", "id int, v interval[]", "1, '{1 mon 2 days 00:00:00.000003,NULL}'", "2, '{}'"),
	limited(one("null array of interval", "null_interval_arrays", "id int, v interval[]", "1, '{1 mon}'", "2, NULL"),
		lakecheck.PyIceberg, "PyIceberg 0.12 reads a null list of structs as an empty list", "not as in Postgres"),
	{
		name: "composites", steps: [][]string{{
			`CREATE TYPE pair AS (a int, b text)`, `CREATE TYPE deep AS (p pair, d numeric(9,2), l int[], at timestamptz)`, `CREATE TABLE composites (id int, p pair, d deep)`,
			`INSERT INTO composites VALUES (1, '(1,x)', row(row(2, 'y'), 1.5, '{1,NULL}', '2024-01-01 00:00:00+00')), (2, '(,)', row(NULL, NULL, '{}', NULL)), (3, NULL, NULL)`,
		}, {`ALTER TYPE pair ADD ATTRIBUTE c bool`, `INSERT INTO composites VALUES (4, '(4,z,t)', row(row(5, 'v', false), NULL, NULL, NULL))`},
			{`ALTER TYPE pair RENAME ATTRIBUTE a TO renamed`, `INSERT INTO composites VALUES (5, '(5,,)', NULL)`}},
		checks: []check{same("composites")},
	},
	one("ranges", "ranges", "id int, a int4range, b tstzrange, c numrange, d daterange",
		"1, '[1,5)', '[2024-01-01 00:00:00+00,)', '(1.50,2]', '(,2024-01-01)'", "2, 'empty', '(,)', 'empty', '[-infinity,2024-01-01)'", "3, NULL, NULL, NULL, NULL"),
	one("arrays of arrays", "squares", "id int, v int[][], t text[][]", "1, '{{1,2},{NULL,4}}', '{{a},{NULL}}'", "2, '{}', '{}'", "3, NULL, NULL", "4, '{1,2}', '{{{x}}}'"),
	{
		name: "hstore", steps: [][]string{{`CREATE EXTENSION hstore`, `CREATE TABLE hstores (id int, v hstore)`, `INSERT INTO hstores VALUES (1, 'a=>1, bb=>NULL'), (2, ''), (3, NULL)`},
			{`INSERT INTO hstores VALUES (4, 'ü=>"x y"')`}}, checks: []check{same("hstores")},
	},
	one("array of composite", "composite_arrays", "id int, v numrange[], m int4multirange", "1, '{\"[1,2)\",NULL,empty}', '{[1,2),[5,)}'", "2, '{}', '{}'"),
	one("a NULL in every column", "all_nulls", "a bool, b int, c int8, d float8, e numeric(10,2), f text, g bytea, h uuid, i date, j timestamp, k timestamptz, l int[], m interval",
		"NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"),
	one("defaults and generated", "generated", "id int, twice int GENERATED ALWAYS AS (id * 2) STORED, d int DEFAULT 7", "1, DEFAULT, DEFAULT", "2, DEFAULT, NULL"),
}
