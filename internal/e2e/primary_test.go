package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// What is asked of the primary: one physical slot, which moves on though the tables of the lake are idle and while a transaction
// is open, no snapshot that VACUUM would have to wait for, and nothing of what logical replication needs.
func TestPrimaryIsNotHeldBack(t *testing.T) {
	r := newRig(t, 15, []string{`CREATE TABLE idle (i int)`, `INSERT INTO idle VALUES (1)`, `CREATE DATABASE elsewhere`})
	r.tarn.startReady()
	r.mustBeEqual()
	ask := func(sql string) string {
		t.Helper()
		text, err := r.pg.QueryText(t.Context(), database, sql)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	r.exec(`UPDATE idle SET i = 2`)
	r.mustBeEqual()
	// Everything is written where no table of this database is.
	for range 3 {
		if err := r.pg.Exec(t.Context(), "elsewhere", `CREATE TABLE busy AS SELECT i FROM generate_series(1, 200000) i`, `DROP TABLE busy`, `SELECT pg_switch_wal()`, `CHECKPOINT`); err != nil {
			t.Fatal(err)
		}
	}
	written := ask(`SELECT pg_current_wal_lsn()::text`)
	passed := "f"
	for end := time.Now().Add(publishTimeout); passed == "f" && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		passed = ask(`SELECT (restart_lsn >= '` + written + `'::pg_lsn - 16777216)::text FROM pg_replication_slots`)[:1]
	}
	if passed != "t" {
		t.Errorf("the slot stays at %s while WAL is at %s", ask(`SELECT restart_lsn::text FROM pg_replication_slots`), written)
	}
	for question, want := range map[string]string{
		`SELECT string_agg(slot_type || coalesce(xmin::text, '') || coalesce(catalog_xmin::text, ''), ' ') FROM pg_replication_slots`:           "physical",
		`SELECT count(*)::text FROM pg_stat_activity WHERE usename = 'replicator' AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)`:    "0",
		`SELECT count(*)::text FROM pg_stat_activity WHERE usename = 'replicator' AND backend_type <> 'walsender'`:                              "0",
		`SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_subscription) + (SELECT count(*) FROM pg_event_trigger) || ''`: "0",
		`SELECT count(*)::text FROM pg_class WHERE oid >= 16384 AND relkind = 'r' AND relreplident <> 'd'`:                                      "0",
		`SHOW wal_level`: "replica",
	} {
		if got := ask(question); got != want {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
}

// The tests that the package's documentation names are there.
func TestDocNamesTests(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bTest\w+`).FindAllString(string(text), -1)
	if len(names) < 30 {
		t.Fatalf("only %d tests are named", len(names))
	}
	out, err := exec.Command("grep", "-rhoE", "--include=*_test.go", `^func Test[A-Za-z0-9_]+\(`, pgtest.ModuleRoot()).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.Contains(string(out), "func "+name+"(") {
			t.Errorf("there is no test %s", name)
		}
	}
}
