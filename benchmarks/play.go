package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// playFigures are one recording played through the pipeline. Wall, CPU and what follows from them are medians of the turns,
// the rest is of the first.
type playFigures struct {
	Workload   string  `json:"workload"`
	Rows       int     `json:"rows"`
	WALMiB     float64 `json:"wal_mib"`
	Wall       float64 `json:"wall_s"` // first record to the last publication
	CPU        float64 `json:"cpu_s"`
	RowsPerS   float64 `json:"rows_per_s"`
	RowsPerCPU float64 `json:"rows_per_cpu_s"`
	Target     float64 `json:"target_rows_per_s,omitempty"`
	MBPerS     float64 `json:"values_mb_per_s,omitempty"` // bytes of documents, in millions
	TargetMB   float64 `json:"target_mb_per_s,omitempty"`
	Written    int64   `json:"rows_written"` // to data files: a row updated twice between two cuts is written once
	Cuts       int     `json:"cuts"`
	CutWall    float64 `json:"cut_wall_s"`
	CommitWall float64 `json:"catalog_wall_s"`
	LongestCut float64 `json:"longest_cut_s"`
	PeakMiB    int64   `json:"peak_rss_mib"`
	MiB        int64   `json:"memory_mib"`
}

// workloads of play, each with what is asked of it: rows a second, or MB of documents.
func workloads(rows int) []workload {
	return []workload{
		{name: "insert: statements of 1,000 rows", spec: insertSpec(rows), rowsPerS: 400_000},
		{name: "copy: transactions of 100,000 rows", spec: copyInSpec(rows), rowsPerS: 400_000},
		{name: "update: statements of 10,000 rows", spec: updateSpec(rows), rowsPerS: 250_000},
		{name: "single: transactions of one row, by turns new and changed", spec: singleSpec(rows), rowsPerS: 80_000},
		{name: "toast: rows of 16 KiB, statements of 100, by turns new and changed", spec: toastSpec(rows), mbPerS: 150},
	}
}

type workload struct {
	name     string
	spec     spec
	rowsPerS float64
	mbPerS   float64
}

// playBench plays each workload.
func playBench(ctx context.Context, o options) ([]playFigures, error) {
	var out []playFigures
	for _, w := range workloads(o.rows) {
		if !strings.HasPrefix(w.name, o.only) {
			continue
		}
		r, err := record(ctx, o.dir, w.spec)
		if err != nil {
			return nil, err
		}
		var turns []playFigures
		for range o.turns {
			f, err := playOnce(ctx, o, r)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			say("%s: %+v", w.name, f)
			turns = append(turns, f)
		}
		f := turns[0]
		f.Workload, f.Target, f.TargetMB = w.name, w.rowsPerS, w.mbPerS
		f.Wall = median(turns, func(f playFigures) float64 { return f.Wall })
		f.CPU = median(turns, func(f playFigures) float64 { return f.CPU })
		f.RowsPerS, f.RowsPerCPU = round(float64(f.Rows)/f.Wall, 0), round(float64(f.Rows)/f.CPU, 0)
		if w.mbPerS > 0 {
			f.MBPerS = round(f.RowsPerS*documentBytes/1e6, 1)
		}
		out = append(out, f)
	}
	return out, nil
}

// row is the workload's line in the report.
func (f *playFigures) row(row func(what, measured, target string)) {
	measured, target := fmt.Sprintf("%.0f rows/s", f.RowsPerS), fmt.Sprintf(">= %.0f rows/s", f.Target)
	if f.TargetMB > 0 {
		measured, target = fmt.Sprintf("%.0f MB/s", f.MBPerS), fmt.Sprintf(">= %.0f MB/s", f.TargetMB)
	}
	row("played: "+f.Workload, measured, target)
}

func playOnce(ctx context.Context, o options, r *recording) (f playFigures, err error) {
	p, err := openPipeline(ctx, filepath.Join(o.dir, "play"), o.memory, r)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if _, err := p.cut(ctx); err != nil { // what was there before
		return f, err
	}
	p.cuts, p.cutWork, p.commit, p.longest, p.rowsIn = 0, 0, 0, 0, 0
	resetPeak()
	stop, err := o.startProfile()
	if err != nil {
		return f, err
	}
	defer stop()
	cpu, began := selfCPU(), time.Now()
	if _, err := p.play(ctx, r, time.Second); err != nil {
		return f, err
	}
	f.Wall, f.CPU = seconds(time.Since(began)), seconds(selfCPU()-cpu)
	if err := p.mustHave(r); err != nil {
		return f, err
	}
	_, peak := residentBytes(os.Getpid())
	f.Rows, f.WALMiB = r.Rows, round(float64(r.End-r.Start)/(1<<20), 1)
	f.RowsPerS, f.RowsPerCPU = round(float64(f.Rows)/f.Wall, 0), round(float64(f.Rows)/f.CPU, 0)
	f.Cuts, f.CutWall, f.CommitWall, f.LongestCut = p.cuts, seconds(p.cutWork), seconds(p.commit), seconds(p.longest)
	f.Written, f.PeakMiB, f.MiB = p.rowsIn, peak>>20, o.memory>>20
	return f, nil
}
