package fault

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/ERRORS.md and append new codes to the golden list")

func TestCodeOf(t *testing.T) {
	inner := New(SourceHBA, "no line")
	for _, c := range []struct {
		err  error
		want Code
	}{
		{nil, 0},
		{errors.New("plain"), Unexpected},
		{inner, SourceHBA},
		{fmt.Errorf("attach: %w", inner), SourceHBA},
		{errors.Join(errors.New("plain"), inner), SourceHBA},
		{Errorf(WALGap, "gap: %w", inner), WALGap},
		{Or(WALGap, inner), SourceHBA},
		{Or(WALGap, errors.New("plain")), WALGap},
	} {
		if got := CodeOf(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
	if err := Errorf(WALGap, "gap: %w", inner); !errors.Is(err, inner) {
		t.Error("a code hides what it wraps")
	}
}

func TestParse(t *testing.T) {
	for _, s := range []string{"TARN-0205", "tarn-205", "0205", "205"} {
		if c, ok := Parse(s); !ok || c != SourceHBA {
			t.Errorf("%q: %v, %v", s, c, ok)
		}
	}
	for _, s := range []string{"", "TARN-", "TARN-9999", "x", "-1", "70000"} {
		if _, ok := Parse(s); ok {
			t.Errorf("%q is taken for a code", s)
		}
	}
}

func TestHandlerAddsTheCode(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(Handler(slog.NewJSONHandler(&b, nil))).With("part", "x")
	log.Error("lost", "n", 1, "error", fmt.Errorf("wal: %w", New(WALGap, "gap")))
	if !strings.Contains(b.String(), `"code":"TARN-0220"`) {
		t.Errorf("no code in %s", b.String())
	}
	b.Reset()
	log.Info("fine", "n", 1)
	if strings.Contains(b.String(), "TARN-") {
		t.Errorf("a code without an error: %s", b.String())
	}
}

// TestRegistryIsWhole: sorted, each with all its words, and each constant has an entry.
func TestRegistryIsWhole(t *testing.T) {
	last := Code(0)
	for _, e := range Entries() {
		if e.Code <= last {
			t.Errorf("%s comes after %s: the registry is sorted and has each code once", e.Code, last)
		}
		last = e.Code
		if e.Summary == "" || e.Cause == "" || e.Fix == "" {
			t.Errorf("%s lacks a summary, cause or fix", e.Code)
		}
		for _, s := range []string{e.Summary, e.Cause, e.Fix} {
			if strings.ContainsAny(s, "\n|") {
				t.Errorf("%s: %q does not fit a line", e.Code, s)
			}
		}
		if chapters[e.Code/100] == "" {
			t.Errorf("%s is in no chapter", e.Code)
		}
	}
}

// TestCodesAreStable: what was once given out keeps its number and meaning. A new code is added to the list by -update.
func TestCodesAreStable(t *testing.T) {
	const path = "testdata/codes.golden"
	golden, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	known := map[string]string{} // code -> constant
	for _, line := range strings.Split(strings.TrimSpace(string(golden)), "\n") {
		if code, name, ok := strings.Cut(line, " "); ok {
			known[code] = name
		}
	}
	now := map[string]string{}
	var list strings.Builder
	names := constants(t)
	for _, e := range Entries() {
		name, ok := names[e.Code]
		if !ok {
			t.Errorf("%s has an entry and no constant", e.Code)
		}
		now[e.Code.String()] = name
		fmt.Fprintf(&list, "%s %s\n", e.Code, name)
		delete(names, e.Code)
	}
	for code, name := range names {
		t.Errorf("%s (%s) has no entry in the registry", code, name)
	}
	for code, name := range known {
		if now[code] != name {
			t.Errorf("%s was %s and is %q now: a number never changes its meaning", code, name, now[code])
		}
	}
	if !t.Failed() && *update {
		if err := os.WriteFile(path, []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if len(now) != len(known) {
		t.Errorf("%d codes, %d in %s: run with -update", len(now), len(known), path)
	}
}

// TestDocsAreTheRegistry: docs/ERRORS.md is what the registry says.
func TestDocsAreTheRegistry(t *testing.T) {
	const path = "../../docs/ERRORS.md"
	if *update {
		if err := os.WriteFile(path, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Markdown() {
		t.Errorf("%s is not what the registry says: run go test ./internal/fault -update", path)
	}
}
