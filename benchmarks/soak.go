package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tarn-db/tarn/internal/admin"
)

// soakFigures are what TestSoak of internal/e2e saw: writers as fast as Postgres and tarn let them, on tables that keep their size.
type soakFigures struct {
	Seconds      int           `json:"seconds"`
	Passed       bool          `json:"passed"` // nothing grew, every row was equal, the scrub found nothing
	Failure      string        `json:"failure,omitempty"`
	Transactions int64         `json:"transactions"`
	Held         int           `json:"writers_waited_s"` // for tarn
	WAL          int64         `json:"wal_bytes"`        // published
	Measures     []soakMeasure `json:"measures"`
	Upkeep       admin.Upkeep  `json:"upkeep"`
}

// soakMeasure is something that must not grow: its means over the thirds of the run, and its most, all tables together.
type soakMeasure struct {
	What  string   `json:"what"`
	Means [3]int64 `json:"means_of_thirds"`
	Most  int64    `json:"most"`
}

// soakBench runs the test for so many seconds. A run that fails has figures too, and says why it failed.
func soakBench(ctx context.Context, o options) (*soakFigures, error) {
	file := filepath.Join(o.dir, "soak.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	binary, err := buildTarn(ctx, o)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "./internal/e2e", "-run", "^TestSoak$", "-count=1", "-v", "-timeout", fmt.Sprintf("%ds", 2*o.seconds+1200))
	cmd.Env = append(os.Environ(), "TARN_BIN="+binary, fmt.Sprintf("TARN_SOAK_SECONDS=%d", o.seconds), "TARN_SOAK_JSON="+file)
	text, failed := cmd.CombinedOutput()
	f := &soakFigures{Seconds: o.seconds, Passed: failed == nil}
	saw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(saw, f)
	}
	if err != nil {
		return nil, fmt.Errorf("the soak left no figures: %w: %s", errors.Join(failed, err), text[max(0, len(text)-3000):])
	}
	if failed != nil {
		f.Failure = saidBy(string(text), "soak_test.go:")
	}
	return f, nil
}

// saidBy are the lines a test wrote, without the log of its server.
func saidBy(text, file string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, file) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	said := strings.Join(lines, "\n")
	return said[max(0, len(said)-3000):]
}

// rows are the figures' lines in the report.
func (f *soakFigures) rows(row func(what, measured, target string)) {
	verdict := "passed"
	if !f.Passed {
		verdict = "FAILED"
	}
	row(fmt.Sprintf("soak of %d s, writers at full speed", f.Seconds),
		fmt.Sprintf("%s; %d transactions, %d MiB of WAL, writers waited for tarn %d s", verdict, f.Transactions, f.WAL>>20, f.Held), "")
	for _, m := range f.Measures {
		row("of that: "+m.What, fmt.Sprintf("means of thirds %d, %d, %d; most %d", m.Means[0], m.Means[1], m.Means[2], m.Most), "flat")
	}
}
