package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// cmdLake publishes a table app.public.a twice: `lake DIR`. At 0/100 it has three rows, at 0/200 four.
func cmdLake(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: lake DIR")
	}
	ctx := context.Background()
	store, err := objstore.OpenDir(filepath.Clean(ts.MkAbs(args[0])))
	ts.Check(err)
	defer store.Close()
	cat, err := catalog.Open(ctx, catalog.Options{Store: store})
	ts.Check(err)
	defer cat.Close()
	_, err = cat.Begin(ctx)
	ts.Check(err)
	a := laketest.New(store, 100, lake.TableName{Database: "app", Namespace: "public", Name: "a"})
	publish := func(lsn pg.LSN, ch lake.TableChange, ids ...int64) {
		f, err := a.Insert(ctx, ids...)
		ts.Check(err)
		_, err = store.Put(ctx, f.Key+".tids", []byte("only the materializer reads it"))
		ts.Check(err)
		ch.AddData = []lake.File{f}
		ts.Check(cat.Publish(ctx, lake.Publication{LSN: lsn, Timeline: 1, SystemID: 7, CommitTime: time.Unix(1_700_000_000, 0), Tables: []lake.TableChange{ch}}))
	}
	ch := a.Change()
	ch.Create = true
	publish(0x100, ch, 1, 2, 3)
	ch = a.Change()
	d, err := a.Delete(ctx, 2)
	ts.Check(err)
	ch.AddDeletes = []lake.PositionDeletes{d}
	publish(0x200, ch, 4, 5)
}
