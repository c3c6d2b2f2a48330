package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/pageserver"
)

// redoFigures compare tarn with a stock standby over the same files.
type redoFigures struct {
	Workload  string            `json:"workload"`
	WALMiB    float64           `json:"wal_mib"`
	Records   int64             `json:"records"`
	ByManager map[string]uint64 `json:"records_by_manager"`
	MiB       int64             `json:"memory_mib"` // of tarn's page store

	Standby []standbyRun `json:"standby"`
	Tarn    []tarnRun    `json:"tarn"`   // in one goroutine
	Shared  []tarnRun    `json:"shared"` // with pageserver.DefaultWorkers
	Readers []readerRun  `json:"readers"`

	// Ratio is the standby's startup process against all of tarn's process, medians; RatioAll counts the standby's other
	// processes and tarn's final flush too.
	Ratio    float64 `json:"ratio"`
	RatioAll float64 `json:"ratio_all"`
	Target   float64 `json:"target"`
	// Scaling is the time one goroutine takes against that of workers beside it; Reading is pg_waldump's CPU against the reader's.
	Scaling float64 `json:"scaling"`
	Reading float64 `json:"reading"`
}

// tarnRun is one redo of a recording by pageserver.Timeline. Times of the import before it are not part of it.
type tarnRun struct {
	CPU            float64 `json:"cpu_s"` // reader, checksums, redo, dirty sets, flushes that came due, garbage collection
	FlushCPU       float64 `json:"final_flush_cpu_s"`
	Wall           float64 `json:"wall_s"`
	RecordsPerCPU  float64 `json:"records_per_cpu_s"`
	BytesPerRecord float64 `json:"allocated_bytes_per_record"`
	PeakMiB        int64   `json:"peak_rss_mib"`
	PagesLoaded    uint64  `json:"pages_loaded"`
	Flushes        uint64  `json:"flushes"`
	Opaque         int     `json:"opaque_relations"` // whose redo is not built: their records cost tarn nothing

	records   int64
	byManager map[string]uint64
}

// pgbenchSpec records the TPC-B-like workload on tables made before.
func pgbenchSpec(o options) spec {
	return spec{
		Name: fmt.Sprintf("pgbench-%d-%d", o.scale, o.txs), Scale: o.scale,
		Pgbench: []string{"-n", "-c", "8", "-j", "2", "-M", "prepared", "-t", fmt.Sprint(o.txs / 8)},
	}
}

// workloadSpec is what the redo benchmark records.
func workloadSpec(o options) (spec, error) {
	switch o.workload {
	case "pgbench":
		return pgbenchSpec(o), nil
	case "tpcc":
		return tpccSpec(o)
	}
	return spec{}, fmt.Errorf("there is no workload %q: pgbench or tpcc", o.workload)
}

func redoBench(ctx context.Context, o options) (*redoFigures, error) {
	s, err := workloadSpec(o)
	if err != nil {
		return nil, err
	}
	r, err := record(ctx, o.dir, s)
	if err != nil {
		return nil, err
	}
	// As much as the standby's shared_buffers: neither side has to write pages back while it redoes.
	size, err := folderBytes(r.Base)
	if err != nil {
		return nil, err
	}
	o.memory = max(o.memory, 4*size+2<<30)
	f := &redoFigures{Workload: o.workload, WALMiB: round(float64(r.End-r.Start)/(1<<20), 1), MiB: o.memory >> 20, Target: 4}
	for turn := range o.turns {
		if err := f.turn(ctx, turn+1, o, r); err != nil {
			return nil, err
		}
	}
	f.ratios()
	return f, nil
}

// turn has each side redo, or read, the recording once.
func (f *redoFigures) turn(ctx context.Context, n int, o options, r *recording) error {
	if o.only != "tarn" {
		say("turn %d: standby", n)
		s, err := runStandby(ctx, o, r)
		if err != nil {
			return err
		}
		say("turn %d: %+v", n, s)
		f.Standby = append(f.Standby, s)
	}
	for _, side := range []struct {
		runs    *[]tarnRun
		workers int
	}{{&f.Tarn, 0}, {&f.Shared, pageserver.DefaultWorkers()}} {
		say("turn %d: tarn, %d workers", n, side.workers)
		t, err := runRedo(ctx, o, r, side.workers)
		if err != nil {
			return err
		}
		say("turn %d: %+v", n, t)
		*side.runs, f.Records, f.ByManager = append(*side.runs, t), t.records, t.byManager
	}
	run, err := runReaders(ctx, o, r)
	if err != nil {
		return err
	}
	say("turn %d: %+v", n, run)
	f.Readers = append(f.Readers, run)
	return nil
}

// ratios are of the medians.
func (f *redoFigures) ratios() {
	startup := median(f.Standby, func(s standbyRun) float64 { return s.StartupCPU })
	others := median(f.Standby, func(s standbyRun) float64 { return s.OthersCPU })
	tarn := median(f.Tarn, func(t tarnRun) float64 { return t.CPU })
	flush := median(f.Tarn, func(t tarnRun) float64 { return t.FlushCPU })
	f.Ratio, f.RatioAll = round(startup/tarn, 2), round((startup+others)/(tarn+flush), 2)
	wall := func(t tarnRun) float64 { return t.Wall }
	f.Scaling = round(median(f.Tarn, wall)/median(f.Shared, wall), 2)
	f.Reading = round(median(f.Readers, func(r readerRun) float64 { return r.WaldumpCPU })/median(f.Readers, func(r readerRun) float64 { return r.CPU }), 2)
}

// runRedo takes the base of a recording over and then redoes its WAL. Base, WAL and store lie on tmpfs, as the standby's do.
func runRedo(ctx context.Context, o options, r *recording, workers int) (run tarnRun, err error) {
	dir := filepath.Join(o.fast, "tarn")
	if err := copyRecording(ctx, r, dir); err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := objstore.OpenDir(filepath.Join(dir, "store"))
	if err != nil {
		return run, err
	}
	t, err := importBase(ctx, filepath.Join(dir, "data"), pageserver.Options{Store: store, MemoryBytes: o.memory, Workers: workers})
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	resetPeak()
	stop, err := o.startProfile()
	if err != nil {
		return run, err
	}
	defer func() { stop() }()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, began := selfCPU(), time.Now()
	src, reader, err := openWAL(filepath.Join(dir, "data", "pg_wal"), r)
	if err != nil {
		return run, err
	}
	defer src.Close()
	for {
		recs, err := reader.NextBatch(pageserver.BatchRecords)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return run, err
		}
		n, err := t.ApplyBatch(ctx, recs)
		if err != nil {
			return run, err
		}
		run.records += int64(n)
	}
	if err := t.Barrier(); err != nil {
		return run, err
	}
	used := selfCPU() - cpu
	run.CPU, run.Wall = seconds(used), seconds(time.Since(began))
	stop()
	stop = func() {}
	runtime.ReadMemStats(&after)
	if t.RedoLSN() < r.End {
		return run, fmt.Errorf("redo stopped at %s, before %s", t.RedoLSN(), r.End)
	}
	cpu = selfCPU()
	if err := t.StartFlush(ctx)(); err != nil {
		return run, err
	}
	run.FlushCPU = seconds(selfCPU() - cpu)
	_, peak := residentBytes(os.Getpid())
	s := t.Stats()
	run.PeakMiB, run.PagesLoaded, run.Flushes, run.Opaque = peak>>20, s.PagesLoaded, s.Flushes, s.Opaque
	run.byManager = s.Records
	run.RecordsPerCPU = round(float64(run.records)/used.Seconds(), 0)
	run.BytesPerRecord = round(float64(after.TotalAlloc-before.TotalAlloc)/float64(run.records), 1)
	return run, nil
}

// openWAL reads a recording's WAL to its end, checksums and all.
func openWAL(dir string, r *recording) (*waldir.Source, *wal.Reader, error) {
	src, err := waldir.Open(dir, waldir.Options{})
	if err != nil {
		return nil, nil, err
	}
	reader, err := wal.NewReader(wal.Options{Source: src, Start: r.Start, EndAtInvalid: true})
	if err != nil {
		return nil, nil, errors.Join(err, src.Close())
	}
	return src, reader, nil
}

// importBase makes a timeline of a stopped server's data directory.
func importBase(ctx context.Context, dataDir string, o pageserver.Options) (*pageserver.Timeline, error) {
	im, err := pageserver.NewImport(ctx, o, pageserver.ImportInfo{})
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(dataDir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dataDir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return im.File(ctx, 0, filepath.ToSlash(rel), info.Size(), f)
	})
	if err != nil {
		im.Abort()
		return nil, err
	}
	return im.Finish(ctx, 0, 0)
}
