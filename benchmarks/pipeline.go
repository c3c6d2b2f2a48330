package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize"
	"github.com/tarn-db/tarn/pageserver"
)

// pipeline is what a server is made of but for the network: WAL files, pages, cuts, and a catalog in a store on disk.
// Memory is split between pages and cuts as the server splits it.
type pipeline struct {
	dir      string
	store    objstore.Store
	catalog  *catalog.Catalog
	engine   *materialize.Engine
	timeline *pageserver.Timeline

	cuts    int
	cutWork time.Duration // wall time in cuts
	commit  time.Duration // of it, in the catalog
	longest time.Duration
	rowsIn  int64 // written to data files
}

// openPipeline makes an empty store under dir and imports the base of a recording. Nothing is published yet.
func openPipeline(ctx context.Context, dir string, memory int64, r *recording) (p *pipeline, err error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	p = &pipeline{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.store, err = objstore.OpenDir(filepath.Join(dir, "store")); err != nil {
		return nil, err
	}
	if p.catalog, err = catalog.Open(ctx, catalog.Options{Store: p.store}); err != nil {
		return nil, err
	}
	p.engine, err = materialize.New(ctx, materialize.Options{
		Store: p.store, Publisher: p.catalog, ToastDir: filepath.Join(dir, "toast"), MemoryBytes: memory / 2,
	})
	if err != nil {
		return nil, err
	}
	if p.timeline, err = importBase(ctx, r.Base, pageserver.Options{Store: p.store, MemoryBytes: memory / 2, Workers: pageserver.DefaultWorkers()}); err != nil {
		return nil, err
	}
	p.engine.Attach(materialize.TimelinePages(p.timeline))
	return p, nil
}

func (p *pipeline) close() error {
	var errs []error
	if p.timeline != nil {
		errs = append(errs, p.timeline.Close())
	}
	if p.engine != nil {
		errs = append(errs, p.engine.Close())
	}
	if p.catalog != nil {
		errs = append(errs, p.catalog.Close())
	}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(p.dir))...)
}

func (p *pipeline) cut(ctx context.Context) (materialize.CutResult, error) {
	began := time.Now()
	t := p.timeline
	if err := t.Barrier(); err != nil {
		return materialize.CutResult{}, err
	}
	_, committed := t.LastCommit()
	res, err := p.engine.Cut(ctx, materialize.CutPoint{
		LSN: t.RedoLSN(), Resume: t.ResumeLSN(), Timeline: t.WALTimeline(), SystemID: t.SystemID(), CommitTime: committed,
	})
	took := time.Since(began)
	p.cuts++
	p.rowsIn += res.RowsIn
	p.cutWork += took
	p.commit += res.Commit
	p.longest = max(p.longest, took)
	return res, err
}

// flushWAL is after how much WAL pages are made durable, bytes: as the server does.
const flushWAL = 512 << 20

// play redoes a recording at full speed and cuts every interval, and once at its end.
func (p *pipeline) play(ctx context.Context, r *recording, interval time.Duration) (records int64, err error) {
	src, reader, err := openWAL(r.WAL, r)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	last, flushed := time.Now(), p.timeline.RedoLSN()
	wait := func() error { return nil }
	for {
		recs, err := reader.NextBatch(pageserver.BatchRecords)
		if errors.Is(err, io.EOF) {
			break
		}
		n := 0
		if err == nil {
			n, err = p.timeline.ApplyBatch(ctx, recs)
		}
		if err != nil {
			return records, err
		}
		if records += int64(n); time.Since(last) < interval {
			continue
		}
		if _, err := p.cut(ctx); err != nil {
			return records, err
		}
		last = time.Now()
		if p.timeline.RedoLSN() > flushed+flushWAL && !p.timeline.Flushing() {
			wait, flushed = p.timeline.StartFlush(ctx), p.timeline.RedoLSN()
		}
	}
	if err := p.timeline.Barrier(); err != nil {
		return records, err
	}
	if p.timeline.RedoLSN() < r.End {
		return records, fmt.Errorf("redo stopped at %s, before %s", p.timeline.RedoLSN(), r.End)
	}
	if _, err := p.cut(ctx); err != nil {
		return records, err
	}
	return records, wait()
}

// mustHave checks that the recording's table is in the lake with as many rows as it has at the end.
func (p *pipeline) mustHave(r *recording) error {
	rows, err := p.rows("app.public." + r.Spec.Table)
	if err == nil && rows != int64(r.Spec.RowsEnd) {
		err = fmt.Errorf("the lake has %d rows of %d", rows, r.Spec.RowsEnd)
	}
	return err
}

// rows is how many rows the lake has in a table, after every deletion.
func (p *pipeline) rows(name string) (int64, error) {
	for _, t := range p.engine.Status() {
		if t.Name != name {
			continue
		}
		if t.State != "live" {
			return 0, fmt.Errorf("table %s is %s: %s", name, t.State, t.Error)
		}
		return t.Rows, nil
	}
	return 0, fmt.Errorf("table %s is not in the lake", name)
}
