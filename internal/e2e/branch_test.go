package e2e

import (
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestBranchApart starts stock servers on a branch while the source goes on, and has both write the same rows, vacuum, and make and drop
// tables: neither sees anything of the other, and who starts on the branch later sees neither.
func TestBranchApart(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			r := newRig(t, major, []string{
				"CREATE TABLE accounts (id int PRIMARY KEY, balance int)", "INSERT INTO accounts SELECT i, 0 FROM generate_series(1, 3000) i",
				"CREATE TABLE big (id int, t text)", "CREATE SEQUENCE numbers", "CREATE MATERIALIZED VIEW summed AS SELECT sum(balance) FROM accounts",
			})
			r.tarn.startReady()
			r.exec("UPDATE accounts SET balance = 7 WHERE id % 3 = 0", "INSERT INTO big SELECT i, repeat('b', 3000) FROM generate_series(1, 50) i")
			at := r.moment()
			if out, code := r.tarn.run("branch", "create", "apart", "--at", at.lsn.String()); code != 0 {
				t.Fatalf("branch create: %d %s", code, out)
			}
			writes := func(srv *pgtest.Server, who int) {
				t.Helper()
				err := srv.Exec(t.Context(), database, fmt.Sprintf("UPDATE accounts SET balance = %d WHERE id %% 2 = 0", who), "DELETE FROM accounts WHERE id % 5 = 0",
					"VACUUM accounts", fmt.Sprintf("CREATE TABLE of_%d AS SELECT * FROM big", who), "TRUNCATE big", fmt.Sprintf("INSERT INTO big VALUES (%d, 'new')", who),
					fmt.Sprintf("SELECT setval('numbers', %d)", 1000+who), "REFRESH MATERIALIZED VIEW summed", "CHECKPOINT")
				if err != nil {
					t.Fatal(err)
				}
			}
			rows := func(srv *pgtest.Server) string {
				t.Helper()
				text, err := srv.QueryText(t.Context(), database, "SELECT ("+rowsQuery+") || coalesce((SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relname LIKE 'of\\_%'), '')")
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			then := rows(r.pg)
			r.caughtUp() // WAL to there is archived: what is written from the store needs no more
			first := r.restored("--branch", "apart")
			if got := rows(first); got != then {
				t.Errorf("on the branch are rows %s, at %s were %s", got, at.lsn, then)
			}
			writes(first, 1)
			if got := rows(r.pg); got != then {
				t.Errorf("the source has rows %s, before others wrote %s", got, then)
			}
			own := rows(first)
			writes(r.pg, 2)
			r.caughtUp()
			if got := rows(first); got != own {
				t.Errorf("what writes on the branch has rows %s, before the source wrote %s", got, own)
			}
			if err := first.Restart(t.Context()); err != nil { // no page of its memory hides one of its files
				t.Fatal(err)
			}
			if got := rows(first); got != own {
				t.Errorf("what writes on the branch has rows %s, before it was stopped %s", got, own)
			}
			if got := rows(r.restored("--branch", "apart")); got != then {
				t.Errorf("another on the branch has rows %s, at %s were %s", got, at.lsn, then)
			}
			ends := r.moment()
			r.caughtUp()
			if got, want := rows(r.restored("--at", ends.lsn.String())), rows(r.pg); got != want || want == own {
				t.Errorf("at %s are rows %s, the source has %s, the other %s", ends.lsn, got, want, own)
			}
			s := r.seePage("accounts")
			r.caughtUp()
			if page := r.pageOf(s, "--at", s.lsn.String()); tuples(page) != tuples(s.page) || page.LSN() != s.page.LSN() {
				t.Errorf("the first page of accounts is of %s, the source's of %s", page.LSN(), s.page.LSN())
			}
			if page := r.pageOf(s, "--branch", "apart"); page.LSN() > at.lsn || page.LSN() == pg.LSN(0) {
				t.Errorf("the branch's page of accounts is of %s, the branch of %s", page.LSN(), at.lsn)
			}
			r.mustBeEqual()
		})
	}
}
