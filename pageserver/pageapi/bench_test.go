package pageapi_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/pageapi"
	"github.com/tarn-db/tarn/pageserver/pageapi/client"
)

const benchBlocks = 16384 // 128 MiB

// BenchmarkSequential reads a relation whose pages are in memory, in batches: from a snapshot, and through the service over loopback.
func BenchmarkSequential(b *testing.B) {
	r := newRig(b, benchBlocks, pageapi.Options{}, nil)
	defer r.stop()
	b.Run("InProcess", func(b *testing.B) {
		b.SetBytes(benchBlocks * pg.BlockSize)
		for b.Loop() {
			sum := byte(0)
			for from := pg.BlockNumber(0); from < benchBlocks; from += pageapi.PagesMax {
				snap, err := r.source.Open(context.Background(), pageapi.Position{})
				if err != nil {
					b.Fatal(err)
				}
				var keys []key.Key
				for blk := from; blk < from+pageapi.PagesMax; blk++ {
					keys = append(keys, key.OfBlock(testFork.Rel, testFork.Num, blk))
				}
				err = snap.Pages(context.Background(), keys, func(_ int, page []byte) error { sum += page[pg.BlockSize-1]; return nil })
				snap.Release()
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("Loopback", func(b *testing.B) {
		b.SetBytes(benchBlocks * pg.BlockSize)
		for b.Loop() {
			sum := byte(0)
			err := r.Scan(context.Background(), client.At{}, testFork, 0, benchBlocks, func(_ pg.LSN, _ pg.BlockNumber, page pg.Page) error {
				sum += page[pg.BlockSize-1]
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkGetPage reads single pages at random and reports quantiles of the time each takes.
func BenchmarkGetPage(b *testing.B) {
	r := newRig(b, benchBlocks, pageapi.Options{}, nil)
	defer r.stop()
	ctx := context.Background()
	for name, read := range map[string]func(pg.BlockNumber) error{
		"InProcess": func(blk pg.BlockNumber) error {
			snap, err := r.source.Open(ctx, pageapi.Position{})
			if err != nil {
				return err
			}
			defer snap.Release()
			return snap.Pages(ctx, []key.Key{key.OfBlock(testFork.Rel, testFork.Num, blk)}, func(int, []byte) error { return nil })
		},
		"Loopback": func(blk pg.BlockNumber) error {
			_, _, err := r.Page(ctx, client.At{}, testFork, blk)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if err := read(pg.BlockNumber(rand.IntN(benchBlocks))); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			for _, q := range []int{50, 99} {
				b.ReportMetric(float64(took[len(took)*q/100].Nanoseconds())/1e3, fmt.Sprintf("p%d-us", q))
			}
		})
	}
}
