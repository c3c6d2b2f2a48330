package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarn-db/tarn/internal/admin"
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
	tearable bool

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
	conn *pgx.Conn
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
		w := &stressWriter{stress: s, ctx: ctx, id: i, rng: rand.New(rand.NewPCG(s.seed+uint64(episode), uint64(i)))}
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
		if !w.conn.IsClosed() && w.conn.PgConn().TxStatus() != 'I' {
			_, _ = w.conn.Exec(context.Background(), "ROLLBACK")
		}
	}
	if w.conn != nil {
		_ = w.conn.Close(context.Background())
	}
}

func (w *stressWriter) connectAgain() (err error) {
	cfg, err := pgx.ParseConfig(w.pg.ConnString(database))
	if err != nil {
		return err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	if w.conn, err = pgx.ConnectConfig(w.ctx, cfg); err != nil {
		return err
	}
	// Random statements deadlock; they are to give up fast and let others go on.
	_, err = w.conn.Exec(w.ctx, `SET lock_timeout = '500ms'; SET deadlock_timeout = '100ms'; SET statement_timeout = '5s'; SET client_min_messages = error; SET jit = off`)
	return err
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
	sql := fmt.Sprintf(format, args...)
	began := time.Now()
	_, err := w.conn.Exec(w.ctx, sql)
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
	}
	for _, line := range s.tarn.errors() {
		bad = true
		s.t.Errorf("episode %d, tarn says: %s", episode, line)
	}
	if bad {
		s.keepTrail(episode)
		s.t.FailNow()
	}
	return rows
}

// compareDatabase compares the tables that should be in the lake. One may be outside only if the status says so, for a
// reason that holds.
func (s *stress) compareDatabase(name string, status []admin.Table) (lakecheck.Report, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.pg.ConnString(name))
	if err != nil {
		return lakecheck.Report{}, err
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(ctx, stressTables)
	if err != nil {
		return lakecheck.Report{}, err
	}
	type planned struct {
		lakecheck.TableName
		Outside string
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p planned, err error) {
		return p, row.Scan(&p.Namespace, &p.Table, &p.Outside)
	})
	if err != nil {
		return lakecheck.Report{}, err
	}
	var inside, outside []lakecheck.TableName
	for _, p := range all {
		i := slices.IndexFunc(status, func(t admin.Table) bool { return t.Name == name+"."+p.Namespace+"."+p.Table })
		switch {
		case p.Outside == "" && (i < 0 || status[i].State != admin.TableLive):
			said := "it is not listed"
			if i >= 0 {
				said = fmt.Sprintf("%s: %s", status[i].State, status[i].Error)
			}
			return lakecheck.Report{}, fmt.Errorf("%s is not live, %s", p.TableName, said)
		case p.Outside != "" && (i < 0 || status[i].State == admin.TableLive || status[i].Error == ""):
			return lakecheck.Report{}, fmt.Errorf("%s is %s; the status does not say so", p.TableName, p.Outside)
		case p.Outside == "":
			inside = append(inside, p.TableName)
		default:
			outside = append(outside, p.TableName)
		}
	}
	var report lakecheck.Report
	if len(inside) > 0 {
		if report, err = lakecheck.Compare(ctx, conn, s.tarn.catalogURL(), name, inside, s.readers...); err != nil {
			return report, err
		}
	}
	seen, err := s.readers[0].Tables(ctx, s.tarn.catalogURL(), name)
	if err != nil && len(inside) == 0 {
		return report, nil // a database without tables is no warehouse
	}
	for _, table := range seen {
		if !slices.Contains(inside, table) && !slices.Contains(outside, table) {
			return report, fmt.Errorf("%s is in the lake and not in Postgres", table)
		}
	}
	return report, err
}

// stressTables lists what users would look for in the lake, and why it may be outside.
const stressTables = `
WITH RECURSIVE leaf AS (
  SELECT oid AS root, oid AS rel, relkind, relpersistence FROM pg_class
  WHERE relkind IN ('r', 'p', 'm') AND NOT relispartition AND relpersistence <> 't'
  UNION ALL
  SELECT l.root, c.oid, c.relkind, c.relpersistence FROM leaf l JOIN pg_inherits i ON i.inhparent = l.rel AND l.relkind = 'p' AND NOT i.inhdetachpending
  JOIN pg_class c ON c.oid = i.inhrelid
)
SELECT n.nspname::text, r.relname::text, CASE
  WHEN bool_or(l.relpersistence = 'u') THEN 'unlogged'
  WHEN NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = r.oid AND a.attnum > 0
    AND a.attgenerated <> 'v' AND t.typtype NOT IN ('c', 'r') AND t.typname <> 'regclass') THEN 'without a column of a type that the lake has'
  ELSE '' END
FROM leaf l JOIN pg_class r ON r.oid = l.root JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
GROUP BY r.oid, n.nspname, r.relname ORDER BY 1, 2`

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
	s.t.Logf("%d episodes, %d operations, %d rows compared through each of %d readers\n%v\n%s",
		episodes, total, rows, len(s.readers), s.done, strings.Join(lines, "\n"))
}
