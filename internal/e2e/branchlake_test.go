package e2e

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

var branchSetup = []string{
	"CREATE TABLE accounts (id int PRIMARY KEY, balance numeric(12,2), note text)", "INSERT INTO accounts SELECT i, i, 'n' || i FROM generate_series(1, 20000) i",
	"CREATE TABLE still (id int, t text)", "INSERT INTO still SELECT i, md5(i::text) FROM generate_series(1, 5000) i",
	"CREATE TABLE large (id int, t text)", "ALTER TABLE large ALTER t SET STORAGE EXTERNAL", "INSERT INTO large SELECT i, repeat(md5(i::text), 400) FROM generate_series(1, 40) i",
	"CREATE TABLE parts (id int, k int) PARTITION BY RANGE (k)", "CREATE TABLE parts_0 PARTITION OF parts FOR VALUES FROM (0) TO (100)",
	"CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (100) TO (200)", "INSERT INTO parts SELECT i, i % 200 FROM generate_series(1, 3000) i",
	"CREATE TABLE emptied (id int)", "INSERT INTO emptied SELECT generate_series(1, 2000)", "CREATE TABLE shape (id int, a int, b text)", "INSERT INTO shape SELECT i, i, 'b' FROM generate_series(1, 1000) i",
	"CREATE TABLE held (id int, t text)", "INSERT INTO held SELECT i, 'h' || i FROM generate_series(1, 2000) i",
}

// branchSteps are changes of every kind that may lie between a publication and a branch. %d is a number of its own.
var branchSteps = []string{
	"UPDATE accounts SET balance = balance + 1 WHERE id % 7 = %d % 7", "DELETE FROM accounts WHERE id % 1000 = %d % 1000", "INSERT INTO accounts VALUES (100000 + %d, 1, 'new')",
	"INSERT INTO large VALUES (%d, repeat(md5('%d'), 500))", "UPDATE large SET t = repeat(md5('%d'), 300) WHERE id % 10 = %d % 10", "UPDATE parts SET k = (k + 37) % 200 WHERE id % 50 = %d % 50",
	"TRUNCATE emptied", "INSERT INTO emptied SELECT generate_series(1, 500)", "BEGIN; DELETE FROM accounts WHERE id % 3 = 0; TRUNCATE emptied; ROLLBACK",
	"ALTER TABLE shape ADD COLUMN c%d int DEFAULT %d", "ALTER TABLE shape RENAME COLUMN b TO b%d; ALTER TABLE shape RENAME COLUMN b%d TO b", "ALTER TABLE shape RENAME TO shape_%d; ALTER TABLE shape_%d RENAME TO shape",
	"DROP TABLE IF EXISTS coming", "CREATE TABLE IF NOT EXISTS coming AS SELECT i id, 'v' || i v FROM generate_series(1, %d % 500) i", "VACUUM accounts", "VACUUM FULL large", "VACUUM (FREEZE) parts",
	"ALTER TABLE shape ALTER a TYPE bigint; ALTER TABLE shape ALTER a TYPE int", "CREATE SCHEMA s%d; CREATE TABLE s%d.t (id int); INSERT INTO s%d.t VALUES (%d)",
}

// change runs some random steps.
func (r *rig) change(rng *rand.Rand, steps int) {
	r.t.Helper()
	for range steps {
		r.runs++
		step := branchSteps[rng.IntN(len(branchSteps))]
		sql := strings.ReplaceAll(step, "%d", fmt.Sprint(r.runs))
		if strings.HasPrefix(sql, "BEGIN") {
			r.exec(sql) // at once
			continue
		}
		r.exec(strings.Split(sql, "; ")...)
	}
}

// branch makes one and returns it.
func (r *rig) branch(name string, args ...string) admin.Branch {
	r.t.Helper()
	if out, code := r.tarn.run(append([]string{"branch", "create", name}, args...)...); code != 0 {
		r.t.Fatalf("branch create %s: %d %s", name, code, out)
	}
	return r.branches()[name]
}

func (r *rig) branches() map[string]admin.Branch {
	r.t.Helper()
	list, err := r.tarn.client().Branches(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]admin.Branch{}
	for _, b := range list {
		all[b.Name] = b
	}
	return all
}

// lakesReady waits for the lakes of all branches.
func (r *rig) lakesReady() {
	r.t.Helper()
	var waits string
	for deadline := time.Now().Add(publishTimeout); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		waits = ""
		for name, b := range r.branches() {
			if name != "main" && b.Lake != admin.LakeReady {
				waits += fmt.Sprintf(" %s: %s %s", name, b.Lake, b.LakeError)
			}
		}
		if waits == "" {
			return
		}
	}
	r.t.Fatalf("lakes of branches are not ready:%s", waits)
}

// branchMustBeEqual compares database@branch with a stock server on the branch's pages.
func (r *rig) branchMustBeEqual(name string, srv *pgtest.Server) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, srv.ConnString(database))
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	report, err := lakecheck.Compare(ctx, conn, r.tarn.catalogURL(), database+"@"+name, nil, r.readers...)
	if err != nil {
		r.t.Fatalf("branch %s: %v", name, err)
	}
	if !report.Equal() || len(report.Tables) < 5 {
		r.t.Errorf("branch %s is not equal to Postgres at its LSN, in %d tables:\n%s", name, len(report.Tables), report)
	}
}

// sweeper builds what removes all that the catalog lets go of.
var sweeper = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "sweep")
	out, err := exec.Command("go", "build", "-o", path, "github.com/tarn-db/tarn/cmd/tarn/testdata/sweep").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build sweep: %w: %s", err, out)
	}
	return path, nil
})

// cleanLake removes whatever the catalog lets go of, with no grace time. tarn is stopped.
func (r *rig) cleanLake() {
	r.t.Helper()
	path, err := sweeper()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := exec.Command(path, "file://"+r.tarn.storeDir()).CombinedOutput()
	if err != nil {
		r.t.Fatalf("sweep: %v: %s", err, out)
	}
	r.t.Logf("%s", out)
}

// TestBranchLake: branches made under load, between publications, in the middle of transactions, at LSNs and times and of branches, each
// read as Postgres was at its LSN, by a stock server on its pages; after the source went on, all that could be removed was, and tarn
// was killed and started again. Later changes of the source are not in them, and those of the branches are not in main.
func TestBranchLake(t *testing.T) {
	seed, majors := pgtest.Seed(t), []int{15, 18}
	if !pgtest.Long() {
		majors = majors[seed%2:][:1]
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) { branchLake(t, major, seed) })
	}
}

func branchLake(t *testing.T, major int, seed uint64) {
	r := &rig{t: t, journal: demo.NewJournal(), seed: seed}
	r.on(pgtest.Options{Major: major}, branchSetup)
	yaml, err := os.ReadFile(r.tarn.config)
	if err == nil {
		err = os.WriteFile(r.tarn.config, []byte(strings.Replace(string(yaml), "interval: 100ms", "interval: 2s", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(r.seed, uint64(major)))
	r.tarn.addRule(`{match: app.public.accounts, write_mode: copy-on-write, partition_by: ["bucket(4, id)"]}, {match: app.public.large, partition_by: ["truncate(20, id)"], history: true}, ` +
		`{match: app.public.emptied, write_mode: copy-on-write, parquet: true}, {match: app.public.shape, partition_by: ["bucket(3, a)"]}, `)
	r.tarn.startReady()
	r.caughtUp()
	exact := r.branch("exact") // nothing has changed since
	open := r.connect()        // a transaction that is open at all later branches but the last
	if _, err := open.Exec(t.Context(), "BEGIN; UPDATE held SET t = 'open' WHERE id < 500; CREATE TABLE mine (id int); INSERT INTO mine VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range 4 {
		r.change(rng, 6)
		if i == 1 {
			r.exec("BEGIN; DELETE FROM held WHERE id > 1000; PREPARE TRANSACTION 'later'")
		}
		names = append(names, fmt.Sprintf("dev%d", i))
		r.branch(names[i])
		r.change(rng, 3)
	}
	at := r.clock()
	r.change(rng, 2)
	if _, err := open.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	r.exec("COMMIT PREPARED 'later'")
	r.change(rng, 4)
	r.branch("last")
	r.branch("timed", "--at", at.Format(time.RFC3339Nano))
	r.branch("nested", "--from", "dev2")
	r.branch("gone", "--at", exact.LSN.String())
	names = append(names, "exact", "last", "timed", "nested", "gone", "flushed")
	r.flushedBranch(rng)
	r.tarn.kill9() // some lakes are not made yet
	r.tarn.startReady()
	r.lakesReady()

	same := map[string]string{"nested": "dev2", "gone": "exact", "old": "dev1"} // branches of the LSN of another
	servers := map[string]*pgtest.Server{}
	for _, name := range names {
		if same[name] == "" {
			servers[name] = r.restored("--branch", name)
		}
	}
	check := func() {
		t.Helper()
		r.lakesReady()
		for _, name := range names {
			r.branchMustBeEqual(name, servers[cmp.Or(same[name], name)])
		}
	}
	check()
	r.exec("DROP TABLE still", "UPDATE accounts SET balance = -1", "VACUUM FULL accounts", "DELETE FROM large", "VACUUM")
	r.change(rng, 10)
	r.mustBeEqual()
	r.tarn.stop()
	r.cleanLake()
	r.tarn.startReady()
	// What it would begin with was removed before its time: its tables are written whole.
	r.branch("old", "--at", r.branches()["dev1"].LSN.String())
	names = append(names, "old")
	check()
	r.mustBeEqual()
	if out, code := r.tarn.run("branch", "delete", "gone"); code != 0 {
		t.Fatalf("branch delete: %d %s", code, out)
	}
	if _, err := r.query(database+"@gone", "SELECT count(*) FROM lake.public.accounts"); err == nil {
		t.Error("a branch that was deleted is read")
	}
	if out, code := r.tarn.run("scrub", "--deep"); code != 0 {
		t.Errorf("scrub: %d %s", code, out)
	}
	for _, line := range r.tarn.errors() {
		t.Errorf("tarn says: %s", line)
	}
}

// flushedBranch makes a branch whose pages were durable, at a point before it, with changes that no publication had: the point alone knows
// of them.
func (r *rig) flushedBranch(rng *rand.Rand) {
	r.t.Helper()
	r.caughtUp()
	r.change(rng, 2)
	r.exec("UPDATE accounts SET note = 'flushed' WHERE id < 300")
	r.redone()
	r.tarn.stop() // flushes, and does not publish
	r.change(rng, 1)
	lsn := r.flushLSN()
	r.change(rng, 2)
	r.tarn.startReady()
	r.caughtUp()
	r.branch("flushed", "--at", lsn.String())
}

func (r *rig) flushLSN() pg.LSN {
	r.t.Helper()
	lsn, err := demo.FlushLSN(r.t.Context(), r.pg)
	if err != nil {
		r.t.Fatal(err)
	}
	return lsn
}

// redone waits until what is committed now is in pages.
func (r *rig) redone() {
	r.t.Helper()
	if _, err := r.tarn.client().Wait(r.t.Context(), admin.StageRedo, r.flushLSN(), publishTimeout); err != nil {
		r.t.Fatal(err)
	}
}

// clock is a time between commits.
func (r *rig) clock() (at time.Time) {
	r.t.Helper()
	if err := r.connect().QueryRow(r.t.Context(), "SELECT clock_timestamp()").Scan(&at); err != nil {
		r.t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	return at
}
