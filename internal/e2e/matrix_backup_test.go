package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// moves replace files as a whole: what a base backup finds of them is anything, and WAL since its start has to make it good.
// %[1]d counts the rounds. Lines that begin with "model: " are run in that database.
var moves = [][]string{
	{`ALTER DATABASE shuttle SET TABLESPACE ts1`}, {`ALTER DATABASE shuttle SET TABLESPACE pg_default`},
	{`CREATE DATABASE brief TEMPLATE model STRATEGY file_copy`, `DROP DATABASE brief`},
	{`DROP DATABASE IF EXISTS walcopy`, `CREATE DATABASE walcopy TEMPLATE model STRATEGY wal_log TABLESPACE ts1`},
	{`DROP DATABASE IF EXISTS filecopy`, `CREATE DATABASE filecopy TEMPLATE model STRATEGY file_copy`, `model: UPDATE hot SET n = 'round %[1]d' WHERE id %% 4 = 0`},
	{`ALTER TABLE moved SET TABLESPACE ts1`, `UPDATE moved SET n = %[1]d WHERE id %% 3 = 0`, `ALTER TABLE moved SET TABLESPACE pg_default`},
	{`CREATE TABLESPACE ts%[1]d LOCATION '%[2]s/ts2'`, `CREATE TABLE t%[1]d TABLESPACE ts%[1]d AS SELECT g AS id, 'x' AS s FROM generate_series(1, 300) g`,
		`ALTER TABLE t%[1]d SET TABLESPACE pg_default`, `DROP TABLESPACE ts%[1]d`},
	{`DELETE FROM moved WHERE id > 2000`, `VACUUM moved`, `INSERT INTO moved SELECT g, %[1]d, repeat('y', g %% 200) FROM generate_series(2001, 9000) g`},
	{`VACUUM FULL moved`}, {`BEGIN; TRUNCATE emptied; INSERT INTO emptied SELECT g, 'round %[1]d' FROM generate_series(1, 500) g; COMMIT`},
	{`DROP TABLE IF EXISTS again`, `CREATE TABLE again AS SELECT g AS id, repeat('z', 100) AS s FROM generate_series(1, 3000) g`, `DELETE FROM again WHERE id %% 2 = 0`},
}

// Base backups are taken one after the other while databases are copied and dropped, databases and tables change their
// tablespace, tablespaces come and go, and files are made, cut and replaced. A backup that a database was moved in is taken
// again until none was.
func TestBaseBackupAmidMoves(t *testing.T) {
	for _, release := range []string{"15.1", "18.6"} {
		t.Run(release, func(t *testing.T) {
			r := &cellRig{rig: &rig{t: t, journal: demo.NewJournal(), seed: pgtest.Seed(t)}}
			r.on(pgtest.Options{Release: release, Settings: map[string]string{"fsync": "off", "autovacuum_naptime": "1s"}}, nil)
			r.exec(`COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; mkdir -p ../ts1 ../ts2'`, r.tablespace(1), `CREATE DATABASE model`, `CREATE DATABASE shuttle`)
			r.execIn("model", cellDatabase("model")...)
			r.execIn("shuttle", cellDatabase("shuttle")...)
			r.exec(`CREATE TABLE moved AS SELECT g AS id, 0 AS n, repeat('x', g % 300) AS s FROM generate_series(1, 9000) g`, `CREATE TABLE emptied (id int, s text)`)
			round := int(r.seed % 3)
			for n := range 4 {
				some, until := moves, `msg="base backup done"`
				if n == 1 { // nothing but what a backup does not stand
					some, until = moves[:2], `msg="the base backup is of no use`
				}
				before := r.logged(until)
				stop := r.move(&round, some)
				time.Sleep(300 * time.Millisecond)
				if n == 0 {
					r.tarn.start()
				} else {
					r.verb("resync", "--all")
				}
				for began := time.Now(); r.logged(until) == before; time.Sleep(20 * time.Millisecond) {
					if time.Since(began) > time.Minute {
						t.Fatalf("tarn does not say %s", until)
					}
				}
				stop()
				r.tarn.waitReady()
				r.execIn("shuttle", fmt.Sprintf(`UPDATE hot SET n = 'after %d'`, n)) // what has stopped in the lake would be equal by itself
				r.mustBeEqualEverywhere()
			}
			for _, line := range r.tarn.errors() {
				t.Errorf("tarn says: %s", line)
			}
		})
	}
}

// logged counts the lines of tarn's log with a text.
func (r *cellRig) logged(text string) int {
	r.t.Helper()
	b, err := os.ReadFile(r.tarn.logPath())
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	return strings.Count(string(b), text)
}

// move goes through the moves in the background until it is stopped.
func (r *cellRig) move(round *int, moves [][]string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	dir := r.pg.DataDir()[:len(r.pg.DataDir())-len("/data")]
	go func() {
		for ctx.Err() == nil {
			*round++
			for _, sql := range moves[*round%len(moves)] {
				db := database
				if rest, ok := strings.CutPrefix(sql, "model: "); ok {
					db, sql = "model", rest
				}
				err := r.pg.Exec(context.Background(), db, fmt.Sprintf(sql+"%[3]s", *round, dir, ""))
				// A database may not be moved to where it is, nor copied while somebody is in it.
				var refused *pgconn.PgError
				if errors.As(err, &refused) && (refused.Code == "55006" || refused.Code == "42P04" || refused.Code == "55P03") {
					continue
				}
				if err != nil {
					done <- err
					return
				}
			}
		}
		done <- nil
	}()
	return func() {
		r.t.Helper()
		cancel()
		if err := <-done; err != nil {
			r.t.Fatalf("moves: %v", err)
		}
	}
}
