// Package demo is what `tarn demo` shows: a stock Postgres under a live workload, the lake beside it, and the proof, by a
// reader that is not tarn, that both hold the same rows at one LSN.
//
// The workload is also what the end-to-end tests run: it keeps a journal of what Postgres acknowledged and moves money
// between three tables, whose sum never changes in any committed state.
package demo
