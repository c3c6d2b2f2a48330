package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// overheadFigures are what the primary pays for tarn being attached, asynchronously.
type overheadFigures struct {
	Pairs        int          `json:"pairs"`
	Transactions int          `json:"transactions"` // of each run, pgbench's TPC-B
	Scale        int          `json:"scale"`
	CPU          overheadPart `json:"cpu_us_per_transaction"` // of all processes of the primary, user and system
	WAL          overheadPart `json:"wal_bytes_per_transaction"`
	Seconds      overheadPart `json:"run_s"` // tarn's CPU time is in it: it runs on the same machine
	Walsender    float64      `json:"walsender_cpu_us_per_transaction"`
}

// overheadPart is one figure without tarn and with it: means of the runs, and of the pairs' differences.
type overheadPart struct {
	Without float64 `json:"without"`
	With    float64 `json:"with"`
	Percent float64 `json:"more_percent"`
	Low     float64 `json:"low_percent"` // of the 95 % confidence interval of the mean
	High    float64 `json:"high_percent"`
}

// overheadRun is one run of the load.
type overheadRun struct{ cpu, sender, wal, seconds float64 }

// overheadSettings keep what is not the load out of the runs: checkpoints are made between them.
var overheadSettings = map[string]string{
	"autovacuum": "off", "checkpoint_timeout": "1h", "max_wal_size": "50GB", "shared_buffers": "1GB",
}

// overheadBench runs the same number of transactions without tarn and with it, in pairs, every second pair the other way round.
func overheadBench(ctx context.Context, o options) (f *overheadFigures, err error) {
	dir := filepath.Join(o.dir, "overhead")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &overheadBencher{o: o, dir: dir}
	if b.binary, err = buildTarn(ctx, o); err != nil {
		return nil, err
	}
	b.srv, err = pgtest.Start(ctx, pgtest.Options{Major: 15, Dir: filepath.Join(dir, "pg"), Settings: overheadSettings, Databases: []string{"app"}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.srv.Remove()) }()
	// Half of each page is left free: an updated row stays on its page, and a run writes what the one before did.
	if err := pgbench(ctx, b.srv, "-i", "-q", "-F", "50", "-s", fmt.Sprint(o.scale)); err != nil {
		return nil, err
	}
	defer b.detach()
	// The first run of each kind fills caches and makes the slot.
	if _, _, err := b.pair(ctx, 0); err != nil {
		return nil, err
	}
	var without, with []overheadRun
	for i := range o.pairs {
		off, on, err := b.pair(ctx, i)
		if err != nil {
			return nil, err
		}
		say("without %+v, with %+v", off, on)
		without, with = append(without, off), append(with, on)
	}
	f = &overheadFigures{
		Pairs: o.pairs, Transactions: b.transactions(), Scale: o.scale,
		CPU:     compareRuns(without, with, func(r overheadRun) float64 { return r.cpu }),
		WAL:     compareRuns(without, with, func(r overheadRun) float64 { return r.wal }),
		Seconds: compareRuns(without, with, func(r overheadRun) float64 { return r.seconds }),
	}
	for _, r := range with {
		f.Walsender += r.sender / float64(len(with))
	}
	f.Walsender = round(f.Walsender, 2)
	return f, nil
}

// overheadBencher is the primary and, while it is attached, tarn.
type overheadBencher struct {
	o      options
	dir    string
	binary string
	srv    *pgtest.Server
	tarn   *tarn
}

const overheadClients = 8

func (b *overheadBencher) transactions() int {
	return b.o.txs / overheadClients * overheadClients
}

// pair makes both runs, the one that needs no change of the other's end first.
func (b *overheadBencher) pair(ctx context.Context, i int) (off, on overheadRun, err error) {
	for _, attached := range []bool{i%2 == 1, i%2 == 0} {
		into := &off
		if attached {
			into = &on
			err = b.attach(ctx)
		} else {
			b.detach()
		}
		if err == nil {
			*into, err = b.run(ctx)
		}
		if err != nil {
			return off, on, err
		}
	}
	return off, on, nil
}

// attach starts tarn and waits until it has all there is.
func (b *overheadBencher) attach(ctx context.Context) (err error) {
	if b.tarn == nil {
		if b.tarn, err = startTarn(ctx, b.binary, filepath.Join(b.dir, "tarn"), b.srv, b.o.memory); err != nil {
			return err
		}
	}
	return published(ctx, b.srv, b.tarn)
}

func (b *overheadBencher) detach() {
	if b.tarn != nil {
		b.tarn.stop()
		b.tarn = nil
	}
}

// run measures the load from a checkpoint on, until the walsender has sent what there is. Each run draws rows of its own: the same ones again
// would lie on fewer pages, where the run before has put them.
func (b *overheadBencher) run(ctx context.Context) (r overheadRun, err error) {
	if err := b.srv.Exec(ctx, "app", "checkpoint"); err != nil {
		return r, err
	}
	var pid int
	if _, err := fmt.Sscan(firstLine(filepath.Join(b.srv.DataDir(), "postmaster.pid")), &pid); err != nil {
		return r, err
	}
	begin, err := walEnd(ctx, b.srv)
	if err != nil {
		return r, err
	}
	time.Sleep(100 * time.Millisecond) // the backends of the statements above end
	cpu, sender, err := serverCPU(pid)
	if err != nil {
		return r, err
	}
	began := time.Now()
	if err := pgbench(ctx, b.srv, "-n", "-M", "prepared", "-c", fmt.Sprint(overheadClients), "-j", "2", "-t", fmt.Sprint(b.transactions()/overheadClients)); err != nil {
		return r, err
	}
	r.seconds = seconds(time.Since(began))
	if err := b.received(ctx); err != nil {
		return r, err
	}
	cpuAfter, senderAfter, err := serverCPU(pid)
	if err != nil {
		return r, err
	}
	end, err := walEnd(ctx, b.srv)
	if err != nil {
		return r, err
	}
	n := float64(b.transactions())
	r.cpu, r.sender = round((cpuAfter-cpu).Seconds()*1e6/n, 2), round((senderAfter-sender).Seconds()*1e6/n, 2)
	r.wal = round(float64(end-begin)/n, 1)
	return r, nil
}

// received waits until tarn, if it is attached, has got the WAL there is.
func (b *overheadBencher) received(ctx context.Context) error {
	if b.tarn == nil {
		return nil
	}
	lsn, err := demo.FlushLSN(ctx, b.srv)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		st, err := b.tarn.client.Status(ctx)
		if err != nil {
			return b.tarn.failed(err)
		}
		if st.ReceiveLSN >= lsn {
			return nil
		}
	}
	return b.tarn.failed(fmt.Errorf("%s is not received", lsn))
}

// serverCPU is the CPU time of a server so far: of its processes, and of those that have ended, which the postmaster was told of.
func serverCPU(postmaster int) (all, senders time.Duration, err error) {
	if all, err = childrenCPU(postmaster); err != nil {
		return 0, 0, err
	}
	for _, pid := range descendants(postmaster) {
		cpu, err := processCPU(pid)
		if err != nil {
			continue // it has ended between two looks: it is the postmaster's by the next
		}
		all += cpu
		if isWalsender(pid) {
			senders += cpu
		}
	}
	return all, senders, nil
}

// compareRuns compares pair by pair.
func compareRuns(without, with []overheadRun, of func(overheadRun) float64) overheadPart {
	var p overheadPart
	n := float64(len(with))
	more := make([]float64, len(with)) // percent
	for i := range with {
		a, b := of(without[i]), of(with[i])
		p.Without += a / n
		p.With += b / n
		more[i] = 100 * (b/a - 1)
		p.Percent += more[i] / n
	}
	var squares float64
	for _, m := range more {
		squares += (m - p.Percent) * (m - p.Percent)
	}
	half := 0.0
	if n > 1 {
		half = student975(n-1) * math.Sqrt(squares/(n-1)/n)
	}
	return overheadPart{Without: round(p.Without, 2), With: round(p.With, 2), Percent: round(p.Percent, 2), Low: round(p.Percent-half, 2), High: round(p.Percent+half, 2)}
}

// student975 is the 97.5 % quantile of Student's t with so many degrees of freedom, by its expansion about the normal one (Abramowitz
// and Stegun, 26.7.5): right to 0.3 % from 4 degrees on.
func student975(degrees float64) float64 {
	const x = 1.959964
	return x + (x*x*x+x)/(4*degrees) + (5*math.Pow(x, 5)+16*x*x*x+3*x)/(96*degrees*degrees) +
		(3*math.Pow(x, 7)+19*math.Pow(x, 5)+17*x*x*x-15*x)/(384*degrees*degrees*degrees)
}

// rows are the figures' lines in the report.
func (f *overheadFigures) rows(row func(what, measured, target string)) {
	line := func(p overheadPart, format string) string {
		return fmt.Sprintf(format+", with tarn "+format+": %+.1f %% (95 %%: %+.1f to %+.1f)", p.Without, p.With, p.Percent, p.Low, p.High)
	}
	row(fmt.Sprintf("CPU of the primary for a TPC-B transaction, %d pairs of runs", f.Pairs), line(f.CPU, "%.1f us"), "within 2 %")
	row("WAL of a TPC-B transaction, the same runs", line(f.WAL, "%.0f bytes"), "within 2 %")
}
