package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// goTPC is the load: PingCAP's TPC-C, whose transactions are single statements over the wire.
const goTPC = "github.com/pingcap/go-tpc/cmd/go-tpc@v1.0.12"

// fpwFigures are what full pages cost the WAL, and what tarn's store takes. Bytes, and no times.
type fpwFigures struct {
	Load       string    `json:"load"`
	Warehouses int       `json:"warehouses"`
	Seconds    int       `json:"seconds"` // of each case; a checkpoint every 60
	Cases      []fpwCase `json:"cases"`

	HeapBytes     int64 `json:"heap_bytes"`     // main forks of all tables of the cluster at the end, TOAST included
	RelationBytes int64 `json:"relation_bytes"` // all relations' files of the cluster, indexes included
	PageBytes     int64 `json:"page_bytes"`     // of the store: layers and their indexes, history of the run included
	LakeBytes     int64 `json:"lake_bytes"`     // of the store: tables
	WALBytes      int64 `json:"wal_bytes"`      // of the store: the archive
}

// fpwCase is one setting.
type fpwCase struct {
	Name         string  `json:"name"`
	Transactions int64   `json:"transactions"` // business transactions that ended, of all five kinds
	WAL          int64   `json:"wal_bytes"`
	PerTx        float64 `json:"wal_kib_per_transaction"`
}

var fpwSettings = map[string]string{
	"checkpoint_timeout": "60s", "max_wal_size": "50GB", "shared_buffers": "512MB", "synchronous_commit": "off", "maintenance_work_mem": "256MB",
}

var fpwCases = []struct {
	name string
	set  []string
}{
	{"on", []string{"full_page_writes = on", "wal_compression = off"}},
	{"on, wal_compression = lz4", []string{"full_page_writes = on", "wal_compression = lz4"}},
	{"off", []string{"full_page_writes = off", "wal_compression = off"}},
}

// fpwBench runs TPC-C with full_page_writes on, compressed and off, with tarn attached all along.
func fpwBench(ctx context.Context, o options) (f *fpwFigures, err error) {
	dir := filepath.Join(o.dir, "fpw")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary, err := buildTarn(ctx, o)
	if err != nil {
		return nil, err
	}
	load := filepath.Join(o.dir, "go-tpc")
	if _, err := command(ctx, "env", "GOBIN="+o.dir, "go", "install", goTPC); err != nil {
		return nil, err
	}
	srv, err := pgtest.Start(ctx, pgtest.Options{Major: 15, Dir: filepath.Join(dir, "pg"), Settings: fpwSettings, Databases: []string{"app"}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, srv.Remove()) }()
	tpc := []string{"-d", "postgres", "-H", "127.0.0.1", "-P", fmt.Sprint(srv.Port()), "-U", "postgres", "-D", "app", "--conn-params", "sslmode=disable", "--warehouses", fmt.Sprint(o.scale)}
	say("loading %d warehouses", o.scale)
	if _, err := command(ctx, load, append([]string{"tpcc", "prepare", "-T", "4", "--no-check"}, tpc...)...); err != nil {
		return nil, err
	}
	if err := srv.Exec(ctx, "app", "vacuum analyze"); err != nil {
		return nil, err
	}
	t, err := startTarn(ctx, binary, filepath.Join(dir, "tarn"), srv, o.memory)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	if err := published(ctx, srv, t); err != nil {
		return nil, err
	}
	f = &fpwFigures{Load: goTPC, Warehouses: o.scale, Seconds: o.seconds}
	for _, c := range fpwCases {
		say("full_page_writes %s", c.name)
		r, err := measureWAL(ctx, srv, c.set, func() (string, error) {
			return command(ctx, load, append([]string{"tpcc", "run", "-T", "8", "--time", fmt.Sprintf("%ds", o.seconds), "--silence"}, tpc...)...)
		})
		if err != nil {
			return nil, fmt.Errorf("full_page_writes %s: %w", c.name, err)
		}
		r.Name = c.name
		f.Cases = append(f.Cases, *r)
	}
	if err := published(ctx, srv, t); err != nil {
		return nil, err
	}
	t.stop() // pages are durable then
	return f, f.sizes(ctx, srv, filepath.Join(dir, "tarn", "lake"))
}

// published waits until all there is is in the lake.
func published(ctx context.Context, srv *pgtest.Server, t *tarn) error {
	lsn, err := demo.FlushLSN(ctx, srv)
	if err != nil {
		return err
	}
	return t.awaitPublished(ctx, lsn, 10*time.Minute)
}

// measureWAL runs the load from a checkpoint on.
func measureWAL(ctx context.Context, srv *pgtest.Server, settings []string, run func() (string, error)) (*fpwCase, error) {
	for _, s := range settings {
		if err := srv.Exec(ctx, "app", "alter system set "+s); err != nil {
			return nil, err
		}
	}
	if err := srv.Reload(); err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second) // the checkpointer has heard of it
	if err := srv.Exec(ctx, "app", "checkpoint"); err != nil {
		return nil, err
	}
	before, err := walEnd(ctx, srv)
	if err != nil {
		return nil, err
	}
	r := &fpwCase{}
	text, err := run()
	if err != nil {
		return nil, err
	}
	end, err := walEnd(ctx, srv)
	if err != nil {
		return nil, err
	}
	if r.Transactions, err = tpcCount(text); err != nil {
		return nil, err
	}
	r.WAL = int64(end - before)
	r.PerTx = round(float64(r.WAL)/float64(r.Transactions)/1024, 2)
	return r, nil
}

// walEnd is the end of WAL, flushed or not.
func walEnd(ctx context.Context, srv *pgtest.Server) (pg.LSN, error) {
	text, err := srv.QueryText(ctx, "app", "select pg_current_wal_insert_lsn()")
	if err != nil {
		return 0, err
	}
	return pg.ParseLSN(text)
}

// tpcSummary is a line of go-tpc's for one kind of transaction; those that failed have _ERR behind their name.
var tpcSummary = regexp.MustCompile(`(?m)^\[Summary\] ([A-Z_]+) +- .*\bCount: (\d+)`)

// tpcCount sums the transactions of go-tpc's summary.
func tpcCount(text string) (n int64, err error) {
	for _, m := range tpcSummary.FindAllStringSubmatch(text, -1) {
		if strings.HasSuffix(m[1], "_ERR") {
			continue
		}
		count, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil {
			return 0, err
		}
		n += count
	}
	if n == 0 {
		return 0, fmt.Errorf("go-tpc counts no transactions: %s", text[max(0, len(text)-2000):])
	}
	return n, nil
}

// sizes asks the server what it holds and looks what the store does.
func (f *fpwFigures) sizes(ctx context.Context, srv *pgtest.Server, store string) error {
	text, err := srv.QueryText(ctx, "app", `select sum(pg_relation_size(oid)) filter (where relkind in ('r', 't', 'm')) || ' ' || sum(pg_relation_size(oid)) from pg_class where relkind in ('r', 't', 'm', 'i', 'S')`)
	if err != nil {
		return err
	}
	if _, err := fmt.Sscan(text, &f.HeapBytes, &f.RelationBytes); err != nil {
		return err
	}
	return filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch name, _ := filepath.Rel(store, path); {
		case strings.HasPrefix(name, "timelines/"):
			f.PageBytes += info.Size()
		case strings.HasPrefix(name, "wal/"):
			f.WALBytes += info.Size()
		default:
			f.LakeBytes += info.Size()
		}
		return nil
	})
}

// rows are the figures' lines in the report.
func (f *fpwFigures) rows(row func(what, measured, target string)) {
	for _, c := range f.Cases {
		row(fmt.Sprintf("WAL of a TPC-C transaction, %d warehouses, a checkpoint each minute, full_page_writes %s", f.Warehouses, c.Name), fmt.Sprintf("%.1f KiB", c.PerTx), "")
	}
	if f.HeapBytes > 0 {
		row("the store's bytes for each byte of heap, after that",
			fmt.Sprintf("pages %.2f (all relations: %.2f), lake %.2f, WAL archive %.2f", float64(f.PageBytes)/float64(f.HeapBytes), float64(f.PageBytes)/float64(f.RelationBytes),
				float64(f.LakeBytes)/float64(f.HeapBytes), float64(f.WALBytes)/float64(f.HeapBytes)), "")
	}
}
