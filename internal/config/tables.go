package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Rule says how the tables its pattern matches are kept in the lake.
type Rule struct {
	Match         Pattern
	Exclude       bool
	FormatVersion int      // Iceberg format version, 2 or 3; 0 if not set: 2 for new tables, and those that are in the lake stay as they are
	Readers       []string // engines that will read the table; empty for any
	PartitionBy   []PartitionField
	TargetFile    Size // at which data files are ended ("target_file_size"); 0: as memory allows
	SortBy        []string
	OutOfRange    string             // what becomes of values Iceberg cannot hold: null, clamp or error
	Numeric       Numeric            // of numerics without a precision that Iceberg's decimal can hold
	Columns       map[string]Numeric // of numerics in columns, by name
	CopyOnWrite   bool               // files that lose rows are written again ("write_mode: copy-on-write")
	Parquet       bool               // readers of bare Parquet may read the table's folder
	VersionHint   bool               // engines may read the table by its folder, without a catalog
	History       bool               // a table of the table's changes is beside it
	ByLeaf        bool               // of a partitioned table: each partition is a table of its own ("partitions: leaf")

	where string
}

// Rules are tried in order; the first match wins.
type Rules []Rule

// Format is the Iceberg format version wanted of a table, 0 if it may be as it is. Files of version 3 have columns of Iceberg's own,
// which readers of bare Parquet would show.
func (r Rule) Format() int {
	switch {
	case r.Exclude:
		return 0
	case r.Parquet:
		return 2
	}
	return r.FormatVersion
}

// SharedVectors says that the deletion vectors of a publication may lie in one object: every reader is declared, and DuckDB, which
// then misses rows (docs/ENGINES.md), is not among them.
func (r Rule) SharedVectors() bool {
	return len(r.Readers) > 0 && !slices.Contains(r.Readers, "duckdb")
}

// DefaultRule holds for tables no rule matches: they are in the lake.
var DefaultRule = Rule{OutOfRange: "null"}

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
	case "history":
		err = setBool(&r.History, e.value())
	case "version_hint":
		err = setBool(&r.VersionHint, e.value())
	case "parquet":
		err = setBool(&r.Parquet, e.value())
	case "format_version":
		if r.FormatVersion, err = strconv.Atoi(e.value()); err != nil || r.FormatVersion < 2 || r.FormatVersion > 3 {
			err = fmt.Errorf("write 2 or 3")
		}
	case "readers":
		r.Readers, err = e.values, checkReaders(e.values)
	case "partition_by":
		r.PartitionBy, err = parsePartitionBy(e.values)
	case "target_file_size":
		if r.TargetFile, err = ParseSize(e.value()); err != nil || r.TargetFile < TargetFileMin {
			err = fmt.Errorf("write a size of at least %s, such as 128MiB", TargetFileMin)
		}
	case "sort_by":
		err = fmt.Errorf("%s is not supported yet, remove it", e.key)
	case "partitions":
		if r.ByLeaf = e.value() == "leaf"; !r.ByLeaf && e.value() != "root" {
			err = fmt.Errorf("write root for one table under the partitioned table's name, or leaf for one for each partition")
		}
	case "write_mode":
		if r.CopyOnWrite = e.value() == "copy-on-write"; !r.CopyOnWrite && e.value() != "merge-on-read" {
			err = fmt.Errorf("write merge-on-read for deletes beside the data files, or copy-on-write for data files alone")
		}
	case "out_of_range":
		if r.OutOfRange = e.value(); r.OutOfRange != "null" && r.OutOfRange != "clamp" && r.OutOfRange != "error" {
			err = fmt.Errorf("write null, clamp or error")
		}
	case "numeric":
		r.Numeric, err = parseNumeric(e.value())
	default: // columns.NAME.type
		var n Numeric
		if n, err = parseNumeric(e.value()); r.Columns == nil {
			r.Columns = map[string]Numeric{}
		}
		r.Columns[strings.TrimSuffix(strings.TrimPrefix(e.key, columnsKey), ".type")] = n
	}
	if err != nil {
		return &Error{Where: e.where, What: fmt.Sprintf("%s of a rule in tables is %q", e.key, strings.Join(e.values, ", ")), Fix: err.Error()}
	}
	return nil
}

// columnsKey begins the keys of a rule's columns.
const columnsKey = "columns."

// Numeric is what a numeric is given as in the lake: the zero value is text.
type Numeric struct{ Precision, Scale int }

var decimalType = regexp.MustCompile(`^decimal\(\s*([0-9]{1,2})\s*,\s*([0-9]{1,2})\s*\)$`)

// parseNumeric reads string or decimal(precision, scale).
func parseNumeric(v string) (n Numeric, err error) {
	if v == "string" {
		return n, nil
	}
	m := decimalType.FindStringSubmatch(v)
	if m != nil {
		n.Precision, _ = strconv.Atoi(m[1])
		n.Scale, _ = strconv.Atoi(m[2])
	}
	if n.Precision < 1 || n.Precision > 38 || n.Scale > n.Precision {
		return Numeric{}, fmt.Errorf("write string or decimal(p,s), p from 1 to 38 and s from 0 to p")
	}
	return n, nil
}

var readers = []string{"spark", "trino", "duckdb", "pyiceberg", "polars"}

func checkReaders(names []string) error {
	for _, n := range names {
		if !slices.Contains(readers, n) {
			return fmt.Errorf("%s is no known reader, write some of %s", n, strings.Join(readers, ", "))
		}
	}
	return nil
}
