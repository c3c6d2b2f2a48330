package pageserver

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
)

// BenchmarkCreateBranch makes and deletes branches of a timeline with as many layers as 1 GB and 1 TB have, 128 MiB each, and a delta layer for each
// flush of a day.
func BenchmarkCreateBranch(b *testing.B) {
	for _, layers := range []int{8, 8192} {
		b.Run(fmt.Sprintf("layers=%d", layers), func(b *testing.B) {
			store, err := objstore.OpenDir(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			tl := importPages(b, Options{Store: store, History: History{Window: time.Hour}}, 8)
			apply(b, tl, fpi(tl.nextLSN(), 0, testRel, 1, 3))
			flush(b, tl)
			f := &tl.flusher
			f.mu.Lock()
			c := f.authority.contents
			for i := range layers {
				l := *c.layers[0]
				l.Name = fmt.Sprintf("layers/%016X-%016x", uint64(l.LSN), i)
				l.First, l.Last = key.OfBlock(testRel, pg.MainFork, pg.BlockNumber(i*16384)), key.OfBlock(testRel, pg.MainFork, pg.BlockNumber(i*16384+16383))
				c.layers = append(c.layers, &l)
			}
			for i := range 160 {
				d := *c.deltas[0]
				d.Name = fmt.Sprintf("deltas/%d", i)
				d.from, d.LSN = pg.LSN(1+2*i), pg.LSN(2+2*i)
				c.deltas = slices.Insert(slices.Clone(c.deltas), i, &d)
			}
			err = f.authority.replace(context.Background(), f.authority.index, c)
			f.mu.Unlock()
			if err != nil {
				b.Fatal(err)
			}
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if _, err := tl.CreateBranch(context.Background(), "b", MainBranch, tl.ResumeLSN()); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
				b.StopTimer()
				if err := tl.DeleteBranch(context.Background(), "b"); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}
