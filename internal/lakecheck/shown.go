package lakecheck

import (
	"strings"
	"unicode"
)

// shownName is a name as a reader shows it: Trino has no capitals.
func shownName(reader, name string) string {
	if reader == Trino {
		return strings.Map(unicode.ToLower, name)
	}
	return name
}

// shownType is an Iceberg type as a reader shows it: Spark and Polars have no UUID; Spark shows its text, Polars its bytes, which
// read_polars.py turns into text again.
func shownType(reader, lake string) string {
	switch reader {
	case Spark:
		return strings.ReplaceAll(lake, "uuid", "string")
	case Polars:
		return strings.ReplaceAll(lake, "uuid", "binary")
	}
	return lake
}
