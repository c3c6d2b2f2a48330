// Package engines holds the suite that reads one lake through every engine: the same cases for PyIceberg, DuckDB, Polars, Spark and
// Trino, each started once, over an S3 server. It has tests only.
package engines
