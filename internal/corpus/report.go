package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report prints what was verified last of each corpus asked for.
func (o *options) report() error {
	var list []outcome
	for _, release := range o.releases {
		for _, c := range o.corpora {
			b, err := os.ReadFile(o.dir(release, c.name) + ".json")
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			var out outcome
			if err := json.Unmarshal(b, &out); err != nil {
				return err
			}
			list = append(list, out)
		}
	}
	return o.print(list)
}

// print writes the table of corpora and, for each major version, that of record types, and compares the latter with docs/REDO.md if
// every corpus of the version is in the list.
func (o *options) print(list []outcome) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "release\tcorpus\tWAL MiB\trecords\ttypes\timages\tskipped\tmismatches\tinvalid\tfinal pages\tpg_waldump\tverified in\t")
	var errs []error
	for _, out := range list {
		r := out.Report
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%v\t\n", out.Release, out.Corpus, r.Bytes>>20, r.Records, len(r.RecordTypes.Seen), r.ImagesCompared,
			r.Skipped, r.Mismatches, r.InvalidPages, finalPages(r.Final), out.Waldump, out.Took.Round(100*time.Millisecond))
		for _, f := range out.Failures {
			errs = append(errs, fmt.Errorf("%s %s: %s", out.Release, out.Corpus, f))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	doc, err := os.ReadFile(filepath.Join(o.root, "docs", "REDO.md"))
	if err != nil {
		return err
	}
	table, err := parseTypes(string(doc))
	if err != nil {
		return fmt.Errorf("docs/REDO.md: %w", err)
	}
	for _, major := range []int{15, 16, 17, 18} {
		seen, complete := seenTypes(list, major, o)
		if len(seen) == 0 {
			continue
		}
		fmt.Printf("\nPostgreSQL %d: %d record types seen\n", major, len(seen))
		printTypes(table, major, seen)
		if !complete {
			fmt.Println("not every corpus of this version is here: docs/REDO.md is not compared")
			continue
		}
		for _, p := range table.compare(major, seen) {
			errs = append(errs, fmt.Errorf("docs/REDO.md: PostgreSQL %d: %s", major, p))
		}
	}
	return errors.Join(errs...)
}

// finalPages lists the counts of the comparison at the end, by name.
func finalPages(final map[string]any) string {
	var parts []string
	for k, v := range final {
		if n, ok := v.(float64); ok {
			parts = append(parts, fmt.Sprintf("%s %.0f", strings.TrimSuffix(k, "_pages"), n))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// seenTypes adds up the records of a major version by type, and says whether every corpus it can have is there.
func seenTypes(list []outcome, version int, o *options) (seen map[string]int64, complete bool) {
	seen = map[string]int64{}
	there := map[string]bool{}
	for _, out := range list {
		if major(out.Release) != version {
			continue
		}
		there[out.Corpus] = true
		for name, n := range out.Report.RecordTypes.Seen {
			seen[name] += n
		}
	}
	for _, c := range corpora {
		if !there[c.name] && (c.need == nil || c.need(o, version) == "") {
			return seen, false
		}
	}
	return seen, true
}

func printTypes(table types, major int, seen map[string]int64) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	names := table.names(major)
	for name := range seen {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if n := seen[name]; n > 0 {
			fmt.Fprintf(w, "  %s\t%d\t\n", name, n)
		} else {
			fmt.Fprintf(w, "  %s\tnever\t%s\n", name, table.why[name])
		}
	}
	_ = w.Flush()
}
