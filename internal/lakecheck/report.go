package lakecheck

import (
	"fmt"
	"strings"
)

// TableName is a table within one database.
type TableName struct {
	Namespace string `json:"namespace"`
	Table     string `json:"table"`
}

func (n TableName) String() string { return n.Namespace + "." + n.Table }

// Side is a table as one reader sees it. Rows and Checksum are comparable with Postgres's when Columns are.
type Side struct {
	Reader   string `json:"reader"`
	Rows     int64  `json:"rows"`
	Checksum string `json:"checksum"`
	LSN      string `json:"lsn,omitempty"` // tarn.lsn of the table's snapshot, from readers that show it
	Error    string `json:"error,omitempty"`
}

// Difference is a row that one side has more often than the other, as canonical tokens in column order.
type Difference struct {
	Reader  string   `json:"reader"`
	Missing bool     `json:"missing"` // Postgres has it, the lake has not; else the other way round
	Times   int      `json:"times"`
	Row     []string `json:"row"`
}

// TableReport is the comparison of one table.
type TableReport struct {
	Table       TableName    `json:"table"`
	Postgres    Side         `json:"postgres"`
	Lake        []Side       `json:"lake"`
	Columns     []string     `json:"columns"`  // compared
	LeftOut     []string     `json:"left_out"` // columns of types the lake does not carry
	Problems    []string     `json:"problems"` // missing tables and columns, types, errors
	Differences []Difference `json:"differences"`
}

// Equal is true when no reader saw anything else than Postgres.
func (t TableReport) Equal() bool {
	if len(t.Problems) > 0 || len(t.Lake) == 0 {
		return false
	}
	for _, side := range t.Lake {
		if side.Error != "" || side.Rows != t.Postgres.Rows || side.Checksum != t.Postgres.Checksum {
			return false
		}
	}
	return true
}

// Report is the comparison of a database.
type Report struct {
	Warehouse string        `json:"warehouse"`
	Tables    []TableReport `json:"tables"`
}

// Equal is true when every table is, and there is at least one: a comparison of nothing proves nothing.
func (r Report) Equal() bool {
	for _, t := range r.Tables {
		if !t.Equal() {
			return false
		}
	}
	return len(r.Tables) > 0
}

// Rows is the number of rows compared, on the Postgres side.
func (r Report) Rows() (n int64) {
	for _, t := range r.Tables {
		n += t.Postgres.Rows
	}
	return n
}

// String prints one line per table, and under it what differs.
func (r Report) String() string {
	var b strings.Builder
	for _, t := range r.Tables {
		verdict := "equal"
		if !t.Equal() {
			verdict = "DIFFERENT"
		}
		fmt.Fprintf(&b, "%-32s postgres %9d %.12s", t.Table, t.Postgres.Rows, t.Postgres.Checksum)
		for _, side := range t.Lake {
			fmt.Fprintf(&b, " | %s %9d %.12s", side.Reader, side.Rows, side.Checksum)
		}
		fmt.Fprintf(&b, " | %s\n", verdict)
		for _, p := range t.Problems {
			fmt.Fprintf(&b, "    %s\n", p)
		}
		for _, d := range t.Differences {
			b.WriteString("    " + d.String() + "\n")
		}
	}
	return b.String()
}

func (d Difference) String() string {
	what := "extra in " + d.Reader
	if d.Missing {
		what = "missing in " + d.Reader
	}
	return fmt.Sprintf("%s, %d times: %.500s", what, d.Times, strings.Join(d.Row, " "))
}
