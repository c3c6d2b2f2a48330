package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestRewoundPages: every page of a timeline that was taken back to a fork, and went on from there, is the new primary's, and so are its
// transaction logs. A branch before the fork stays, one behind it goes.
func TestRewoundPages(t *testing.T) {
	r := newPagesRig(t, 15, "CREATE TABLE accounts (id int PRIMARY KEY, balance int)", "INSERT INTO accounts SELECT i, 0 FROM generate_series(1, 5000) i",
		"CREATE TABLE words (id int, w text)", "CREATE INDEX ON words USING gin (to_tsvector('simple', w))", "INSERT INTO words SELECT i, 'both ' || i FROM generate_series(1, 500) i",
		"CREATE TABLE away AS SELECT * FROM accounts", "VACUUM accounts")
	stop := r.serve()
	r.awaitAll()
	if out, err := r.tarn("branch", "create", "kept"); err != nil {
		t.Fatal(out, err)
	}
	if err := r.pg.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	if err := r.pg.Save(); err != nil {
		t.Fatal(err)
	}
	change := func(what string) {
		t.Helper()
		r.exec("INSERT INTO accounts SELECT i, length('"+what+"') FROM generate_series(5001, 9000) i", "UPDATE accounts SET balance = 7 WHERE id % 3 = 0", "DELETE FROM accounts WHERE id % 50 = length('"+what+"')",
			"INSERT INTO words SELECT i, '"+what+" ' || i FROM generate_series(501, 900) i", "CREATE TABLE made AS SELECT '"+what+"' w FROM generate_series(1, 5000)",
			"BEGIN; SELECT * FROM accounts WHERE id < 9 FOR SHARE; SAVEPOINT s; UPDATE accounts SET balance = 9 WHERE id < 5; COMMIT", "VACUUM accounts")
	}
	if err := r.pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	change("lost")
	r.exec("DROP TABLE away", "TRUNCATE words", "CREATE DATABASE lost", "VACUUM FULL accounts", "SELECT pg_switch_wal()", "INSERT INTO words VALUES (1, 'lost')")
	r.awaitAll()
	if out, err := r.tarn("branch", "create", "lost"); err != nil {
		t.Fatal(out, err)
	}
	stop() // pages are durable behind the fork
	if err := r.pg.Kill9(); err != nil {
		t.Fatal(err)
	}
	if err := r.pg.Restore(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.pg.DataDir(), "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.exec("SELECT pg_promote()")
	change("new!")
	defer r.serve()()
	r.awaitAll()
	st, err := (&admin.Client{Addr: r.http}).Status(t.Context())
	if err != nil || st.Rewinds != 1 || st.Source.Timeline != 2 {
		t.Fatalf("%d rewinds, timeline %d, %v", st.Rewinds, st.Source.Timeline, err)
	}
	if out, err := r.tarn("branch", "list"); err != nil || !strings.Contains(out, "kept") || strings.Contains(out, "lost") {
		t.Errorf("branches: %v\n%s", err, out)
	}
	r.exec("CHECKPOINT")
	r.readsAll()
}

// awaitAll returns when all that is committed is published.
func (r *pagesRig) awaitAll() {
	r.t.Helper()
	if _, err := (&admin.Client{Addr: r.http}).Wait(r.t.Context(), admin.StagePublished, r.flushed(), time.Minute); err != nil {
		r.t.Fatal(err)
	}
}
