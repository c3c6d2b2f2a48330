package main

import "fmt"

// The narrow table: bigint, int, text of 20, numeric(12,2), timestamptz, jsonb of 60 characters.
const (
	narrowColumns = "id bigint primary key, n int, t text, amount numeric(12,2), at timestamptz, doc jsonb"
	// %d and %d: first and last id
	narrowSelect = `select i, i %% 1000, left(md5(i::text), 20), (i * 7919::bigint %% 1000000000) / 100.0,
		'2026-01-01'::timestamptz + i * interval '137 ms',
		jsonb_build_object('user', i %% 5000, 'kind', 'click', 'ok', i %% 2 = 0, 'path', '/item/' || i %% 9973)
		from generate_series(%d, %d) i`
)

func createNarrow(table string) string { return "create table " + table + " (" + narrowColumns + ")" }

func fillNarrow(table string, first, last int) string {
	return "insert into " + table + " " + fmt.Sprintf(narrowSelect, first, last)
}

// copySpec is a table that is there when tarn comes. One row is changed afterwards, so that there is WAL.
func copySpec(rows int) spec {
	return spec{
		Name: fmt.Sprintf("copy-%d", rows), Rows: rows,
		Before:   []string{createNarrow("narrow"), fillNarrow("narrow", 1, rows), "vacuum narrow"},
		Workload: []string{"update narrow set n = 0 where id = 1"},
	}
}

// insertSpec inserts by statements of 1,000 rows, each a transaction.
func insertSpec(rows int) spec {
	return spec{
		Name: fmt.Sprintf("insert-%d", rows), Rows: rows,
		Before: []string{createNarrow("narrow")},
		Workload: []string{fmt.Sprintf(`do $$ begin for i in 0 .. %d loop
			insert into narrow %s; commit; end loop; end $$`, rows/1000-1, fmt.Sprintf(narrowSelectLoop, 1000, 1000))},
	}
}

const narrowSelectLoop = `select j, j %% 1000, left(md5(j::text), 20), (j * 7919 %% 1000000000) / 100.0,
		'2026-01-01'::timestamptz + j * interval '137 ms',
		jsonb_build_object('user', j %% 5000, 'kind', 'click', 'ok', j %% 2 = 0, 'path', '/item/' || j %% 9973)
		from generate_series(i::bigint * %d + 1, (i::bigint + 1) * %d) j`

// copyInSpec inserts by COPY in transactions of 100,000 rows. The same rows come again and again, so there is no key.
func copyInSpec(rows int) spec {
	s := spec{
		Name: fmt.Sprintf("copyin-%d", rows), Rows: rows / 100_000 * 100_000,
		Before: []string{createNarrow("narrow"), "alter table narrow drop constraint narrow_pkey"},
	}
	s.Workload = append(s.Workload, `do $$ begin execute format('copy (%s) to %L', $q$`+fmt.Sprintf(narrowSelect, 1, 100_000)+
		`$q$, current_setting('data_directory') || '/copyin.rows'); end $$`)
	for range rows / 100_000 {
		s.Workload = append(s.Workload, `do $$ begin execute format('copy narrow from %L', current_setting('data_directory') || '/copyin.rows'); end $$`)
	}
	return s
}

// updateSpec updates 10,000 rows by each statement, by ranges of the key, going over the table twice. Autovacuum runs
// beside it, as it would.
func updateSpec(rows int) spec {
	table := max(rows/5/10_000, 1) * 10_000
	s := spec{
		Name: fmt.Sprintf("update-%d", rows), Rows: 2 * table,
		Before: []string{createNarrow("narrow"), fillNarrow("narrow", 1, table), "vacuum analyze narrow"},
	}
	for range 2 {
		for first := 1; first < table; first += 10_000 {
			s.Workload = append(s.Workload, fmt.Sprintf("update narrow set n = n + 1, amount = amount + 1 where id between %d and %d", first, first+9_999))
		}
	}
	return s
}
