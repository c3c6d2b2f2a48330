package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const table = `
text before

| manager | record | 15 | 18 | why it is never seen |
|---|---|---|---|---|
| XLOG | NOOP | never | never | nothing writes it |
| Heap2 | PRUNE | seen | – | |
| Heap2 | PRUNE_ON_ACCESS | – | seen | |

| manager | other table |
`

// TestTypes: a type listed as seen that is not, the reverse, and one the table does not know are each a problem of their own.
func TestTypes(t *testing.T) {
	types, err := parseTypes(table)
	if err != nil {
		t.Fatal(err)
	}
	if got := types.names(18); !slices.Equal(got, []string{"XLOG/NOOP", "Heap2/PRUNE_ON_ACCESS"}) {
		t.Errorf("names of 18: %v", got)
	}
	if p := types.compare(15, map[string]int64{"Heap2/PRUNE": 3}); len(p) != 0 {
		t.Errorf("the table is right and yet: %v", p)
	}
	problems := strings.Join(types.compare(18, map[string]int64{"XLOG/NOOP": 1, "Heap2/PRUNE": 2, "Heap/NEW": 3}), "\n")
	for _, want := range []string{"Heap2/PRUNE_ON_ACCESS is in no corpus", "XLOG/NOOP is in the corpora 1 times", "Heap2/PRUNE is in the corpora 2 times", "Heap/NEW is in the corpora and not"} {
		if !strings.Contains(problems, want) {
			t.Errorf("%q is not among\n%s", want, problems)
		}
	}
}

func TestTypesRefuses(t *testing.T) {
	for what, text := range map[string]string{
		"no table":         "| a | b |\n",
		"a strange cell":   strings.Replace(table, "| seen | –", "| maybe | –", 1),
		"no reason":        strings.Replace(table, "nothing writes it", "", 1),
		"the same twice":   strings.Replace(table, "PRUNE_ON_ACCESS", "PRUNE", 1),
		"a row cut short":  strings.Replace(table, "| seen | – | |", "| seen |", 1),
		"nothing in table": strings.Join(strings.Split(table, "\n")[:6], "\n"),
	} {
		if what == "nothing in table" {
			text = "| manager | record | 15 |\n|---|---|---|\n"
		}
		if _, err := parseTypes(text); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// TestRedoDocument: the document has a table that can be read; what it says of each type, a run over the corpora checks.
func TestRedoDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/REDO.md")
	if err != nil {
		t.Fatal(err)
	}
	types, err := parseTypes(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, major := range []int{15, 16, 17, 18} {
		if n := len(types.names(major)); n < 100 {
			t.Errorf("PostgreSQL %d has %d record types", major, n)
		}
	}
}

func TestTestsOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Makefile")
	if err := os.WriteFile(file, []byte("# x\nREGRESS_OPTS = --no\nREGRESS = init int2 \\\n  int4 \\\n\tbit\n\nREGRESS2 = y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := testsOf(file)
	if want := []string{"init", "int2", "int4", "bit"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

func TestWithoutPsql(t *testing.T) {
	file := filepath.Join(t.TempDir(), "parallel_schedule")
	if err := os.WriteFile(file, []byte("# psql is last\ntest: boolean char\ntest: rules psql psql_crosstab psql_pipeline amutils\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := withoutPsql(file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if want := "# psql is last\ntest: boolean char\ntest: rules amutils\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if err := withoutPsql(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Error(err)
	}
}

// TestMessageSizes: a record of the size asked for, as the server counts it, ends where the next is to begin.
func TestMessageSizes(t *testing.T) {
	for total := least; total < 3*walPage; total += 8 {
		n := contentOf(total)
		main := messageOwn + n
		size := recordHeader + mainShort + main
		if main > 255 {
			size = recordHeader + mainLong + main
		}
		if aligned := (size + 7) &^ 7; n < 0 || aligned != total {
			t.Fatalf("a record of %d bytes is to hold %d, which makes %d", total, n, aligned)
		}
	}
}

// TestNames: what the Makefile and the flags take names of is there.
func TestNames(t *testing.T) {
	o, err := parse("verify", []string{"-releases", "15,18.6", "-corpora", "regress,slru"})
	if err != nil || len(o.corpora) != 2 || len(o.releases) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"-releases", "14"}, {"-corpora", "none"}, {"more"}} {
		if _, err := parse("make", args); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
	seen := map[string]bool{}
	for _, c := range corpora {
		if seen[c.name] || c.work == nil {
			t.Errorf("corpus %q", c.name)
		}
		seen[c.name] = true
	}
}
