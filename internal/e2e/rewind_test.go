package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// before is what both histories share.
var before = []string{
	`CREATE TABLE t (i int, s text)`, `INSERT INTO t SELECT i, 'both' FROM generate_series(1, 3000) i`,
	`CREATE TABLE big (i int, s text)`, `ALTER TABLE big ALTER s SET STORAGE EXTERNAL`, `INSERT INTO big SELECT i, repeat('both', 3000) FROM generate_series(1, 40) i`,
	`CREATE TABLE cut AS SELECT i, 'both' s FROM generate_series(1, 1000) i`, `CREATE TABLE short AS SELECT * FROM cut`, `CREATE TABLE away AS SELECT * FROM cut`,
	`CREATE TABLE moved AS SELECT * FROM cut`, `CREATE TABLE idle AS SELECT * FROM cut`, `CREATE TABLE parts (i int, s text) PARTITION BY LIST (s)`,
	`CREATE TABLE parts_both PARTITION OF parts FOR VALUES IN ('both')`, `INSERT INTO parts SELECT * FROM cut`,
	`CREATE TYPE mood AS ENUM ('low', 'high')`, `CREATE TABLE shaped (i int, lost int, n numeric(10,2), m mood, s varchar(10))`,
	`INSERT INTO shaped SELECT i, i, i, 'low', 'both' FROM generate_series(1, 500) i`,
	`CREATE TABLE thin AS SELECT i, i lost FROM generate_series(1, 500) i`, `CREATE TABLE prepared (i int)`,
}

// undone is what the former primary does behind the fork, all of it published.
func undone() []string {
	return []string{
		`INSERT INTO t SELECT i, 'lost' FROM generate_series(3001, 6000) i`, `UPDATE t SET s = 'lost' WHERE i < 500`, `DELETE FROM t WHERE i % 7 = 0`,
		`INSERT INTO big SELECT i, repeat('lost', 3000) FROM generate_series(41, 60) i`, `DELETE FROM big WHERE i < 10`, `UPDATE big SET s = repeat('gone', 3000) WHERE i % 5 = 0`,
		`TRUNCATE cut`, `INSERT INTO cut VALUES (1, 'lost')`, `DELETE FROM short WHERE i > 100`, `VACUUM (FREEZE) short`, `DROP TABLE away`,
		`VACUUM FULL moved`, `UPDATE moved SET s = 'lost' WHERE i < 10`, `CREATE TABLE made AS SELECT i, 'lost' s FROM generate_series(1, 100) i`,
		`ALTER TABLE parts DETACH PARTITION parts_both`, `CREATE TABLE parts_lost PARTITION OF parts FOR VALUES IN ('lost')`, `INSERT INTO parts VALUES (1, 'lost')`,
		`ALTER TABLE shaped DROP lost`, `ALTER TYPE mood RENAME VALUE 'low' TO 'lowest'`, `ALTER TABLE shaped ALTER n TYPE numeric(14,2)`, `ALTER TABLE shaped ADD extra int DEFAULT 7`,
		`INSERT INTO shaped (i, n, m, s) VALUES (1000, 1, 'high', 'lost')`, `ALTER TABLE shaped RENAME s TO other`,
		`ALTER TABLE thin DROP lost`, `INSERT INTO thin VALUES (0)`, `COMMIT PREPARED 'done'`, `ROLLBACK PREPARED 'undone'`, `VACUUM t`, `INSERT INTO t SELECT i, 'again' FROM generate_series(1, 300) i`, `SELECT pg_switch_wal()`,
		`INSERT INTO t VALUES (0, 'lost')`,
	}
}

// instead is what the new primary does: other rows in the same places, by transactions of the same ids.
func instead() []string {
	return []string{
		`INSERT INTO t SELECT i, 'new' FROM generate_series(3001, 6000) i`, `UPDATE t SET s = 'new' WHERE i < 500`, `DELETE FROM t WHERE i % 11 = 0`,
		`INSERT INTO big SELECT i, repeat('new!', 3000) FROM generate_series(41, 60) i`, `DELETE FROM big WHERE i < 5`,
		`CREATE TABLE made AS SELECT i, 'new' s FROM generate_series(1, 150) i`, `UPDATE cut SET s = 'new' WHERE i < 10`, `ALTER TABLE shaped ADD extra text DEFAULT 'x'`,
		`INSERT INTO shaped (i, m) VALUES (2000, 'low')`, `ROLLBACK PREPARED 'done'`, `COMMIT PREPARED 'undone'`,
	}
}

// A standby that lacks what is published is promoted: lake and pages are taken back to the fork and go on with the new primary,
// row for row, though the same transaction ids and line pointers mean other rows there.
func TestRewind(t *testing.T) {
	majors := []int{18}
	if pgtest.Long() {
		majors = []int{15, 16, 17, 18}
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			r := newRig(t, major, before)
			old, standby := r.lagging()
			r.exec(undone()...)
			r.mustBeEqual()
			r.historiesMustHold(4)
			r.tarn.kill9()
			r.failOver(old, standby)
			r.tarn.killedAfter("publication")
			r.tarn.start()
			r.mustFollow(2)
			r.mustBeEqual() // as of the fork, and nothing else
			r.historiesMustHold(4)
			r.exec(instead()...)
			r.mustBeEqual()
			r.historiesMustHold(4)
			r.mustBeRewound(1)
			r.walMustCross(2)
			r.snapshotsMustSay("t", "1", "2")
		})
	}
}

// lagging publishes all there is, prepares two transactions, and stops a standby that has all of it.
func (r *rig) lagging() (primary, standby *pgtest.Server) {
	r.t.Helper()
	primary = r.pg
	standby = standbyOf(r.t, primary)
	r.configure(primary.ReplConnString(database), readWrite(primary, standby))
	r.tarn.addRule("{match: app.public.t, history: true}, {match: app.public.cut, history: true}, {match: app.public.moved, history: true, format_version: 3}, {match: app.public.shaped, history: true, format_version: 3}, " +
		`{match: app.public.short, write_mode: copy-on-write, parquet: true}, {match: app.public.big, write_mode: copy-on-write, partition_by: ["bucket(3, i)"]}, {match: app.public.parts, partition_by: [s]}, `)
	r.tarn.startReady()
	r.exec(`BEGIN; INSERT INTO prepared VALUES (1); SAVEPOINT s; INSERT INTO prepared VALUES (2); PREPARE TRANSACTION 'done'`, `BEGIN; INSERT INTO prepared VALUES (3); PREPARE TRANSACTION 'undone'`)
	r.mustBeEqual()
	end, err := demo.FlushLSN(r.t.Context(), primary)
	if err != nil {
		r.t.Fatal(err)
	}
	for sql := fmt.Sprintf(`SELECT (pg_last_wal_replay_lsn() >= '%s')::text`, end); ; time.Sleep(20 * time.Millisecond) {
		if there, err := standby.QueryText(r.t.Context(), database, sql); err != nil {
			r.t.Fatal(err)
		} else if there == "true" {
			break
		}
	}
	if err := standby.Stop(pgtest.Fast); err != nil {
		r.t.Fatal(err)
	}
	return primary, standby
}

// failOver ends the primary and promotes the standby.
func (r *rig) failOver(primary, standby *pgtest.Server) {
	r.t.Helper()
	if err := primary.Kill9(); err != nil {
		r.t.Fatal(err)
	}
	if err := standby.Restart(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.promote(standby)
}

// mustBeRewound looks at how often the status says that the lake was taken back.
func (r *rig) mustBeRewound(times int) {
	r.t.Helper()
	st, err := r.tarn.client().Status(r.t.Context())
	if err != nil || st.Rewinds != times {
		r.t.Fatalf("%d rewinds, want %d, %v", st.Rewinds, times, err)
	}
}

// tarn is killed at each step of going back, and the new primary fails over once more below what was published of it: what is
// undone stays so, and nothing else is.
func TestRewindKilled(t *testing.T) {
	r := newRig(t, 15, before)
	r.tarn.startReady()
	r.exec(`BEGIN; INSERT INTO prepared VALUES (1); SAVEPOINT s; INSERT INTO prepared VALUES (2); PREPARE TRANSACTION 'done'`, `BEGIN; INSERT INTO prepared VALUES (3); PREPARE TRANSACTION 'undone'`)
	for round, steps := range [][]string{
		{"scratch", "publication", "archive"}, // tarn was killed: pages in the store are of before the fork
		{"scratch", "publication", "pages", "archive"},
	} {
		r.mustBeEqual()
		r.fork(func() {
			if round == 0 {
				r.exec(undone()...)
			} else {
				r.exec(`UPDATE t SET s = 'lost too'`, `TRUNCATE big`, `DROP TABLE made`, `DELETE FROM shaped WHERE i > 1000`, `INSERT INTO prepared VALUES (9)`)
			}
			r.mustBeEqual()
			if round == 0 {
				r.tarn.kill9()
			} else {
				r.tarn.stop()
			}
		})
		for _, step := range steps {
			r.tarn.killedAfter(step)
		}
		r.tarn.startReady()
		r.mustFollow(pg.TimelineID(round + 2))
		r.mustBeEqual()
		if round == 0 {
			r.exec(instead()...)
			r.mustBeEqual()
		}
		r.mustBeRewound(round + 1)
	}
	r.exec(`INSERT INTO t VALUES (1, 'end')`, `DELETE FROM t WHERE i % 2 = 0`, `INSERT INTO big VALUES (1, repeat('end', 5000))`)
	r.mustBeEqual()
}

// fork puts the source back to what it is now once do is done, and promotes it: a standby that had all of before and nothing of do.
func (r *rig) fork(do func()) {
	r.t.Helper()
	if err := r.pg.Stop(pgtest.Fast); err != nil {
		r.t.Fatal(err)
	}
	if err := errors.Join(r.pg.Save(), r.pg.Restart(r.t.Context())); err != nil {
		r.t.Fatal(err)
	}
	do()
	if err := errors.Join(r.pg.Kill9(), r.pg.Restore()); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.pg.DataDir(), "standby.signal"), nil, 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := r.pg.Restart(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.promote(r.pg)
}

// killedAfter starts tarn and kills it as soon as a step of going back is durable, or, where an earlier start has come further than it was
// meant to, once it follows.
func (tn *tarn) killedAfter(step string) {
	tn.t.Helper()
	before := tn.rewindSteps()
	tn.start()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Microsecond) {
		if now := tn.rewindSteps(); now.since(before)[step] || now.since(before)["archive"] {
			break
		}
		if time.Now().After(deadline) || !tn.running() {
			tn.t.Fatalf("%s: tarn does not get there", step)
		}
	}
	tn.kill9()
	tn.t.Logf("killed after %s, done are %v", step, tn.rewindSteps().since(before))
}

// rewindSteps is what the steps of going back leave, each when it is durable.
type rewindSteps struct {
	scratch       bool // beside the store, before the first
	entries       int  // of the catalog's log
	index         string
	archiveBegins int
}

func (tn *tarn) rewindSteps() (s rewindSteps) {
	index, _ := os.ReadFile(filepath.Join(tn.storeDir(), "timelines", "main", "index.json"))
	entries, _ := filepath.Glob(filepath.Join(tn.storeDir(), "catalog", "log", "*"))
	bases, _ := filepath.Glob(filepath.Join(tn.storeDir(), "wal", "base", "*"))
	return rewindSteps{exists(filepath.Join(tn.dataDir(), "rewind")), len(entries), string(index), len(bases)}
}

// since is the steps taken since before. A start writes one entry of the log for its epoch.
func (s rewindSteps) since(before rewindSteps) map[string]bool {
	return map[string]bool{"scratch": s.scratch, "publication": s.entries > before.entries+1, "pages": s.index != before.index, "archive": s.archiveBegins > before.archiveBegins}
}
