package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
)

const (
	stressSeconds  = 36 // of writing, per server version; TARN_STRESS_SECONDS for longer
	episodeSeconds = 6
	stressWriters  = 4
)

// Random sessions do whatever SQL allows, to rows, tables and databases, while tarn and Postgres are killed and restarted
// with other settings. After each episode every table of every database has to be in the lake as it is in Postgres.
func TestStress(t *testing.T) {
	for _, major := range stressMajors(t) {
		t.Run(fmt.Sprint(major), func(t *testing.T) { runStress(t, major) })
	}
}

// stressMajors are the oldest and the newest server; TARN_STRESS_MAJORS=16,17 names others.
func stressMajors(t *testing.T) []int {
	text := os.Getenv("TARN_STRESS_MAJORS")
	if text == "" {
		text = "15,18"
	}
	var majors []int
	for _, part := range strings.Split(text, ",") {
		major, err := strconv.Atoi(part)
		if err != nil {
			t.Fatalf("TARN_STRESS_MAJORS: %v", err)
		}
		majors = append(majors, major)
	}
	return majors
}

func stressDuration(t *testing.T) time.Duration {
	text := os.Getenv("TARN_STRESS_SECONDS")
	if text == "" {
		return stressSeconds * time.Second
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("TARN_STRESS_SECONDS: %v", err)
	}
	return time.Duration(n) * time.Second
}

func runStress(t *testing.T, major int) {
	s := &stress{rig: &rig{t: t, journal: demo.NewJournal(), seed: pgtest.Seed(t)}, major: major, ops: stressOps(major), done: map[string]int{}, refused: map[string]string{}}
	s.rng = rand.New(rand.NewPCG(s.seed, uint64(major)))
	s.on(s.server(), nil)
	if err := demo.CreateSchema(t.Context(), s.connect()); err != nil {
		t.Fatal(err)
	}
	s.exec(stressSetup...)
	s.exec(fmt.Sprintf("CREATE TABLESPACE ts LOCATION '%s'", filepath.Join(filepath.Dir(s.pg.DataDir()), "ts")))
	s.tarn.addRule("{match: \"*.s.n*\", history: true}, {match: \"*.s.p\", history: true, format_version: 3}, ")
	s.tarn.startReady()
	checked := map[string]bool{}
	var rows int64
	episodes, end := 0, time.Now().Add(stressDuration(t))
	for ; time.Now().Before(end); episodes++ {
		stopDemo := s.write(func(w *demo.Workload) { w.Writers, w.Reconnect, w.Pause = 1, true, 10*time.Millisecond })
		stop := s.begin(episodes)
		s.trouble(time.Now().Add(episodeSeconds * time.Second))
		s.tarn.waitReady()
		s.checkPublications(checked, 3)
		stop()
		stopDemo()
		rows += s.mustBeEqualEverywhere(episodes)
		s.ledgerMustHold()
	}
	s.report(episodes, rows)
}

// stress is one run against one server.
type stress struct {
	*rig
	major int
	ops   []stressOp
	rng   *rand.Rand
	// full_page_writes is or was off since the last checkpoint
	tearable    bool
	copyOnWrite bool // all tables
	histories   int  // compared

	mu      sync.Mutex
	done    map[string]int    // operations that succeeded, by name
	refused map[string]string // the last refusal by name
	trail   []string          // the episode's statements, oldest first
}

// stressOp is something a session does.
type stressOp struct {
	name   string
	weight int
	run    func(w *stressWriter) error
}

// stressWriter is one session.
type stressWriter struct {
	*stress
	ctx  context.Context
	rng  *rand.Rand
	id   int
	db   string
	conn *pgx.Conn

	turn   func() bool // waits until the session may go on; nil: it always may. False: it is to end
	record *program    // what it does, if somebody asks
}

// server is one of the ways to set up a cluster.
func (s *stress) server() pgtest.Options {
	o := pgtest.Options{Major: s.major, Settings: map[string]string{"wal_level": []string{"replica", "logical"}[s.rng.IntN(2)]}}
	if s.rng.IntN(2) == 0 {
		o.InitdbArgs = append(o.InitdbArgs, "--data-checksums")
	}
	if s.rng.IntN(2) == 0 {
		o.InitdbArgs = append(o.InitdbArgs, "--wal-segsize=1")
	}
	s.t.Logf("initdb %v, %v", o.InitdbArgs, o.Settings)
	return o
}

// begin starts the sessions of an episode; the returned function ends them and waits.
func (s *stress) begin(episode int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	s.trail = nil
	var wg sync.WaitGroup
	for i := range stressWriters {
		w := &stressWriter{stress: s, ctx: ctx, id: i, db: database, rng: rand.New(rand.NewPCG(s.seed+uint64(episode), uint64(i)))}
		wg.Go(w.loop)
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

func (w *stressWriter) loop() {
	total := 0
	for _, op := range w.ops {
		total += op.weight
	}
	for w.ctx.Err() == nil {
		if w.conn == nil || w.conn.IsClosed() {
			if w.connectAgain() != nil {
				time.Sleep(50 * time.Millisecond)
				continue
			}
		}
		n := w.rng.IntN(total)
		for i := range w.ops {
			if n -= w.ops[i].weight; n < 0 {
				w.note(&w.ops[i], w.ops[i].run(w))
				break
			}
		}
		w.rollback()
	}
	if w.conn != nil {
		_ = w.conn.Close(context.Background())
	}
}

func (w *stressWriter) connectAgain() (err error) {
	w.conn, err = stressSession(w.ctx, w.pg.ConnString(w.db), w.id)
	return err
}

// stressSession connects. Random statements deadlock; they are to give up fast and let others go on.
func stressSession(ctx context.Context, connString string, id int) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(connString)
	if err != nil {
		return nil, err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, `SET lock_timeout = '500ms'; SET deadlock_timeout = '100ms'; SET statement_timeout = '5s'; SET client_min_messages = error; SET jit = off`)
	if err == nil {
		_, err = conn.Exec(ctx, fmt.Sprintf("SELECT setseed(%g)", float64(id)/10))
	}
	return conn, err
}

// rollback ends the transaction that an operation left open.
func (w *stressWriter) rollback() {
	switch {
	case w.conn.IsClosed() || w.conn.PgConn().TxStatus() == 'I':
	case w.ctx.Err() == nil:
		_ = w.run("ROLLBACK", "")
	default:
		_, _ = w.conn.Exec(context.Background(), "ROLLBACK")
	}
}

// note counts an operation. Postgres may refuse it: the statements are made without asking whether they fit.
func (w *stressWriter) note(op *stressOp, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.done[op.name]++
		return
	}
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) && refusal.Code != "55P03" && refusal.Code != "40P01" && refusal.Code != "57014" {
		w.refused[op.name] = err.Error()
	}
}

// do runs one statement, or several in one implicit transaction.
func (w *stressWriter) do(format string, args ...any) error {
	return w.run(fmt.Sprintf(format, args...), "")
}

// run runs SQL when it is the session's turn; rows are what COPY FROM STDIN is sent.
func (w *stressWriter) run(sql, rows string) error {
	if w.turn != nil && !w.turn() {
		return context.Canceled
	}
	if w.record != nil {
		*w.record = append(*w.record, programOp{session: w.id, sql: sql, rows: rows})
	}
	began := time.Now()
	err := send(w.ctx, w.conn, sql, rows)
	outcome := ""
	if err != nil {
		outcome = " -- " + err.Error()
	}
	w.mu.Lock()
	w.trail = append(w.trail, fmt.Sprintf("%s [%d] %.600s%s", began.Format("05.000"), w.id, sql, outcome))
	w.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%w (%.200s)", err, sql)
	}
	return nil
}

func send(ctx context.Context, conn *pgx.Conn, sql, rows string) error {
	if rows != "" {
		_, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(rows), sql)
		return err
	}
	_, err := conn.Exec(ctx, sql)
	return err
}

// all runs statements one after the other until one is refused.
func (w *stressWriter) all(statements ...string) error {
	for _, sql := range statements {
		if err := w.do("%s", sql); err != nil {
			return err
		}
	}
	return nil
}

// mustBeEqualEverywhere compares every database, and returns how many rows there were.
func (s *stress) mustBeEqualEverywhere(episode int) (rows int64) {
	s.t.Helper()
	s.tarn.waitReady()
	s.caughtUp()
	status, err := s.tarn.client().Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	names, err := s.pg.QueryText(s.t.Context(), "postgres", "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' AND datconnlimit <> -2")
	if err != nil {
		s.t.Fatal(err)
	}
	bad := false
	for _, name := range strings.Fields(names) {
		report, err := s.compareDatabase(name, status.Tables)
		if err != nil {
			s.t.Fatalf("episode %d, database %s: %v", episode, name, err)
		}
		for _, table := range report.Tables {
			if !table.Equal() {
				bad = true
				s.t.Errorf("episode %d, database %s:\n%.4000s", episode, name, lakecheck.Report{Tables: []lakecheck.TableReport{table}})
			}
		}
		rows += report.Rows()
		n, err := s.historiesHold(name, status.Tables)
		if err != nil {
			bad = true
			s.t.Errorf("episode %d, database %s: %v", episode, name, err)
		}
		s.histories += n
	}
	for _, line := range s.unexpected() {
		bad = true
		s.t.Errorf("episode %d, tarn says: %s", episode, line)
	}
	if bad {
		s.keepTrail(episode)
		s.t.FailNow()
	}
	return rows
}

// keepTrail writes the episode's statements to a file that outlives the test.
func (s *stress) keepTrail(episode int) {
	f, err := os.CreateTemp("", fmt.Sprintf("stress-%d-%d-*.sql", s.seed, episode))
	if err != nil {
		s.t.Log(err)
		return
	}
	defer f.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.trail {
		fmt.Fprintln(f, line)
	}
	s.t.Logf("the episode's statements: %s", f.Name())
}

func (s *stress) report(episodes int, rows int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0
	var lines []string
	for _, op := range s.ops {
		total += s.done[op.name]
		if why := s.refused[op.name]; s.done[op.name] == 0 && why != "" {
			lines = append(lines, fmt.Sprintf("%s never succeeded: %s", op.name, why))
		}
	}
	sort.Strings(lines)
	s.t.Logf("%d episodes, %d operations, %d histories compared, and %d rows through each of %d readers\n%v\n%s",
		episodes, total, s.histories, rows, len(s.readers), s.done, strings.Join(lines, "\n"))
}
