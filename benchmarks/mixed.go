package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// mixedRows is how many rows each table of the mixed load begins with.
const mixedRows = 50_000

// mixedSpec are tables of which each transaction changes one row of one, and the heartbeats.
func mixedSpec(tables int) spec {
	s := spec{Name: fmt.Sprintf("mixed-%d", tables), Before: []string{heartbeats, "create index on heartbeats (id)"}}
	for i := range tables {
		s.Before = append(s.Before,
			fmt.Sprintf("create table m%d (id bigserial primary key, n int, t text, amount numeric(12,2), at timestamptz default now())", i),
			fmt.Sprintf("insert into m%d (n, t, amount) select i, left(md5(i::text), 20), i / 100.0 from generate_series(1, %d) i", i, mixedRows))
	}
	s.Before = append(s.Before, "vacuum analyze")
	return s
}

// mixedScripts writes pgbench's scripts to dir and returns the arguments that name them: of ten transactions on a table six update a
// row, three insert one and one deletes one, if it is there still. Each table has scripts of its own, since a prepared statement takes no
// table's name for a parameter.
func mixedScripts(dir string, tables int) (args []string, err error) {
	for i := range tables {
		for _, s := range []struct {
			name, text string
			weight     int
		}{
			{"update", "\\set id random(1, %[2]d)\nupdate m%[1]d set n = n + 1, amount = amount + 1 where id = :id;\n", 6},
			{"insert", "insert into m%[1]d (n, t, amount) values (%[2]d, 'a row of the mixed load', 12.34);\n", 3},
			{"delete", "\\set id random(1, %[2]d)\ndelete from m%[1]d where id = :id;\n", 1},
		} {
			file := filepath.Join(dir, fmt.Sprintf("%s-%d.sql", s.name, i))
			if err := os.WriteFile(file, fmt.Appendf(nil, s.text, i, mixedRows), 0o644); err != nil {
				return nil, err
			}
			args = append(args, "-f", fmt.Sprintf("%s@%d", file, s.weight))
		}
	}
	return args, nil
}
