package e2e

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// xactScript is a scenario of three sessions, a to c: "a: SQL" runs in one of them, "check" compares, "restart" kills tarn
// and starts it again, "crash" does so to Postgres, "checkpoint" and other lines run outside of the sessions.
type xactScript []string

func (s xactScript) run(t *testing.T, r *rig) {
	t.Helper()
	sessions := map[byte]*pgx.Conn{'a': r.connect(), 'b': r.connect(), 'c': r.connect()}
	for n, line := range s {
		switch {
		case line == "check":
			r.caughtUp()
			if report := r.compare(database); !report.Equal() {
				t.Fatalf("line %d, after %q:\n%.3000s", n, s[max(0, n-1)], report)
			}
		case line == "restart":
			r.tarn.kill9()
			r.tarn.startReady()
		case line == "crash":
			if err := r.pg.Kill9(); err != nil {
				t.Fatal(err)
			}
			if err := r.pg.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		case len(line) > 2 && line[1] == ':':
			if _, err := sessions[line[0]].Exec(t.Context(), line[2:], pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Fatalf("line %d: %s: %v", n, line, err)
			}
		default:
			r.exec(line)
		}
	}
}

// Rows locked and changed at once by several transactions, subtransactions that come and go, and all of it over restarts.
func TestLocksAndSubtransactions(t *testing.T) {
	r := newRig(t, 15, []string{
		`CREATE TABLE pk (id int PRIMARY KEY, v int)`, `INSERT INTO pk SELECT i, 0 FROM generate_series(1, 200) i`, `CREATE TABLE fk (id int, r int REFERENCES pk)`,
	})
	r.tarn.startReady()
	script := xactScript{
		// A multixact of a locker and an updater, which ends first; one whose updater aborts.
		"a:BEGIN", "a:SELECT * FROM pk WHERE id <= 100 FOR KEY SHARE", "b:BEGIN", "b:INSERT INTO fk SELECT i, i FROM generate_series(1, 100) i",
		"c:BEGIN", "c:UPDATE pk SET v = 1 WHERE id BETWEEN 51 AND 150", "check", "c:COMMIT", "check", "b:ROLLBACK", "check",
		"b:BEGIN", "b:UPDATE pk SET v = 2 WHERE id <= 50", "b:ROLLBACK", "a:COMMIT", "check",
		// Subtransactions open over a restart, then prepared over another.
		"b:BEGIN", "b:SAVEPOINT s1", "b:UPDATE pk SET v = 3 WHERE id <= 20", "b:SAVEPOINT s2", "b:UPDATE pk SET v = 4 WHERE id <= 10", "b:ROLLBACK TO s2",
		"b:RELEASE s1", "b:DELETE FROM pk WHERE id = 200", "CHECKPOINT", "restart", "check", "b:PREPARE TRANSACTION 'p'", "CHECKPOINT", "restart",
		"VACUUM FREEZE pk", "check", "c:COMMIT PREPARED 'p'", "check", "a:BEGIN",
	}
	for i := range 100 { // more than a backend advertises
		script = append(script, fmt.Sprintf("a:SAVEPOINT s%d", i), fmt.Sprintf("a:INSERT INTO pk VALUES (%d, %d)", 1000+i, i))
		if i%3 == 0 {
			script = append(script, fmt.Sprintf("a:ROLLBACK TO s%d", i))
		}
	}
	script = append(script, "check", "CHECKPOINT", "restart", "a:COMMIT", "check",
		// Postgres crashes with a transaction open, whose rows and line pointers are then given to others.
		"a:BEGIN", "a:INSERT INTO pk SELECT i, 5 FROM generate_series(5000, 5400) i", "a:UPDATE pk SET v = 77 WHERE id <= 30", "CHECKPOINT", "check", "crash",
		"INSERT INTO pk VALUES (6000, 1)", "check", "VACUUM pk", "INSERT INTO pk SELECT i, 9 FROM generate_series(7001, 7500) i", "check",
		"INSERT INTO pk VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET v = 55", "MERGE INTO pk USING (SELECT 7001 AS id) s ON pk.id = s.id WHEN MATCHED THEN DELETE", "check")
	script.run(t, r)
}
