package engines

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// exportSetup makes a table with values of most kinds and NULLs; changeOrders gives it several data and delete files.
var exportSetup = []string{
	`CREATE TABLE orders (id int PRIMARY KEY, day date, note text, amount numeric(12,2), at timestamptz, tags text[], ok bool)`,
	`INSERT INTO orders SELECT i, date '2024-01-01' + i % 90, CASE WHEN i % 7 > 0 THEN 'note ' || i END, i / 3.0,
		'2024-01-01 00:00:00+00'::timestamptz + i * interval '1 minute', ARRAY['a', NULL, i::text], i % 2 = 0 FROM generate_series(1, 3000) i`,
}

func changeOrders(r *rig) {
	for _, sql := range []string{
		`DELETE FROM orders WHERE id % 10 = 0`, `UPDATE orders SET note = 'changed' WHERE id % 11 = 0`,
		`INSERT INTO orders SELECT i, date '2024-06-01', 'later', 1, now(), NULL, NULL FROM generate_series(5001, 5200) i`, `DELETE FROM orders WHERE id % 13 = 0`,
	} {
		r.exec(sql)
		r.publish()
	}
}

// TestExport: what `tarn export` makes is Spark's own. Its procedures rewrite, repartition and expire it, by path in a folder and
// registered in another catalog on S3; the synced table does not notice, and goes on.
func TestExport(t *testing.T) {
	t.Run("folder", func(t *testing.T) {
		r := newRigOn(t, 18, "file://"+t.TempDir(), "", exportSetup...)
		changeOrders(r)
		e := r.export("app.public.orders", "--to", "file://"+filepath.Join(r.dir, "warehouse", "db", "orders"))
		if e.report.StreamedBytes != 0 || e.report.DeleteFiles < 2 || e.report.DataFiles < 3 {
			t.Errorf("exported %+v", e.report)
		}
		scan := fmt.Sprintf("SELECT count(*) FROM iceberg_scan('%s')", strings.TrimPrefix(e.report.Location, "file://"))
		if got, err := r.readers[lakecheck.DuckDB].Query(t.Context(), r.catalog, database, scan); err != nil || *got[0][0] != strconv.Itoa(e.report.Rows) {
			t.Errorf("DuckDB counts %v rows, tarn %d: %v", got, e.report.Rows, err)
		}
		// A Hadoop catalog finds it by its folder.
		r.spark("SET `spark.sql.catalog.own`=org.apache.iceberg.spark.SparkCatalog", "SET `spark.sql.catalog.own.type`=hadoop",
			"SET `spark.sql.catalog.own.warehouse`=file://"+filepath.Join(r.dir, "warehouse"), "SET `spark.sql.catalog.own.cache-enabled`=false")
		e.takenOver("own")
		r.removeOrphans(e)
		r.lakeIsWhole()
	})
	t.Run("S3", func(t *testing.T) {
		r := newRig(t, 18, exportSetup...)
		changeOrders(r)
		e := r.export("app.public.orders") // beside the lake, in the store
		if e.report.StreamedBytes != 0 {
			t.Errorf("%d bytes went through tarn", e.report.StreamedBytes)
		}
		r.jdbcCatalog("reg")
		r.spark("CREATE NAMESPACE reg.db", "CALL reg.system.register_table(table => 'db.orders', metadata_file => '"+e.report.Metadata+"')")
		e.takenOver("reg")
		r.lakeIsWhole()
	})
}

// jdbcDriver is PostgreSQL's, which Trino brings along; empty where it is not found.
func jdbcDriver() string {
	found, err := filepath.Glob("../../.cache/trino/plugin/iceberg/postgresql-*.jar")
	if err != nil || len(found) == 0 {
		return ""
	}
	path, err := filepath.Abs(found[0])
	if err != nil {
		return ""
	}
	return path
}

// jdbcCatalog gives Spark a catalog of Iceberg's own, which keeps its pointers in a database of the rig's Postgres.
func (r *rig) jdbcCatalog(name string) {
	r.t.Helper()
	if jdbcDriver() == "" {
		pgtest.Missing(r.t, "no JDBC driver of PostgreSQL beside Trino: run internal/tools/install-engines")
	}
	at, err := pgx.ParseConfig(r.pg.ConnString("postgres"))
	if err != nil {
		r.t.Fatal(err)
	}
	set := "SET `spark.sql.catalog." + name
	r.spark(set+"`=org.apache.iceberg.spark.SparkCatalog", set+".catalog-impl`=org.apache.iceberg.jdbc.JdbcCatalog",
		fmt.Sprintf("%s.uri`=jdbc:postgresql://%s:%d/postgres", set, at.Host, at.Port), set+".jdbc.user`="+at.User, set+".jdbc.schema-version`=V1",
		set+".warehouse`=s3://"+bucket+"/"+name, set+".io-impl`=org.apache.iceberg.aws.s3.S3FileIO", set+".s3.endpoint`="+r.s3.URL,
		set+".s3.path-style-access`=true", set+".cache-enabled`=false")
}

// exported is a table that `tarn export` made.
type exported struct {
	*rig
	report struct {
		Location, Metadata string
		Rows               int
		DataFiles          int   `json:"data_files"`
		DeleteFiles        int   `json:"delete_files"`
		StreamedBytes      int64 `json:"streamed_bytes"`
	}
	table string   // as Spark names it
	want  []string // rows
}

func (r *rig) export(table string, args ...string) *exported {
	r.t.Helper()
	e := &exported{rig: r}
	out, err := r.tarn(append([]string{"export", table, "--json"}, args...)...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &e.report)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// takenOver has Spark do to the export what its owner may do.
func (e *exported) takenOver(catalog string) {
	e.t.Helper()
	e.table, e.want = catalog+".db.orders", e.rows("lake.public.orders")
	e.same("the export")
	call := func(procedure, args string) {
		e.t.Helper()
		e.spark("CALL " + catalog + ".system." + procedure + "(table => 'db.orders'" + args + ")")
		e.same(procedure)
	}
	call("rewrite_manifests", "")
	call("rewrite_data_files", ", options => map('rewrite-all', 'true')")
	if n := e.one("SELECT count(*) FROM " + e.table + ".delete_files"); n != "0" {
		call("rewrite_position_delete_files", ", options => map('rewrite-all', 'true')")
	}
	e.spark("ALTER TABLE "+e.table+" ADD PARTITION FIELD bucket(4, id)", "ALTER TABLE "+e.table+" ADD COLUMN extra string",
		"ALTER TABLE "+e.table+" DROP COLUMN extra", "INSERT INTO "+e.table+" SELECT id + 100000, day, note, amount, at, tags, ok FROM lake.public.orders WHERE id < 100")
	e.want = append(e.want, e.rows("(SELECT id + 100000, day, note, amount, at, tags, ok FROM lake.public.orders WHERE id < 100)")...)
	slices.Sort(e.want)
	e.same("INSERT under another partition spec")
	e.spark("DELETE FROM " + e.table + " WHERE id % 3 = 0")
	e.want = slices.DeleteFunc(e.want, func(row string) bool {
		var id int
		_, err := fmt.Sscanf(row, "%d|", &id)
		return err == nil && id%3 == 0
	})
	e.same("DELETE")
	call("rewrite_data_files", ", options => map('rewrite-all', 'true')")
	call("expire_snapshots", ", older_than => TIMESTAMP '2999-01-01 00:00:00', retain_last => 1")
	if n := e.one("SELECT count(*) FROM " + e.table + ".snapshots"); n != "1" {
		e.t.Errorf("%s snapshots are left", n)
	}
	for _, file := range e.files() { // of the files copied none is referred to, and expiry has deleted them
		if e.copied(path.Base(file)) {
			e.t.Errorf("%s is left after everything was rewritten and expired", file)
		}
	}
}

// removeOrphans has Spark remove one file that nobody names, from among files that are all old enough.
func (r *rig) removeOrphans(e *exported) {
	r.t.Helper()
	folder := strings.TrimPrefix(e.report.Location, "file://")
	orphan := filepath.Join(folder, "data", "orphan.parquet")
	if err := os.WriteFile(orphan, []byte("nobody's"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	old := time.Now().Add(-48 * time.Hour)
	err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			err = os.Chtimes(name, old, old)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	yesterday := time.Now().UTC().Add(-25 * time.Hour).Format(time.DateTime)
	r.spark("CALL own.system.remove_orphan_files(table => 'db.orders', older_than => TIMESTAMP '" + yesterday + "')")
	e.same("remove_orphan_files")
	if _, err := os.Stat(orphan); !errors.Is(err, fs.ErrNotExist) {
		r.t.Errorf("the orphan was not removed: %v", err)
	}
}

// copied says whether a file has tarn's name.
func (e *exported) copied(base string) bool {
	lsn, _, ok := strings.Cut(base, "-")
	return ok && len(lsn) == 16 && strings.ToUpper(lsn) == lsn && strings.HasSuffix(base, ".parquet")
}

// files are the data files below the export's location.
func (e *exported) files() (files []string) {
	e.t.Helper()
	store, err := objstore.Open(e.t.Context(), e.report.Location, objstore.Options{S3: e.s3.Options("")})
	if err != nil {
		e.t.Fatal(err)
	}
	defer store.Close()
	if err := store.List(e.t.Context(), "data/", func(o objstore.ObjectInfo) error { files = append(files, o.Key); return nil }); err != nil {
		e.t.Fatal(err)
	}
	return files
}

func (e *exported) same(after string) {
	e.t.Helper()
	if got := e.rows(e.table); !slices.Equal(got, e.want) {
		e.t.Fatalf("after %s: %d rows, want %d", after, len(got), len(e.want))
	}
}

// lakeIsWhole checks that the synced table is as in Postgres, also after more changes, and that scrub has nothing to say.
func (r *rig) lakeIsWhole() {
	r.t.Helper()
	for range 2 {
		r.mustBeEqual(r.readers[lakecheck.Spark], r.readers[lakecheck.PyIceberg])
		r.exec(`UPDATE orders SET note = 'after the export' WHERE id % 5 = 0`, `DELETE FROM orders WHERE id % 17 = 0`)
		r.publish()
	}
	out, err := r.tarn("scrub", "--deep", "--json")
	if err != nil || !strings.Contains(out, `"orphans": 0`) {
		r.t.Errorf("scrub: %v: %s", err, out)
	}
}

// tarn runs a verb.
func (r *rig) tarn(args ...string) (stdout string, err error) {
	bin := os.Getenv("TARN_BIN")
	if bin == "" {
		bin = filepath.Join(r.dir, "tarn")
	}
	cmd := exec.CommandContext(r.t.Context(), bin, append(args, "--config", filepath.Join(r.dir, "tarn.yaml"))...)
	cmd.Env = append(os.Environ(), r.s3.Environ("")...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("tarn %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(b), err
}

// query runs a statement in Spark, which knows the tables of the lake as lake.namespace.table, and returns its rows in order.
func (r *rig) query(sql string) ([]string, error) {
	rows, err := r.readers[lakecheck.Spark].Query(r.t.Context(), r.catalog, database, sql)
	lines := make([]string, len(rows))
	for i, row := range rows {
		for _, v := range row {
			if v == nil {
				lines[i] += "NULL|"
			} else {
				lines[i] += *v + "|"
			}
		}
	}
	slices.Sort(lines)
	return lines, err
}

func (r *rig) spark(statements ...string) {
	r.t.Helper()
	for _, sql := range statements {
		if _, err := r.query(sql); err != nil {
			r.t.Fatalf("%s: %v", sql, err)
		}
	}
}

func (r *rig) rows(table string) []string {
	r.t.Helper()
	rows, err := r.query("SELECT * FROM " + table)
	if err != nil {
		r.t.Fatal(err)
	}
	return rows
}

func (r *rig) one(sql string) string {
	r.t.Helper()
	rows, err := r.query(sql)
	if err != nil || len(rows) != 1 {
		r.t.Fatalf("%s: %q, %v", sql, rows, err)
	}
	return strings.TrimSuffix(rows[0], "|")
}

// TestForeignMaintenance: Spark may not change a synced table, and says why; nor does it delete files of one.
func TestForeignMaintenance(t *testing.T) {
	r := newRig(t, 18, exportSetup...)
	changeOrders(r)
	for sql, reason := range map[string]string{
		"CALL lake.system.rewrite_data_files(table => 'public.orders', options => map('rewrite-all', 'true'))":            "make the change in PostgreSQL",
		"CALL lake.system.rewrite_position_delete_files(table => 'public.orders', options => map('rewrite-all', 'true'))": "make the change in PostgreSQL",
		"ALTER TABLE lake.public.orders SET TBLPROPERTIES ('gc.enabled' = 'true')":                                        "make the change in PostgreSQL",
		"ALTER TABLE lake.public.orders ADD PARTITION FIELD bucket(4, id)":                                                "make the change in PostgreSQL",
		// The engine itself reads gc.enabled=false, and asks nobody.
		"CALL lake.system.expire_snapshots(table => 'public.orders', older_than => TIMESTAMP '2999-01-01 00:00:00', retain_last => 1)": "GC is disabled",
		"CALL lake.system.remove_orphan_files(table => 'public.orders', older_than => TIMESTAMP '2999-01-01 00:00:00')":                "GC is disabled",
	} {
		if _, err := r.query(sql); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: not refused with %q: %v", sql, reason, err)
		}
	}
	r.lakeIsWhole()
}
