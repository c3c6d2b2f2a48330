package blockcache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/s3test"
)

// groupBytes is what a page read asks of a layer: a group of 16 pages, compressed.
const groupBytes = 30 << 10

// BenchmarkRead reads groups of a layer of 128 MiB at random places, and one behind the other, from an S3 server that answers at
// once and one that takes 10 ms more, from a folder, and through caches with blocks of different sizes, empty and full.
func BenchmarkRead(b *testing.B) {
	const size = 128 << 20
	ctx := context.Background()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	srv := s3test.New(b, "lake")
	folder, err := objstore.OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := folder.Put(ctx, "layers/a", data); err != nil {
		b.Fatal(err)
	}
	b.Run("folder", func(b *testing.B) { places(b, folder, size) })
	for _, latency := range []time.Duration{0, 10 * time.Millisecond} {
		p := s3test.NewProxy(b, srv.URL)
		store, err := objstore.OpenS3(ctx, "lake", "", srv.Options(p.URL))
		if err != nil {
			b.Fatal(err)
		}
		defer store.Close()
		if _, err := store.Put(ctx, "layers/a", data); err != nil {
			b.Fatal(err)
		}
		if latency > 0 {
			p.Inject(s3test.Fault{Method: "GET", Latency: latency})
		}
		name := fmt.Sprintf("s3+%s", latency)
		b.Run(name, func(b *testing.B) { places(b, store, size) })
		for _, kib := range []int{64, 128, 256, 512, 1024} {
			open := func(b *testing.B) *Store {
				s, err := Open(store, Options{Dir: b.TempDir(), Bytes: 1 << 30, BlockBytes: kib << 10, Immutable: func(string) bool { return true }})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { s.Close() })
				return s
			}
			b.Run(fmt.Sprintf("%s/block=%dKiB", name, kib), func(b *testing.B) {
				b.Run("cold", func(b *testing.B) { places(b, open(b), size) })
				b.Run("cold sequential", func(b *testing.B) { sequence(b, open(b), size) })
				if latency > 0 {
					return
				}
				s := open(b)
				if _, _, err := s.Get(ctx, "layers/a"); err != nil {
					b.Fatal(err)
				}
				b.Run("warm", func(b *testing.B) { places(b, s, size) })
				b.Run("warm sequential", func(b *testing.B) { sequence(b, s, size) })
			})
		}
	}
}

// places reads at random places and reports the times' quantiles.
func places(b *testing.B, s objstore.Store, size int64) {
	rng := rand.New(rand.NewPCG(1, 2))
	var times []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if _, err := s.GetRange(context.Background(), "layers/a", rng.Int64N(size-groupBytes), groupBytes); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
}

// sequence reads from the beginning on.
func sequence(b *testing.B, s objstore.Store, size int64) {
	at := int64(0)
	b.SetBytes(groupBytes)
	for b.Loop() {
		if _, err := s.GetRange(context.Background(), "layers/a", at, groupBytes); err != nil {
			b.Fatal(err)
		}
		at = (at + groupBytes) % (size - groupBytes)
	}
}
