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
	Target     float64 `json:"target_rows_per_s"`
	Written    int64   `json:"rows_written"` // to data files: a row updated twice between two cuts is written once
	Cuts       int     `json:"cuts"`
	CutWall    float64 `json:"cut_wall_s"`
	CommitWall float64 `json:"catalog_wall_s"`
	LongestCut float64 `json:"longest_cut_s"`
	PeakMiB    int64   `json:"peak_rss_mib"`
	MiB        int64   `json:"memory_mib"`
}

// playBench plays inserts, COPY and updates.
func playBench(ctx context.Context, o options) ([]playFigures, error) {
	var out []playFigures
	for _, w := range []struct {
		name   string
		spec   spec
		target float64
	}{
		{"insert: statements of 1,000 rows", insertSpec(o.rows), 150_000},
		{"copy: transactions of 100,000 rows", copyInSpec(o.rows), 150_000},
		{"update: statements of 10,000 rows", updateSpec(o.rows), 100_000},
	} {
		if !strings.Contains(w.name, o.only) {
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
		f.Workload, f.Target = w.name, w.target
		f.Wall = median(turns, func(f playFigures) float64 { return f.Wall })
		f.CPU = median(turns, func(f playFigures) float64 { return f.CPU })
		f.RowsPerS, f.RowsPerCPU = round(float64(f.Rows)/f.Wall, 0), round(float64(f.Rows)/f.CPU, 0)
		out = append(out, f)
	}
	return out, nil
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
	before, err := p.rows("app.public.narrow")
	if err != nil {
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
	after, err := p.rows("app.public.narrow")
	if err != nil {
		return f, err
	}
	if before == 0 && after != int64(r.Rows) || before > 0 && after != before {
		return f, fmt.Errorf("the lake has %d rows after %d and a change of %d", after, before, r.Rows)
	}
	_, peak := residentBytes(os.Getpid())
	f.Rows, f.WALMiB = r.Rows, round(float64(r.End-r.Start)/(1<<20), 1)
	f.RowsPerS, f.RowsPerCPU = round(float64(f.Rows)/f.Wall, 0), round(float64(f.Rows)/f.CPU, 0)
	f.Cuts, f.CutWall, f.CommitWall, f.LongestCut = p.cuts, seconds(p.cutWork), seconds(p.commit), seconds(p.longest)
	f.Written, f.PeakMiB, f.MiB = p.rowsIn, peak>>20, o.memory>>20
	return f, nil
}

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
	} {
		*field(&f) = median(turns, func(f copyFigures) float64 { return *field(&f) })
	}
	rows := float64(f.Rows)
	f.RowsPerS, f.RowsPerCPU = round(rows/f.CutWall, 0), round(rows/f.CutCPU, 0)
	f.WholePerS, f.AttachPerS = round(rows/(f.ImportWall+f.CutWall), 0), round(rows/f.AttachWall, 0)
	return &f, nil
}

func copyOnce(ctx context.Context, o options, r *recording) (f copyFigures, err error) {
	f = copyFigures{Rows: r.Rows, Target: 500_000, MiB: o.memory >> 20}
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
	rows, err := p.rows("app.public.narrow")
	if err != nil {
		return f, err
	}
	if rows != int64(r.Rows) {
		return f, fmt.Errorf("the lake has %d rows of %d", rows, r.Rows)
	}
	_, peak := residentBytes(os.Getpid())
	f.PeakMiB = peak >> 20
	bytes, err := folderBytes(filepath.Join(p.dir, "store", "lake"))
	f.ParquetByte = round(float64(bytes)/float64(rows), 1)
	return f, err
}
