package admin

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// freshnessSamplesMax bounds the window's memory; a faster server forgets older samples sooner.
	freshnessSamplesMax = 4096
	// FreshnessWindow is how far back the percentiles look.
	FreshnessWindow = 5 * time.Minute
)

// FreshnessTracker remembers how long recent commits took to become visible. Safe for concurrent use.
type FreshnessTracker struct {
	histogram prometheus.Histogram

	mu      sync.Mutex
	samples [freshnessSamplesMax]sample // ring
	next    int
	count   int // of valid samples, <= freshnessSamplesMax
}

type sample struct {
	at      time.Time
	seconds float64
}

// NewFreshnessTracker makes an empty one.
func NewFreshnessTracker() *FreshnessTracker {
	return &FreshnessTracker{histogram: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "tarn_freshness_seconds",
		Help:    "Time from commit on the source to visible in the lake.",
		Buckets: []float64{.05, .1, .25, .5, .75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 1800},
	})}
}

// Observe counts one commit that became visible. commitTime is by the source's clock: a clock ahead of ours gives
// zero, not a negative time.
func (f *FreshnessTracker) Observe(commitTime, publishedAt time.Time) {
	s := max(0, publishedAt.Sub(commitTime).Seconds())
	f.histogram.Observe(s)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.samples[f.next] = sample{publishedAt, s}
	f.next = (f.next + 1) % freshnessSamplesMax
	f.count = min(f.count+1, freshnessSamplesMax)
}

// Quantiles gives the window's percentiles at a time.
func (f *FreshnessTracker) Quantiles(now time.Time) Freshness {
	recent := f.recent(now.Add(-FreshnessWindow))
	if len(recent) == 0 {
		return Freshness{}
	}
	slices.Sort(recent)
	// Nearest rank: the smallest sample that at least q of all do not exceed.
	at := func(percent int) float64 { return recent[(len(recent)*percent+99)/100-1] * 1000 }
	return Freshness{P50: at(50), P99: at(99), Samples: len(recent)}
}

func (f *FreshnessTracker) recent(since time.Time) []float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]float64, 0, f.count)
	for _, s := range f.samples[:f.count] {
		if s.at.After(since) {
			out = append(out, s.seconds)
		}
	}
	return out
}
