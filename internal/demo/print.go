package demo

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

// print shows the comparison, freshness and how to attach engines.
func (d *demo) print(report lakecheck.Report) {
	d.say("\nPostgres and the lake at LSN %s (every column of every row, as %s reads the lake)\n", d.lsn, d.reader.Name())
	t := table.NewWriter()
	t.SetOutputMirror(d.Out)
	style := table.StyleLight
	style.Options.DrawBorder, style.Options.SeparateColumns = false, false
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}, {Number: 4, Align: text.AlignRight}})
	t.AppendHeader(table.Row{"table", "rows", "Postgres", "rows", "lake", ""})
	for _, r := range report.Tables {
		side := lakecheck.Side{}
		if len(r.Lake) > 0 {
			side = r.Lake[0]
		}
		verdict := "equal"
		if !r.Equal() {
			verdict = "DIFFERENT"
		}
		t.AppendRow(table.Row{r.Table, r.Postgres.Rows, short(r.Postgres.Checksum), side.Rows, short(side.Checksum), verdict})
	}
	t.Render()
	if !report.Equal() {
		d.say("\n%s", report)
	}
	d.say("")
	if p50, p99, n := d.probe.percentiles(); n > 0 {
		d.say("freshness    commit to visible in %s: p50 %v, p99 %v (%d samples, the reader's own query time included)",
			d.reader.Name(), p50.Round(time.Millisecond), p99.Round(time.Millisecond), n)
	} else {
		d.say("freshness    not measured: no heartbeat became visible within the %v of the workload", d.Duration)
	}
	if d.Keep {
		d.say("\nAttach an engine:")
	} else {
		d.say("\nAttach an engine, to your own tarn or to this one while `tarn demo --keep` leaves it running:")
	}
	for _, engine := range Engines {
		d.say("\n%s\n%s", engine, Snippet(engine, d.catalogURL(), database))
	}
}

func short(checksum string) string {
	if len(checksum) > 12 {
		return checksum[:12]
	}
	return checksum
}

// Engines are those Snippet knows.
var Engines = []string{"duckdb", "pyiceberg", "spark", "trino"}

var snippets = map[string]string{
	"duckdb": `  INSTALL iceberg; LOAD iceberg;
  ATTACH '%[2]s' AS lake (TYPE iceberg, ENDPOINT '%[1]s', AUTHORIZATION_TYPE 'none');
  SELECT count(*) FROM lake.public.orders;`,
	"pyiceberg": `  from pyiceberg.catalog import load_catalog
  catalog = load_catalog("tarn", type="rest", uri="%[1]s", warehouse="%[2]s")
  print(catalog.load_table("public.orders").scan().to_arrow())`,
	"spark": `  spark-sql --packages org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0 \
    --conf spark.sql.extensions=org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions \
    --conf spark.sql.catalog.lake=org.apache.iceberg.spark.SparkCatalog --conf spark.sql.catalog.lake.type=rest \
    --conf spark.sql.catalog.lake.uri=%[1]s --conf spark.sql.catalog.lake.warehouse=%[2]s \
    -e 'SELECT count(*) FROM lake.public.orders'`,
	"trino": `  # etc/catalog/lake.properties
  connector.name=iceberg
  iceberg.catalog.type=rest
  iceberg.rest-catalog.uri=%[1]s
  iceberg.rest-catalog.warehouse=%[2]s
  fs.hadoop.enabled=true`,
}

// Snippet is what to paste to read a warehouse with an engine; empty for an engine it does not know.
func Snippet(engine, catalogURL, warehouse string) string {
	s, ok := snippets[engine]
	if !ok {
		return ""
	}
	return fmt.Sprintf(s, catalogURL, warehouse)
}
