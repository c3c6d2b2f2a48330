package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// options are the flags of every benchmark.
type options struct {
	dir      string // recordings; kept from one run to the next
	fast     string // a folder on tmpfs, for the standby and for what it is compared with
	turns    int
	workload string // of redo, of freshness
	scale    int    // of pgbench; warehouses of TPC-C; tenths of TPC-H's factor
	txs      int    // recorded transactions
	rows     int    // of the narrow table
	memory   int64
	seconds  int
	interval time.Duration // publish.interval
	rate     int           // transactions a second
	tables   int           // that change
	commits  int
	pairs    int
	record   bool
	profile  string
	only     string
}

// tarnMemory is what tarn's page store gets, as a server would be given by `memory:`; littleMemory is what the benchmark of
// memory gives the server.
const (
	tarnMemory   = 2 << 30
	littleMemory = 256 << 20
)

// defaults are a benchmark's own, which keep each of them below about five minutes.
func defaults(name string) options {
	o := options{turns: 3, workload: "pgbench", txs: 400_000, rows: 3_000_000, memory: tarnMemory, seconds: 60, interval: time.Second, rate: 1000, tables: 5, commits: 2000, pairs: 30}
	switch name {
	case "memory":
		o.memory = littleMemory
	case "freshness":
		o.tables = 20
	case "overhead":
		o.txs = 20_000
	case "soak":
		o.seconds = 180
	case "tpch":
		// As many publications as an hour at one each twelve seconds: what counts for readers is how many changes lie in how many files.
		o.scale, o.interval, o.rate = 5, 200*time.Millisecond, 300
	case "fpw":
		o.scale = 10
	}
	return o
}

func parse(name string, args []string) (options, error) {
	o := defaults(name)
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.StringVar(&o.dir, "dir", filepath.Join(os.TempDir(), "tarn-bench"), "folder of recordings and scratch")
	fs.StringVar(&o.fast, "fast", "/dev/shm/tarn-bench", "folder on tmpfs")
	fs.IntVar(&o.turns, "turns", o.turns, "runs of each side, alternating")
	fs.StringVar(&o.workload, "workload", o.workload, "redo: whose WAL, pgbench's or tpcc; freshness: mixed changes rows of many tables")
	fs.IntVar(&o.scale, "scale", o.scale, "scale of pgbench (default 50), warehouses of TPC-C (default 10), or tenths of TPC-H's factor")
	fs.IntVar(&o.txs, "transactions", o.txs, "recorded transactions of pgbench or TPC-C; of each run of overhead")
	fs.IntVar(&o.rows, "rows", o.rows, "rows copied or inserted; other workloads of play are of a part of it")
	fs.Int64Var(&o.memory, "memory", o.memory, "bytes of tarn's page store, or of the server's `memory:`")
	fs.IntVar(&o.seconds, "seconds", o.seconds, "length of the freshness run, of the soak, of tpch's changes, or of each case of fpw")
	fs.DurationVar(&o.interval, "interval", o.interval, "freshness, tpch: publish.interval")
	fs.IntVar(&o.rate, "rate", o.rate, "freshness, tpch: transactions a second")
	fs.IntVar(&o.tables, "tables", o.tables, "commits: tables that change in each; freshness: tables of the mixed load")
	fs.IntVar(&o.commits, "commits", o.commits, "commits, one after the other")
	fs.IntVar(&o.pairs, "pairs", o.pairs, "overhead: runs without tarn and with it")
	fs.BoolVar(&o.record, "record", false, "keep the result in benchmarks/results")
	fs.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile of the last turn's measured part")
	fs.StringVar(&o.only, "only", "", "play: insert, copy, update, single or toast alone; redo: tarn, without the standby")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.scale == 0 {
		if o.scale = 50; o.workload == "tpcc" {
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
