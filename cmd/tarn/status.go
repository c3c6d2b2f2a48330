package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/progress"
)

func statusCommand() *cobra.Command {
	var flags clientFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show positions, lag and the state of each table",
		Example: "  tarn status\n  tarn status --json --config tarn.yaml",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client()
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), s)
			}
			return printStatus(cmd.OutOrStdout(), &s)
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	return cmd
}

func tablesCommand() *cobra.Command {
	var flags clientFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tables",
		Short: "List what is in the lake, and why something is not",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client()
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"tables": s.Tables})
			}
			printTables(cmd.OutOrStdout(), s.Tables)
			return nil
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	return cmd
}

func printStatus(w io.Writer, s *admin.Status) error {
	paint := painter(w)
	state := string(s.State)
	switch s.State {
	case admin.StateStreaming:
		state = paint(text.FgGreen, state)
	case admin.StateAttaching, admin.StateCopying, admin.StateRewinding:
		state = paint(text.FgYellow, state)
	default:
		state = paint(text.FgRed, state)
	}
	fmt.Fprintf(w, "state      %s\n", state)
	if s.Error != "" {
		fmt.Fprintf(w, "error      %s\n", oneLine(strings.TrimPrefix(s.Code+": "+s.Error, ": ")))
	}
	if s.Source.SystemID != 0 {
		fmt.Fprintf(w, "source     PostgreSQL %s, system id %d, timeline %d\n", s.Source.Version, s.Source.SystemID, s.Source.Timeline)
	}
	if s.Source.FullPageWrites != nil {
		fmt.Fprintf(w, "           full_page_writes %s\n", fullPageWritesText(&s.Source))
	}
	fmt.Fprintf(w, "lag        %s, %s\n", progress.Format(s.LagBytes, progress.Bytes), time.Duration(s.LagMS)*time.Millisecond)
	fmt.Fprintf(w, "freshness  %s\n", freshness(s.Freshness))
	if s.History.LSN != 0 {
		from := s.History.LSN.String()
		if !s.History.Time.IsZero() {
			from += ", " + s.History.Time.Local().Format(time.DateTime)
		}
		if s.History.Leases > 0 {
			from += fmt.Sprintf("; LSNs leased: %d", s.History.Leases)
		}
		fmt.Fprintf(w, "history    from %s\n", from)
	}
	if s.Rewinds != 0 {
		fmt.Fprintf(w, "rewinds    %d\n", s.Rewinds)
	}
	fmt.Fprintf(w, "upkeep     %s\n", upkeep(&s.Upkeep))
	fmt.Fprintf(w, "memory     %s of %s\n", progress.Format(s.Memory.UsedBytes, progress.Bytes), progress.Format(s.Memory.LimitBytes, progress.Bytes))
	if c := s.Cache; c.LimitBytes != 0 {
		fmt.Fprintf(w, "cache      %s of %s, %d of %d blocks read from it\n", progress.Format(c.Bytes, progress.Bytes), progress.Format(c.LimitBytes, progress.Bytes), c.Hits, c.Hits+c.Misses)
	}
	fmt.Fprintln(w)

	t := newTable(w, "stage", "LSN", "behind the source")
	for _, l := range []struct {
		stage string
		lsn   pg.LSN
	}{
		{"source", s.SourceLSN}, {"receive", s.ReceiveLSN}, {"commit", s.CommitLSN}, {"archived", s.ArchivedLSN},
		{"redo", s.RedoLSN}, {"cut", s.CutLSN}, {"published", s.PublishedLSN},
	} {
		behind := ""
		if l.lsn != 0 && l.stage != "source" {
			behind = progress.Format(int64(max(s.SourceLSN, l.lsn)-l.lsn), progress.Bytes)
		}
		t.AppendRow(table.Row{l.stage, lsnText(l.lsn), behind})
	}
	t.Render()
	fmt.Fprintln(w)
	printTables(w, s.Tables)
	return nil
}

// fullPageWritesText is on or off, and since when.
func fullPageWritesText(s *admin.SourceInfo) string {
	text := "off"
	if *s.FullPageWrites {
		text = "on"
	}
	if s.FullPageWritesLSN != 0 {
		text += " since " + s.FullPageWritesLSN.String()
	}
	return text
}

func freshness(f admin.Freshness) string {
	if f.Samples == 0 {
		return "no commits in the last minutes"
	}
	ms := func(v float64) time.Duration {
		return time.Duration(v * float64(time.Millisecond)).Round(time.Millisecond)
	}
	return fmt.Sprintf("p50 %s, p99 %s (%d commits in the last minutes)", ms(f.P50), ms(f.P99), f.Samples)
}

// upkeep says what was done since the server began so that tables stay quick to read.
func upkeep(u *admin.Upkeep) string {
	n := func(v int64) string { return progress.Format(v, progress.Items) }
	text := fmt.Sprintf("%s files compacted in %s compactions, %s delete files merged, %s manifests rewritten, %s snapshots expired, %s objects removed, %s wait",
		n(u.CompactedFiles), n(u.Compactions), n(u.MergedDeleteFiles), n(u.RewrittenManifests), n(u.ExpiredSnapshots), n(u.RemovedObjects+u.RemovedOrphans), n(u.WaitingObjects))
	if u.SweepFailures > 0 {
		text += ", " + n(u.SweepFailures) + " rounds of removal failed"
	}
	return text
}

func lsnText(l pg.LSN) string {
	if l == 0 {
		return "-"
	}
	return l.String()
}

func printTables(w io.Writer, tables []admin.Table) {
	if len(tables) == 0 {
		fmt.Fprintln(w, "no tables yet")
		return
	}
	paint := painter(w)
	t := newTable(w, "table", "state", "rows", "data files", "small", "delete files", "snapshots", "manifests", "metadata", "LSN", "why")
	for _, r := range tables {
		state := string(r.State)
		if r.State == admin.TableError {
			state = paint(text.FgRed, state)
		}
		t.AppendRow(table.Row{r.Name, state, progress.Format(r.Rows, progress.Rows), r.DataFiles, r.SmallFiles, r.DeleteFiles, r.Snapshots, r.Manifests, progress.Format(r.MetadataBytes, progress.Bytes), lsnText(r.LSN), oneLine(r.Error)})
	}
	t.Render()
}

// newTable draws without frame: columns that a shell's tools can cut.
func newTable(w io.Writer, header ...string) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(trimRight{w})
	t.SetStyle(table.StyleDefault)
	style := t.Style()
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	row := make(table.Row, len(header))
	configs := make([]table.ColumnConfig, 0, len(header))
	for i, h := range header {
		row[i] = h
		switch h {
		case "rows", "data files", "small", "delete files", "snapshots", "manifests", "metadata", "behind the source":
			configs = append(configs, table.ColumnConfig{Name: h, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	t.AppendHeader(row)
	t.SetColumnConfigs(configs)
	return t
}

// trimRight drops the blanks a table pads its last column with.
type trimRight struct{ w io.Writer }

func (t trimRight) Write(p []byte) (int, error) {
	lines := strings.Split(string(p), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	_, err := io.WriteString(t.w, strings.Join(lines, "\n"))
	return len(p), err
}

// painter colours words on terminals that want it.
func painter(w io.Writer) func(text.Color, string) string {
	if !colors(w) {
		return func(_ text.Color, s string) string { return s }
	}
	return func(c text.Color, s string) string { return c.Sprint(s) }
}
