package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
)

//go:embed poll.py
var pollScript []byte

// freshnessFigures are what a reader of the lake sees while the primary is busy. Times are in milliseconds.
type freshnessFigures struct {
	Load     string `json:"load"`
	Interval string `json:"publish_interval"`

	Rate    int     `json:"rate_tps"`
	TPS     float64 `json:"tps"` // that pgbench reached
	Seconds int     `json:"seconds"`

	Samples  int     `json:"samples"` // heartbeats, 20 a second
	P50      float64 `json:"p50_ms"`
	P90      float64 `json:"p90_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
	Target   float64 `json:"target_p99_ms"`
	Target50 float64 `json:"target_p50_ms,omitempty"`
	Polls    int     `json:"polls"`
	PollP50  float64 `json:"poll_p50_ms"` // of one load_table and scan
	TarnP50  float64 `json:"tarn_p50_ms"` // as tarn measures itself: commit to published
	TarnP99  float64 `json:"tarn_p99_ms"`
	Pubs     int     `json:"publications"`
	Unseen   int     `json:"unseen"` // heartbeats committed but never seen by the reader
	TarnCPU  float64 `json:"tarn_cpu_s"`
	ReadCPU  float64 `json:"reader_cpu_s"`
	PgCPU    float64 `json:"primary_cpu_s"`           // with tarn attached
	PgAlone  float64 `json:"primary_alone_cpu_s"`     // the same load for the same time without
	PgSend   float64 `json:"primary_walsender_cpu_s"` // of PgCPU
	Memory   int64   `json:"memory_mib"`              // memory: of tarn.yaml
	RSS      []int64 `json:"rss_mib"`                 // ten times over the run
	PeakMiB  int64   `json:"peak_rss_mib"`
}

const heartbeats = "create table heartbeats (id bigint, at timestamptz)"

// beat commits a row with the time every 50 ms; the row's id says which one it is. It is pgbench's own script, at its own rate.
const beat = "insert into heartbeats select coalesce(max(id), 0) + 1, clock_timestamp() from heartbeats;\n"

func freshnessSpec(scale int) spec {
	return spec{Name: fmt.Sprintf("fresh-%d", scale), Scale: scale, Before: []string{heartbeats, "create index on heartbeats (id)"}}
}

// freshnessBench runs pgbench at a fixed rate, first without tarn and then with it and a PyIceberg that polls.
func freshnessBench(ctx context.Context, o options) (f *freshnessFigures, err error) {
	f = &freshnessFigures{Load: "TPC-B", Interval: o.interval.String(), Rate: o.rate, Seconds: o.seconds, Target: 1500, Memory: o.memory >> 20}
	made := freshnessSpec(o.scale)
	if o.workload == "mixed" {
		made = mixedSpec(o.tables)
		f.Load, f.Target50, f.Target = fmt.Sprintf("mixed on %d tables", o.tables), 600, 1200
	}
	sc, err := newScene(ctx, o, "fresh", made)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sc.close()) }()
	srv := sc.srv

	say("pgbench alone")
	load := newLoad(srv, o)
	if err := load.run(ctx, nil); err != nil {
		return nil, err
	}
	f.PgAlone = seconds(load.serverCPU)

	t, err := sc.attach(ctx, o.memory, fmt.Sprintf("publish: {interval: %s}\n", o.interval))
	if err != nil {
		return nil, err
	}
	defer t.stop()
	if err := f.attach(ctx, srv, t); err != nil {
		return nil, err
	}
	reader, err := startPoll(ctx, sc.dir, t.catalog)
	if err != nil {
		return nil, err
	}
	defer reader.kill()
	say("pgbench with tarn attached")
	cpu, err := processCPU(t.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	load = newLoad(srv, o)
	if err := load.run(ctx, func() {
		now, _ := residentBytes(t.cmd.Process.Pid)
		f.RSS = append(f.RSS, now>>20)
	}); err != nil {
		return nil, err
	}
	after, err := processCPU(t.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	time.Sleep(3 * time.Second) // the last heartbeats arrive
	polls, readerCPU, err := reader.finish()
	if err != nil {
		return nil, t.failed(err)
	}
	committed, err := beats(ctx, srv, load.began)
	if err != nil {
		return nil, err
	}
	status, err := t.client.Status(ctx)
	if err != nil {
		return nil, err
	}
	publications, err := t.client.Publications(ctx)
	if err != nil {
		return nil, err
	}
	f.TPS, f.PgCPU, f.PgSend, f.TarnCPU, f.ReadCPU = load.tps, seconds(load.serverCPU), seconds(load.walsender), seconds(after-cpu), readerCPU
	f.TarnP50, f.TarnP99, f.Pubs = round(status.Freshness.P50, 1), round(status.Freshness.P99, 1), len(publications)
	_, peak := residentBytes(t.cmd.Process.Pid)
	f.PeakMiB = peak >> 20
	f.measure(polls, committed)
	if f.Samples == 0 {
		return f, t.failed(errors.New("PyIceberg saw no heartbeat"))
	}
	return f, nil
}

// attach waits until everything that was there before is published.
func (f *freshnessFigures) attach(ctx context.Context, srv *pgtest.Server, t *tarn) error {
	lsn, err := demo.FlushLSN(ctx, srv)
	if err != nil {
		return err
	}
	say("tarn attaches")
	return t.awaitPublished(ctx, lsn, 10*time.Minute)
}

// load is pgbench at a rate, and beside it a heartbeat.
type load struct {
	srv       *pgtest.Server
	o         options
	began     time.Time
	tps       float64
	serverCPU time.Duration
	walsender time.Duration
}

func newLoad(srv *pgtest.Server, o options) *load { return &load{srv: srv, o: o} }

// run keeps the load up for the time asked and calls sample ten times over it.
func (l *load) run(ctx context.Context, sample func()) error {
	scripts, err := os.MkdirTemp("", "tarn-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scripts)
	script := filepath.Join(scripts, "beat.sql")
	if err := os.WriteFile(script, []byte(beat), 0o644); err != nil {
		return err
	}
	work := []string{"-c", "8", "-j", "2", "-R", fmt.Sprint(l.o.rate)}
	if l.o.workload == "mixed" {
		more, err := mixedScripts(scripts, l.o.tables)
		if err != nil {
			return err
		}
		work = append(work, more...)
	}
	if err := l.srv.Exec(ctx, "app", "checkpoint"); err != nil {
		return err
	}
	common := []string{"-h", "127.0.0.1", "-p", fmt.Sprint(l.srv.Port()), "-U", "postgres", "-n", "-M", "prepared", "-T", fmt.Sprint(l.o.seconds)}
	run := func(args ...string) func() (string, error) {
		var out strings.Builder
		cmd := exec.CommandContext(ctx, pgbenchPath(l.srv), append(append(slices.Clone(common), args...), "app")...)
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Start()
		return func() (string, error) {
			if err == nil {
				err = cmd.Wait()
			}
			if err != nil {
				return "", fmt.Errorf("pgbench: %w: %s", err, out.String())
			}
			return out.String(), nil
		}
	}
	meter := meterServer(l.srv)
	l.began = time.Now()
	main := run(work...)
	hearts := run("-c", "1", "-R", "20", "-f", script)
	for range 10 {
		// The backends end with pgbench, and their times with them.
		for step := time.Now().Add(time.Duration(l.o.seconds) * time.Second / 10); time.Now().Before(step); time.Sleep(200 * time.Millisecond) {
			meter.look()
		}
		if sample != nil {
			sample()
		}
	}
	out, err := main()
	if err != nil {
		return err
	}
	if _, err := hearts(); err != nil {
		return err
	}
	l.serverCPU, l.walsender = meter.used()
	_, rest, ok := strings.Cut(out, "tps = ")
	if !ok {
		return fmt.Errorf("pgbench printed no rate: %s", out)
	}
	_, err = fmt.Sscan(rest, &l.tps)
	l.tps = round(l.tps, 1)
	return err
}

// poll is one answer the reader got: the newest heartbeat it saw, and when it asked and had the answer (Unix seconds).
type poll struct {
	Asked float64 `json:"asked"`
	Had   float64 `json:"had"`
	ID    int64   `json:"id"`
}

// poller is a running PyIceberg process.
type poller struct {
	cmd  *exec.Cmd
	out  string
	file *os.File
}

func startPoll(ctx context.Context, dir, catalogURL string) (*poller, error) {
	python, err := lakecheck.FindPython(ctx, lakecheck.PyIceberg)
	if err != nil {
		return nil, err
	}
	script := filepath.Join(dir, "poll.py")
	if err := os.WriteFile(script, pollScript, 0o644); err != nil {
		return nil, err
	}
	p := &poller{out: filepath.Join(dir, "polls.jsonl")}
	if p.file, err = os.Create(p.out); err != nil {
		return nil, err
	}
	p.cmd = exec.Command(python, "-u", script, catalogURL)
	p.cmd.Stdout, p.cmd.Stderr = p.file, os.Stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	// Importing takes seconds, and the first answer too: wait for one.
	for {
		if info, err := os.Stat(p.out); err == nil && info.Size() > 0 {
			return p, nil
		}
		select {
		case <-ctx.Done():
			p.kill()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *poller) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
	_ = p.file.Close()
}

// finish ends the process and reads what it saw.
func (p *poller) finish() (polls []poll, cpu float64, err error) {
	used, err := processCPU(p.cmd.Process.Pid)
	p.kill()
	if err != nil {
		return nil, 0, fmt.Errorf("the reader has ended: %w", err)
	}
	f, err := os.Open(p.out)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var one poll
		if json.Unmarshal(lines.Bytes(), &one) == nil { // the last line may be cut
			polls = append(polls, one)
		}
	}
	return polls, seconds(used), nil
}

// beats are the heartbeats since a time: id to when they were committed, on the same machine's clock. A heartbeat's time
// is taken in its transaction, before the commit: what is measured is longer than from the commit, by the commit.
func beats(ctx context.Context, srv *pgtest.Server, since time.Time) (map[int64]float64, error) {
	text, err := srv.QueryText(ctx, "app", fmt.Sprintf(
		"select coalesce(json_object_agg(id, extract(epoch from at)), '{}')::text from heartbeats where at > to_timestamp(%f)", float64(since.UnixNano())/1e9))
	if err != nil {
		return nil, err
	}
	m := map[int64]float64{}
	return m, json.Unmarshal([]byte(text), &m)
}

// measure joins what was committed with what was seen: a heartbeat is visible when the first answer that has it is there.
func (f *freshnessFigures) measure(polls []poll, committed map[int64]float64) {
	var delays, durations []float64
	first := map[int64]float64{}
	newest := int64(-1)
	for _, p := range polls {
		durations = append(durations, 1000*(p.Had-p.Asked))
		for id := newest + 1; newest >= 0 && id <= p.ID; id++ {
			first[id] = p.Had
		}
		newest = max(newest, p.ID)
	}
	for id, at := range committed {
		if seen, ok := first[id]; ok {
			delays = append(delays, 1000*(seen-at))
		} else {
			f.Unseen++
		}
	}
	slices.Sort(delays)
	slices.Sort(durations)
	f.Polls, f.Samples = len(polls), len(delays)
	f.PollP50 = round(quantile(durations, 0.5), 1)
	f.P50, f.P90, f.P99 = round(quantile(delays, 0.5), 1), round(quantile(delays, 0.9), 1), round(quantile(delays, 0.99), 1)
	f.Max = round(quantile(delays, 1), 1)
}

// rows are the figures' lines in the report.
func (f *freshnessFigures) rows(row func(what, measured, target string)) {
	what, target := fmt.Sprintf("commit to visible in PyIceberg at %.0f tps", f.TPS), fmt.Sprintf("p99 <= %.0f ms", f.Target)
	if f.Target50 > 0 {
		what += fmt.Sprintf(", %s, published every %s", f.Load, f.Interval)
		target = fmt.Sprintf("p50 <= %.0f ms, %s", f.Target50, target)
	}
	row(what, fmt.Sprintf("p50 %.0f ms, p99 %.0f ms", f.P50, f.P99), target)
	row("memory of `tarn serve` under that load", fmt.Sprintf("peak %d MiB with memory: %d MiB", f.PeakMiB, f.Memory), "bounded")
}
