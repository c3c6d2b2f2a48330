package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/internal/s3test"
)

// s3Figures say what a publication costs on an S3 server.
type s3Figures struct {
	Cases []s3Case `json:"cases"`
}

// s3Case is a latency added to each request and a number of tables that change in each transaction.
type s3Case struct {
	LatencyMS int     `json:"latency_ms"`
	Tables    int     `json:"tables"`
	Runs      int     `json:"publications"`
	P50       float64 `json:"p50_ms"` // from the commit's return to its publication
	P99       float64 `json:"p99_ms"`
	Requests  float64 `json:"requests"` // per publication, archiving and maintenance included
	KiBSent   float64 `json:"kib_sent"`
	// ByKind are requests per publication.
	ByKind map[string]float64 `json:"requests_by_kind"`
}

// s3Interval is publish.interval, the least there is: what is measured is the publication, not the wait for it.
const s3Interval = 20 * time.Millisecond

// The tables and the rows in each.
const (
	s3Tables = 200
	s3Rows   = 1000
)

// s3Bench commits one transaction after the other, each changing a row in some tables, and waits for each in the lake. It is
// another row each time, so that a publication has a data file and a delete file for each table, as most have.
func s3Bench(ctx context.Context, o options) (_ *s3Figures, err error) {
	sc, err := newS3Scene(ctx, o, "s3")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sc.close()) }()
	srv, proxy := sc.srv, sc.proxy
	proxy.Kind = s3Kind
	if err := srv.Exec(ctx, "app", s3Create(s3Tables)); err != nil {
		return nil, err
	}
	t, err := sc.attach(ctx, o.memory, fmt.Sprintf("publish: {interval: %s}\n", s3Interval))
	if err != nil {
		return nil, err
	}
	defer t.stop()
	f, turn := &s3Figures{}, 0
	for _, latency := range []int{0, 5, 20} {
		for _, tables := range []int{1, 20, s3Tables} {
			proxy.SetLatency(time.Duration(latency) * time.Millisecond)
			c, err := s3Run(ctx, t, srv, proxy, tables, max(20, 100/(1+tables/20)), &turn)
			if err != nil {
				return f, err
			}
			c.LatencyMS = latency
			say("%+v", c)
			f.Cases = append(f.Cases, c)
		}
	}
	return f, nil
}

// s3Create makes so many tables.
func s3Create(tables int) string {
	var make strings.Builder
	for i := range tables {
		fmt.Fprintf(&make, "create table t%d as select i as id, i as n, repeat('x', 20) as t from generate_series(1, %d) i;", i, s3Rows)
	}
	return make.String()
}

// s3Warm publications before those that count are for the tables' first changes.
const s3Warm = 3

func s3Run(ctx context.Context, t *tarn, srv *pgtest.Server, proxy *s3test.Proxy, tables, runs int, turn *int) (s3Case, error) {
	c := s3Case{Tables: tables, Runs: runs, ByKind: map[string]float64{}}
	var took []float64
	for i := range runs + s3Warm {
		if i == s3Warm {
			proxy.TakeTraffic()
		}
		*turn++
		var change strings.Builder
		for j := range tables {
			fmt.Fprintf(&change, "update t%d set n = n + 1 where id = %d;", j, 1+*turn%s3Rows)
		}
		if err := srv.Exec(ctx, "app", change.String()); err != nil {
			return c, err
		}
		began := time.Now()
		lsn, err := demo.FlushLSN(ctx, srv)
		if err != nil {
			return c, err
		}
		if err := t.awaitPublished(ctx, lsn, time.Minute); err != nil {
			return c, err
		}
		if i >= s3Warm {
			took = append(took, 1000*seconds(time.Since(began)))
		}
	}
	slices.Sort(took)
	c.P50, c.P99 = round(quantile(took, 0.5), 1), round(quantile(took, 0.99), 1)
	traffic := proxy.TakeTraffic()
	c.Requests, c.KiBSent = round(float64(traffic.Total())/float64(runs), 1), round(float64(traffic.Sent)/1024/float64(runs), 1)
	for kind, n := range traffic.Requests {
		c.ByKind[kind] = round(float64(n)/float64(runs), 1)
	}
	return c, nil
}

// s3Kind tells requests by what they are for.
func s3Kind(r *http.Request) string {
	path := r.URL.Path + r.URL.Query().Get("prefix")
	for _, k := range []struct{ part, what string }{
		{".tids", "TID set"}, {"-deletes-", "delete file"}, {".parquet", "data file"}, {".metadata.json", "metadata.json"},
		{"/metadata/snap-", "manifest list"}, {"/metadata/", "manifest"}, {"catalog/log/", "log entry"}, {"catalog/checkpoint/", "checkpoint"}, {"/wal/", "WAL"},
	} {
		if strings.Contains(path, k.part) {
			return s3test.Kind(r) + " " + k.what
		}
	}
	return s3test.Kind(r) + " other"
}
