package engines

import "github.com/tarn-db/tarn/internal/lakecheck"

var nameCases = []testCase{
	{name: "capitals", steps: [][]string{{`CREATE SCHEMA "Sales"`, `CREATE TABLE "Sales"."Orders" ("Id" int, "Total Amount" int)`, `INSERT INTO "Sales"."Orders" VALUES (1, 2), (3, NULL)`}}, checks: []check{same("Sales|Orders"), counts("Sales|Orders", terms("Id", "int", "1")...)}},
	{name: "spaces", steps: [][]string{{`CREATE SCHEMA "my schema"`, `CREATE TABLE "my schema"."my table" ("my column" int, " " text)`, `INSERT INTO "my schema"."my table" VALUES (1, 'x')`}}, checks: []check{same("my schema|my table")}},
	{name: "dots", steps: [][]string{{`CREATE SCHEMA "a.b"`, `CREATE TABLE "a.b"."c.d" ("e.f" int, "g" int)`, `INSERT INTO "a.b"."c.d" VALUES (1, 2)`}}, checks: []check{same("a.b|c.d")}},
	{name: "dots in a column's name alone", steps: [][]string{{`CREATE TABLE dotted ("e.f" int, e int)`, `INSERT INTO dotted VALUES (1, 2)`}}, checks: []check{same("dotted")}},
	limited(testCase{name: "a predicate on a column with a dot", steps: [][]string{{`CREATE TABLE dotted_where ("e.f" int, e int)`, `INSERT INTO dotted_where VALUES (1, 2)`}}, checks: []check{counts("dotted_where", terms("e.f", "int", "1")...)}},
		lakecheck.PyIceberg, "PyIceberg 0.12 takes the dot for a member of a struct", "No match for FieldRef"),
	{name: "quotes", steps: [][]string{{`CREATE SCHEMA "we'ird"`, "CREATE TABLE \"we'ird\".\"it`s \"\"so\"\"\" (\"a\"\"b\" int, \"c`d\" int, \"e'f\" int)", "INSERT INTO \"we'ird\".\"it`s \"\"so\"\"\" VALUES (1, 2, 3)"}}, checks: []check{same("we'ird|it`s \"so\"")}},
	{name: "unicode", steps: [][]string{{`CREATE SCHEMA "схема"`, `CREATE TABLE "схема"."täble 表" ("größe" int, "😀" int)`, `INSERT INTO "схема"."täble 表" VALUES (1, 2)`}}, checks: []check{same("схема|täble 表")}},
	{name: "characters of addresses", steps: [][]string{{`CREATE SCHEMA "a/b"`, `CREATE TABLE "a/b"."100%?#&+=" ("a/b" int, "%2F" int, "a+b" int)`, `INSERT INTO "a/b"."100%?#&+=" VALUES (1, 2, 3)`}}, checks: []check{same("a/b|100%?#&+=")}},
	{name: "reserved words", steps: [][]string{{`CREATE TABLE "select" ("from" int, "count" int, "table" int, "null" int)`, `INSERT INTO "select" VALUES (1, 2, 3, 4)`}}, checks: []check{same("select"), counts("select", terms("from", "int", "1")...)}},
	limited(testCase{name: "names of Iceberg's own columns", steps: [][]string{{`CREATE TABLE metacolumns (_file int, _pos int, _spec_id int)`, `INSERT INTO metacolumns VALUES (1, 2, 3)`}}, checks: []check{same("metacolumns")}},
		lakecheck.Spark, "Iceberg's Java reader keeps _file, _pos and the like for itself", "conflict with names reserved for Iceberg metadata columns"),
	{name: "63 bytes", steps: [][]string{{`CREATE TABLE a23456789012345678901234567890123456789012345678901234567890123 (b23456789012345678901234567890123456789012345678901234567890123 int)`, `INSERT INTO a23456789012345678901234567890123456789012345678901234567890123 VALUES (1)`}},
		checks: []check{same("a23456789012345678901234567890123456789012345678901234567890123")}},
	limited(testCase{name: "two tables equal but for case: the older is in the lake", steps: [][]string{{`CREATE TABLE twin (a int)`, `CREATE TABLE "Twin" (b int)`, `INSERT INTO twin VALUES (1)`}}, checks: []check{same("twin"), gone("Twin")}},
		lakecheck.Trino, "Trino has no capitals: both names are the one that is there", "Twin has 1 rows"),
	{name: "two columns equal but for case: the first is in the lake", steps: [][]string{{`CREATE TABLE twin_columns (a int, "A" int, b int)`, `INSERT INTO twin_columns VALUES (1, 2, 3)`}}, checks: []check{columns("twin_columns", "a", "b")}},
	{name: "a schema named like an engine's own", steps: [][]string{{`CREATE SCHEMA system`, `CREATE TABLE system.t (a int)`, `INSERT INTO system.t VALUES (1)`}}, checks: []check{same("system|t")}},
}
