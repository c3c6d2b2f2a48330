package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/lakecheck"
)

// With "partitions: leaf" each partition is a table, which keeps its identity when it is attached or detached; the setting
// may change either way.
func TestPartitionsByLeaf(t *testing.T) {
	r := newRig(t, 18, []string{`CREATE TABLE p (i int, k int, v text) PARTITION BY LIST (k)`, `CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)`,
		`CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2) PARTITION BY HASH (i)`, `CREATE TABLE p2a PARTITION OF p2 FOR VALUES WITH (MODULUS 2, REMAINDER 0)`, `CREATE TABLE p2b PARTITION OF p2 FOR VALUES WITH (MODULUS 2, REMAINDER 1)`,
		`INSERT INTO p SELECT i, 1 + i % 2, 'v' || i FROM generate_series(1, 300) i`, `CREATE TABLE rooted (i int) PARTITION BY LIST (i)`, `CREATE TABLE rooted1 PARTITION OF rooted DEFAULT`, `INSERT INTO rooted VALUES (1)`})
	const rule = "{match: app.public.p, partitions: leaf}, "
	r.tarn.addRule(rule)
	r.tarn.startReady()
	must := func(names ...string) {
		t.Helper()
		r.caughtUp()
		var tables []lakecheck.TableName
		for _, name := range names {
			tables = append(tables, lakecheck.TableName{Namespace: "public", Table: name})
		}
		if report := r.compare(database, tables...); !report.Equal() {
			t.Fatal(report)
		}
		if seen, err := r.readers[0].Tables(t.Context(), r.tarn.catalogURL(), database); err != nil || len(seen) != len(names) {
			t.Fatalf("the lake has %v, %v; want %v", seen, err, names)
		}
	}
	must("p1", "p2a", "p2b", "rooted")
	r.mustBe("public.p", admin.TableExcluded, "each of its partitions")
	p1 := r.iceberg("public.p1")
	r.exec(`UPDATE p SET k = 3 - k WHERE i < 20`, `ALTER TABLE p ADD w int DEFAULT 5`, `ALTER TABLE p RENAME v TO vv`, `TRUNCATE p2a`, `INSERT INTO p VALUES (1000, 1, 'x', 6)`)
	must("p1", "p2a", "p2b", "rooted")
	// The first of the two transactions of DETACH CONCURRENTLY is committed, and the second waits for one who reads.
	reader := r.connect()
	if _, err := reader.Exec(t.Context(), `BEGIN; SELECT count(*) FROM p`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	detached := make(chan error, 1)
	go func() { detached <- r.pg.Exec(t.Context(), database, `ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY`) }()
	r.until(`SELECT count(*)::text FROM pg_inherits WHERE inhdetachpending`, "1")
	must("p1", "p2a", "p2b", "rooted")
	if _, err := reader.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := <-detached; err != nil {
		t.Fatal(err)
	}
	r.exec(`INSERT INTO p1 VALUES (2000, 1, 'apart', 7)`)
	must("p1", "p2a", "p2b", "rooted")
	r.exec(`ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)`, `UPDATE p SET vv = 'attached' WHERE i = 2000`)
	must("p1", "p2a", "p2b", "rooted")
	if now := r.iceberg("public.p1"); now.UUID != p1.UUID || now.fields()["vv"] != p1.fields()["v"] {
		t.Errorf("partition p1 was %s, %v and is %s, %v", p1.UUID, p1.fields(), now.UUID, now.fields())
	}
	text, err := os.ReadFile(r.tarn.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct {
		config string
		want   []string
	}{{strings.ReplaceAll(string(text), rule, ""), []string{"p", "rooted"}}, {string(text), []string{"p1", "p2a", "p2b", "rooted"}}} {
		r.tarn.stop()
		if err := os.WriteFile(r.tarn.config, []byte(change.config), 0o600); err != nil {
			t.Fatal(err)
		}
		r.tarn.startReady()
		r.exec(`UPDATE p SET vv = 'again' WHERE i % 50 = 0`)
		must(change.want...)
	}
}

// until waits for a query to answer what it should.
func (r *rig) until(query, want string) {
	r.t.Helper()
	for range 600 {
		got, err := r.pg.QueryText(r.t.Context(), database, query)
		if err != nil {
			r.t.Fatal(err)
		}
		if got == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Fatalf("%s does not become %s", query, want)
}
