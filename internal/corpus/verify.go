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
	"time"
)

// outcome is what verifying one corpus came to. It is kept beside the corpus, and longer.
type outcome struct {
	Release  string        `json:"release"`
	Corpus   string        `json:"corpus"`
	At       time.Time     `json:"at"`
	Report   report        `json:"report"`  // of tarn wal verify
	Took     time.Duration `json:"took"`    // of tarn wal verify
	Waldump  string        `json:"waldump"` // how the statistics compare with pg_waldump's
	Failures []string      `json:"failures,omitempty"`
}

// report is the part of tarn wal verify --json that is used here.
type report struct {
	Records        int64 `json:"records"`
	Bytes          int64 `json:"bytes"`
	ImagesCompared int64 `json:"images_compared"`
	Mismatches     int64 `json:"mismatches"`
	Skipped        int64 `json:"skipped"`
	InvalidPages   int64 `json:"invalid_pages"`
	RecordTypes    struct {
		Seen map[string]int64 `json:"seen"` // records, by "Heap/INSERT"
	} `json:"record_types"`
	Start string         `json:"start"`
	Final map[string]any `json:"final"` // counts of pages by kind, and of those that differ
}

// verifyAll makes, verifies and deletes one corpus after the other: all of them at once would not fit on most disks.
func (o *options) verifyAll(ctx context.Context) error {
	var list []outcome
	err := o.each(func(release string, c corpus) error {
		made := o.dir(release, c.name)
		_, before := os.Stat(made)
		dir, err := o.make(ctx, release, c)
		if err != nil {
			return err
		}
		out, err := o.verify(ctx, release, c, dir)
		if err != nil {
			return err
		}
		list = append(list, out)
		if !o.keep && errors.Is(before, os.ErrNotExist) && len(out.Failures) == 0 {
			return os.RemoveAll(dir)
		}
		return nil
	})
	return errors.Join(err, o.print(list))
}

// verify runs tarn over a corpus and writes down what came of it.
func (o *options) verify(ctx context.Context, release string, c corpus, dir string) (out outcome, err error) {
	say("%s %s: verifying", release, c.name)
	out = outcome{Release: release, Corpus: c.name, At: time.Now().UTC().Truncate(time.Second)}
	wal := filepath.Join(dir, "wal")
	began := time.Now()
	text, errText, err := o.runTarn(ctx, "wal", "verify", "--json", "--base", filepath.Join(dir, "base"), "--wal", wal, "--final", filepath.Join(dir, "final"))
	out.Took = time.Since(began).Round(time.Millisecond)
	if err != nil {
		out.Failures = append(out.Failures, fmt.Sprintf("tarn wal verify: %v: %s", err, errText))
	}
	if jsonErr := json.Unmarshal([]byte(text), &out.Report); jsonErr != nil && err == nil {
		return out, jsonErr
	}
	if err == nil && out.Report.Skipped > 0 {
		out.Failures = append(out.Failures, fmt.Sprintf("%d images were not compared", out.Report.Skipped))
	}
	if unknown, _ := out.Report.Final["unknown"].(float64); unknown > 0 {
		out.Failures = append(out.Failures, fmt.Sprintf("%.0f pages at the end were not compared", unknown))
	}
	if err := o.waldump(ctx, &out, c, wal); err != nil {
		return out, err
	}
	for _, f := range out.Failures {
		say("%s %s: %s", release, c.name, f)
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return out, err
	}
	return out, os.WriteFile(dir+".json", b, 0o644)
}

// waldump compares statistics with those of the server's own tool, which only the distribution's 15 has.
func (o *options) waldump(ctx context.Context, out *outcome, c corpus, wal string) error {
	if major(out.Release) != 15 {
		out.Waldump = "no tool"
		return nil
	}
	if c.name == "promotion" {
		out.Waldump = "reads one timeline only"
		return nil
	}
	out.Waldump = "equal"
	for _, stats := range []string{"--stats", "--stats=record"} {
		ours, errText, err := o.runTarn(ctx, "wal", "dump", stats, "--wal", wal, "--from", out.Report.Start)
		if err != nil {
			return fmt.Errorf("tarn wal dump %s: %w: %s", stats, err, errText)
		}
		// It calls the end of WAL an error.
		theirs, err := exec.CommandContext(ctx, filepath.Join(clients, "pg_waldump"), stats, "-p", wal, "-s", out.Report.Start).Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return err
		}
		if ours != string(theirs) {
			out.Waldump = "DIFFERS"
			out.Failures = append(out.Failures, fmt.Sprintf("tarn wal dump %s is not what pg_waldump says:\n%s\n%s", stats, ours, theirs))
		}
	}
	return nil
}

// runTarn runs tarn. An error has what it wrote to stderr beside it, the end of that.
func (o *options) runTarn(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, o.tarn, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	text := strings.TrimSpace(errs.String())
	return out.String(), text[max(0, len(text)-4000):], err
}
