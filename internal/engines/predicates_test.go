package engines

import (
	"slices"
	"strings"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

// predicates makes a case in which statistics of several files, of which some cannot hold what is asked for, must not lie. Values
// are put in by one statement a publication, so that each has a file of its own.
func predicates(name, table, pgType, kind string, values []string, asked ...string) testCase {
	steps := [][]string{{"CREATE TABLE " + table + " (v " + pgType + ")"}}
	for part := range slices.Chunk(values, (len(values)+2)/3) {
		steps = append(steps, []string{"INSERT INTO " + table + " VALUES (" + strings.Join(part, "), (") + ")"})
	}
	return testCase{name: name, steps: steps, checks: []check{counts(table, slices.Concat(terms("v", kind, asked...), nulls("v"))...)}}
}

func quoted(values ...string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = "'" + v + "'"
	}
	return out
}

func prefix(column, value string) []lakecheck.Term {
	return []lakecheck.Term{{Column: column, Op: "LIKE", Type: "string", Value: value}}
}

var longPrefix = strings.Repeat("long", 20)

var predicateCases = []testCase{
	predicates("integers are pruned rightly", "p_ints", "int", "int", []string{"-5", "0", "7", "100", "NULL", "2147483647", "-2147483648", "8", "9"}, "-5", "7", "99", "2147483647", "-2147483648"),
	predicates("longs are pruned rightly", "p_longs", "int8", "long", []string{"1", "-9223372036854775808", "NULL", "9223372036854775807", "0", "5"}, "0", "9223372036854775807", "-9223372036854775808", "4"),
	predicates("booleans are pruned rightly", "p_bools", "bool", "boolean", []string{"true", "true", "false", "NULL", "false", "NULL"}, "true", "false"),
	predicates("decimals are pruned rightly", "p_decimals", "numeric(20,4)", "decimal(20,4)", []string{"1.5", "-0.0001", "NULL", "9999999999999999.9999", "-9999999999999999.9999", "0"}, "1.5", "0", "-0.0001", "9999999999999999.9999"),
	predicates("wide decimals are pruned rightly", "p_decimals38", "numeric(38,2)", "decimal(38,2)", []string{"1", "-1", "NULL", "999999999999999999999999999999999999.99", "-999999999999999999999999999999999999.99", "0.01"}, "1", "-1", "0.00", "999999999999999999999999999999999999.99"),
	predicates("dates are pruned rightly", "p_dates", "date", "date", quoted("2024-01-01", "1969-12-31", "9999-12-31", "0001-01-01", "2024-02-29"), "2024-01-01", "1970-01-01", "9999-12-31"),
	limited(predicates("times are pruned rightly", "p_times", "time", "time", quoted("00:00:00", "12:00:00", "23:59:59.999999", "06:30:00.000001"), "12:00:00", "06:30:00.000001", "23:59:59.999999"),
		lakecheck.Spark, sparkTime, "Spark does not support time fields"),
	predicates("timestamps are pruned rightly", "p_timestamps", "timestamp", "timestamp", quoted("2024-01-01 00:00:00", "1969-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999", "0001-01-01 00:00:00", "2024-01-01 00:00:00.000001"),
		"2024-01-01 00:00:00", "2024-01-01 00:00:00.000001", "1970-01-01 00:00:00"),
	predicates("timestamptz are pruned rightly", "p_timestamptz", "timestamptz", "timestamptz", quoted("2024-01-01 00:00:00+00", "1969-12-31 23:59:59.999999+00", "2024-01-01 01:00:00+01", "2024-06-01 12:00:00.123456+00", "0001-01-01 00:00:00+00"),
		"2024-01-01 00:00:00+00", "2024-06-01 12:00:00.123456+00", "1970-01-01 00:00:00+00"),
	predicates("texts are pruned rightly", "p_texts", "text", "string", quoted("a", "", "Z", "é", "zz", "😀", "日本", "a b", "it''s"), "a", "", "é", "😀", "zz", "zzz"),
	predicates("long texts, cut in statistics, are pruned rightly", "p_long", "text", "string",
		quoted(longPrefix+"a", longPrefix+"b", longPrefix, "x"+longPrefix, strings.Repeat("\U0010FFFF", 20), strings.Repeat("é", 40)),
		longPrefix, longPrefix+"a", longPrefix+"c", strings.Repeat("\U0010FFFF", 20), strings.Repeat("\U0010FFFF", 19), strings.Repeat("é", 40)),
	{name: "prefixes are pruned rightly", steps: [][]string{{`CREATE TABLE p_prefix (v text)`, `INSERT INTO p_prefix VALUES ('apple'), ('apricot'), (NULL)`}, {`INSERT INTO p_prefix VALUES ('banana'), ('🍌'), ('éclair')`}},
		checks: []check{counts("p_prefix", prefix("v", "ap"), prefix("v", "b"), prefix("v", "🍌"), prefix("v", "é"), prefix("v", "zz"))}},
	predicates("uuids are pruned rightly", "p_uuids", "uuid", "uuid", quoted("00000000-0000-0000-0000-000000000000", "80000000-0000-0000-0000-000000000000", "7fffffff-ffff-ffff-ffff-ffffffffffff", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
		"7fffffff-ffff-ffff-ffff-ffffffffffff", "80000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001"),
	{name: "uuids in a dictionary are pruned rightly", steps: [][]string{
		{`CREATE TABLE p_uuid_dict (v uuid)`, `INSERT INTO p_uuid_dict SELECT ('{10000000-0000-0000-0000-000000000000,90000000-0000-0000-0000-000000000000}'::uuid[])[i % 2 + 1] FROM generate_series(1, 20000) i`},
		{`INSERT INTO p_uuid_dict SELECT 'f0000000-0000-0000-0000-000000000000' FROM generate_series(1, 10000)`},
	}, checks: []check{counts("p_uuid_dict", terms("v", "uuid", "90000000-0000-0000-0000-000000000000", "80000000-0000-0000-0000-000000000000", "20000000-0000-0000-0000-000000000000", "10000000-0000-0000-0000-000000000000")...)}},
	predicates("bytea are pruned rightly", "p_byteas", "bytea", "binary", quoted(`\x`, `\x00`, `\x7f`, `\x80`, `\xff`, `\x`+strings.Repeat("ff", 40)), "", "00", "7f", "80", "ff", strings.Repeat("ff", 40)),
	predicates("doubles without NaN are pruned rightly", "p_doubles", "float8", "double", quoted("0", "1.5", "-1.5", "Infinity", "-Infinity", "5e-324"), "0", "1.5", "Infinity", "-Infinity", "1e-323"),
	predicates("floats without NaN are pruned rightly", "p_floats", "float4", "float", quoted("0.1", "1.5", "-1.5", "Infinity", "-Infinity"), "0.1", "1.5"),
	limited(predicates("infinite floats", "p_infinity", "float4", "float", quoted("-Infinity", "1", "Infinity"), "-Infinity", "Infinity"),
		lakecheck.PyIceberg, "PyIceberg 0.12 takes an infinity for a double that is out of float's range", "0 rows, in Postgres 1"),
	{name: "NaN among doubles", steps: [][]string{{`CREATE TABLE p_nan (v float8)`, `INSERT INTO p_nan VALUES ('NaN'), (1)`}, {`INSERT INTO p_nan VALUES (2), (NULL)`}, {`INSERT INTO p_nan VALUES ('NaN')`}},
		checks: []check{counts("p_nan", slices.Concat([][]lakecheck.Term{
			{{Column: "v", Op: "<", Type: "double", Value: "2"}}, {{Column: "v", Op: "=", Type: "double", Value: "2"}}, {{Column: "v", Op: "<=", Type: "double", Value: "2"}},
		}, nulls("v"))...)}},
	{name: "NaN equals itself and is the greatest", steps: [][]string{{`CREATE TABLE p_nan_order (v float8)`, `INSERT INTO p_nan_order VALUES ('NaN'), (1)`}, {`INSERT INTO p_nan_order VALUES (2), ('NaN')`}},
		checks: []check{counts("p_nan_order", [][]lakecheck.Term{{{Column: "v", Op: "=", Type: "double", Value: "NaN"}}, {{Column: "v", Op: ">", Type: "double", Value: "1.5"}}}...)},
		limits: map[string]limit{
			lakecheck.PyIceberg: {"PyIceberg compares as IEEE 754 does: NaN > 1.5 is false; v = NaN has to be written is_nan(v)", "1 rows, in Postgres 3"},
			lakecheck.Trino:     {"Trino compares as IEEE 754 does: NaN = NaN and NaN > 1.5 are false", "0 rows, in Postgres 2"},
		}},
	{name: "predicates after deletes", steps: [][]string{numbered("p_deleted", "1000"), {`DELETE FROM p_deleted WHERE id > 900 OR id % 10 = 0`}, {`INSERT INTO p_deleted VALUES (950, 'again')`}},
		checks: []check{counts("p_deleted", append(terms("id", "int", "900", "950", "1000", "10"), prefix("v", "row 9"))...)}},
	{name: "predicates on columns that old files lack", steps: [][]string{numbered("p_added", "100"), {`ALTER TABLE p_added ADD COLUMN late int`, `INSERT INTO p_added VALUES (1001, 'x', 1, NULL, 5)`}, {`ALTER TABLE p_added ADD COLUMN filled text DEFAULT 'full'`}},
		checks: []check{counts("p_added", slices.Concat(terms("late", "int", "5"), nulls("late"), terms("filled", "string", "full"), nulls("filled"))...)}},
	{name: "predicates on two columns", steps: [][]string{numbered("p_two", "500"), {`UPDATE p_two SET n = -1 WHERE id < 10`}},
		checks: []check{counts("p_two", []lakecheck.Term{{Column: "id", Op: "<", Type: "int", Value: "100"}, {Column: "n", Op: ">", Type: "decimal(12,2)", Value: "50"}},
			[]lakecheck.Term{{Column: "at", Op: ">=", Type: "timestamptz", Value: "2024-01-05 00:00:00+00"}, {Column: "v", Op: "=", Type: "string", Value: "row 200"}})}},
	{name: "count(*) with deletes", steps: [][]string{numbered("c_all", "2000"), {`DELETE FROM c_all WHERE id % 2 = 0`}, {`UPDATE c_all SET v = 'u' WHERE id % 3 = 0`}}, checks: []check{counts("c_all")}},
	{name: "min and max with deletes", steps: [][]string{numbered("c_minmax", "1000"), {`DELETE FROM c_minmax WHERE id IN (1, 2, 999, 1000)`}, {`UPDATE c_minmax SET n = 0.01 WHERE id = 500`}},
		checks: []check{bounds("c_minmax", "id", "n", "at", "v")}},
	{name: "min and max of long texts", steps: [][]string{{`CREATE TABLE c_long (v text)`, `INSERT INTO c_long VALUES ('` + longPrefix + `a'), ('` + longPrefix + `z'), ('` + longPrefix + `')`}},
		checks: []check{bounds("c_long", "v")}},
}
