package demo

import (
	"os"
	"strings"
	"testing"
	"time"
)

// The demo and the tests must read with the same versions.
func TestPackagesArePinnedAsInTools(t *testing.T) {
	b, err := os.ReadFile("../../internal/tools/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range duckdbPackages {
		if !strings.Contains(string(b), p+"\n") {
			t.Errorf("internal/tools/requirements.txt does not pin %s", p)
		}
	}
}

func TestPercentiles(t *testing.T) {
	p := &probe{}
	for i := range 100 {
		p.samples = append(p.samples, time.Duration(100-i)*time.Millisecond)
	}
	if p50, p99, n := p.percentiles(); p50 != 51*time.Millisecond || p99 != 100*time.Millisecond || n != 100 {
		t.Fatalf("p50 %v, p99 %v, n %d", p50, p99, n)
	}
}
