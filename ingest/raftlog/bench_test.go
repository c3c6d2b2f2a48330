package raftlog

import (
	"context"
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

// BenchmarkAppend is the log's throughput with entries in flight; BenchmarkCommit one entry's latency, fsync included.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{8 << 10, EntryPayloadMax} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { bench(b, size, false) })
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1 << 10, 8 << 10, EntryPayloadMax} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { bench(b, size, true) })
	}
}

func bench(b *testing.B, size int, wait bool) {
	l, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	at := pg.LSN(16 << 20)
	if err := l.Reset(context.Background(), Cluster{SystemID: 1, SegmentSize: 16 << 20}, 1, at); err != nil {
		b.Fatal(err)
	}
	data := walBytes(0, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Append(at, data); err != nil {
			b.Fatal(err)
		}
		if err := l.Flush(); err != nil {
			b.Fatal(err)
		}
		at += pg.LSN(size)
		if wait {
			if err := l.Wait(context.Background(), at); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := l.Wait(context.Background(), at); err != nil {
		b.Fatal(err)
	}
}
