package admin

import (
	"testing"
	"time"
)

func TestFreshness(t *testing.T) {
	f, now := NewFreshnessTracker(), time.Unix(1_000_000, 0)
	if got := f.Quantiles(now); got != (Freshness{}) {
		t.Error(got)
	}
	for i := 1; i <= 100; i++ {
		f.Observe(now.Add(-time.Duration(i)*time.Millisecond), now)
	}
	if got := f.Quantiles(now); got.P50 < 49.9 || got.P50 > 50.1 || got.P99 < 98.9 || got.P99 > 99.1 || got.Samples != 100 {
		t.Error(got)
	}
	if got := f.Quantiles(now.Add(FreshnessWindow)); got.Samples != 0 {
		t.Error("old samples count:", got)
	}
	f.Observe(now.Add(time.Hour), now) // the source's clock is ahead
	for range 3 * freshnessSamplesMax {
		f.Observe(now, now)
	}
	if got := f.Quantiles(now); got.P99 != 0 || got.Samples != freshnessSamplesMax {
		t.Error(got)
	}
}
