package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestOutOfRange: values that Iceberg cannot hold become what the table's rule says, are counted, and are written again
// when the rule changes; the rule error stops the table and no other.
func TestOutOfRange(t *testing.T) {
	r := newRig(t, 18, []string{
		`CREATE TABLE odd (id int, d date, n numeric, m numeric(50,20), a int[])`,
		`INSERT INTO odd VALUES (1, '2024-01-01', 1.5, 1, '{1}'), (2, 'infinity', 'NaN', 'NaN', '{{1,2}}'), (3, '-infinity', 12345678, 2.4999, '{}')`,
		`CREATE TABLE fine (id int)`, `INSERT INTO fine VALUES (1)`,
	})
	rule := func(text string) {
		t.Helper()
		yaml, err := os.ReadFile(r.tarn.config)
		if err != nil {
			t.Fatal(err)
		}
		base, _, _ := strings.Cut(string(yaml), "tables:")
		if err := os.WriteFile(r.tarn.config, []byte(base+"tables:\n  - {match: app.public.odd, "+text+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shows := func(columns, want string) {
		t.Helper()
		r.caughtUp()
		got, err := r.queryOne(database, "SELECT string_agg(concat_ws('|', id, "+columns+"), ' ' ORDER BY id) FROM lake.public.odd")
		if err != nil || got != want {
			t.Errorf("%s: %v, want %s", got, err, want)
		}
	}
	counted := func(want string) {
		t.Helper()
		out, _ := r.tarn.run("status", "--json")
		if !strings.Contains(strings.Join(strings.Fields(out), ""), `"out_of_range":`+want) {
			t.Errorf("status does not count %s: %s", want, out)
		}
	}
	all := "coalesce(d::text, '-'), coalesce(n::text, '-'), coalesce(m::text, '-'), coalesce(a::text, '-')"
	r.tarn.startReady()
	shows(all, "1|2024-01-01|1.5|1.00000000000000000000|[1] 2|-|NaN|NaN|- 3|-|12345678|2.49990000000000000000|[]")
	counted(`{"a":1,"d":2}`)

	r.restartUnder(rule, `out_of_range: clamp, numeric: "decimal(6,2)", columns: {m: {type: string}}`)
	shows(all, "1|2024-01-01|1.50|1.00000000000000000000|[1] 2|9999-12-31|-|NaN|- 3|0001-01-01|9999.99|2.49990000000000000000|[]")
	counted(`{"a":1,"d":2,"n":2}`)
	r.exec(`INSERT INTO odd VALUES (4, '10000-01-01', 0.125, 0, NULL)`)
	shows("d, n", "1|2024-01-01|1.50 2|9999-12-31 3|0001-01-01|9999.99 4|9999-12-31|0.13")
	counted(`{"a":1,"d":3,"n":3}`)

	r.restartUnder(rule, `columns: {n: {type: "decimal(8,0)"}}`)
	shows("coalesce(d::text, '-'), coalesce(n::text, '-')", "1|2024-01-01|- 2|-|- 3|-|12345678 4|-|-")

	r.restartUnder(rule, `out_of_range: error`)
	r.exec(`INSERT INTO fine VALUES (2)`)
	r.caughtUp()
	out, _ := r.tarn.run("tables")
	if !strings.Contains(out, "out_of_range of the table's rule is error") {
		t.Errorf("tarn tables does not say why odd has stopped: %s", out)
	}
	if n, err := r.queryOne(database, "SELECT count(*) FROM lake.public.fine"); err != nil || n != "2" {
		t.Errorf("the other table has %s rows, %v", n, err)
	}

	r.restartUnder(rule, `columns: {id: {type: string}}`)
	r.exec(`INSERT INTO fine VALUES (3)`)
	r.caughtUp()
	if out, _ := r.tarn.run("tables"); !strings.Contains(out, `gives column "id" the type of a numeric`) {
		t.Errorf("tarn tables does not say that id is no numeric: %s", out)
	}
	r.tarn.stop()
}

// restartUnder stops tarn, changes its rule and starts it again.
func (r *rig) restartUnder(rule func(string), text string) {
	r.t.Helper()
	r.tarn.stop()
	rule(text)
	r.tarn.startReady()
	r.exec(fmt.Sprintf("COMMENT ON DATABASE %s IS 'restarted'", database)) // so that there is WAL to wait for
}
