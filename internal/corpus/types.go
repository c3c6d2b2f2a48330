package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// types is the table of record types in docs/REDO.md: which of them the corpora of a major version hold, and why not the
// others.
type types struct {
	order []string
	cells map[string]map[int]string // seen, never or none, by name and major version
	why   map[string]string
}

// The cells of the table.
const (
	cellSeen  = "seen"
	cellNever = "never"
	cellNone  = "–" // the version has no such record
)

// parseTypes reads the table: the one whose first two heads are "manager" and "record".
func parseTypes(doc string) (t types, err error) {
	t = types{cells: map[string]map[int]string{}, why: map[string]string{}}
	var majors []int
	for line := range strings.SplitSeq(doc, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			if len(t.order) > 0 {
				return t, nil
			}
		case len(cells) > 2 && cells[0] == "manager" && cells[1] == "record":
			for _, c := range cells[2:] {
				if m := major(c); m != 0 {
					majors = append(majors, m)
				}
			}
		case majors == nil || strings.HasPrefix(cells[0], "-"):
		default:
			if err := t.add(majors, cells); err != nil {
				return t, err
			}
		}
	}
	if len(t.order) == 0 {
		return t, errors.New("no table of managers and records")
	}
	return t, nil
}

func (t *types) add(majors []int, cells []string) error {
	name := cells[0] + "/" + cells[1]
	if t.cells[name] != nil {
		return fmt.Errorf("%s is there twice", name)
	}
	if len(cells) < 2+len(majors) {
		return fmt.Errorf("%s: %d cells, want one for each of %v", name, len(cells)-2, majors)
	}
	t.order = append(t.order, name)
	t.cells[name] = map[int]string{}
	never := false
	for i, m := range majors {
		c := cells[2+i]
		if !slices.Contains([]string{cellSeen, cellNever, cellNone}, c) {
			return fmt.Errorf("%s, PostgreSQL %d: %q is none of %s, %s and %s", name, m, c, cellSeen, cellNever, cellNone)
		}
		t.cells[name][m] = c
		never = never || c == cellNever
	}
	if len(cells) > 2+len(majors) {
		t.why[name] = cells[2+len(majors)]
	}
	if never && t.why[name] == "" {
		return fmt.Errorf("%s is never seen and there is no reason", name)
	}
	return nil
}

// names are the types of a major version, in the table's order.
func (t *types) names(major int) (names []string) {
	for _, n := range t.order {
		if c := t.cells[n][major]; c != "" && c != cellNone {
			names = append(names, n)
		}
	}
	return names
}

// compare says what the table says otherwise than what was seen.
func (t *types) compare(major int, seen map[string]int64) (problems []string) {
	for _, name := range t.order {
		switch cell := t.cells[name][major]; {
		case cell == cellSeen && seen[name] == 0:
			problems = append(problems, name+" is in no corpus")
		case cell != cellSeen && seen[name] > 0:
			problems = append(problems, fmt.Sprintf("%s is in the corpora %d times, the table says %q", name, seen[name], cell))
		}
	}
	var unknown []string
	for name := range seen {
		if t.cells[name] == nil {
			unknown = append(unknown, fmt.Sprintf("%s is in the corpora and not in the table", name))
		}
	}
	slices.Sort(unknown)
	return append(problems, unknown...)
}
