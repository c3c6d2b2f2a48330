package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/pgtest"
)

const (
	soakSeconds = 300 // TARN_SOAK_SECONDS for another time
	soakWriters = 3
	soakRows    = 20_000 // of each table, about which it stays
)

// Bounds of what a table of the soak may gather, whatever the time. The first three are materialize's limits and a little for what
// one publication adds; the others are the catalog's.
const (
	soakDataFilesMax   = 32 + 32
	soakDeleteFilesMax = 32 + 4
	soakSmallFilesMax  = 32 + 8
	soakSnapshotsMax   = 128
	soakManifestsMax   = 4
	soakMetadataMax    = 512 << 10 // bytes
)

// soakSetup makes tables that are changed in different ways and stay as large as they are.
var soakSetup = []string{
	`CREATE TABLE counters (id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0, note text)`,
	`INSERT INTO counters SELECT i, 0, repeat('x', i % 50) FROM generate_series(1, ` + strconv.Itoa(soakRows) + `) i`,
	`CREATE TABLE queue (id bigserial PRIMARY KEY, body text, at timestamptz DEFAULT now())`,
	`INSERT INTO queue (body) SELECT md5(i::text) FROM generate_series(1, ` + strconv.Itoa(soakRows) + `) i`,
	`CREATE TABLE events (id bigserial PRIMARY KEY, kind int, payload text)`,
	`CREATE TABLE documents (id int PRIMARY KEY, body text)`,
	`INSERT INTO documents SELECT i, repeat(md5(i::text), 150) FROM generate_series(1, 500) i`,
}

// soakWork are transactions, each of which leaves its table about as large as it was.
var soakWork = []func(rng *rand.Rand) string{
	func(rng *rand.Rand) string {
		return fmt.Sprintf(`UPDATE counters SET n = n + 1 WHERE id = %d`, 1+rng.IntN(soakRows))
	},
	func(rng *rand.Rand) string {
		return fmt.Sprintf(`UPDATE counters SET n = n + 1, note = 'swept' WHERE id BETWEEN %d AND %[1]d + 200`, 1+rng.IntN(soakRows))
	},
	func(rng *rand.Rand) string {
		return `WITH gone AS (DELETE FROM queue WHERE id IN (SELECT id FROM queue ORDER BY id LIMIT 20 FOR UPDATE SKIP LOCKED) RETURNING body) INSERT INTO queue (body) SELECT md5(body) FROM gone`
	},
	func(rng *rand.Rand) string {
		return fmt.Sprintf(`INSERT INTO events (kind, payload) SELECT %d, md5(i::text) FROM generate_series(1, 30) i`, rng.IntN(9))
	},
	func(rng *rand.Rand) string {
		return fmt.Sprintf(`DELETE FROM events WHERE id < (SELECT max(id) - %d FROM events)`, soakRows)
	},
	func(rng *rand.Rand) string {
		return fmt.Sprintf(`UPDATE documents SET body = repeat(md5(random()::text), 150) WHERE id = %d`, 1+rng.IntN(500))
	},
}

// soak is a run and what was seen of it.
type soak struct {
	*rig
	transactions atomic.Int64
	hold         atomic.Bool // writers wait
	held         int         // seconds in which they did
	samples      []soakSample
}

// soakSample is the server at one moment.
type soakSample struct {
	admin.Status
	rss          int64 // bytes resident
	program      int64 // of them, of the program's file: programBytes of cmd/tarn/server says how many are reckoned with
	transactions int64 // so far
	held         int   // seconds so far
}

// What tarn may be behind before the writers wait, bytes of WAL: on a machine that has other things to do it is the slower one.
const (
	soakHoldBytes   = 24 << 20
	soakResumeBytes = 4 << 20
)

// TestSoak writes as fast as Postgres lets it and tarn follows, to tables that keep their size, and watches what must not grow: files, delete files,
// snapshots, manifests, bytes of metadata, memory and lag. Then every row is compared.
func TestSoak(t *testing.T) {
	length := soakLength(t)
	s := &soak{rig: newRig(t, 18, soakSetup)}
	s.tarn.appendConfig("memory: 256MiB\n")
	s.tarn.startReady()
	s.caughtUp()
	stop := s.begin()
	for end := time.Now().Add(length); time.Now().Before(end); {
		time.Sleep(time.Second)
		s.sample()
	}
	stop()
	last := s.samples[len(s.samples)-1]
	s.record(last)
	s.mustBeBounded()
	s.mustBeFlat()
	t.Logf("%d transactions in %s, writers waited for tarn in %d seconds of them; %+v", s.transactions.Load(), length, s.held, last.Upkeep)
	s.mustBeEqual()
	if u := last.Upkeep; u.Compactions < 5 || u.CompactedRows == 0 || u.MergedDeleteFiles == 0 || u.RewrittenManifests == 0 || u.ExpiredSnapshots == 0 || u.SweepFailures > 0 {
		t.Errorf("the soak was too short for upkeep, or there was none: %+v", u)
	}
	if lines := s.tarn.errors(); len(lines) > 0 {
		t.Errorf("the log has errors:\n%s", strings.Join(lines, "\n"))
	}
	if out, code := s.tarn.run("scrub", "--deep"); code != 0 || !strings.Contains(out, "0 lost, 0 damaged, 0 orphans") {
		t.Errorf("scrub ended with %d: %s", code, out)
	}
}

func soakLength(t *testing.T) time.Duration {
	text := os.Getenv("TARN_SOAK_SECONDS")
	if text == "" {
		if !pgtest.Long() {
			t.Skip("neither TARN_LONG nor TARN_SOAK_SECONDS is set")
		}
		return soakSeconds * time.Second
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("TARN_SOAK_SECONDS: %v", err)
	}
	return time.Duration(n) * time.Second
}

// begin starts the writers; the returned function ends them and waits.
func (s *soak) begin() (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	for i := range soakWriters {
		conn := s.connect()
		rng := rand.New(rand.NewPCG(s.seed, uint64(i)))
		wg.Go(func() { s.write(ctx, conn, rng) })
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

func (s *soak) write(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) {
	for ctx.Err() == nil {
		if s.hold.Load() {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		// Not ended by ctx: a statement cut off would leave the connection of no use.
		if _, err := conn.Exec(context.WithoutCancel(ctx), soakWork[rng.IntN(len(soakWork))](rng)); err != nil {
			s.t.Errorf("writer: %v", err)
			return
		}
		s.transactions.Add(1)
	}
}

func (s *soak) sample() {
	s.t.Helper()
	st, err := s.tarn.client().Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	switch {
	case st.LagBytes > soakHoldBytes:
		s.hold.Store(true)
	case st.LagBytes < soakResumeBytes:
		s.hold.Store(false)
	}
	if s.hold.Load() {
		s.held++
	}
	pid := s.tarn.cmd.Process.Pid
	s.samples = append(s.samples, soakSample{st, memoryOf(s.t, pid, "VmRSS"), memoryOf(s.t, pid, "RssFile"), s.transactions.Load(), s.held})
}

// memoryOf is a figure of a process's memory, as /proc/PID/status names it (proc(5)), in bytes.
func memoryOf(t *testing.T, pid int, name string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var kib int64
	_, rest, _ := strings.Cut(string(b), name+":")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// mustBeBounded holds every sample of every table to its bounds.
func (s *soak) mustBeBounded() {
	s.t.Helper()
	for i, sample := range s.samples {
		for _, t := range sample.Tables {
			for _, b := range []struct {
				what      string
				is, bound int64
			}{
				{"data files", int64(t.DataFiles), soakDataFilesMax}, {"delete files", int64(t.DeleteFiles), soakDeleteFilesMax},
				{"small files", int64(t.SmallFiles), soakSmallFilesMax}, {"snapshots", int64(t.Snapshots), soakSnapshotsMax},
				{"manifests", int64(t.Manifests), soakManifestsMax}, {"bytes of metadata", t.MetadataBytes, soakMetadataMax},
			} {
				if b.is > b.bound {
					s.t.Errorf("sample %d: %s has %d %s, at most %d are allowed", i, t.Name, b.is, b.what, b.bound)
				}
			}
		}
		if sample.rss > sample.Memory.LimitBytes {
			s.t.Errorf("sample %d: %d MiB are resident, %d allowed", i, sample.rss>>20, sample.Memory.LimitBytes>>20)
		}
	}
}

// soakMeasure is what must not grow.
type soakMeasure struct {
	what  string
	of    func(soakSample) int64
	slack int64 // that a mean may differ by, beside a half
}

var soakMeasures = []soakMeasure{
	{"data files", sumOf(func(t admin.Table) int64 { return int64(t.DataFiles) }), 10},
	{"delete files", sumOf(func(t admin.Table) int64 { return int64(t.DeleteFiles) }), 10},
	{"snapshots", sumOf(func(t admin.Table) int64 { return int64(t.Snapshots) }), 20},
	{"manifests", sumOf(func(t admin.Table) int64 { return int64(t.Manifests) }), 4},
	{"bytes of metadata", sumOf(func(t admin.Table) int64 { return t.MetadataBytes }), 32 << 10},
	{"MiB resident", func(s soakSample) int64 { return s.rss >> 20 }, 16},
	{"MiB of the program", func(s soakSample) int64 { return s.program >> 20 }, 8},
	{"lag, ms", func(s soakSample) int64 { return s.LagMS }, 5000},
}

// thirds are a measure's means over the thirds of the run, and its most.
func (s *soak) thirds(m soakMeasure) (means [3]int64, most int64) {
	third := len(s.samples) / 3
	for i, part := range [][]soakSample{s.samples[:third], s.samples[third : 2*third], s.samples[2*third:]} {
		var all []int64
		for _, sample := range part {
			all = append(all, m.of(sample))
			most = max(most, m.of(sample))
		}
		means[i] = mean(all)
	}
	return means, most
}

// mustBeFlat compares the last third of the run with the one before: what has grown by then grows for ever.
func (s *soak) mustBeFlat() {
	s.t.Helper()
	third := len(s.samples) / 3
	for i, at := range []int{third, 2 * third, len(s.samples) - 1} {
		s.t.Logf("after third %d: %d transactions, writers had waited %d s", i+1, s.samples[at].transactions, s.samples[at].held)
	}
	for _, m := range soakMeasures {
		means, most := s.thirds(m)
		s.t.Logf("%-18s mean of thirds %8d %8d %8d, most %d", m.what, means[0], means[1], means[2], most)
		if means[2] > means[1]*3/2+m.slack {
			s.t.Errorf("%s grew: mean %d, then %d", m.what, means[1], means[2])
		}
	}
}

// record writes what was seen to the file TARN_SOAK_JSON names, whether or not it was good: `go run ./benchmarks soak` reads it.
func (s *soak) record(last soakSample) {
	s.t.Helper()
	path := os.Getenv("TARN_SOAK_JSON")
	if path == "" {
		return
	}
	type measure struct {
		What  string   `json:"what"`
		Means [3]int64 `json:"means_of_thirds"`
		Most  int64    `json:"most"`
	}
	out := struct {
		Transactions int64        `json:"transactions"`
		Held         int          `json:"writers_waited_s"`
		WAL          int64        `json:"wal_bytes"`
		Measures     []measure    `json:"measures"`
		Upkeep       admin.Upkeep `json:"upkeep"`
	}{s.transactions.Load(), s.held, int64(last.PublishedLSN - s.samples[0].PublishedLSN), nil, last.Upkeep}
	for _, m := range soakMeasures {
		means, most := s.thirds(m)
		out.Measures = append(out.Measures, measure{m.what, means, most})
	}
	text, err := json.Marshal(out)
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func sumOf(f func(admin.Table) int64) func(soakSample) int64 {
	return func(s soakSample) (sum int64) {
		for _, t := range s.Tables {
			sum += f(t)
		}
		return sum
	}
}

func mean(v []int64) (sum int64) {
	for _, n := range v {
		sum += n
	}
	return sum / int64(max(1, len(v)))
}
