package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

const (
	database      = "app"
	defaultMajor  = 18
	firstPublish  = 2 * time.Minute // base backup and initial copy of the demo's few rows
	publishWait   = time.Minute
	workloadPause = 4 * time.Millisecond
)

// ErrNotEqual: a reader that is not tarn saw other rows than Postgres.
var ErrNotEqual = fault.New(fault.DemoDiffers, "the lake is not equal to Postgres")

// Source is what the demo asks tarn to attach to.
type Source struct {
	URL     string // source.url
	Store   string // store
	DataDir string // data_dir; does not exist yet
}

// Tarn is a running server.
type Tarn interface {
	HTTPAddr() string    // host:port of http.listen
	CatalogAddr() string // host:port of catalog.listen
	// Close stops the server, waits for it and returns why it ended if that was not Close.
	Close(ctx context.Context) error
}

// Options of a demo. Out and Start are required.
type Options struct {
	Out      io.Writer
	Start    func(ctx context.Context, source Source) (Tarn, error)
	Duration time.Duration // of the live workload; 0 = 10 s
	Keep     bool          // leave everything running until ctx ends
	Major    int           // Postgres to run on; 0 = 18, or any that is installed
	CacheDir string        // for downloads; empty = the user's cache folder
	Seed     uint64
}

// Run shows a stock Postgres under a live workload and the lake beside it. It returns nil only if DuckDB has seen
// every row of every table as Postgres has it (else an error that wraps ErrNotEqual). Nothing is left behind but downloads.
func Run(ctx context.Context, o Options) (err error) {
	if o.Duration == 0 {
		o.Duration = 10 * time.Second
	}
	if o.CacheDir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("demo: no cache folder: %w", err)
		}
		o.CacheDir = filepath.Join(dir, "tarn")
	}
	d := &demo{Options: o}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(ctx); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if err := d.work(ctx); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	report, err := d.compare(ctx)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d.print(report)
	if o.Keep {
		d.say("\nEverything keeps running; Ctrl-C ends it. Postgres: %s", d.server.ConnString(database))
		<-ctx.Done()
	}
	if !report.Equal() {
		return fmt.Errorf("demo: %w", ErrNotEqual)
	}
	return nil
}

// demo is one run: what it started, and what it measured.
type demo struct {
	Options
	dir    string
	server *pgtest.Server
	tarn   Tarn
	reader *lakecheck.Reader

	workload *Workload
	probe    *probe
	lsn      pg.LSN // what the comparison waited for
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

func (d *demo) client() *admin.Client { return &admin.Client{Addr: d.tarn.HTTPAddr()} }

func (d *demo) catalogURL() string { return "http://" + d.tarn.CatalogAddr() }

// start brings up Postgres with the schema, tarn, and the foreign reader.
func (d *demo) start(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "tarn-demo"); err != nil {
		return err
	}
	if err := d.startPostgres(ctx); err != nil {
		return err
	}
	python, err := python(ctx, d.CacheDir, d.say)
	if err != nil {
		return err
	}
	if d.reader, err = lakecheck.StartReader(ctx, python, lakecheck.DuckDB); err != nil {
		return err
	}
	source := Source{
		URL:     d.server.ReplConnString(database),
		Store:   "file://" + filepath.Join(d.dir, "lake"),
		DataDir: filepath.Join(d.dir, "tarn"),
	}
	began := time.Now()
	if d.tarn, err = d.Start(ctx, source); err != nil {
		return err
	}
	lsn, err := d.flushLSN(ctx)
	if err != nil {
		return err
	}
	if _, err := d.client().Wait(ctx, admin.StagePublished, lsn, firstPublish); err != nil {
		return err
	}
	d.say("tarn         attached with a replication role, copied %s and published it in %.1f s", database, time.Since(began).Seconds())
	return nil
}

func (d *demo) startPostgres(ctx context.Context) error {
	major := d.Major
	if major == 0 {
		major = defaultMajor
	}
	bin, err := pgtest.FetchBin(ctx, major, filepath.Join(d.CacheDir, "postgres"))
	if err != nil {
		return err
	}
	d.server, err = pgtest.Start(ctx, pgtest.Options{Bin: bin, Databases: []string{database}})
	if err != nil {
		return err
	}
	version, err := d.server.QueryText(ctx, database, "SHOW server_version")
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, d.server.ConnString(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := CreateSchema(ctx, conn); err != nil {
		return err
	}
	d.say("Postgres %-4s stock, default settings, no extension, no slot or publication of its own", version)
	return nil
}

// work runs the workload and beside it the freshness probe.
func (d *demo) work(ctx context.Context) error {
	d.workload = &Workload{
		ConnString: d.server.ConnString(database), Pause: workloadPause, Seed: d.Seed, Journal: NewJournal(),
		DDL: true, DDLSpread: d.Duration,
	}
	d.probe = &probe{connString: d.server.ConnString(database), reader: d.reader, catalogURL: d.catalogURL()}
	run, cancel := context.WithTimeout(ctx, d.Duration)
	defer cancel()
	probed := make(chan error, 1)
	go func() { probed <- d.probe.run(run) }()
	err := errors.Join(d.workload.Write(run), <-probed)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	s := d.workload.Stats()
	d.say("workload     %d commits, %d rollbacks, %d rows written in %v by %d clients, with ALTER, RENAME, TRUNCATE and VACUUM",
		s.Commits, s.Rollbacks, s.Rows, d.Duration, d.workload.Writers)
	return nil
}

// compare waits until the last commit is published and has the foreign reader look at it.
func (d *demo) compare(ctx context.Context) (lakecheck.Report, error) {
	var err error
	if d.lsn, err = d.flushLSN(ctx); err != nil {
		return lakecheck.Report{}, err
	}
	began := time.Now()
	if _, err := d.client().Wait(ctx, admin.StagePublished, d.lsn, publishWait); err != nil {
		return lakecheck.Report{}, err
	}
	d.say("last commit  %s, published %d ms after the writers stopped", d.lsn, time.Since(began).Milliseconds())
	conn, err := pgx.Connect(ctx, d.server.ConnString(database))
	if err != nil {
		return lakecheck.Report{}, err
	}
	defer conn.Close(ctx)
	return lakecheck.Compare(ctx, conn, d.catalogURL(), database, nil, d.reader)
}

func (d *demo) flushLSN(ctx context.Context) (pg.LSN, error) { return FlushLSN(ctx, d.server) }

// FlushLSN is an LSN at or above every commit so far. Nothing is written for it: a wait for it must end though nothing
// changes any more.
func FlushLSN(ctx context.Context, server *pgtest.Server) (pg.LSN, error) {
	text, err := server.QueryText(ctx, database, "SELECT pg_current_wal_flush_lsn()::text")
	if err != nil {
		return 0, err
	}
	return pg.ParseLSN(text)
}

// close takes down what start has brought up, in the opposite order.
func (d *demo) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	if d.reader != nil {
		errs = append(errs, d.reader.Close())
	}
	if d.tarn != nil {
		errs = append(errs, d.tarn.Close(ctx))
	}
	if d.server != nil {
		errs = append(errs, d.server.Stop(pgtest.Fast), d.server.Remove())
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}
