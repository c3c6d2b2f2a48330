package wal

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/walfixture"
)

// TestBatches reads batches of all sizes from a source that grows: when the batch after one is there, all of its records must still be
// those that are read one by one.
func TestBatches(t *testing.T) {
	for _, m := range majors {
		w := fixture(t, m)
		want, _ := readAll(newReader(t, Options{Source: w, Start: w.Start}))
		for seed := range uint64(5) {
			rng := rand.New(rand.NewPCG(seed, 2))
			s := &tail{WAL: w, limit: w.Start, chunk: []int{1 << 20, 8192, 1000, 100_000, 1 << 20}[seed]}
			r := newReader(t, Options{Source: s, Start: w.Start})
			n, batches := 0, 0
			var before []Record
			check := func(batch []Record) {
				t.Helper()
				for i := range batch {
					if got := digestOf(&batch[i]); n >= len(want) || got != want[n] {
						t.Fatalf("seed %d: record %d, %d of its batch, is %s, want %s", seed, n, i, got, want[n])
					}
					n++
				}
			}
			for s.limit < w.End() {
				s.limit = min(w.End(), s.limit+1+pg.LSN(rng.IntN([]int{1 << 30, 20_000, 300_000, 5000, 1_000_000}[seed])))
				for {
					batch, err := r.NextBatch([]int{128, 2, 7, 1000, 1 + rng.IntN(300)}[seed])
					if err == ErrNoMoreYet || err == io.EOF {
						break
					}
					if err != nil {
						t.Fatalf("seed %d: record %d: %v", seed, n, err)
					}
					batches++
					check(before)
					before = batch
					if p := r.Position(); p.Complete != batch[len(batch)-1].End {
						t.Fatalf("position %+v after a batch up to %s", p, batch[len(batch)-1].End)
					}
					if rng.IntN(20) == 0 { // one by one in between
						check(before)
						before = nil
						if rec, err := r.Next(); err == nil {
							if got := digestOf(rec); got != want[n] {
								t.Fatalf("seed %d: record %d is %s, want %s", seed, n, got, want[n])
							}
							n++
						}
					}
				}
			}
			check(before)
			if n != len(want) {
				t.Fatalf("seed %d: %d records, want %d", seed, n, len(want))
			}
			t.Logf("PostgreSQL %d, seed %d: %d records in %d batches", m, seed, n, batches)
		}
	}
}

// TestBatchBeforeDamage: the records before one that is damaged come first, then the error, and it stays.
func TestBatchBeforeDamage(t *testing.T) {
	w := fixture(t, pg.PG18)
	all, _ := readAll(newReader(t, Options{Source: w, Start: w.Start}))
	damaged := []int{0, 1, 50, 1000}
	for i, d := range all { // over a page's end, with others before it in its batch
		if i > 0 && pageStart(d.lsn) != pageStart(d.end-1) && pageStart(all[i-1].lsn) == pageStart(d.lsn) && len(damaged) < 12 {
			damaged = append(damaged, i)
		}
	}
	for _, bad := range damaged {
		for _, end := range []bool{false, true} {
			b := append([]byte(nil), w.Bytes...)
			b[all[bad].end-w.Start-1-pg.LSN((all[bad].end-all[bad].lsn)/2)] ^= 1
			c := &walfixture.WAL{Start: w.Start, Bytes: b, SegmentLen: w.SegmentLen}
			r := newReader(t, Options{Source: c, Start: w.Start, EndAtInvalid: end})
			n := 0
			var err error
			for {
				var batch []Record
				if batch, err = r.NextBatch(128); err != nil {
					break
				}
				for i := range batch {
					if digestOf(&batch[i]) != all[n] {
						t.Fatalf("record %d before the damage at %d", n, bad)
					}
					n++
				}
			}
			_, again := r.NextBatch(128)
			if _, want := readAll(newReader(t, Options{Source: c, Start: w.Start, EndAtInvalid: end})); err.Error() != want.Error() {
				t.Errorf("record %d damaged, end %v: %v; one by one: %v", bad, end, err, want)
			}
			if n != bad || end && (err != io.EOF || again != io.EOF) || !end && (!errors.Is(err, pg.ErrCorrupt) || again == nil || again.Error() != err.Error()) {
				t.Errorf("record %d damaged, end %v: %d records, then %v, then %v", bad, end, n, err, again)
			}
		}
	}
}

// TestNoAllocationPerBatch holds once the buffers have grown.
func TestNoAllocationPerBatch(t *testing.T) {
	w := fixture(t, pg.PG18)
	r := newReader(t, Options{Source: w, Start: w.Start})
	for range 40 {
		if _, err := r.NextBatch(128); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(20, func() { _, _ = r.NextBatch(64) }); n > 0.1 {
		t.Errorf("%v allocations per batch", n)
	}
}

func BenchmarkNextBatch(b *testing.B) {
	for _, m := range majors {
		b.Run(fmt.Sprint(int(m)), func(b *testing.B) {
			w := fixture(b, m)
			b.SetBytes(int64(len(w.Bytes)))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				r := newReader(b, Options{Source: w, Start: w.Start})
				for {
					batch, err := r.NextBatch(128)
					if err != nil {
						break
					}
					n += len(batch)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
