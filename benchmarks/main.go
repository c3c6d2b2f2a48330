// Command benchmarks measures tarn against what it promises, on real servers and recorded WAL:
//
//	go run ./benchmarks redo        redo of pgbench's WAL, or TPC-C's with -workload tpcc, against a stock standby replaying the same files
//	go run ./benchmarks copy        a table in a base backup to published Parquet
//	go run ./benchmarks play        recorded inserts and updates, at full speed, to published Parquet
//	go run ./benchmarks freshness   commit to visible in PyIceberg, under pgbench at a fixed rate
//	go run ./benchmarks s3          commit to published, against an S3 server with latency, by the number of tables
//	go run ./benchmarks commits     the same over thousands of commits, with what the requests cost
//	go run ./benchmarks overhead    CPU and WAL of the primary for a transaction, with tarn attached and without
//	go run ./benchmarks soak        what must not grow while writers write at full speed, for -seconds
//	go run ./benchmarks tpch        TPC-H's queries by DuckDB after -seconds of changes, and on freshly written Parquet
//	go run ./benchmarks pages       WAL into layers with history, and pages of any LSN out of them
//	go run ./benchmarks engines     start to a first count(*) in each engine, with requests and bytes at the store
//	go run ./benchmarks memory      the most memory the server takes when it is given little
//	go run ./benchmarks fpw         WAL of a TPC-C transaction with full_page_writes on, compressed and off, and what the store takes
//	go run ./benchmarks report      writes results/*.json into README.md
//
// Each one records what it needs once, under -dir, measures, prints, and with -record keeps the result in results/.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
)

var benchmarks = map[string]func(context.Context, options) (any, error){
	"redo":      func(ctx context.Context, o options) (any, error) { return redoBench(ctx, o) },
	"copy":      func(ctx context.Context, o options) (any, error) { return copyBench(ctx, o) },
	"play":      func(ctx context.Context, o options) (any, error) { return playBench(ctx, o) },
	"memory":    func(ctx context.Context, o options) (any, error) { return memoryBench(ctx, o) },
	"s3":        func(ctx context.Context, o options) (any, error) { return s3Bench(ctx, o) },
	"commits":   func(ctx context.Context, o options) (any, error) { return commitsBench(ctx, o) },
	"overhead":  func(ctx context.Context, o options) (any, error) { return overheadBench(ctx, o) },
	"soak":      func(ctx context.Context, o options) (any, error) { return soakBench(ctx, o) },
	"tpch":      func(ctx context.Context, o options) (any, error) { return tpchBench(ctx, o) },
	"pages":     func(ctx context.Context, o options) (any, error) { return pagesBench(ctx, o) },
	"engines":   func(ctx context.Context, o options) (any, error) { return engineBench(ctx, o) },
	"fpw":       func(ctx context.Context, o options) (any, error) { return fpwBench(ctx, o) },
	"freshness": func(ctx context.Context, o options) (any, error) { return freshnessBench(ctx, o) },
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) == 0 {
		return fmt.Errorf("say which: %s or report", strings.Join(slices.Sorted(maps.Keys(benchmarks)), ", "))
	}
	name := args[0]
	if name == "report" {
		return writeReport("benchmarks")
	}
	bench := benchmarks[name]
	if bench == nil {
		return fmt.Errorf("there is no benchmark %q", name)
	}
	o, err := parse(name, args[1:])
	if err != nil {
		return err
	}
	if o.workload != "pgbench" && (name == "redo" || name == "freshness") {
		name += "-" + o.workload
	}
	r := newResult(ctx, name, args)
	if r.Figures, err = bench(ctx, o); err != nil {
		return err
	}
	return r.finish(o.record)
}

// startProfile begins the CPU profile of what is measured, of each turn anew; the function it returns ends it.
func (o options) startProfile() (stop func(), err error) {
	if o.profile == "" {
		return func() {}, nil
	}
	f, err := os.Create(o.profile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}
