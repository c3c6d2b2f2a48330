package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

var nestedSetup = []string{
	`CREATE EXTENSION hstore`, `CREATE EXTENSION citext`,
	`CREATE TYPE mood AS ENUM ('sad', 'ok')`, `CREATE DOMAIN price AS numeric(10,2)`,
	`CREATE TYPE pair AS (a int, b text)`, `CREATE TYPE deep AS (p pair, m mood, d price, l int[], at timestamptz, big text)`,
	`CREATE DOMAIN prices AS price[]`, `CREATE TYPE moodrange AS RANGE (subtype = mood)`,
	`CREATE TABLE nested (id int, p pair, ps pair[], d deep, pr prices, sq int[][], cube text[][][], h hstore, c citext,
		r int4range, tr tstzrange, nr numrange, mr int4multirange, rs daterange[], er moodrange)`,
	`INSERT INTO nested VALUES
		(1, '(1,one)', '{"(1,x)",NULL,"(,)"}', row(row(1, 'in'), 'sad', 1.5, '{1,NULL}', '2024-01-01 00:00:00+00', repeat('big', 5000)), '{1.50,NULL}',
			'{{1,2},{NULL,4}}', '{{{a,b}},{{"",NULL}}}', 'a=>1, b=>NULL, ü=>"x y"', 'MiXed', '[1,5)', '[2024-01-01 00:00:00+00,)', '[1.5,2.5]', '{[1,2),[5,7)}', '{"[2024-01-01,2024-02-01)",empty}', '[sad,ok)'),
		(2, '(,)', '{}', row(NULL, NULL, NULL, NULL, NULL, NULL), '{}', '{}', '{}', '', '', 'empty', '(,)', 'empty', '{}', '{}', '(,)'),
		(3, NULL, '{NULL}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{(,)}', '{NULL}', NULL),
		(4, row(4, repeat('long ', 5000)), (SELECT array_agg(row(i, md5(i::text))::pair) FROM generate_series(1, 300) i), row(row(NULL, 'x'), 'ok', -1, '{}', 'infinity', NULL),
			NULL, '{1,2,3}', '{{a}}', (SELECT hstore(array_agg('k' || i), array_agg(md5(i::text))) FROM generate_series(1, 2000) i), repeat('C', 9000),
			'[-2147483648,7)', '[-infinity,2024-01-01 00:00:00+00]', '(,1e50)', (SELECT range_agg(int4range(3 * i, 3 * i + 1)) FROM generate_series(1, 1000) i), '{"[0044-03-15 BC,2024-01-01)"}', '(,ok)')`,
	// Rows that were written before the types were changed, in a table that nothing is written to any more.
	`CREATE TABLE still (id int, p pair, d deep, ps pair[])`,
	`INSERT INTO still SELECT i, row(i, 'row ' || i)::pair, row(row(i, 'in'), 'ok', i, NULL, NULL, NULL)::deep, ARRAY[row(i, 'el')::pair] FROM generate_series(1, 500) i`,
	`CREATE TABLE rowed (x int, y text)`, `CREATE TABLE ofrows (id int, r rowed)`, `INSERT INTO ofrows VALUES (1, '(1,y)'), (2, NULL)`,
}

// TestNestedTypes: composites, ranges, maps and arrays of arrays are as in Postgres, for the first copy, for rows that come
// through WAL, and after their types were changed with nothing in the heap's WAL to say so.
func TestNestedTypes(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) { nestedTypes(t, major) })
	}
}

func nestedTypes(t *testing.T, major int) {
	r := newRig(t, major, nestedSetup)
	r.tarn.startReady()
	for _, step := range [][]string{
		{`UPDATE nested SET id = id + 100 WHERE id <> 3`, `INSERT INTO nested (id, p, ps, mr, rs) VALUES (5, '(5,five)', '{"(5,)"}', '{}', '{}')`},
		{`ALTER TYPE pair ADD ATTRIBUTE c numeric(6,2)`, `INSERT INTO still VALUES (-1, '(1,x,2.5)', row(row(2, 'y', -1), 'sad', 1, '{7}', NULL, NULL), '{"(3,z,)"}')`},
		{`ALTER TYPE pair RENAME ATTRIBUTE b TO bee`, `INSERT INTO still VALUES (-2, '(,after,)', NULL, '{}')`},
		{`ALTER TYPE pair DROP ATTRIBUTE a`},
		{`ALTER TYPE pair ADD ATTRIBUTE a text`, `INSERT INTO still VALUES (-3, '(b,1,again)', NULL, '{NULL}')`},
		{`BEGIN; ALTER TYPE pair RENAME ATTRIBUTE bee TO x; ALTER TYPE pair RENAME ATTRIBUTE a TO bee; ALTER TYPE pair RENAME ATTRIBUTE x TO a; COMMIT`},
		{`ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'`, `ALTER TYPE mood ADD VALUE 'glad'`, `UPDATE still SET d.m = 'glad' WHERE id = 7`},
		{`ALTER TABLE still ADD COLUMN e pair DEFAULT '(given,1,)'`, `UPDATE still SET e = NULL WHERE id < 9`},
		{`ALTER TABLE rowed ADD COLUMN z bool`, `INSERT INTO ofrows VALUES (3, '(3,z,t)')`, `ALTER TABLE rowed DROP COLUMN x`},
		{`ALTER TABLE nested ALTER COLUMN sq TYPE int[]`, `UPDATE nested SET sq = '{7}' WHERE id = 5`},
		{`DELETE FROM still WHERE id % 3 = 0`, `VACUUM FULL still`, `ALTER TABLE still DROP COLUMN d`},
	} {
		r.exec(step...)
		r.caughtUp()
		if report := r.compare(database); !report.Equal() {
			t.Fatalf("after %s:\n%s", strings.Join(step, "; "), report)
		} else if n := leftOut(report); n != "" {
			t.Fatalf("after %s: left out: %s", strings.Join(step, "; "), n)
		}
	}
	r.tarn.stop()
}

func leftOut(report lakecheck.Report) string {
	var names []string
	for _, table := range report.Tables {
		names = append(names, table.LeftOut...)
	}
	return strings.Join(names, ", ")
}
