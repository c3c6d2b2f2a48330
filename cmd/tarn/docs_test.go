package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/config"
)

// command finds `tarn ...` in code spans, and in code blocks where it may follow a shell's assignments.
var command = regexp.MustCompile("(?m)`(tarn [^`\n]+)`|^    (?:bin/)?(tarn [^#\n]+)")

func docs(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, glob := range []string{"../../*.md", "../../docs/*.md", "../../docs/*/*.md"} {
		paths, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			out[p] = string(b)
		}
	}
	if len(out) < 5 {
		t.Fatalf("only %d documents found", len(out))
	}
	return out
}

// TestDocsNameRealCommands: each tarn command and flag in the documents exists.
func TestDocsNameRealCommands(t *testing.T) {
	seen := 0
	for path, text := range docs(t) {
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			seen++
			if problem := checkCommand(m[1] + m[2]); problem != "" {
				t.Errorf("%s: %s", path, problem)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d commands found in the documents", seen)
	}
	for _, bad := range []string{"tarn srve", "tarn status --jsn", "tarn wal dmp", "tarn wait --lsn 0/1 --until x"} {
		if checkCommand(bad) == "" {
			t.Errorf("%q passes the check", bad)
		}
	}
}

// checkCommand says what is wrong with a command line, or "".
func checkCommand(line string) string {
	args := strings.Fields(line)[1:]
	cmd, rest, err := rootCommand(io.Discard, io.Discard).Find(args)
	if err != nil {
		return line + ": " + err.Error()
	}
	if isGroup(cmd) && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return line + ": no such command"
	}
	for _, a := range rest {
		if name, ok := strings.CutPrefix(strings.Trim(a, "[]"), "--"); ok {
			name, _, _ = strings.Cut(name, "=")
			name, _, _ = strings.Cut(name, "[")
			if cmd.Flags().Lookup(name) == nil {
				return line + ": no flag --" + name
			}
		}
	}
	return ""
}

func isGroup(cmd *cobra.Command) bool { return cmd.HasSubCommands() }

// TestDocsListEverySetting: the operator's guide has a row for each setting, with its variable and flag.
func TestDocsListEverySetting(t *testing.T) {
	guide := docs(t)["../../docs/OPERATING.md"]
	for _, s := range config.Settings() {
		row := "| `" + s.Key + "` | "
		if s.Env != "" {
			row += "`" + s.Env + "` "
		}
		row += "| "
		if s.Flag != "" {
			row += "`--" + s.Flag + "` "
		}
		if !strings.Contains(guide, row+"|") {
			t.Errorf("docs/OPERATING.md has no row %q", row+"|")
		}
	}
}

// TestDocsListEveryVerb: the verbs are named in the guide or the README.
func TestDocsListEveryVerb(t *testing.T) {
	all := ""
	for _, text := range docs(t) {
		all += text
	}
	for _, c := range rootCommand(io.Discard, io.Discard).Commands() {
		if c.IsAvailableCommand() && c.Name() != "completion" && c.Name() != "version" && !strings.Contains(all, "`"+c.CommandPath()) && !strings.Contains(all, "bin/"+c.CommandPath()) {
			t.Errorf("no document names `%s`", c.CommandPath())
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

// TestDocsLinksLead: relative links lead to files.
func TestDocsLinksLead(t *testing.T) {
	for path, text := range docs(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			}
		}
	}
}

var required = regexp.MustCompile(`(?m)^\t([^ \t]+) v[^ ]+$`)

// TestDocsListEveryDependency: each direct requirement of go.mod has its reason in docs/DEPENDENCIES.md.
func TestDocsListEveryDependency(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	text := docs(t)["../../docs/DEPENDENCIES.md"]
	found := required.FindAllStringSubmatch(string(mod), -1)
	if len(found) < 10 {
		t.Fatalf("only %d requirements found in go.mod", len(found))
	}
	for _, m := range found {
		if !strings.Contains(text, strings.TrimPrefix(m[1], "github.com/")) {
			t.Errorf("docs/DEPENDENCIES.md does not name %s", m[1])
		}
	}
}
