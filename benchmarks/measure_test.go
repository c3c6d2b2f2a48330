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

// TestStudent: the quantiles as tables have them.
func TestStudent(t *testing.T) {
	for degrees, want := range map[float64]float64{4: 2.776, 9: 2.262, 29: 2.045, 99: 1.984} {
		if got := student975(degrees); got < want*0.997 || got > want*1.003 {
			t.Errorf("%v degrees: %.4f, want %.3f", degrees, got, want)
		}
	}
}

// TestCompareRuns: the pairs' own differences count, not those between pairs, which are of the machine.
func TestCompareRuns(t *testing.T) {
	var without, with []overheadRun
	for i, more := range []float64{1.01, 1.03, 1.02, 1.01, 1.03} {
		base := float64(100 * (i + 1)) // the machine is slower every time
		without, with = append(without, overheadRun{cpu: base}), append(with, overheadRun{cpu: base * more})
	}
	p := compareRuns(without, with, func(r overheadRun) float64 { return r.cpu })
	if p.Without != 300 || p.Percent != 2 || p.Low != 0.76 || p.High != 3.24 { // 2 +- 2.776 * 1 / sqrt(5)
		t.Errorf("%+v", p)
	}
}

// TestCommitSums: the first window is left out, growth is of the second half, and requests are priced by their methods.
func TestCommitSums(t *testing.T) {
	var f commitsFigures
	for i, p50 := range []float64{90, 10, 10, 10, 10, 15, 15, 15, 15, 15} {
		f.Windows = append(f.Windows, commitWindow{s3Case: s3Case{P50: p50, P99: 2 * p50, Requests: float64(i), KiBSent: 7,
			ByKind: map[string]float64{"PUT WAL": 1, "PUT if-none-match log entry": 1, "LIST checkpoint": 2, "GET other": 5, "DELETE WAL": 9}}})
	}
	f.sum()
	if f.P50 != 15 || f.P99 != 30 || f.Growth != 1.5 || f.Requests != 7 || f.KiBSent != 7 {
		t.Errorf("%+v", f)
	}
	if want := round(monthS*(4*0.005+5*0.0004)/1000, 0); f.MonthUSD != want {
		t.Errorf("%v USD a month, want %v", f.MonthUSD, want)
	}
}

// TestChildrenCPU: what a child has used is counted once it has ended.
func TestChildrenCPU(t *testing.T) {
	before, err := childrenCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := command(t.Context(), "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"); err != nil {
		t.Fatal(err)
	}
	after, err := childrenCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after <= before {
		t.Errorf("%s before, %s after", before, after)
	}
}

// TestRecordedResults: every result there is can be read into the report.
func TestRecordedResults(t *testing.T) {
	names, err := filepath.Glob("results/*.json")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		rows, err := reportRows(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if rows == "" && !strings.Contains(name, "layerformat") {
			t.Errorf("%s has no line in the report", name)
		}
	}
}
