// Package lakecheck compares tables in Postgres with the same tables in the lake, as readers that are not tarn's see
// them: PyIceberg, DuckDB, Polars, Spark and Trino, through the catalog. Both sides render every row to one canonical text (canon.go and
// readers/canon.py say which), so that equal checksums mean equal rows, bit for bit, NULLs and duplicates included.
//
// The Postgres side derives from pg_catalog what the lake has to look like (rule.go): a column of an unexpected Iceberg
// type, a missing or an extra column or table is a difference, not something to compare around.
//
// Postgres must not change between the LSN the lake shows and the comparison: the caller stops writes and waits, or
// compares snapshots with each other instead.
package lakecheck
