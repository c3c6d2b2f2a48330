package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/internal/s3test"
)

// engineFigures say how soon each engine counts the rows of a table, and what it asks the store for.
type engineFigures struct {
	Rows    int64        `json:"rows"`
	Deleted int64        `json:"deleted"`
	Engines []engineCase `json:"engines"`
}

type engineCase struct {
	Engine   string  `json:"engine"`
	Start    float64 `json:"start_seconds"` // of the process, until it takes a query
	First    query   `json:"first_count"`   // connecting to the catalog included
	Warm     query   `json:"warm_count"`
	Filtered query   `json:"filtered_count"`
}

// query is one count and the traffic at the store meanwhile.
type query struct {
	Seconds  float64 `json:"seconds"`
	Requests int     `json:"requests"`
	KiB      float64 `json:"kib_received"`
}

const engineRows = 1_000_000

// engineBench starts each engine in turn and has it count a table of a million rows, of which one in a hundred was deleted.
func engineBench(ctx context.Context, o options) (_ *engineFigures, err error) {
	sc, err := newS3Scene(ctx, o, "engines")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sc.close()) }()
	srv, proxy := sc.srv, sc.proxy
	if err := srv.Exec(ctx, "app", createNarrow("narrow"), fillNarrow("narrow", 1, engineRows)); err != nil {
		return nil, err
	}
	t, err := sc.attach(ctx, o.memory, "")
	if err != nil {
		return nil, err
	}
	defer t.stop()
	if err := publishAll(ctx, t, srv); err != nil {
		return nil, err
	}
	if err := srv.Exec(ctx, "app", "delete from narrow where id % 100 = 0"); err != nil {
		return nil, err
	}
	if err := publishAll(ctx, t, srv); err != nil {
		return nil, err
	}
	f := &engineFigures{Rows: engineRows, Deleted: engineRows / 100}
	for _, name := range lakecheck.Engines {
		c, err := engineRun(ctx, name, t.catalog, proxy, sc.s3.Environ(proxy.URL))
		if err != nil {
			return f, err
		}
		say("%+v", c)
		f.Engines = append(f.Engines, c)
	}
	return f, nil
}

// publishAll waits until what is committed is in the lake.
func publishAll(ctx context.Context, t *tarn, srv *pgtest.Server) error {
	lsn, err := demo.FlushLSN(ctx, srv)
	if err != nil {
		return err
	}
	return t.awaitPublished(ctx, lsn, 5*time.Minute)
}

func engineRun(ctx context.Context, name, catalog string, proxy *s3test.Proxy, env []string) (c engineCase, err error) {
	c.Engine = name
	python, err := lakecheck.FindPython(ctx, name)
	if err != nil {
		return c, err
	}
	began := time.Now()
	reader, err := lakecheck.StartReader(ctx, python, name, env...)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	c.Start = seconds(time.Since(began))
	source := lakecheck.Source{Catalog: catalog, Warehouse: "app", Table: lakecheck.TableName{Namespace: "public", Table: "narrow"}}
	half := lakecheck.Term{Column: "id", Op: "<=", Type: "long", Value: fmt.Sprint(engineRows / 2)}
	for _, q := range []struct {
		into  *query
		where []lakecheck.Term
		want  int64
	}{{&c.First, nil, engineRows / 100 * 99}, {&c.Warm, nil, engineRows / 100 * 99}, {&c.Filtered, []lakecheck.Term{half}, engineRows / 200 * 99}} {
		proxy.TakeTraffic()
		began := time.Now()
		n, err := reader.Count(ctx, source, q.where...)
		if err != nil {
			return c, err
		}
		if n != q.want {
			return c, fmt.Errorf("%s counts %d rows, want %d", name, n, q.want)
		}
		traffic := proxy.TakeTraffic()
		*q.into = query{Seconds: seconds(time.Since(began)), Requests: traffic.Total(), KiB: round(float64(traffic.Received)/1024, 1)}
	}
	return c, nil
}
