package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// historySetup makes a table each of whose row versions has a number and knows the transaction that wrote it, and a table of which
// transaction removed which version.
var historySetup = []string{
	`CREATE SEQUENCE versions`,
	`CREATE TABLE kept (id int, version bigint, writer bigint, note text)`,
	`CREATE TABLE removed (version bigint, remover bigint)`,
	`CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		NEW.version = nextval('versions'); NEW.writer = pg_current_xact_id()::text::bigint; RETURN NEW; END $$`,
	`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO removed VALUES (OLD.version, pg_current_xact_id()::text::bigint); RETURN NULL; END $$`,
	`CREATE TRIGGER a BEFORE INSERT OR UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION stamp()`,
	`CREATE TRIGGER b AFTER UPDATE OR DELETE ON kept FOR EACH ROW EXECUTE FUNCTION note()`,
	`INSERT INTO kept SELECT i, 0, 0, repeat(md5(i::text), 1 + i % 4 * 100) FROM generate_series(1, 300) i`,
}

// TestHistory has sessions change a table, by subtransactions, prepared and aborted transactions among others, while it is vacuumed and
// tarn is killed: the table's history names every row version that was published, once, with the transaction that wrote it and the one that
// removed it, when they committed and at which LSN; and it leads from any publication to any later one.
func TestHistory(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) { testHistory(t, major) })
	}
}

func testHistory(t *testing.T, major int) {
	r := &rig{t: t, seed: pgtest.Seed(t)}
	r.on(pgtest.Options{Major: major, Settings: map[string]string{"track_commit_timestamp": "on"}}, historySetup)
	rule := "{match: app.public.kept, history: true}, "
	if major == 18 {
		rule = "{match: app.public.kept, history: true, format_version: 3}, "
	}
	r.tarn.addRule(rule)
	r.tarn.startReady()
	r.caughtUp()
	rng := rand.New(rand.NewPCG(r.seed, uint64(major)))
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 3 {
			conn, err := pgx.Connect(ctx, r.pg.ConnString(database))
			if err != nil {
				t.Fatal(err)
			}
			r.exec(fmt.Sprintf("SELECT setseed(%g)", rng.Float64()))
			w := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
			wg.Go(func() {
				defer conn.Close(context.Background())
				for ctx.Err() == nil {
					if err := historyTransaction(ctx, conn, w); err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(1000+rng.IntN(1000)) * time.Millisecond)
		r.exec("VACUUM kept", "CHECKPOINT")
		if rng.IntN(3) > 0 {
			r.tarn.kill9()
			time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
			r.tarn.start()
		}
		time.Sleep(time.Duration(500+rng.IntN(1000)) * time.Millisecond)
		cancel()
		wg.Wait()
		r.tarn.waitReady()
		r.mustBeEqual()
		r.historyIsComplete()
		r.historyLeads(rng, "public.kept", 12)
	}
	r.historyCommitTimes()
	if out, code := r.tarn.run("scrub", "--deep"); code != 0 {
		t.Errorf("scrub exits with %d: %s", code, out)
	}
}

// historyTransaction is one of a few kinds. What Postgres refuses is rolled back.
func historyTransaction(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error {
	id := func() int { return 1 + rng.IntN(400) }
	sql := []string{"BEGIN"}
	for range 1 + rng.IntN(4) {
		switch rng.IntN(6) {
		case 0:
			sql = append(sql, fmt.Sprintf("INSERT INTO kept SELECT %d, 0, 0, repeat(md5(random()::text), %d)", id(), 1+rng.IntN(4)*100))
		case 1:
			sql = append(sql, fmt.Sprintf("DELETE FROM kept WHERE id = %d", id()))
		case 2:
			sql = append(sql, "SAVEPOINT s", fmt.Sprintf("UPDATE kept SET note = 'sub' WHERE id = %d", id()), []string{"ROLLBACK TO s", "RELEASE s"}[rng.IntN(2)])
		case 3:
			sql = append(sql, fmt.Sprintf("SELECT 1 FROM kept WHERE id = %d FOR KEY SHARE", id()))
		default:
			sql = append(sql, fmt.Sprintf("UPDATE kept SET note = 'n' || random() WHERE id BETWEEN %d AND %[1]d + 2", id()))
		}
	}
	switch rng.IntN(8) {
	case 0:
		sql = append(sql, "ROLLBACK")
	case 1:
		gid := fmt.Sprint("g", rng.Uint64())
		sql = append(sql, fmt.Sprintf("PREPARE TRANSACTION '%s'", gid), fmt.Sprintf("COMMIT PREPARED '%s'", gid))
	default:
		sql = append(sql, "COMMIT")
	}
	for _, s := range sql {
		if ctx.Err() != nil && s != "COMMIT" && !strings.HasPrefix(s, "COMMIT PREPARED") { // nothing is left prepared
			continue
		}
		_, err := conn.Exec(context.Background(), s, pgx.QueryExecModeSimpleProtocol)
		var refused *pgconn.PgError
		if errors.As(err, &refused) && (refused.Code == "40P01" || refused.Code == "40001") {
			_, err = conn.Exec(context.Background(), "ROLLBACK")
			return err
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// historyIsComplete asks the history of the table kept what the tables themselves say.
func (r *rig) historyIsComplete() {
	r.t.Helper()
	for what, sql := range map[string]string{
		"a version that is inserted or deleted twice": `SELECT _tarn_op, version FROM lake.public.kept__history GROUP BY 1, 2 HAVING count(*) > 1`,
		"inserted by another transaction than its writer": `SELECT version, writer, _tarn_xid FROM lake.public.kept__history
			WHERE _tarn_op = 'insert' AND (_tarn_xid <> writer OR _tarn_xid IS NULL AND version > 300)`,
		"deleted by another transaction than its remover": `SELECT h.version, d.remover, h._tarn_xid FROM lake.public.kept__history h LEFT JOIN lake.public.removed d USING (version)
			WHERE _tarn_op = 'delete' AND _tarn_xid IS DISTINCT FROM remover`,
		"a transaction of two LSNs": `SELECT _tarn_xid FROM lake.public.kept__history WHERE _tarn_xid IS NOT NULL GROUP BY 1 HAVING count(DISTINCT _tarn_lsn) > 1 OR count(DISTINCT _tarn_commit_time) > 1`,
		"a version that is deleted before it is inserted": `SELECT i.version FROM lake.public.kept__history i JOIN lake.public.kept__history d USING (version)
			WHERE i._tarn_op = 'insert' AND d._tarn_op = 'delete' AND i._tarn_lsn >= d._tarn_lsn`,
	} {
		rows, err := r.query(database, sql)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(rows) > 0 {
			r.t.Errorf("%s, %d times: %s", what, len(rows), rowText(rows[0]))
		}
	}
	n, err := r.queryOne(database, `SELECT count(*) FROM lake.public.kept__history WHERE _tarn_op = 'delete'`)
	if err != nil || n == "0" {
		r.t.Errorf("%s deletes, %v", n, err)
	}
	r.t.Logf("%s deletes in the history", n)
}

func rowText(row []*string) string {
	parts := make([]string, len(row))
	for i, v := range row {
		if parts[i] = "∅"; v != nil {
			parts[i] = strconv.Quote(*v)
		}
	}
	return strings.Join(parts, ",")
}

// historyCommitTimes compares what the history says of commits with what Postgres kept of them.
func (r *rig) historyCommitTimes() {
	r.t.Helper()
	rows, err := r.query(database, `SELECT DISTINCT _tarn_xid, epoch_us(_tarn_commit_time) FROM lake.public.kept__history WHERE _tarn_xid IS NOT NULL`)
	if err != nil || len(rows) == 0 {
		r.t.Fatal(len(rows), err)
	}
	conn := r.connect()
	for _, row := range rows {
		var at int64
		if err := conn.QueryRow(r.t.Context(), `SELECT (extract(epoch from pg_xact_commit_timestamp(`+*row[0]+`::text::xid)) * 1000000)::bigint`).Scan(&at); err != nil {
			r.t.Fatal(err)
		}
		if fmt.Sprint(at) != *row[1] {
			r.t.Errorf("transaction %s committed at %d, the history says %s", *row[0], at, *row[1])
		}
	}
	r.t.Logf("%d commit times", len(rows))
}

// historyLeads applies what a table's history has between two publications to the table as it is at the first: that is the table at the
// second.
func (r *rig) historyLeads(rng *rand.Rand, table string, pairs int) {
	r.t.Helper()
	publications, err := r.tarn.client().Publications(r.t.Context())
	if err != nil || len(publications) < 2 {
		r.t.Fatal(publications, err)
	}
	columns := `version || '|' || id || '|' || writer || '|' || coalesce(note, '')`
	state := func(lsn pg.LSN) map[string]int {
		rows, err := r.query(database+"@"+lsn.String(), "SELECT "+columns+" FROM lake."+table)
		if err != nil {
			r.t.Fatal(err)
		}
		m := map[string]int{}
		for _, row := range rows {
			m[*row[0]]++
		}
		return m
	}
	moved := 0
	for range pairs {
		a, b := rng.IntN(len(publications)), rng.IntN(len(publications))
		from, to := publications[min(a, b)].LSN, publications[max(a, b)].LSN
		want, got := state(to), state(from)
		changes, err := r.query(database, fmt.Sprintf("SELECT _tarn_op, %s FROM lake.%s__history WHERE _tarn_lsn > %d AND _tarn_lsn <= %d", columns, table, from, to))
		if err != nil {
			r.t.Fatal(err)
		}
		for _, row := range changes {
			if *row[0] == "insert" {
				got[*row[1]]++
			} else {
				got[*row[1]]--
			}
			moved++
		}
		for row, n := range got {
			if n != want[row] {
				r.t.Fatalf("from %s to %s the history makes %d of row %.200s, there are %d", from, to, n, row, want[row])
			}
		}
		for row, n := range want {
			if n != got[row] {
				r.t.Fatalf("from %s to %s the history makes %d of row %.200s, there are %d", from, to, got[row], row, n)
			}
		}
	}
	r.t.Logf("%d changes between %d pairs of %d publications", moved, pairs, len(publications))
}

// historiesHold compares every history of a database, as a whole, with its table.
func (r *rig) historiesHold(database string, tables []admin.Table) (histories int, err error) {
	r.t.Helper()
	for _, h := range tables {
		i := slices.IndexFunc(tables, func(t admin.Table) bool { return t.Name == h.HistoryOf })
		if h.HistoryOf == "" || h.Database != database || i < 0 || tables[i].State != admin.TableLive {
			continue
		}
		q := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
		name := func(t admin.Table) string { return "lake." + q(t.Schema) + "." + q(t.Table) }
		rows := func(op string) string {
			return fmt.Sprintf("(SELECT COLUMNS(* EXCLUDE (_tarn_op, _tarn_lsn, _tarn_commit_time, _tarn_xid))::text FROM %s WHERE _tarn_op = '%s')", name(h), op)
		}
		left, base := rows("insert")+" EXCEPT ALL "+rows("delete"), "(SELECT COLUMNS(*)::text FROM "+name(tables[i])+")"
		sql := fmt.Sprintf("SELECT (SELECT count(*) FROM (%[2]s EXCEPT ALL (%[1]s))) + (SELECT count(*) FROM ((%[1]s) EXCEPT ALL %[2]s)) + (SELECT count(*) FROM (%[3]s EXCEPT ALL %[4]s))", left, base, rows("delete"), rows("insert"))
		n, err := r.queryOne(database, sql)
		if err != nil {
			return histories, fmt.Errorf("%s: %w", h.Name, err)
		}
		if n != "0" {
			return histories, fmt.Errorf("%s: %s rows differ from those of its table", h.Name, n)
		}
		histories++
	}
	return histories, nil
}

// historiesMustHold compares the histories of the database app, of which there are n, with their tables.
func (r *rig) historiesMustHold(n int) {
	r.t.Helper()
	st, err := r.tarn.client().Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if got, err := r.historiesHold(database, st.Tables); err != nil || got != n {
		r.t.Errorf("%d histories compared, want %d: %v", got, n, err)
	}
}
