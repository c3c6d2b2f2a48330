package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The report stands between these lines of README.md.
const (
	reportBegin = "<!-- report -->"
	reportEnd   = "<!-- end of report -->"
)

// writeReport puts what is in results/ into README.md.
func writeReport(dir string) error {
	path := filepath.Join(dir, "README.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), reportBegin)
	_, tail, ok2 := strings.Cut(rest, reportEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the report", path)
	}
	var b strings.Builder
	b.WriteString("\n| what | measured | target | commit | load before | command |\n|---|---|---|---|---|---|\n")
	for _, name := range []string{"redo", "redo-tpcc", "copy", "play", "freshness", "freshness-mixed", "memory", "s3", "commits", "tpch", "overhead", "soak", "pages", "engines", "fpw"} {
		rows, err := reportRows(filepath.Join(dir, "results", name+".json"))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		b.WriteString(rows)
	}
	return os.WriteFile(path, []byte(head+reportBegin+"\n"+b.String()+"\n"+reportEnd+tail), 0o644)
}

func reportRows(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var raw json.RawMessage
	r := result{Figures: &raw}
	if err := json.Unmarshal(text, &r); err != nil {
		return "", err
	}
	var b strings.Builder
	row := func(what, measured, target string) {
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` | %s | `%s` |\n", what, measured, target, r.Commit, r.LoadStart, r.Command)
	}
	switch r.Benchmark {
	case "redo", "redo-tpcc":
		var f redoFigures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		whose := "pgbench's"
		if f.Workload == "tpcc" {
			whose = "TPC-C's"
		}
		row("redo of "+whose+" WAL: CPU of a stock standby / tarn's", fmt.Sprintf("%.2f (all processes and the flush: %.2f)", f.Ratio, f.RatioAll), ">= 4")
		row("redo of "+whose+" WAL: time of one goroutine / with workers beside it", fmt.Sprintf("%.2f", f.Scaling), ">= 1.4")
		row("reading "+whose+" WAL: CPU of pg_waldump --quiet / tarn's reader", fmt.Sprintf("%.2f", f.Reading), ">= 1")
	case "copy":
		var f copyFigures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		f.rows(row)
	case "play":
		var fs []playFigures
		if err := json.Unmarshal(raw, &fs); err != nil {
			return "", err
		}
		for _, f := range fs {
			f.row(row)
		}
	case "s3":
		var f s3Figures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		for _, c := range f.Cases {
			target := ""
			if c.LatencyMS == 0 {
				target = fmt.Sprintf("<= %d ms", 20+8*c.Tables)
			}
			row(fmt.Sprintf("commit to published on S3, %d ms a request, %d tables changed", c.LatencyMS, c.Tables),
				fmt.Sprintf("p50 %.0f ms, p99 %.0f ms; %.1f requests, %.1f KiB a publication", c.P50, c.P99, c.Requests, c.KiBSent), target)
		}
	case "commits":
		var f commitsFigures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		f.rows(row)
	case "overhead":
		var f overheadFigures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		f.rows(row)
	case "soak":
		var f soakFigures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		f.rows(row)
	case "tpch":
		var f tpchFigures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		f.row(row)
	case "pages":
		var f pagesFigures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		row("pgbench's WAL into layers, with history", fmt.Sprintf("%.0f MB/s, %.1f CPU-s; %.0f MiB of delta layers, %.0f of image layers; peak %d MiB", f.History.MBPerS, f.History.CPU, f.History.DeltaMiB, f.History.LayerMiB, f.History.PeakMiB), ">= 150 MB/s")
		row("pgbench's WAL into layers, without", fmt.Sprintf("%.0f MB/s, %.1f CPU-s", f.Plain.MBPerS, f.Plain.CPU), "")
		row("any page at any LSN, warm, in process", fmt.Sprintf("p50 %.1f us, p99 %.1f us", f.Random.P50, f.Random.P99), "p50 <= 60 us, p99 <= 500 us")
		row("hot pages at any LSN", fmt.Sprintf("p50 %.1f us, p99 %.1f us", f.Hot.P50, f.Hot.P99), "")
		row("hot pages at any LSN, beside redo at half of its speed", fmt.Sprintf("p50 %.1f us, p99 %.1f us", f.Busy.P50, f.Busy.P99), "p50 <= 60 us, p99 <= 500 us")
		row("hot pages at any LSN, without images between flushes", fmt.Sprintf("p50 %.1f us, p99 %.1f us: %.1f times", f.Plainer.P50, f.Plainer.P99, f.Pushed), "p99 >= 3 times")
		row("a relation at an LSN from end to end, warm", fmt.Sprintf("%.0f MB/s", f.Scan), ">= 500 MB/s")
	case "engines":
		var f engineFigures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		for _, c := range f.Engines {
			row(fmt.Sprintf("%s, started to the first count of %d rows", c.Engine, f.Rows),
				fmt.Sprintf("%.1f s + %.1f s, %d requests; then %.2f s, %d requests, %.0f KiB", c.Start, c.First.Seconds, c.First.Requests, c.Warm.Seconds, c.Warm.Requests, c.Warm.KiB), "")
		}
	case "fpw":
		var f fpwFigures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		f.rows(row)
	case "memory":
		var f memoryFigures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		row(fmt.Sprintf("memory of `tarn serve`, %d rows copied, inserted, updated and deleted in one transaction each", f.Rows),
			fmt.Sprintf("peak %d MiB", f.Peak), fmt.Sprintf("<= %d MiB (`memory:`)", f.Memory))
	case "freshness", "freshness-mixed":
		var f freshnessFigures
		if err := json.Unmarshal(raw, &f); err != nil {
			return "", err
		}
		f.rows(row)
	}
	return b.String(), nil
}
