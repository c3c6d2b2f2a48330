package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

func TestQuantile(t *testing.T) {
	sorted := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for q, want := range map[float64]float64{0: 1, 0.1: 1, 0.5: 5, 0.9: 9, 0.99: 10, 1: 10} {
		if got := quantile(sorted, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := quantile(nil, 0.5); got != 0 {
		t.Errorf("quantile of nothing is %v", got)
	}
	if got := median([]int{9, 1, 5}, func(n int) float64 { return float64(n) }); got != 5 {
		t.Errorf("median %v", got)
	}
}

// A heartbeat is seen by the first answer with its id or a later one; one that is never seen must not vanish from the figures.
func TestMeasure(t *testing.T) {
	polls := []poll{{Asked: 9.9, Had: 10, ID: 4}, {Asked: 10.9, Had: 11, ID: 4}, {Asked: 11.9, Had: 12.5, ID: 7}}
	committed := map[int64]float64{5: 11, 6: 12, 7: 12.25, 8: 13}
	var f freshnessFigures
	f.measure(polls, committed)
	if f.Samples != 3 || f.Unseen != 1 || f.P50 != 500 || f.P99 != 1500 || f.Max != 1500 || f.Polls != 3 {
		t.Errorf("%+v", f)
	}
}

// A standby that stopped early must not pass for a fast one.
func TestReplayEnd(t *testing.T) {
	got, err := replayEnd("LOG:  redo starts at 0/2000028\nLOG:  invalid record length at 0/3F3A1D78: wanted 24, got 0\n")
	if err != nil || got != pg.LSN(0x3F3A1D78) {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := replayEnd("LOG:  redo starts at 0/2000028\n"); err == nil {
		t.Error("no end, and no error")
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	readme := filepath.Join(dir, "README.md")
	if err := os.WriteFile(readme, []byte("before\n"+reportBegin+"\nold\n"+reportEnd+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "results"), 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(result{Benchmark: "redo", Commit: "abc", Command: "go run ./benchmarks redo", Figures: redoFigures{Ratio: 1.25}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "results", "redo.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeReport(dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n", "1.25", "`abc`", "\nafter\n"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
	if strings.Contains(string(got), "old") {
		t.Errorf("the old report is still there:\n%s", got)
	}
}
