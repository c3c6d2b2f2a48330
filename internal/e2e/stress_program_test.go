package e2e

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// program is what several sessions and their surroundings did, one after the other, so that it can be done again.
type program []programOp

// programOp is one step: a session's statement, or a verb.
type programOp struct {
	session int // verb: nobody's
	sql     string
	rows    string // what COPY FROM STDIN is sent
}

const verb = -1

// Verbs of a program.
const (
	verbCut     = "cut"     // wait until all is published
	verbCheck   = "check"   // compare the database with the lake
	verbRestart = "restart" // kill tarn and start it again
	verbCrash   = "crash"   // kill Postgres and start it again
)

func (op programOp) String() string {
	if op.session == verb {
		return op.sql
	}
	text := fmt.Sprintf("%c: %s", 'a'+rune(op.session), strings.Join(strings.Fields(op.sql), " "))
	if op.rows != "" {
		text += fmt.Sprintf(" <- %.60q (%d bytes)", op.rows, len(op.rows))
	}
	return text
}

func (p program) String() string {
	var b strings.Builder
	for _, op := range p {
		fmt.Fprintln(&b, op)
	}
	return b.String()
}

const (
	programSeconds = 18  // TARN_STRESS_SECONDS for longer
	programTurns   = 150 // statements of one program
)

// Random programs of statements, with DDL, of several sessions whose transactions overlap. After some of the cuts, and at the
// end of each, every table has to be in the lake as it is in Postgres. What is not is made small: the fewest statements that
// still do it, on a database of their own, are printed.
func TestRandomPrograms(t *testing.T) {
	seed := pgtest.Seed(t)
	majors := []int{15 + int(seed%4)}
	if os.Getenv("TARN_STRESS_MAJORS") != "" {
		majors = stressMajors(t)
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) { runPrograms(t, major, seed, false) })
	}
}

// The same of tables in copy-on-write mode, of both format versions: none ever has deletes beside its data files.
func TestRandomProgramsCopyOnWrite(t *testing.T) {
	seed := pgtest.Seed(t)
	majors := []int{15 + 3*int(seed%2)}
	if pgtest.Long() || os.Getenv("TARN_STRESS_MAJORS") != "" {
		majors = stressMajors(t)
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) { runPrograms(t, major, seed, true) })
	}
}

// overwritten has every table in copy-on-write mode, about half of them in format version 3.
const overwritten = "{match: \"*.*.*1\", write_mode: copy-on-write, format_version: 3}, {match: \"*.*.*a*\", write_mode: copy-on-write, format_version: 3}, {match: \"*.*.*\", write_mode: copy-on-write}, "

func runPrograms(t *testing.T, major int, seed uint64, copyOnWrite bool) {
	s := &stress{copyOnWrite: copyOnWrite, rig: &rig{t: t, journal: demo.NewJournal(), seed: seed}, major: major, ops: sessionOps(major), done: map[string]int{}, refused: map[string]string{}}
	s.rng = rand.New(rand.NewPCG(s.seed, uint64(major)))
	s.on(s.server(), stressSetup[:1])
	if copyOnWrite {
		s.tarn.addRule(overwritten)
	}
	s.exec(fmt.Sprintf("CREATE TABLESPACE ts LOCATION '%s'", filepath.Join(filepath.Dir(s.pg.DataDir()), "ts")))
	s.tarn.startReady()
	seconds := programSeconds * time.Second
	if copyOnWrite {
		seconds /= 2
	}
	if os.Getenv("TARN_STRESS_SECONDS") != "" {
		seconds = stressDuration(t)
	}
	end := time.Now().Add(seconds)
	var rows int64
	n := 0
	for ; time.Now().Before(end); n++ {
		run := s.newRun(n)
		p, err := run.random()
		rows += run.rows
		run.drop()
		if err != nil {
			t.Errorf("program %d: %v", n, err)
			s.shrink(p, err)
			return
		}
	}
	s.report(n, rows)
}

// programRun is a program under way on a database of its own.
type programRun struct {
	*stress
	db   string
	rows int64 // compared
}

// newRun makes a database with the tables that sessions begin with.
func (s *stress) newRun(n int) *programRun {
	s.t.Helper()
	run := &programRun{stress: s, db: fmt.Sprintf("program%d", n)}
	s.exec("CREATE DATABASE " + run.db)
	if err := s.pg.Exec(s.t.Context(), run.db, stressSetup...); err != nil {
		s.t.Fatal(err)
	}
	return run
}

// drop removes the database, and the prepared transactions that would be in the way.
func (run *programRun) drop() {
	run.t.Helper()
	conn, err := pgx.Connect(run.t.Context(), run.pg.ConnString(run.db))
	if err != nil {
		run.t.Fatal(err)
	}
	rows, err := conn.Query(run.t.Context(), "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
	if err != nil {
		run.t.Fatal(err)
	}
	gids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, gid := range gids {
		if err == nil {
			_, err = conn.Exec(run.t.Context(), "ROLLBACK PREPARED '"+gid+"'")
		}
	}
	conn.Close(run.t.Context())
	if err != nil {
		run.t.Fatal(err)
	}
	run.exec("DROP DATABASE " + run.db + " WITH (FORCE)")
}

// random makes up a program while it runs it. Sessions take turns, one statement each, so that only one of them is ever at
// work and the program says all of what happened.
func (run *programRun) random() (p program, err error) {
	ctx, cancel := context.WithCancel(run.t.Context())
	var next []func() (struct{}, bool)
	for i := range stressWriters {
		w := &stressWriter{stress: run.stress, ctx: ctx, id: i, db: run.db, rng: rand.New(rand.NewPCG(run.rng.Uint64(), uint64(i))), record: &p}
		resume, stop := iter.Pull(func(yield func(struct{}) bool) {
			w.turn = func() bool { return yield(struct{}{}) && ctx.Err() == nil }
			w.loop()
		})
		defer stop()
		next = append(next, resume)
	}
	defer cancel() // before the sessions are stopped
	for len(p) < programTurns && err == nil {
		next[run.rng.IntN(len(next))]()
		if does := run.verb(); does != "" {
			p = append(p, programOp{session: verb, sql: does})
			err = run.do(does)
		}
	}
	if err == nil {
		p = append(p, programOp{session: verb, sql: verbCheck})
		err = run.do(verbCheck)
	}
	return p, err
}

// verb is what happens between two turns, mostly nothing.
func (run *programRun) verb() string {
	switch n := run.rng.IntN(1000); {
	case n < 60:
		return verbCut
	case n < 75:
		return verbCheck
	case n < 79:
		return verbRestart
	case n < 81:
		return verbCrash
	}
	return ""
}

// replay runs a program that was made up before.
func (run *programRun) replay(p program) error {
	sessions := map[int]*pgx.Conn{}
	defer func() {
		for _, conn := range sessions {
			_ = conn.Close(context.Background())
		}
	}()
	for _, op := range p {
		if op.session == verb {
			if err := run.do(op.sql); err != nil {
				return err
			}
			continue
		}
		conn := sessions[op.session]
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = stressSession(run.t.Context(), run.pg.ConnString(run.db), op.session); err != nil {
				return err
			}
			sessions[op.session] = conn
		}
		_ = send(run.t.Context(), conn, op.sql, op.rows) // Postgres may refuse it, as it did or because of what was left out
	}
	return run.do(verbCheck)
}

// do does what a verb says.
func (run *programRun) do(does string) error {
	switch does {
	case verbRestart:
		run.tarn.kill9()
		run.tarn.start()
	case verbCrash:
		run.killPostgres()
	case verbCut:
		return run.cut()
	case verbCheck:
		return run.check()
	}
	return nil
}

// stuckError: tarn does not get as far as it should. Every database would be found to differ.
type stuckError struct{ error }

func (run *programRun) cut() error {
	lsn, err := demo.FlushLSN(run.t.Context(), run.pg)
	if err != nil {
		return err
	}
	if err := run.tarn.awaitReady(); err != nil {
		return stuckError{err}
	}
	ctx, cancel := context.WithTimeout(run.t.Context(), publishTimeout)
	defer cancel()
	if _, err := run.tarn.client().Wait(ctx, admin.StagePublished, lsn, publishTimeout); err != nil {
		return stuckError{fmt.Errorf("%s is not published: %w", lsn, err)}
	}
	return nil
}

func (run *programRun) check() error {
	if err := run.cut(); err != nil {
		return err
	}
	status, err := run.tarn.client().Status(run.t.Context())
	if err != nil {
		return err
	}
	for _, table := range status.Tables {
		if run.copyOnWrite && table.DeleteFiles > 0 {
			return fmt.Errorf("table %s is in copy-on-write mode and has %d delete files", table.Name, table.DeleteFiles)
		}
	}
	report, err := run.compareDatabase(run.db, status.Tables)
	if err != nil {
		return err
	}
	run.rows += report.Rows()
	for _, table := range report.Tables {
		if !table.Equal() {
			return fmt.Errorf("the lake differs:\n%.3000s", lakecheck.Report{Tables: []lakecheck.TableReport{table}})
		}
	}
	if said := run.unexpected(); len(said) > 0 {
		return stuckError{errors.New("tarn says: " + strings.Join(said, "\n"))}
	}
	return nil
}
