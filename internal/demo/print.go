package demo

import (
	"context"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/tarn-db/tarn/internal/connect"
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
	d.snippets()
}

// snippets shows how to attach each engine, as `tarn connect` prints it.
func (d *demo) snippets() {
	status, err := d.client().Status(context.Background())
	if err != nil {
		d.say("`tarn connect` prints how (%v)", err)
		return
	}
	target := connect.Target{
		CatalogURL: d.catalogURL(), Warehouse: database, Table: connect.Table{Namespace: "public", Name: "orders"},
		Store: status.Endpoints.StoreProperties, HTTP: d.tarn.HTTPAddr(), Source: status.Endpoints.Source,
	}
	for _, engine := range connect.Engines() {
		if snippet, err := connect.Snippet(engine, target); err == nil {
			d.say("\n%s\n%s", engine, indent(snippet))
		}
	}
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}

func short(checksum string) string {
	if len(checksum) > 12 {
		return checksum[:12]
	}
	return checksum
}
