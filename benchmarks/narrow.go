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
		Name: fmt.Sprintf("copy-%d", rows), Rows: rows, Table: "narrow", RowsEnd: rows,
		Before:   []string{createNarrow("narrow"), fillNarrow("narrow", 1, rows), "vacuum narrow"},
		Workload: []string{"update narrow set n = 0 where id = 1"},
	}
}

// insertSpec inserts by statements of 1,000 rows, each a transaction.
func insertSpec(rows int) spec {
	return spec{
		Name: fmt.Sprintf("insert-%d", rows), Rows: rows / 1000 * 1000, Table: "narrow", RowsEnd: rows / 1000 * 1000,
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
		Name: fmt.Sprintf("copyin-%d", rows), Rows: rows / 100_000 * 100_000, Table: "narrow", RowsEnd: rows / 100_000 * 100_000,
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
		Name: fmt.Sprintf("update-%d", rows), Rows: 2 * table, Table: "narrow", RowsEnd: table,
		Before: []string{createNarrow("narrow"), fillNarrow("narrow", 1, table), "vacuum analyze narrow"},
	}
	for range 2 {
		for first := 1; first < table; first += 10_000 {
			s.Workload = append(s.Workload, fmt.Sprintf("update narrow set n = n + 1, amount = amount + 1 where id between %d and %d", first, first+9_999))
		}
	}
	return s
}

// singleSpec are transactions of one row each: by turns an insert, and an update of a row anywhere in the table by its key.
func singleSpec(rows int) spec {
	txs, table := max(rows/5/2, 1)*2, max(rows/10, 1)
	return spec{
		Name: fmt.Sprintf("single-%d", rows), Rows: txs, Table: "narrow", RowsEnd: table + txs/2,
		Before: []string{createNarrow("narrow"), fillNarrow("narrow", 1, table), "vacuum analyze narrow"},
		Workload: []string{fmt.Sprintf(`do $$ begin for i in 1 .. %d loop
			insert into narrow select %d + i, i, left(md5(i::text), 20), i / 100.0, '2026-01-01'::timestamptz + i * interval '137 ms',
				jsonb_build_object('user', i %% 5000, 'kind', 'click', 'ok', i %% 2 = 0, 'path', '/item/' || i %% 9973);
			commit;
			update narrow set n = n + 1, amount = amount + 1 where id = 1 + i * 7919::bigint %% %[2]d;
			commit; end loop; end $$`, txs/2, table)},
	}
}

// documentBytes is the length of a document: eight chunks of TOAST and more.
const documentBytes = 16 << 10

// toastSpec writes documents of random digits, which pglz leaves as they are: one half of them new, the other over old ones, by
// statements of 100, each a transaction.
func toastSpec(rows int) spec {
	half := max(rows/200/100, 1) * 100
	return spec{
		Name: fmt.Sprintf("toast-%d", rows), Rows: 2 * half, Table: "documents", RowsEnd: 2 * half,
		Before: []string{
			"create table documents (id bigint primary key, at timestamptz default now(), body text)",
			fmt.Sprintf("create function document(seed bigint) returns text language sql as $$ select string_agg(md5(seed || '.' || i), '') from generate_series(1, %d) i $$", documentBytes/32),
			fmt.Sprintf("insert into documents (id, body) select i, document(i) from generate_series(1, %d) i", half), "vacuum analyze documents",
		},
		Workload: []string{fmt.Sprintf(`do $$ begin for i in 0 .. %d loop
			insert into documents (id, body) select j, document(j) from generate_series(%d + i * 100 + 1, %[2]d + i * 100 + 100) j; commit;
			update documents set body = document(-id) where id between i * 100 + 1 and i * 100 + 100; commit;
			end loop; end $$`, half/100-1, half)},
	}
}
