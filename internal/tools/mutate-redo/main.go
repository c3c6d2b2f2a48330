// Command mutate-redo changes the redo functions a statement at a time and sees whether a test notices: each statement deleted, each
// condition negated, in a copy of the module. First the recorded fixtures of pageserver/verify are redone, then the tests of
// the packages themselves run. What nobody notices is listed.
//
//	go run ./internal/tools/mutate-redo [-match REGEXP] [-fixtures-only]
//
// All mutants are compiled into one program, each behind a switch.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// mutantPackage holds the switch, in the copy alone.
const mutantPackage = "github.com/tarn-db/tarn/internal/mutant"

func main() {
	match := flag.String("match", "", "only mutants of files and functions that match this `REGEXP`, as pageserver/redo/heap.go:applyInsert")
	fixturesOnly := flag.Bool("fixtures-only", false, "leave out the packages' own tests")
	keep := flag.Bool("keep", false, "keep the copy of the module")
	flag.Parse()
	if err := run(*match, *fixturesOnly, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "mutate-redo:", err)
		os.Exit(1)
	}
}

func run(match string, fixturesOnly, keep bool) error {
	wanted, err := regexp.Compile(match)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutate-redo")
	if err != nil {
		return err
	}
	if keep {
		fmt.Println("the copy is in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	c := module{dir: dir, stop: stop}
	if err := c.copyModule(); err != nil {
		return err
	}
	if err := c.mutateAll(); err != nil {
		return err
	}
	results, err := c.runFixtures(wanted)
	if err != nil {
		return err
	}
	if !fixturesOnly {
		if err := c.runTests(results); err != nil {
			return err
		}
	}
	report(c.mutants, results)
	return nil
}

// result is what became of a mutant.
type result struct {
	outcome string // of the fixtures: killed, timeout, crash, masked, survived, unreached; or tested: a package's own test noticed
	by      string
}

// noticed says that some test did.
func (r result) noticed() bool {
	return slices.Contains([]string{"killed", "timeout", "crash", "tested"}, r.outcome)
}

// report prints figures by file, and what went unnoticed.
func report(mutants []mutant, results map[int]result) {
	type figures struct{ all, fixtures, tests int }
	byFile, files := map[string]*figures{}, []string{}
	total := figures{}
	for _, m := range mutants {
		r, ok := results[m.No]
		if !ok {
			continue
		}
		f := byFile[m.File]
		if f == nil {
			f = &figures{}
			byFile[m.File], files = f, append(files, m.File)
		}
		for _, f := range []*figures{f, &total} {
			f.all++
			switch {
			case r.outcome == "tested":
				f.tests++
			case r.noticed():
				f.fixtures++
			}
		}
		if !r.noticed() {
			fmt.Printf("%s:%d %s: %s: %s (%s)\n", m.File, m.Line, m.Func, m.Kind, strings.TrimSpace(m.Text), r.outcome)
		}
	}
	slices.Sort(files)
	fmt.Println()
	line := func(name string, f *figures) {
		fmt.Printf("%-40s %5d mutants, %5d noticed by fixtures, %4d by the package's tests, %4d by none\n", name, f.all, f.fixtures, f.tests, f.all-f.fixtures-f.tests)
	}
	for _, file := range files {
		line(filepath.ToSlash(file), byFile[file])
	}
	line("all", &total)
}
