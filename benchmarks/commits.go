package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tarn-db/tarn/internal/admin"
)

// commitsFigures say whether a publication on S3 costs after thousands what it cost at first, and what that comes to in a month.
type commitsFigures struct {
	Tables  int            `json:"tables"` // that change in each publication
	Commits int            `json:"commits"`
	Windows []commitWindow `json:"windows"`
	P50     float64        `json:"p50_ms"` // medians of the windows, the first left out
	P99     float64        `json:"p99_ms"`
	Target  float64        `json:"target_ms"`
	Growth  float64        `json:"growth"` // of p50, from the first half of the windows to the second

	Requests   float64      `json:"requests"` // per publication, as of the second half
	KiBSent    float64      `json:"kib_sent"`
	MonthUSD   float64      `json:"usd_a_month"` // a publication each second, all month
	PriceList  string       `json:"price_list"`
	Upkeep     admin.Upkeep `json:"upkeep"`
	TableAtEnd admin.Table  `json:"table_at_end"`
}

// commitWindow is a tenth of the commits.
type commitWindow struct {
	s3Case
	CPU float64 `json:"tarn_cpu_ms"` // per publication
	RSS int64   `json:"rss_mib"`     // at its end
}

// The list price of requests to S3 Standard in us-east-1, which is an assumption, made in
// November 2026: look it up before a figure is relied on. Bytes into the store cost nothing; what is kept is not counted.
const (
	s3PriceList = "S3 Standard, us-east-1, assumed as of 2026-11: 0.005 USD per 1,000 PUT, POST and LIST, 0.0004 per 1,000 GET and HEAD, DELETE free"
	s3PutUSD    = 0.005 / 1000
	s3GetUSD    = 0.0004 / 1000
	monthS      = 365.25 * 86400 / 12
)

const commitWindows = 10

// commitsBench is s3Bench at no latency, for long enough that compaction, expiry and the sweep of what is expired have their turn.
func commitsBench(ctx context.Context, o options) (_ *commitsFigures, err error) {
	sc, err := newS3Scene(ctx, o, "commits")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sc.close()) }()
	sc.proxy.Kind = s3Kind
	if err := sc.srv.Exec(ctx, "app", s3Create(o.tables), "alter system set autovacuum = on"); err != nil {
		return nil, err
	}
	if err := sc.srv.Reload(); err != nil {
		return nil, err
	}
	t, err := sc.attach(ctx, o.memory, fmt.Sprintf("publish: {interval: %s}\n", s3Interval))
	if err != nil {
		return nil, err
	}
	defer t.stop()
	f, turn := &commitsFigures{Tables: o.tables, Target: float64(20 + 8*o.tables), PriceList: s3PriceList}, 0
	for range commitWindows {
		before, err := processCPU(t.cmd.Process.Pid)
		if err != nil {
			return f, t.failed(err)
		}
		w := commitWindow{}
		if w.s3Case, err = s3Run(ctx, t, sc.srv, sc.proxy, o.tables, max(1, o.commits/commitWindows-s3Warm), &turn); err != nil {
			return f, err
		}
		after, err := processCPU(t.cmd.Process.Pid)
		if err != nil {
			return f, t.failed(err)
		}
		now, _ := residentBytes(t.cmd.Process.Pid)
		w.CPU, w.RSS = round(1000*seconds(after-before)/float64(w.Runs+s3Warm), 2), now>>20
		say("%+v", w)
		f.Windows = append(f.Windows, w)
	}
	f.Commits = turn
	f.sum()
	status, err := t.client.Status(ctx)
	if err != nil {
		return f, err
	}
	f.Upkeep = status.Upkeep
	for _, table := range status.Tables {
		if table.Table == "t0" {
			f.TableAtEnd = table
		}
	}
	return f, nil
}

// sum makes the figures of the windows. The first one has what happens once, such as the first changes of a table.
func (f *commitsFigures) sum() {
	p50 := func(w commitWindow) float64 { return w.P50 }
	steady, half := f.Windows[1:], len(f.Windows)/2
	f.P50 = median(steady, p50)
	f.P99 = median(steady, func(w commitWindow) float64 { return w.P99 })
	f.Growth = round(median(f.Windows[half:], p50)/median(f.Windows[1:half], p50), 2)
	late := f.Windows[half:]
	for _, w := range late {
		f.Requests += w.Requests / float64(len(late))
		f.KiBSent += w.KiBSent / float64(len(late))
		f.MonthUSD += monthS * w.usd() / float64(len(late))
	}
	f.Requests, f.KiBSent, f.MonthUSD = round(f.Requests, 1), round(f.KiBSent, 1), round(f.MonthUSD, 0)
}

// usd is what the requests of one publication cost.
func (c s3Case) usd() (sum float64) {
	for kind, n := range c.ByKind {
		switch method, _, _ := strings.Cut(kind, " "); method {
		case "GET", "HEAD":
			sum += n * s3GetUSD
		case "DELETE":
		default:
			sum += n * s3PutUSD
		}
	}
	return sum
}

// rows are the figures' lines in the report.
func (f *commitsFigures) rows(row func(what, measured, target string)) {
	row(fmt.Sprintf("commit to published on S3 over %d commits, %d tables changed", f.Commits, f.Tables),
		fmt.Sprintf("p50 %.0f ms, p99 %.0f ms; the second half takes %.2f of the first", f.P50, f.P99, f.Growth), fmt.Sprintf("<= %.0f ms, flat", f.Target))
	row("requests of that", fmt.Sprintf("%.1f requests, %.1f KiB a publication; %.0f USD a month at one each second", f.Requests, f.KiBSent, f.MonthUSD), "")
}
