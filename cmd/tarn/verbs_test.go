package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// verbs are all commands, groups included, but for cobra's own.
func verbs(t *testing.T) (all []*cobra.Command) {
	t.Helper()
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "help" || c.Name() == "completion" {
			return
		}
		all = append(all, c)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(rootCommand(os.Stdout, os.Stderr))
	if len(all) < 12 {
		t.Fatalf("only %d verbs", len(all))
	}
	return all
}

// wordless are verbs that print no data: they run, act, or write files or bytes.
var wordless = []string{"tarn serve", "tarn demo", "tarn resync", "tarn man", "tarn page", "tarn branch delete"}

// TestVerbs holds every verb to what scripts and people rely on: help is data on stdout, a mistake is one line on stderr and
// nothing on stdout, nothing is coloured where no terminal is, and whoever prints data prints JSON too.
func TestVerbs(t *testing.T) {
	for _, c := range verbs(t) {
		words := strings.Fields(c.CommandPath())[1:]
		var stdout, stderr bytes.Buffer
		if code := run(append(slices.Clone(words), "--help"), &stdout, &stderr); code != exitDone || stderr.Len() > 0 || stdout.Len() == 0 {
			t.Errorf("%s --help: code %d, stdout %d bytes, stderr %q", c.CommandPath(), code, stdout.Len(), stderr.String())
		}
		if strings.Contains(stdout.String(), "\x1b") {
			t.Errorf("%s --help has escape sequences", c.CommandPath())
		}
		stdout.Reset()
		if code := run(append(slices.Clone(words), "--no-such-flag"), &stdout, &stderr); code != exitUsage || stdout.Len() > 0 || !failure.MatchString(stderr.String()) {
			t.Errorf("%s --no-such-flag: code %d, stdout %q, stderr %q", c.CommandPath(), code, stdout.String(), stderr.String())
		}
		if c.Short == "" || c.Args == nil {
			t.Errorf("%s has no summary, or takes any argument silently", c.CommandPath())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no explanation", c.CommandPath(), f.Name)
			}
		})
		if !isGroup(c) && !slices.Contains(wordless, c.CommandPath()) && c.Flags().Lookup("json") == nil {
			t.Errorf("%s prints data and has no --json", c.CommandPath())
		}
	}
}

// TestDataVerbsPrintJSON: what needs no server prints JSON that parses, and no word beside it.
func TestDataVerbsPrintJSON(t *testing.T) {
	for _, args := range [][]string{
		{"version", "--json"}, {"errors", "--json"}, {"errors", "TARN-0205", "--json"},
		{"config", "print", "--json", "--store", "file:///x", "--data-dir", "/y", "--source", "host=h"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(args, &stdout, &stderr); code != exitDone || stderr.Len() > 0 || !json.Valid(stdout.Bytes()) {
			t.Errorf("%v: code %d, stdout %q, stderr %q", args, code, stdout.String(), stderr.String())
		}
	}
}

// TestNoColor: no colour to what is no terminal, and none where NO_COLOR is set.
func TestNoColor(t *testing.T) {
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		pgtest.Missing(t, "no pseudo-terminal: ", err)
	}
	defer tty.Close()
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if !colors(tty) {
		t.Error("no colour on a terminal")
	}
	t.Setenv("NO_COLOR", "1")
	if colors(tty) {
		t.Error("colour in spite of NO_COLOR")
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	if colors(tty) || colors(&bytes.Buffer{}) {
		t.Error("colour to a dumb terminal or a pipe")
	}
}

// TestCompletion: known values are completed.
func TestCompletion(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"wait", "--for", ""}, "published"},
		{[]string{"connect", ""}, "pyiceberg"},
		{[]string{"serve", "--log-level", ""}, "debug"},
		{[]string{"errors", "TARN-02"}, "TARN-0205"},
		{[]string{"doc"}, "doctor"},
	} {
		var stdout, stderr bytes.Buffer
		run(append([]string{"__complete"}, c.args...), &stdout, &stderr)
		if !strings.Contains(stdout.String(), c.want) {
			t.Errorf("%v is not completed by %s: %q", c.args, c.want, stdout.String())
		}
	}
}

// TestMan: each verb has a page, the same from one build to the next.
func TestMan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	var stdout, stderr bytes.Buffer
	if code := run([]string{"man", "--dir", dir}, &stdout, &stderr); code != exitDone || stdout.Len() > 0 {
		t.Fatal(code, stdout.String(), stderr.String())
	}
	for _, c := range verbs(t) {
		page, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Contains(page, []byte(".TH")) || !bytes.Contains(page, []byte(c.Short)) {
			t.Errorf("the page of %s has no title or summary:\n%s", c.CommandPath(), page)
		}
	}
	var again, none bytes.Buffer
	dir2 := filepath.Join(t.TempDir(), "man1")
	run([]string{"man", "--dir", dir2}, &none, &again)
	first, _ := os.ReadFile(filepath.Join(dir, "tarn-wait.1"))
	second, _ := os.ReadFile(filepath.Join(dir2, "tarn-wait.1"))
	if !bytes.Equal(first, second) || bytes.Contains(first, []byte("Auto generated")) {
		t.Error("pages differ from one build to the next")
	}
}
