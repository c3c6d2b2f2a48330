package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// partitioned are the partition_by, their fields apart by "; ", of tables that all have the columns of partitionedColumns.
var partitioned = []string{
	"n", "b", "year(d)", "month(d)", "day(d)", "year(ts)", "month(tz)", "day(ts)", "hour(tz)", "bucket(4, n)", "bucket(3, big)", "bucket(5, dec)", "bucket(4, d)",
	"bucket(4, tm)", "bucket(4, tz)", "bucket(4, s)", "bucket(4, u)", "bucket(4, bin)", "truncate(7, n)", "truncate(100, big)", "truncate(50, dec)", "truncate(2, s)",
	"truncate(2, bin)", "dec", "tm", "bin", "s; bucket(2, n); day(ts)", "day(tz); truncate(1, s)",
}

const partitionedColumns = `id int, n int, big int8, dec numeric(12,2), wide numeric(30,4), b bool, d date, tm time, ts timestamp, tz timestamptz, s text, u uuid, bin bytea, pad text`

// partitionedRow is the values of row i. Few are equal to what another row has, many lie before 1970, and some are null.
const partitionedRow = `i, (hashint4(i) % 9), hashint8(i) % 900::int8, (hashint4(i + 1) % 900) / 7.0, hashint4(i) * 1e15::numeric / 7, i % 3 = 0,
	date '1969-12-30' + hashint4(i + 2) % 5, time '00:00' + interval '1 hour' * (i % 5), timestamp '1969-12-31 23:59:59.999999' + interval '7 hours' * (hashint4(i) % 7),
	timestamptz '1970-01-01 00:00:00.000001+00' + interval '25 minutes' * (hashint4(i) % 9), nullif(left(md5((i % 7)::text), i % 4), 'c'),
	md5((i % 5)::text)::uuid, decode(left(md5((i % 6)::text), 2 * (i % 4)), 'hex'), repeat('x', i % 50)`

// Every transform, in both format versions: the initial copy, random changes with restarts and compactions, rows that move between
// partitions, and another partition_by in the middle.
func TestPartitionBy(t *testing.T) {
	partitioned := partitioned
	if !pgtest.Long() {
		partitioned = []string{"n", "bucket(5, dec)", "day(ts)", "truncate(2, s)", "s; bucket(2, n); day(ts)", "month(tz)", "bin"}
	}
	var setup []string
	rules := ""
	for i, by := range partitioned {
		setup = append(setup, fmt.Sprintf("CREATE TABLE p%d (%s)", i, partitionedColumns), fmt.Sprintf("INSERT INTO p%d SELECT %s FROM generate_series(1, 300) i", i, partitionedRow),
			fmt.Sprintf("INSERT INTO p%d (id, d, ts, tz, n, big, dec, s, bin) VALUES (0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (-1, '0001-01-01', '0001-01-01', '9999-12-31 23:59:59.999999+00', -2147483648, -9223372036854775808, -9999999999.99, 'é𝄞𝄞', '\\xff'),"+
				" (-2, '9999-12-31', '9999-12-31 23:59:59', '0001-01-01', 2147483647, 9223372036854775807, 9999999999.99, '', ''), (-3, 'infinity', '-infinity', 'infinity', 5, 5, 5, 'a/b=c%%d', '\\x00')", i))
		rules += fmt.Sprintf("{match: app.public.p%d, format_version: %d, write_mode: %s, partition_by: %s}, ", i, 2+i%2, writeMode(i), list(by))
	}
	r := newRig(t, 18, setup)
	r.tarn.addRule(rules)
	r.tarn.startReady()
	r.mustBeEqual()
	rng := rand.New(rand.NewPCG(r.seed, 0))
	for round := range 6 {
		var statements []string
		for i := range partitioned {
			at := rng.IntN(300)
			statements = append(statements, fmt.Sprintf("INSERT INTO p%d SELECT %s FROM generate_series(%d, %d) i", i, partitionedRow, 1000*(round+1), 1000*(round+1)+20),
				fmt.Sprintf("UPDATE p%d SET n = n + %d, s = s || 'z', ts = ts + interval '1 day', d = d + 1 WHERE id BETWEEN %d AND %d", i, rng.IntN(4), at, at+25),
				fmt.Sprintf("DELETE FROM p%d WHERE id BETWEEN %d AND %d", i, at+30, at+40))
		}
		r.exec(statements...)
		switch round {
		case 2: // another spec for each, and none for some
			r.tarn.stop()
			next := ""
			for i := range partitioned {
				by := partitioned[(i+5)%len(partitioned)]
				if i%7 == 0 {
					by = ""
				}
				next += fmt.Sprintf("{match: app.public.p%d, format_version: %d, write_mode: %s, partition_by: %s}, ", i, 2+i%2, writeMode(i), list(by))
			}
			r.replaceConfig(rules, next)
			r.tarn.startReady()
		case 4:
			r.tarn.kill9()
			r.tarn.startReady()
		}
		r.mustBeEqual()
	}
	r.manySmallFiles(partitioned)
	r.tarn.stop()
}

// manySmallFiles has so many publications that the files of some partitions are compacted.
func (r *rig) manySmallFiles(partitioned []string) {
	r.t.Helper()
	for n := range 46 {
		var statements []string
		for i := range partitioned {
			statements = append(statements, fmt.Sprintf("INSERT INTO p%d (id, n, s, ts, dec, tz, bin) VALUES (%d, 3, 'same', '2026-01-01', 1, '2026-01-01', 'x')", i, 100_000+n), fmt.Sprintf("DELETE FROM p%d WHERE id = %d AND id %% 5 = 0", i, 99_990+n))
		}
		r.exec(statements...)
		r.caughtUp()
	}
	r.mustBeEqual()
	for i := range partitioned {
		if up := r.state(fmt.Sprintf("public.p%d", i)).Upkeep; up.Compactions == 0 || up.CompactedFiles < 32 {
			r.t.Errorf("p%d, by %s, was not compacted: %+v", i, partitioned[i], up)
		}
	}
}

// writeMode has some of the tables in copy-on-write mode, of both format versions.
func writeMode(i int) string {
	if i%3 == 2 {
		return "copy-on-write"
	}
	return "merge-on-read"
}

// list writes a partition_by of partitioned for tarn.yaml.
func list(by string) string {
	if by == "" {
		return "[]"
	}
	return `["` + strings.ReplaceAll(by, "; ", `", "`) + `"]`
}

// replaceConfig puts text in the place of what is in tarn.yaml.
func (r *rig) replaceConfig(old, now string) {
	r.t.Helper()
	text, err := os.ReadFile(r.tarn.config)
	if err == nil && !strings.Contains(string(text), old) {
		err = fmt.Errorf("there is no %s in the file", old)
	}
	if err == nil {
		err = os.WriteFile(r.tarn.config, []byte(strings.Replace(string(text), old, now, 1)), 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// DDL of the columns that tables are partitioned by. A new name keeps the spec; a column that goes, or has another type, takes its field along,
// and the table goes on; readers see every row at each step.
func TestPartitionByDDL(t *testing.T) {
	r := newRig(t, 16, []string{
		`CREATE TABLE a (id int, region text, ts timestamp, amount numeric(8,2))`, `INSERT INTO a SELECT i, 'r' || i % 3, timestamp '2026-01-01' + interval '9 hours' * i, i / 3.0 FROM generate_series(1, 200) i`,
		`CREATE TABLE t (LIKE a)`, `INSERT INTO t SELECT * FROM a`, `CREATE TABLE odd ("a (b)" int, "select" text)`, `INSERT INTO odd SELECT i, 'é' || i % 2 FROM generate_series(1, 20) i`,
	})
	const by = `[region, "day(ts)", "truncate(100, amount)"]`
	r.tarn.addRule(`{match: app.public.a, format_version: 3, partition_by: ` + by + `}, {match: app.public.t, partition_by: ` + by + `}, {match: app.public.odd, partition_by: ['"a (b)"', "truncate(1, select)"]}, `)
	r.tarn.startReady()
	r.mustBeEqual()
	for _, step := range []struct {
		ddl  string
		by   string // of the tables then
		note string
	}{
		{"ALTER TABLE %s RENAME region TO area", "[day(ts) truncate(100, amount)]", "not partitioned by region"},
		{"ALTER TABLE %s ADD region text DEFAULT 'new'", "[region day(ts) truncate(100, amount)]", ""},
		{"ALTER TABLE %s ADD ts_day int", "[region day(ts) truncate(100, amount)]", ""},
		{"ALTER TABLE %s DROP area", "[region day(ts) truncate(100, amount)]", ""},
		{"ALTER TABLE %s ALTER amount TYPE numeric(14,2)", "[region day(ts) truncate(100, amount)]", ""},
		{"ALTER TABLE %s ALTER ts TYPE timestamptz", "[region day(ts) truncate(100, amount)]", ""},
		{"ALTER TABLE %s ALTER ts TYPE text", "[region truncate(100, amount)]", "not partitioned by day(ts): the column is of a type that cannot be"},
		{"ALTER TABLE %s DROP ts", "[region truncate(100, amount)]", "not partitioned by day(ts): the table has no such column in the lake"},
	} {
		for _, table := range []string{"a", "t"} {
			r.exec(fmt.Sprintf(step.ddl, table), fmt.Sprintf("INSERT INTO %s (id) SELECT generate_series(1, 10)", table), fmt.Sprintf("DELETE FROM %s WHERE id %% 31 = 0", table))
		}
		r.mustBeEqual()
		for _, table := range []string{"a", "t"} {
			if now := r.state("public." + table); now.State != admin.TableLive || fmt.Sprint(now.PartitionBy) != step.by || !strings.Contains(now.Error, step.note) || step.note == "" && now.Error != "" {
				t.Errorf("%s: %s is %s by %v, %q", step.ddl, table, now.State, now.PartitionBy, now.Error)
			}
		}
	}
	r.tarn.stop()
	r.tarn.startReady()
	r.exec(`UPDATE a SET region = 'x' WHERE id < 20`, `UPDATE t SET region = 'x' WHERE id < 20`)
	r.mustBeEqual()
	r.tarn.stop()
}

// target_file_size ends files, is told to engines, and comes and goes with the rule.
func TestTargetFileSize(t *testing.T) {
	r := newRig(t, 17, []string{`CREATE TABLE big (id int, v text)`, `INSERT INTO big SELECT i, md5(i || 'a') || md5(i || 'b') || md5(i || 'c') FROM generate_series(1, 120000) i`})
	const rule = `{match: app.public.big, target_file_size: 1MiB, partition_by: ["bucket(2, id)"]}, `
	r.tarn.addRule(rule)
	r.tarn.startReady()
	r.mustBeEqual()
	first := r.state("public.big")
	if first.DataFiles < 5 {
		t.Errorf("6 MB of values that do not compress are in %d files", first.DataFiles)
	}
	if got := r.iceberg("public.big").Properties["write.target-file-size-bytes"]; got != "1048576" {
		t.Errorf("engines are told %q", got)
	}
	r.tarn.stop()
	r.replaceConfig(rule, "")
	r.tarn.startReady()
	r.exec(`UPDATE big SET v = 'x' WHERE id = 5`)
	r.mustBeEqual()
	if got := r.iceberg("public.big").Properties["write.target-file-size-bytes"]; got != "536870912" {
		t.Errorf("engines are told %q once the rule is gone", got)
	}
	if now := r.state("public.big"); now.PartitionBy == nil || len(now.PartitionBy) > 0 || now.DataFiles < first.DataFiles {
		t.Errorf("partitioned by %v, in %d files", now.PartitionBy, now.DataFiles)
	}
	r.tarn.stop()
}
