package catalog_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// meter counts what a store is asked to write.
type meter struct {
	objstore.Store
	puts, bytes atomic.Int64
}

func (m *meter) Put(ctx context.Context, key string, data []byte) (objstore.ObjectInfo, error) {
	m.puts.Add(1)
	m.bytes.Add(int64(len(data)))
	return m.Store.Put(ctx, key, data)
}

func (m *meter) PutIfAbsent(ctx context.Context, key string, data []byte) (objstore.ObjectInfo, error) {
	m.puts.Add(1)
	m.bytes.Add(int64(len(data)))
	return m.Store.PutIfAbsent(ctx, key, data)
}

// fileOf describes a file without writing it: the catalog never opens data files.
func fileOf(t *laketest.Table, n int, ext string) lake.File {
	return lake.File{
		Key: fmt.Sprintf("%s/data/%08d%s", t.ID.Root(), n, ext), Rows: 1000, Bytes: 20_000,
		Columns: []lake.ColumnStats{
			{FieldID: 1, Bytes: 8000, Values: 1000, Lower: []byte{1, 0, 0, 0, 0, 0, 0, 0}, Upper: []byte{9, 0, 0, 0, 0, 0, 0, 0}},
			{FieldID: 2, Bytes: 8000, Values: 1000, Nulls: 3, Lower: []byte("aaaaaaaaaaaaaaaa"), Upper: []byte("zzzzzzzzzzzzzzzz")},
		},
		SplitOffsets: []int64{4},
	}
}

// TestCostIsFlat: the thousandth publication costs what an early one does, in puts, bytes and time, though the table has
// a thousand data files and delete files by then.
func TestCostIsFlat(t *testing.T) {
	m := &meter{Store: objstore.NewMem()}
	c := open(t, m, nil)
	begin(t, c)
	tbl := laketest.New(m, 100, name("a"))
	ch := tbl.Change()
	ch.Create = true
	publish(t, c, publication(1, ch))
	type cost struct {
		puts, bytes int64
		took        time.Duration
	}
	var costs []cost
	for i := range 1200 {
		ch := tbl.Change()
		ch.AddData = []lake.File{fileOf(tbl, i, ".parquet")}
		ch.AddDeletes = []lake.PositionDeletes{{File: fileOf(tbl, i, "-deletes.parquet")}}
		puts, bytes := m.puts.Load(), m.bytes.Load()
		start := time.Now()
		publish(t, c, publication(pg.LSN(i+2), ch))
		costs = append(costs, cost{m.puts.Load() - puts, m.bytes.Load() - bytes, time.Since(start)})
		if i%256 == 255 {
			if err := c.Maintain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Windows of 200 hold one fill of a tail manifest each.
	early, late := costs[200:400], costs[1000:1200]
	sum := func(w []cost) (puts, bytes int64, p50 time.Duration) {
		var took []time.Duration
		for _, x := range w {
			puts, bytes, took = puts+x.puts, bytes+x.bytes, append(took, x.took)
		}
		slices.Sort(took)
		return puts, bytes / int64(len(w)), took[len(took)/2]
	}
	ep, eb, et := sum(early)
	lp, lb, lt := sum(late)
	t.Logf("publications 200-400: %d puts, %d bytes each, p50 %s; 1000-1200: %d puts, %d bytes each, p50 %s", ep, eb, et, lp, lb, lt)
	if lp != ep || float64(lb) > 1.1*float64(eb) || lt > 3*et+5*time.Millisecond {
		t.Errorf("the cost grew")
	}
	d := open(t, m, nil)
	start := time.Now()
	h := begin(t, d)
	t.Logf("reopened with %d data and %d delete files in %s", len(h.Tables[0].Data), len(h.Tables[0].Deletes), time.Since(start))
	if len(h.Tables[0].Data) != 1200 || len(h.Tables[0].Deletes) != 1200 || h.Tables[0].Data[1199].Rows != 1000 {
		t.Errorf("head has %d data and %d delete files", len(h.Tables[0].Data), len(h.Tables[0].Deletes))
	}
}

// TestPublishTime measures publications on a directory store: TARN_TIMES=1.
func TestPublishTime(t *testing.T) {
	if os.Getenv("TARN_TIMES") == "" {
		t.Skip("TARN_TIMES is not set")
	}
	stores := map[string]objstore.Store{"mem": objstore.NewMem(), "dir": must(objstore.OpenDir(t.TempDir()))(t)}
	for what, store := range stores {
		for _, n := range []int{1, 200} {
			c := must(catalog.Open(t.Context(), catalog.Options{Store: store, Logger: nil}))(t)
			head := begin(t, c)
			var tables []*laketest.Table
			var changes []lake.TableChange
			for i := range n {
				tbl := laketest.New(store, pg.OID(n*1000+i), name(fmt.Sprintf("t%d-%d", n, i)))
				ch := tbl.Change()
				ch.Create = true
				tables, changes = append(tables, tbl), append(changes, ch)
			}
			lsn := head.LSN + 1
			publish(t, c, publication(lsn, changes...))
			var took []time.Duration
			for i := range 60 {
				changes = nil
				for _, tbl := range tables {
					ch := tbl.Change()
					ch.AddData = []lake.File{fileOf(tbl, i, ".parquet")}
					ch.AddDeletes = []lake.PositionDeletes{{File: fileOf(tbl, i, "-deletes.parquet")}}
					changes = append(changes, ch)
				}
				lsn++
				start := time.Now()
				publish(t, c, publication(lsn, changes...))
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			t.Logf("%s, %d tables: p50 %s, worst %s", what, n, took[len(took)/2], took[len(took)-1])
			_ = c.Close()
		}
	}
}
