package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

// copyFigures are the initial copy of one table.
type copyFigures struct {
	Rows   int     `json:"rows"`
	Target float64 `json:"target_rows_per_s"`
	MiB    int64   `json:"memory_mib"`

	ImportWall float64 `json:"import_wall_s"` // base backup's files to page layers
	ImportCPU  float64 `json:"import_cpu_s"`
	CutWall    float64 `json:"cut_wall_s"` // page layers to published Parquet
	CutCPU     float64 `json:"cut_cpu_s"`

	RowsPerS    float64 `json:"rows_per_s"`        // of the cut: pages to published Parquet
	RowsPerCPU  float64 `json:"rows_per_cpu_s"`    // of the cut
	WholePerS   float64 `json:"whole_rows_per_s"`  // import and cut
	AttachWall  float64 `json:"attach_wall_s"`     // tarn serve against a running server: start to published
	AttachPerS  float64 `json:"attach_rows_per_s"` // with base backup, WAL and archive
	ParquetByte float64 `json:"parquet_bytes_per_row"`
	PeakMiB     int64   `json:"peak_rss_mib"`

	DuckCPU  float64 `json:"duckdb_cpu_s"` // DuckDB writing the same rows, from its memory
	DuckByte float64 `json:"duckdb_bytes_per_row"`
	Ratio    float64 `json:"cpu_ratio_to_duckdb"` // of the cut's CPU
}

// copyBench copies a table that is there when tarn attaches.
func copyBench(ctx context.Context, o options) (*copyFigures, error) {
	r, err := record(ctx, o.dir, copySpec(o.rows))
	if err != nil {
		return nil, err
	}
	var turns []copyFigures
	for range o.turns {
		f, err := copyOnce(ctx, o, r)
		if err != nil {
			return nil, err
		}
		if f.AttachWall, err = attachOnce(ctx, o, r); err != nil {
			return nil, err
		}
		say("%+v", f)
		turns = append(turns, f)
	}
	f := turns[0]
	for _, field := range []func(*copyFigures) *float64{
		func(f *copyFigures) *float64 { return &f.ImportWall }, func(f *copyFigures) *float64 { return &f.ImportCPU },
		func(f *copyFigures) *float64 { return &f.CutWall }, func(f *copyFigures) *float64 { return &f.CutCPU },
		func(f *copyFigures) *float64 { return &f.AttachWall },
		func(f *copyFigures) *float64 { return &f.DuckCPU },
	} {
		*field(&f) = median(turns, func(f copyFigures) float64 { return *field(&f) })
	}
	rows := float64(f.Rows)
	f.RowsPerS, f.RowsPerCPU = round(rows/f.CutWall, 0), round(rows/f.CutCPU, 0)
	f.WholePerS, f.AttachPerS = round(rows/(f.ImportWall+f.CutWall), 0), round(rows/f.AttachWall, 0)
	f.Ratio = round(f.CutCPU/f.DuckCPU, 2)
	return &f, nil
}

// rows are the figures' lines in the report.
func (f *copyFigures) rows(row func(what, measured, target string)) {
	row("initial copy, pages to published Parquet", fmt.Sprintf("%.0f rows/s", f.RowsPerS), fmt.Sprintf(">= %.0f rows/s", f.Target))
	if f.DuckCPU > 0 {
		row("CPU of that / of DuckDB writing the same rows from memory", fmt.Sprintf("%.2f", f.Ratio), "<= 1.67")
	}
	row("initial copy, backup files to published Parquet", fmt.Sprintf("%.0f rows/s", f.WholePerS), "")
	row("initial copy, `tarn serve` started to published", fmt.Sprintf("%.0f rows/s", f.AttachPerS), "")
}

func copyOnce(ctx context.Context, o options, r *recording) (f copyFigures, err error) {
	f = copyFigures{Rows: r.Rows, Target: 1_500_000, MiB: o.memory >> 20}
	resetPeak()
	cpu, began := selfCPU(), time.Now()
	p, err := openPipeline(ctx, filepath.Join(o.dir, "play"), o.memory, r)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	f.ImportWall, f.ImportCPU = seconds(time.Since(began)), seconds(selfCPU()-cpu)
	stop, err := o.startProfile()
	if err != nil {
		return f, err
	}
	defer stop()
	cpu, began = selfCPU(), time.Now()
	if _, err := p.cut(ctx); err != nil {
		return f, err
	}
	f.CutWall, f.CutCPU = seconds(time.Since(began)), seconds(selfCPU()-cpu)
	_, peak := residentBytes(os.Getpid())
	f.PeakMiB = peak >> 20
	if err := p.mustHave(r); err != nil {
		return f, err
	}
	lake := filepath.Join(p.dir, "store", "lake")
	bytes, err := folderBytes(lake)
	if err != nil {
		return f, err
	}
	f.ParquetByte = round(float64(bytes)/float64(r.Rows), 1)
	f.DuckCPU, f.DuckByte, err = duckCopy(ctx, lake, p.dir, r.Rows)
	return f, err
}

//go:embed duckcopy.py
var duckCopyScript string

// duckCopy has DuckDB read the lake's data files into memory and write them as one file of Parquet: the CPU-seconds of the
// writing alone, and its bytes a row.
func duckCopy(ctx context.Context, lake, dir string, rows int) (cpu, perRow float64, err error) {
	python, err := lakecheck.FindPython(ctx, lakecheck.DuckDB)
	if err != nil {
		return 0, 0, err
	}
	out, err := command(ctx, python, "-c", duckCopyScript, lake, filepath.Join(dir, "duckdb.parquet"))
	if err != nil {
		return 0, 0, err
	}
	var n, bytes int64
	if _, err := fmt.Sscan(out, &n, &cpu, &bytes); err != nil {
		return 0, 0, fmt.Errorf("DuckDB printed %q: %w", out, err)
	}
	if n != int64(rows) {
		return 0, 0, fmt.Errorf("DuckDB wrote %d rows of %d", n, rows)
	}
	return cpu, round(float64(bytes)/float64(n), 1), nil
}
