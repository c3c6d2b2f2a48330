package engines

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/objstore"
)

// partitionBy are partition_by in tarn's words and in Spark's, of tables with the columns of partitionSetup.
var partitionBy = []struct{ tarn, spark string }{
	{`n`, `n`}, {`s`, `s`}, {`d`, `d`}, {`b`, `b`}, {`dec`, `dec`}, {`bin`, `bin`}, {`tz`, `tz`},
	{`"year(d)"`, `years(d)`}, {`"year(ts)"`, `years(ts)`}, {`"month(d)"`, `months(d)`}, {`"month(tz)"`, `months(tz)`}, {`"day(d)"`, `days(d)`}, {`"day(ts)"`, `days(ts)`}, {`"hour(tz)"`, `hours(tz)`},
	{`"bucket(16, n)"`, `bucket(16, n)`}, {`"bucket(16, big)"`, `bucket(16, big)`}, {`"bucket(16, dec)"`, `bucket(16, dec)`}, {`"bucket(16, wide)"`, `bucket(16, wide)`}, {`"bucket(16, s)"`, `bucket(16, s)`},
	{`"bucket(16, d)"`, `bucket(16, d)`}, {`"bucket(16, tz)"`, `bucket(16, tz)`}, {`"bucket(16, ts)"`, `bucket(16, ts)`}, {`"bucket(16, bin)"`, `bucket(16, bin)`},
	{`"truncate(10, n)"`, `truncate(10, n)`}, {`"truncate(1000, big)"`, `truncate(1000, big)`}, {`"truncate(50, dec)"`, `truncate(50, dec)`}, {`"truncate(500, wide)"`, `truncate(500, wide)`},
	{`"truncate(2, s)"`, `truncate(2, s)`}, {`"truncate(1, bin)"`, `truncate(1, bin)`}, {`"day(ts)", "bucket(4, n)", s`, `days(ts), bucket(4, n), s`},
}

const partitionRows = `SELECT i, hashint4(i) % 40, hashint8(i) % 5000::int8, (hashint4(i + 1) % 900) / 7.0, (hashint4(i) % 50) * 1e21::numeric / 7, i % 3 = 0,
	date '1969-12-20' + hashint4(i + 2) % 20, timestamp '1969-12-31 23:59:59.999999' + interval '7 hours' * (hashint4(i) % 19), timestamptz '1970-01-01 00:00:00.000001+00' + interval '25 minutes' * (hashint4(i) % 30),
	CASE WHEN i % 11 > 0 THEN left(md5((i % 7)::text), i % 4) || CASE WHEN i % 5 = 0 THEN '𝄞é' ELSE '' END END, decode(left(md5((i % 6)::text), 2 * (i % 4)), 'hex') FROM generate_series(1, 150) i`

// partitionSetup makes table pN for each of partitionBy, with values before 1970, below zero and null; and one to look at which files engines read.
func partitionSetup() (setup []string, rules string) {
	rules = "tables:\n"
	for i, by := range partitionBy {
		setup = append(setup, fmt.Sprintf(`CREATE TABLE p%d (id int, n int, big int8, dec numeric(12,2), wide numeric(38,4), b bool, d date, ts timestamp, tz timestamptz, s text, bin bytea)`, i),
			fmt.Sprintf(`INSERT INTO p%d %s`, i, partitionRows), fmt.Sprintf(`INSERT INTO p%d (id) VALUES (0)`, i),
			fmt.Sprintf(`INSERT INTO p%d VALUES (-1, -2147483648, -9223372036854775808, -9999999999.99, -99999999999999999999.9999, true, '0001-01-01', '0001-01-01', '2262-04-11 00:00:00+00', '', '')`, i))
		rules += fmt.Sprintf("  - {match: app.public.p%d, format_version: %d, partition_by: [%s]}\n", i, 2+i%2, by.tarn)
	}
	rules += "  - {match: app.public.pruned, partition_by: [\"day(at)\", \"bucket(4, id)\"]}\n"
	return append(setup, `CREATE TABLE pruned (id int, at timestamp, v text)`, `INSERT INTO pruned SELECT i, timestamp '2026-01-01' + interval '1 hour' * i, 'v' || i FROM generate_series(0, 239) i`), rules
}

// TestPartitionBy: the partition of each row's file is what Spark's own functions make of the row, by every transform, and Spark, given the
// same rows and the same partitioning, writes the same partitions; every engine sees Postgres's rows, before and after changes, and reads
// no file of a partition that it was not asked for.
func TestPartitionBy(t *testing.T) {
	setup, rules := partitionSetup()
	r := newRigOn(t, 18, bucketStore(t), rules, setup...)
	r.publish()
	r.readsOnlyItsPartition() // before any engine has files of the table in a cache
	r.exec(`DROP TABLE pruned`)
	r.asSparkTransforms()
	r.jdbcCatalog("own")
	r.spark("CREATE NAMESPACE IF NOT EXISTS own.parts")
	for i, by := range partitionBy {
		if !slices.Contains([]string{"bucket(16, wide)", "truncate(2, s)", "years(ts)"}, by.spark) {
			continue
		}
		const partitions = "SELECT CAST(partition AS STRING), record_count FROM %s.p%d.partitions"
		r.spark(fmt.Sprintf("CREATE TABLE own.parts.p%d USING iceberg PARTITIONED BY (%s) AS SELECT * FROM lake.public.p%d", i, by.spark, i))
		ours, err1 := r.query(fmt.Sprintf(partitions, "lake.public", i))
		theirs, err2 := r.query(fmt.Sprintf(partitions, "own.parts", i))
		if err := errors.Join(err1, err2); err != nil || !slices.Equal(ours, theirs) || len(ours) < 2 {
			t.Errorf("%s: tarn's partitions are\n%s\nSpark's\n%s\n%v", by.tarn, strings.Join(ours, "\n"), strings.Join(theirs, "\n"), err)
		}
	}
	for i := range partitionBy {
		r.exec(fmt.Sprintf(`UPDATE p%d SET n = n + 1, s = s || 'x', ts = ts + interval '1 day', d = d + 1, tz = tz + interval '1 hour' WHERE id %% 3 = 0`, i), fmt.Sprintf(`DELETE FROM p%d WHERE id %% 10 = 1`, i))
	}
	r.publish()
	r.asSparkTransforms()
	r.mustBeEqual(slices.Collect(maps.Values(r.readers))...)
}

// asSparkTransforms compares the partition of every row's file with what Spark makes of the row.
func (r *rig) asSparkTransforms() {
	r.t.Helper()
	var selects []string
	for i, by := range partitionBy {
		if strings.Contains(by.spark, "bin") && !strings.HasPrefix(by.spark, "bucket") {
			continue // bytes that are no text, which the reader cannot take
		}
		var fields []string
		for _, f := range strings.SplitAfter(strings.ReplaceAll(by.spark, "), ", ")| "), "|") {
			if f = strings.Trim(f, "| "); strings.Contains(f, "(") {
				f = "lake.system." + f
			}
			fields = append(fields, f)
		}
		selects = append(selects, fmt.Sprintf("SELECT '%s', p, q, count(*) FROM (SELECT CAST(_partition AS STRING) p, CAST(struct(%s) AS STRING) q FROM lake.public.p%d) GROUP BY p, q", by.spark, strings.Join(fields, ", "), i))
	}
	rows, err := r.readers[lakecheck.Spark].Query(r.t.Context(), r.catalog, database, strings.Join(selects, " UNION ALL "))
	if err != nil {
		r.t.Fatal(err)
	}
	partitions := map[string]int{}
	for _, row := range rows {
		partitions[*row[0]]++
		if *row[1] != *row[2] {
			r.t.Errorf("%s: %s rows are in partition %s, Spark's functions say %s", *row[0], *row[3], *row[1], *row[2])
		}
	}
	for _, by := range partitionBy {
		if partitions[by.spark] < 2 && !strings.Contains(by.spark, "bin") {
			r.t.Errorf("%s: %d partitions", by.spark, partitions[by.spark])
		}
	}
}

// readsOnlyItsPartition takes all other data files out of the store: an engine that opens one of them fails.
func (r *rig) readsOnlyItsPartition() {
	r.t.Helper()
	const at, id = "2026-01-04 05:00:00", "77"
	files, err := r.query("SELECT file_path, CAST(partition AS STRING) FROM lake.public.pruned.files WHERE content = 0")
	if err != nil {
		r.t.Fatal(err)
	}
	kept, err := r.query("SELECT DISTINCT _file FROM lake.public.pruned WHERE id = " + id)
	if err != nil || len(kept) != 1 || len(files) < 40 {
		r.t.Fatalf("row %s is in %q of %d files: %v", id, kept, len(files), err)
	}
	store, err := objstore.Open(r.t.Context(), r.store, objstore.Options{S3: r.s3.Options("")})
	if err != nil {
		r.t.Fatal(err)
	}
	defer store.Close()
	for _, f := range files {
		path, _, _ := strings.Cut(f, "|")
		if path+"|" == kept[0] {
			continue
		}
		key, ok := store.Key(path)
		if !ok {
			r.t.Fatalf("%s is not in the store", path)
		}
		if err := store.Delete(r.t.Context(), key); err != nil {
			r.t.Fatal(err)
		}
	}
	source := lakecheck.Source{Catalog: r.catalog, Warehouse: database, Table: tableName("pruned")}
	where := []lakecheck.Term{{Column: "at", Op: ">=", Type: "timestamp", Value: at}, {Column: "at", Op: "<", Type: "timestamp", Value: "2026-01-04 06:00:00"}, {Column: "id", Op: "=", Type: "int", Value: id}}
	for _, name := range r.names() {
		if side, err := r.readers[name].Read(r.t.Context(), source, []string{"id", "v"}, where...); err != nil || side.Rows != 1 {
			r.t.Errorf("%s, asked for one row of one partition: %d rows, %v", name, side.Rows, err)
		}
		if _, err := r.readers[name].Read(r.t.Context(), source, []string{"id", "v"}); err == nil {
			r.t.Errorf("%s reads the whole table without its files", name)
		} else if errors.Is(err, r.t.Context().Err()) {
			r.t.Fatal(err)
		}
	}
}
