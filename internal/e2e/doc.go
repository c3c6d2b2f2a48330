// Package e2e runs the built tarn binary against real Postgres servers and reads the lake with PyIceberg and DuckDB. It
// has no code of its own, only tests: a scenario says what happens to the servers, and at its end every row of every table
// has to be equal, and every acknowledged transaction in the lake exactly once.
package e2e
