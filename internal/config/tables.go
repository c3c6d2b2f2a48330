package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Rule says how the tables its pattern matches are kept in the lake.
type Rule struct {
	Match         Pattern
	Exclude       bool
	FormatVersion int      // Iceberg format version; 2
	Readers       []string // engines that will read the table; empty for any
	PartitionBy   []string
	SortBy        []string
	OutOfRange    string // what becomes of values Iceberg cannot hold: "null"
	VersionHint   bool   // engines may read the table by its folder, without a catalog
	ByLeaf        bool   // of a partitioned table: each partition is a table of its own ("partitions: leaf")

	where string
}

// Rules are tried in order; the first match wins.
type Rules []Rule

// DefaultRule holds for tables no rule matches: they are in the lake, format version 2.
var DefaultRule = Rule{FormatVersion: 2, OutOfRange: "null"}

// For gives the rule of a table.
func (r Rules) For(database, schema, table string) Rule {
	for _, rule := range r {
		if rule.Match.Matches(database, schema, table) {
			return rule
		}
	}
	return DefaultRule
}

// Pattern matches database.schema.table; in each part * stands for any run of characters. A part in double quotes is
// taken as it is, "" within it for one quote.
type Pattern struct {
	text  string
	parts [3]part
}

type part struct {
	text   string
	quoted bool
}

// ParsePattern reads a pattern.
func ParsePattern(s string) (Pattern, error) {
	p := Pattern{text: s}
	rest := s
	for i := range p.parts {
		var err error
		if p.parts[i], rest, err = cutPart(rest); err != nil {
			return Pattern{}, err
		}
		last := i == len(p.parts)-1
		if last != (rest == "") || (!last && rest[0] != '.') {
			return Pattern{}, errPattern
		}
		if !last {
			rest = rest[1:]
		}
	}
	return p, nil
}

var errPattern = fmt.Errorf(`write "database.schema.table", with * for any characters and double quotes around a name with a dot`)

func cutPart(s string) (part, string, error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, `."`)
		if end < 0 {
			end = len(s)
		}
		if end == 0 {
			return part{}, "", errPattern
		}
		return part{text: s[:end]}, s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '"':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '"':
			b.WriteByte('"')
			i++
		case b.Len() > 0:
			return part{text: b.String(), quoted: true}, s[i+1:], nil
		default:
			return part{}, "", errPattern
		}
	}
	return part{}, "", errPattern
}

func (p Pattern) String() string { return p.text }

// Matches says whether the pattern covers a table. Names are as the catalog holds them, unquoted.
func (p Pattern) Matches(database, schema, table string) bool {
	for i, name := range [3]string{database, schema, table} {
		if p.parts[i].quoted && p.parts[i].text != name || !p.parts[i].quoted && !glob(p.parts[i].text, name) {
			return false
		}
	}
	return true
}

// glob matches * only, in time linear in the name for each star (the last star alone is ever retried).
func glob(pattern, name string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// setRule takes one value of a rule.
func (c *Config) setRule(e entry) error {
	for len(c.Tables) <= e.table {
		r := DefaultRule
		r.where = e.where
		c.Tables = append(c.Tables, r)
	}
	r := &c.Tables[e.table]
	var err error
	switch e.key {
	case "match":
		r.Match, err = ParsePattern(e.value())
	case "exclude":
		err = setBool(&r.Exclude, e.value())
	case "version_hint":
		err = setBool(&r.VersionHint, e.value())
	case "format_version":
		if r.FormatVersion, err = strconv.Atoi(e.value()); err != nil || r.FormatVersion < 2 || r.FormatVersion > 3 {
			err = fmt.Errorf("write 2")
		} else if r.FormatVersion == 3 {
			err = fmt.Errorf("format version 3 is not supported yet, write 2")
		}
	case "readers":
		r.Readers, err = e.values, checkReaders(e.values)
	case "partition_by", "sort_by":
		err = fmt.Errorf("%s is not supported yet, remove it", e.key)
	case "partitions":
		if r.ByLeaf = e.value() == "leaf"; !r.ByLeaf && e.value() != "root" {
			err = fmt.Errorf("write root for one table under the partitioned table's name, or leaf for one for each partition")
		}
	case "out_of_range":
		if r.OutOfRange = e.value(); r.OutOfRange != "null" {
			err = fmt.Errorf("only null is supported yet, write null or remove it")
		}
	}
	if err != nil {
		return &Error{Where: e.where, What: fmt.Sprintf("%s of a rule in tables is %q", e.key, strings.Join(e.values, ", ")), Fix: err.Error()}
	}
	return nil
}

var readers = []string{"spark", "trino", "duckdb", "pyiceberg"}

func checkReaders(names []string) error {
	for _, n := range names {
		if !slices.Contains(readers, n) {
			return fmt.Errorf("%s is no known reader, write some of %s", n, strings.Join(readers, ", "))
		}
	}
	return nil
}
