package demo_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pgtest"
)

const balances = `SELECT ((SELECT sum(balance) FROM accounts) + (SELECT sum(balance) FROM savings) + (SELECT sum(balance) FROM vaults))::bigint`

func TestWorkloadKeepsItsPromises(t *testing.T) {
	ctx := t.Context()
	srv := pgtest.NewTestServer(t, pgtest.Options{Databases: []string{"app"}})
	conn, err := pgx.Connect(ctx, srv.ConnString("app"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := demo.CreateSchema(ctx, conn); err != nil {
		t.Fatal(err)
	}
	w := &demo.Workload{ConnString: srv.ConnString("app"), Seed: 1, DDL: true, DDLSpread: 2 * time.Second, Journal: demo.NewJournal()}
	run, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := w.Write(run); err != nil {
		t.Fatal(err)
	}
	acked, failed, unknown := w.Journal.Counts()
	if acked < 100 || failed == 0 || unknown != 0 {
		t.Fatalf("acknowledged %d, failed %d, unknown %d", acked, failed, unknown)
	}
	t.Logf("%+v", w.Stats())
	checkPostgres(t, conn, w.Journal)

	// Planted faults: the journal must notice a row lost, invented or doubled.
	for _, fault := range []struct {
		sql  string
		seen func(demo.Verdict) int
	}{
		{"DELETE FROM transfers WHERE id = (SELECT max(id) FROM transfers)", func(v demo.Verdict) int { return len(v.Lost) }},
		{"INSERT INTO transfers (id) VALUES (424242)", func(v demo.Verdict) int { return len(v.Ghosts) }},
		{"INSERT INTO transfers SELECT * FROM transfers WHERE id > 0 ORDER BY id LIMIT 1", func(v demo.Verdict) int { return len(v.Doubled) }},
	} {
		if _, err := conn.Exec(ctx, fault.sql); err != nil {
			t.Fatal(err)
		}
		if v := w.Journal.Check(ids(t, conn)); v.OK() || fault.seen(v) != 1 {
			t.Errorf("after %s: %+v", fault.sql, v)
		}
	}
}

// What Postgres acknowledged survives its crash: else the harness, not tarn, would be at fault.
func TestWorkloadOverACrash(t *testing.T) {
	ctx := t.Context()
	srv := pgtest.NewTestServer(t, pgtest.Options{Databases: []string{"app"}})
	conn, err := pgx.Connect(ctx, srv.ConnString("app"))
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.CreateSchema(ctx, conn); err != nil {
		t.Fatal(err)
	}
	conn.Close(ctx)
	w := &demo.Workload{ConnString: srv.ConnString("app"), Seed: 2, Reconnect: true, Journal: demo.NewJournal()}
	run, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.Write(run) }()
	for range 2 {
		time.Sleep(700 * time.Millisecond)
		if err := srv.Kill9(); err != nil {
			t.Fatal(err)
		}
		if err := srv.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(700 * time.Millisecond)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	conn, err = pgx.Connect(ctx, srv.ConnString("app"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	acked, failed, unknown := w.Journal.Counts()
	t.Logf("acknowledged %d, failed %d, unknown %d", acked, failed, unknown)
	checkPostgres(t, conn, w.Journal)
}

func checkPostgres(t *testing.T, conn *pgx.Conn, journal *demo.Journal) {
	t.Helper()
	var sum int64
	if err := conn.QueryRow(t.Context(), balances).Scan(&sum); err != nil || sum != demo.TotalBalance {
		t.Fatalf("sum of balances = %d, %v; want %d", sum, err, demo.TotalBalance)
	}
	if v := journal.Check(ids(t, conn)); !v.OK() {
		t.Fatalf("Postgres against the journal: %s", fmt.Sprint(v))
	}
}

func ids(t *testing.T, conn *pgx.Conn) []int64 {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT id FROM transfers")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	return ids
}
