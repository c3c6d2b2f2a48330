package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// tpchFigures are TPC-H's 22 queries by DuckDB on tables that were changed for a while, and on the same rows as fresh Parquet.
type tpchFigures struct {
	Scale    float64       `json:"scale_factor"`
	Seconds  int           `json:"seconds"` // of changes
	Rate     int           `json:"rate_tps"`
	Interval string        `json:"publish_interval"`
	Pubs     int64         `json:"publications"` // during the changes
	Rounds   int           `json:"rounds"`       // of each query on each side, of which the best counts
	Queries  []tpchQuery   `json:"queries"`
	Ratio    float64       `json:"ratio"`     // sums of the queries' times, lake / fresh
	RatioCPU float64       `json:"ratio_cpu"` // the same of CPU-seconds
	Worst    float64       `json:"worst_ratio"`
	Tables   []admin.Table `json:"tables"` // orders and lineitem as they were queried
}

type tpchQuery struct {
	Query    int     `json:"query"`
	Rows     int     `json:"rows"`
	Lake     float64 `json:"lake_s"`
	Fresh    float64 `json:"fresh_s"`
	LakeCPU  float64 `json:"lake_cpu_s"`
	FreshCPU float64 `json:"fresh_cpu_s"`
}

//go:embed tpch.py
var tpchScript []byte

// tpchTables are the specification's (1.4) with their keys; TPC-H's identifiers fit int.
var tpchTables = []string{
	"create table region (r_regionkey int primary key, r_name text, r_comment text)",
	"create table nation (n_nationkey int primary key, n_name text, n_regionkey int, n_comment text)",
	"create table supplier (s_suppkey int primary key, s_name text, s_address text, s_nationkey int, s_phone text, s_acctbal numeric(15,2), s_comment text)",
	"create table customer (c_custkey int primary key, c_name text, c_address text, c_nationkey int, c_phone text, c_acctbal numeric(15,2), c_mktsegment text, c_comment text)",
	"create table part (p_partkey int primary key, p_name text, p_mfgr text, p_brand text, p_type text, p_size int, p_container text, p_retailprice numeric(15,2), p_comment text)",
	"create table partsupp (ps_partkey int, ps_suppkey int, ps_availqty int, ps_supplycost numeric(15,2), ps_comment text, primary key (ps_partkey, ps_suppkey))",
	"create table orders (o_orderkey int primary key, o_custkey int, o_orderstatus text, o_totalprice numeric(15,2), o_orderdate date, o_orderpriority text, o_clerk text, o_shippriority int, o_comment text)",
	`create table lineitem (l_orderkey int, l_partkey int, l_suppkey int, l_linenumber int, l_quantity numeric(15,2), l_extendedprice numeric(15,2), l_discount numeric(15,2), l_tax numeric(15,2),
		l_returnflag text, l_linestatus text, l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct text, l_shipmode text, l_comment text, primary key (l_orderkey, l_linenumber))`,
}

// tpchChanges are pgbench's scripts: of four transactions two change an order and its lines, one adds an order and one takes one away, as the
// specification's refresh functions do (2.5). Of 32 order keys dbgen takes the first eight: a new order is a copy of another one, 8 keys on.
var tpchChanges = map[string]string{
	"update.sql@2": "update lineitem set l_quantity = 1 + l_quantity % 50, l_discount = (l_discount + 0.01) % 0.11 where l_orderkey = :o;\nupdate orders set o_totalprice = o_totalprice + 1 where o_orderkey = :o;\n",
	"insert.sql@1": `insert into orders select o_orderkey + 8, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority, o_clerk, o_shippriority, o_comment from orders where o_orderkey = :o on conflict do nothing;
insert into lineitem select l_orderkey + 8, l_partkey, l_suppkey, l_linenumber, l_quantity, l_extendedprice, l_discount, l_tax, l_returnflag, l_linestatus, l_shipdate, l_commitdate, l_receiptdate, l_shipinstruct, l_shipmode, l_comment from lineitem where l_orderkey = :o on conflict do nothing;
`,
	"delete.sql@1": "delete from lineitem where l_orderkey = :o;\ndelete from orders where o_orderkey = :o;\n",
}

// tpchBench loads, changes for a while, and asks.
func tpchBench(ctx context.Context, o options) (f *tpchFigures, err error) {
	dir := filepath.Join(o.dir, "tpch")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &tpchBencher{o: o, dir: dir, script: filepath.Join(dir, "tpch.py"), extension: filepath.Join(o.dir, "tpch-extension")}
	f = &tpchFigures{Scale: float64(o.scale) / 10, Seconds: o.seconds, Rate: o.rate, Interval: o.interval.String(), Rounds: o.turns}
	if err := b.prepare(ctx, f.Scale); err != nil {
		return nil, err
	}
	srv, err := pgtest.Start(ctx, pgtest.Options{Major: 15, Dir: filepath.Join(dir, "pg"), Settings: fpwSettings, Databases: []string{"app"}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, srv.Remove()) }()
	if err := b.load(ctx, srv); err != nil {
		return nil, err
	}
	binary, err := buildTarn(ctx, o)
	if err != nil {
		return nil, err
	}
	work := filepath.Join(dir, "tarn")
	t, err := startTarnOn(ctx, binary, work, "file://"+work+"/lake", srv, o.memory, fmt.Sprintf("publish: {interval: %s}\n", o.interval))
	if err != nil {
		return nil, err
	}
	defer t.stop()
	if err := published(ctx, srv, t); err != nil {
		return nil, err
	}
	say("changes for %d s", o.seconds)
	if err := b.change(ctx, srv); err != nil {
		return nil, err
	}
	if err := published(ctx, srv, t); err != nil {
		return nil, err
	}
	if err := f.look(ctx, t); err != nil {
		return nil, err
	}
	say("queries")
	return f, b.ask(ctx, t, f)
}

type tpchBencher struct {
	o                 options
	dir               string
	python            string
	script, extension string
}

// prepare gets DuckDB's extension, which must be of DuckDB's own version, and has it write the tables.
func (b *tpchBencher) prepare(ctx context.Context, scale float64) (err error) {
	if b.python, err = lakecheck.FindPython(ctx, lakecheck.DuckDB); err != nil {
		return err
	}
	if err := os.WriteFile(b.script, tpchScript, 0o644); err != nil {
		return err
	}
	version, err := command(ctx, b.python, "-c", "import duckdb; print(duckdb.__version__)")
	if err != nil {
		return err
	}
	if _, err := command(ctx, b.python, "-m", "pip", "install", "--quiet", "--upgrade", "--no-deps", "--target", b.extension, "duckdb-extension-tpch=="+strings.TrimSpace(version)); err != nil {
		return err
	}
	_, err = command(ctx, b.python, b.script, "make", b.extension, fmt.Sprint(scale), b.dir)
	return err
}

func (b *tpchBencher) load(ctx context.Context, srv *pgtest.Server) error {
	for _, create := range tpchTables {
		name := strings.Fields(create)[2]
		if err := srv.Exec(ctx, "app", create, fmt.Sprintf("copy %s from '%s' (format csv)", name, filepath.Join(b.dir, name+".csv"))); err != nil {
			return err
		}
	}
	return srv.Exec(ctx, "app", "vacuum analyze")
}

// change runs the changes at the rate asked for.
func (b *tpchBencher) change(ctx context.Context, srv *pgtest.Server) error {
	last, err := srv.QueryText(ctx, "app", "select max(o_orderkey)::text from orders")
	if err != nil {
		return err
	}
	args := []string{"-n", "-M", "prepared", "-c", "4", "-j", "1", "-T", fmt.Sprint(b.o.seconds), "-R", fmt.Sprint(b.o.rate)}
	for name, sql := range tpchChanges {
		file, _, _ := strings.Cut(name, "@")
		text := fmt.Sprintf("\\set o random(1, %s)\nbegin;\n%scommit;\n", last, sql)
		if err := os.WriteFile(filepath.Join(b.dir, file), []byte(text), 0o644); err != nil {
			return err
		}
		args = append(args, "-f", filepath.Join(b.dir, name))
	}
	return pgbench(ctx, srv, args...)
}

// look notes what the tables were like that are asked.
func (f *tpchFigures) look(ctx context.Context, t *tarn) error {
	status, err := t.client.Status(ctx)
	if err != nil {
		return err
	}
	publications, err := t.client.Publications(ctx)
	if err != nil {
		return err
	}
	f.Pubs = int64(len(publications))
	for _, table := range status.Tables {
		if table.Table == "orders" || table.Table == "lineitem" {
			f.Tables = append(f.Tables, table)
		}
	}
	return nil
}

func (b *tpchBencher) ask(ctx context.Context, t *tarn, f *tpchFigures) error {
	out, err := command(ctx, b.python, b.script, "ask", b.extension, t.catalog, b.dir, fmt.Sprint(f.Rounds))
	if err != nil {
		return t.failed(err)
	}
	if err := json.Unmarshal([]byte(out), &f.Queries); err != nil {
		return fmt.Errorf("DuckDB printed %q: %w", out, err)
	}
	if len(f.Queries) != 22 {
		return fmt.Errorf("DuckDB answered %d queries of 22", len(f.Queries))
	}
	var lake, fresh, lakeCPU, freshCPU float64
	for _, q := range f.Queries {
		lake, fresh, lakeCPU, freshCPU = lake+q.Lake, fresh+q.Fresh, lakeCPU+q.LakeCPU, freshCPU+q.FreshCPU
		f.Worst = max(f.Worst, round(q.Lake/q.Fresh, 2))
	}
	f.Ratio, f.RatioCPU = round(lake/fresh, 2), round(lakeCPU/freshCPU, 2)
	return nil
}

// row is the figures' line in the report.
func (f *tpchFigures) row(row func(what, measured, target string)) {
	row(fmt.Sprintf("TPC-H by DuckDB, scale %.1f, after %d s of changes: time on the lake / on fresh Parquet", f.Scale, f.Seconds),
		fmt.Sprintf("%.2f (CPU %.2f; worst query %.2f)", f.Ratio, f.RatioCPU, f.Worst), "<= 1.3")
}
