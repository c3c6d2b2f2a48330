// Command benchmarks measures tarn against what it promises, on real servers and recorded WAL:
//
//	go run ./benchmarks redo        redo of pgbench's WAL, or TPC-C's with -workload tpcc, against a stock standby replaying the same files
//	go run ./benchmarks copy        a table in a base backup to published Parquet
//	go run ./benchmarks play        recorded inserts and updates, at full speed, to published Parquet
//	go run ./benchmarks freshness   commit to visible in PyIceberg, under pgbench at a fixed rate
//	go run ./benchmarks s3          commit to published, against an S3 server with latency, by the number of tables
//	go run ./benchmarks commits     the same over thousands of commits, with what the requests cost
//	go run ./benchmarks overhead    CPU and WAL of the primary for a transaction, with tarn attached and without
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
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags of every benchmark.
type options struct {
	dir     string // recordings; kept from one run to the next
	fast    string // a folder on tmpfs, for the standby and for what it is compared with
	turns   int
	scale   int // of pgbench; warehouses of TPC-C
	txs     int // recorded transactions
	rows    int // of the narrow table
	memory  int64
	seconds int
	rate    int
	record  bool
	profile string
	only    string

	workload string // of redo, of freshness
	interval time.Duration
	tables   int // that change: of commits, of freshness
	commits  int
	pairs    int
}

// tarnMemory is what tarn's page store gets, as a server would be given by `memory:`; littleMemory is what the benchmark of
// memory gives the server.
const (
	tarnMemory   = 2 << 30
	littleMemory = 256 << 20
)

var benchmarks = map[string]func(context.Context, options) (any, error){
	"redo":      func(ctx context.Context, o options) (any, error) { return redoBench(ctx, o) },
	"copy":      func(ctx context.Context, o options) (any, error) { return copyBench(ctx, o) },
	"play":      func(ctx context.Context, o options) (any, error) { return playBench(ctx, o) },
	"memory":    func(ctx context.Context, o options) (any, error) { return memoryBench(ctx, o) },
	"s3":        func(ctx context.Context, o options) (any, error) { return s3Bench(ctx, o) },
	"commits":   func(ctx context.Context, o options) (any, error) { return commitsBench(ctx, o) },
	"overhead":  func(ctx context.Context, o options) (any, error) { return overheadBench(ctx, o) },
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

func parse(name string, args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.StringVar(&o.dir, "dir", filepath.Join(os.TempDir(), "tarn-bench"), "folder of recordings and scratch")
	fs.StringVar(&o.fast, "fast", "/dev/shm/tarn-bench", "folder on tmpfs")
	fs.IntVar(&o.turns, "turns", 3, "runs of each side, alternating")
	fs.IntVar(&o.scale, "scale", 0, "scale of pgbench (default 50), or warehouses of TPC-C (default 10)")
	txs := 400_000
	if name == "overhead" {
		txs = 20_000
	}
	fs.IntVar(&o.txs, "transactions", txs, "recorded transactions of pgbench or TPC-C; of each run of overhead")
	fs.StringVar(&o.workload, "workload", "pgbench", "redo: whose WAL, pgbench's or tpcc; freshness: mixed changes rows of many tables")
	fs.IntVar(&o.rows, "rows", 3_000_000, "rows copied or inserted; updates are of a fifth of it, twice")
	memory := int64(tarnMemory)
	if name == "memory" {
		memory = littleMemory
	}
	fs.Int64Var(&o.memory, "memory", memory, "bytes of tarn's page store, or of the server's `memory:`")
	fs.IntVar(&o.seconds, "seconds", 60, "length of the freshness run, or of each case of fpw")
	fs.DurationVar(&o.interval, "interval", time.Second, "freshness: publish.interval")
	tables := 5
	if name == "freshness" {
		tables = 20
	}
	fs.IntVar(&o.tables, "tables", tables, "commits: tables that change in each; freshness: tables of the mixed load")
	fs.IntVar(&o.commits, "commits", 2000, "commits, one after the other")
	fs.IntVar(&o.pairs, "pairs", 30, "overhead: runs without tarn and with it")
	fs.IntVar(&o.rate, "rate", 1000, "transactions a second of the freshness run")
	fs.BoolVar(&o.record, "record", false, "keep the result in benchmarks/results")
	fs.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of the last turn's measured part")
	fs.StringVar(&o.only, "only", "", "play: insert, copy or update alone; redo: tarn, without the standby")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.scale == 0 {
		if o.scale = 50; o.workload == "tpcc" || name == "fpw" {
			o.scale = 10
		}
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	for _, dir := range []*string{&o.dir, &o.fast} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return o, err
		}
		*dir = abs
		if err := os.MkdirAll(abs, 0o755); err != nil {
			return o, err
		}
	}
	return o, nil
}
