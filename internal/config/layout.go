package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// PartitionField is one value of partition_by: a column, or a transform of one.
type PartitionField struct {
	Transform string // as Iceberg writes it: identity, bucket[N], truncate[W], year, month, day, hour
	Column    string
}

// kind is the same for two transforms of which Iceberg allows one for a column.
func (f PartitionField) kind() string {
	switch kind, _, _ := strings.Cut(f.Transform, "["); kind {
	case "year", "month", "day", "hour":
		return "time"
	default:
		return kind
	}
}

// partitionMax bounds the fields of one rule.
const partitionMax = 16

var (
	call        = regexp.MustCompile(`(?s)^([a-z]+)\(\s*(.*?)\s*\)$`)
	withNumber  = regexp.MustCompile(`(?s)^([0-9]{1,10})\s*,\s*(.*)$`)
	plainColumn = regexp.MustCompile(`^[^\s"(),]+$`)
)

const partitionFix = "write a column, or year, month, day or hour of one, bucket(N, column), truncate(N, column), such as day(created_at)"

// parsePartitionBy reads partition_by.
func parsePartitionBy(values []string) (out []PartitionField, err error) {
	if len(values) > partitionMax {
		return nil, fmt.Errorf("write at most %d fields", partitionMax)
	}
	for _, v := range values {
		f, err := parsePartitionField(strings.TrimSpace(v))
		if err != nil {
			return nil, err
		}
		for _, g := range out {
			if f.Column == g.Column && f.kind() == g.kind() {
				return nil, fmt.Errorf("%s of column %s is there beside %s of it, write one", f.Transform, f.Column, g.Transform)
			}
		}
		out = append(out, f)
	}
	return out, nil
}

func parsePartitionField(v string) (f PartitionField, err error) {
	m := call.FindStringSubmatch(v)
	if m == nil {
		f.Transform = "identity"
		f.Column, err = columnName(v)
		return f, err
	}
	f.Transform, v = m[1], m[2]
	switch f.Transform {
	case "identity", "year", "month", "day", "hour":
	case "bucket", "truncate":
		if m = withNumber.FindStringSubmatch(v); m == nil {
			return f, fmt.Errorf("write %s(N, column)", f.Transform)
		}
		n, err := strconv.ParseInt(m[1], 10, 32)
		if err != nil || n == 0 {
			return f, fmt.Errorf("write %s with a number from 1 to 2147483647", f.Transform)
		}
		f.Transform, v = fmt.Sprintf("%s[%d]", f.Transform, n), m[2]
	default:
		return f, fmt.Errorf("%s is no transform: %s", f.Transform, partitionFix)
	}
	f.Column, err = columnName(v)
	return f, err
}

// columnName reads a column's name as the catalog has it, or one in double quotes, "" within it for one quote.
func columnName(v string) (string, error) {
	if p, rest, err := cutPart(v); err == nil && p.quoted && rest == "" {
		return p.text, nil
	}
	if !plainColumn.MatchString(v) {
		return "", fmt.Errorf(`%q names no column: %s; put double quotes around a name with spaces or other signs`, v, partitionFix)
	}
	return v, nil
}
