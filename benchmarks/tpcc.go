package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tpccSQL are TPC-C's tables, population and transactions, as PL/pgSQL functions: the WAL is that of the specification's
// statements. Terminals, think times and the response time constraints are not part of it, so no rate measured with it is a tpmC.
//
//go:embed tpcc/*.sql
var tpccSQL embed.FS

// tpccMix is the share of each transaction, percent, at the specification's minimum (5.2.3).
var tpccMix = []struct {
	name, script string
	percent      int
}{
	{"new_order", "begin;\nselect new_order(:w, :warehouses) as ok \\gset\n\\if :ok\ncommit;\n\\else\nrollback;\n\\endif\n", 45},
	{"payment", "select payment(:w, :warehouses);\n", 43},
	{"order_status", "select order_status(:w);\n", 4},
	{"delivery", "select delivery(:w);\n", 4},
	{"stock_level", "select stock_level(:w);\n", 4},
}

// tpccSpec records TPC-C's mix by 8 clients on tables that were loaded before; scale is the number of warehouses.
func tpccSpec(o options) (spec, error) {
	s := spec{
		Name:    fmt.Sprintf("tpcc-%d-%d", o.scale, o.txs),
		Pgbench: []string{"-n", "-c", "8", "-j", "2", "-M", "prepared", "-t", fmt.Sprint(o.txs / 8), "--max-tries=10", "-D", fmt.Sprintf("warehouses=%d", o.scale)},
	}
	for _, name := range []string{"schema", "functions", "load"} {
		text, err := tpccSQL.ReadFile("tpcc/" + name + ".sql")
		if err != nil {
			return s, err
		}
		s.Before = append(s.Before, strings.ReplaceAll(string(text), "$W", fmt.Sprint(o.scale)))
	}
	s.Before = append(s.Before, "vacuum analyze")
	dir := filepath.Join(o.dir, "tpcc")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return s, err
	}
	for _, tx := range tpccMix {
		file := filepath.Join(dir, tx.name+".sql")
		if err := os.WriteFile(file, []byte("\\set w random(1, :warehouses)\n"+tx.script), 0o644); err != nil {
			return s, err
		}
		s.Pgbench = append(s.Pgbench, "-f", fmt.Sprintf("%s@%d", file, tx.percent))
	}
	return s, nil
}
