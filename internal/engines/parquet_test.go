package engines

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
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

const bareRule = "tables: [{match: \"app.public.acc\", write_mode: copy-on-write, parquet: true}]\n"

// bareSetup: row 0 counts the transactions, so that it names a state. uuid and time are types that Spark refuses as Iceberg has them.
var bareSetup = []string{`CREATE TABLE acc (id int PRIMARY KEY, n int NOT NULL, u uuid, at time)`, `INSERT INTO acc VALUES (0, 0, NULL, NULL)`}

const bareAccounts = 600

// bareState is what a reader has to see of a state: the rows, the count of transactions, and the sum of id * n.
type bareState struct{ rows, seq, checksum int }

// bareModel knows every state there was.
type bareModel struct {
	mu     sync.Mutex
	n      [bareAccounts + 1]int
	states map[int]bareState
	seen   map[string]map[int]bool // states read, by reader
	failed []string
}

func (m *bareModel) add(seq, rows int) {
	sum := 0
	for id, n := range m.n {
		sum += id * n
	}
	m.mu.Lock()
	m.states[seq] = bareState{rows, seq, sum}
	m.mu.Unlock()
}

// check takes what a reader said.
func (m *bareModel) check(reader, text string) {
	var s bareState
	_, err := fmt.Sscan(text, &s.rows, &s.seq, &s.checksum)
	m.mu.Lock()
	defer m.mu.Unlock()
	if want := m.states[s.seq]; err != nil || s != want {
		m.failed = append(m.failed, fmt.Sprintf("%s: %s; that state was %+v", reader, text, want))
		return
	}
	if m.seen[reader] == nil {
		m.seen[reader] = map[int]bool{}
	}
	m.seen[reader][s.seq] = true
}

// write moves amounts between accounts until the context ends, and says how many transactions there were.
func (m *bareModel) write(ctx context.Context, conn *pgx.Conn, seq int, rng *rand.Rand) (int, error) {
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		seq++
		from, amount := 1+rng.IntN(bareAccounts), rng.IntN(100)
		to := 1 + (from+rng.IntN(bareAccounts-1))%bareAccounts // another
		m.n[from], m.n[to] = m.n[from]-amount, m.n[to]+amount
		m.add(seq, bareAccounts+1) // before anybody can see it
		_, err := conn.Exec(context.Background(), fmt.Sprintf(`BEGIN; UPDATE acc SET n = n - %[1]d WHERE id = %[2]d; UPDATE acc SET n = n + %[1]d WHERE id = %[3]d;
			UPDATE acc SET n = %[4]d WHERE id = 0; COMMIT`, amount, from, to, seq))
		if err != nil {
			return seq, err
		}
	}
	return seq, nil
}

// bareTable waits until the newest list is of an LSN, or a later one.
func (r *rig) bareTable(lsn pg.LSN) *admin.Parquet {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		status, err := (&admin.Client{Addr: r.http}).Status(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		for _, table := range status.Tables {
			if table.Table == "acc" && table.Parquet != nil && table.Parquet.LSN >= lsn {
				return table.Parquet
			}
		}
	}
	r.t.Fatal("the table has no lists")
	return nil
}

// byList asks pyarrow, Polars and DuckDB, once for each call.
func (r *rig) byList(manifest string, m *bareModel) func() {
	r.t.Helper()
	python, err := lakecheck.FindPython(r.t.Context(), lakecheck.Polars)
	if err != nil {
		pgtest.Missing(r.t, err)
	}
	cmd := exec.CommandContext(r.t.Context(), python, "testdata/bare.py", manifest)
	cmd.Env = append(os.Environ(), r.s3.Environ("")...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	return func() {
		if _, err := io.WriteString(in, "\n"); err != nil {
			m.check("readers by list", err.Error())
			return
		}
		for lines.Scan() && lines.Text() != "done" {
			name, said, _ := strings.Cut(lines.Text(), " ")
			m.check(name, said)
		}
	}
}

// bySpark asks Spark for the folder.
func (r *rig) bySpark(folder string, m *bareModel) {
	rows, err := r.readers[lakecheck.Spark].Query(r.t.Context(), r.catalog, database,
		"SELECT count(*) || ' ' || coalesce(sum(n) FILTER (WHERE id = 0), 0) || ' ' || coalesce(sum(id * n), 0) FROM parquet.`"+folder+"`")
	if err != nil {
		m.check(lakecheck.Spark, err.Error())
		return
	}
	m.check(lakecheck.Spark, *rows[0][0])
}

// TestParquet: while transactions run, tarn is killed and columns come and go, whoever reads the bare Parquet files by their lists sees the rows of
// one LSN; whoever takes the folder as it is, and does not know the lists, is refused.
func TestParquet(t *testing.T) {
	t.Run("folder", func(t *testing.T) {
		r := newRigOn(t, 18, "file://"+t.TempDir(), bareRule, bareSetup...)
		r.bareReaders(func(p *admin.Parquet, m *bareModel) []func() {
			return []func(){func() { r.bySpark(p.Folder, m) }, r.byList(p.Manifest, m)}
		})
		p := r.bareTable(0)
		if _, err := r.readers[lakecheck.DuckDB].Query(t.Context(), r.catalog, database, "SELECT count(*) FROM read_parquet('"+strings.TrimPrefix(p.Folder, "file://")+"/*.parquet')"); err == nil || !strings.Contains(err.Error(), "0-read-the-manifest.parquet") {
			t.Errorf("all files of the folder at once: %v", err)
		}
		rows, err := r.readers[lakecheck.Spark].Query(t.Context(), r.catalog, database, "SELECT * FROM parquet.`"+p.Folder+"`")
		if err != nil || len(rows) != 1 || len(rows[0]) != 5 || *rows[0][2] != "00112233-4455-6677-8899-aabbccddeeff" || *rows[0][3] != "23:59:58.5" || *rows[0][4] != "1.50" {
			t.Errorf("%v, %v", rows, err)
		}
	})
	t.Run("S3", func(t *testing.T) {
		r := newRigOn(t, 15, bucketStore(t), bareRule, bareSetup...)
		r.bareReaders(func(p *admin.Parquet, m *bareModel) []func() { return []func(){r.byList(p.Manifest, m)} })
	})
}

// bareReaders runs the workload and the readers beside it.
func (r *rig) bareReaders(start func(*admin.Parquet, *bareModel) []func()) {
	t := r.t
	m := &bareModel{states: map[int]bareState{}, seen: map[string]map[int]bool{}}
	for i := range 20 { // each of them a file
		r.exec(fmt.Sprintf(`INSERT INTO acc (id, n) SELECT i, 0 FROM generate_series(%d, %d) i`, 1+bareAccounts/20*i, bareAccounts/20*(i+1)))
		r.publish()
	}
	m.add(0, bareAccounts+1)
	readers := start(r.bareTable(0), m)
	rng := rand.New(rand.NewPCG(pgtest.Seed(t), 1))
	seq := 0
	load := func(d time.Duration, meanwhile func()) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		var wg sync.WaitGroup
		for _, read := range readers {
			wg.Go(func() {
				for ctx.Err() == nil {
					read()
				}
			})
		}
		wg.Go(meanwhile)
		var err error
		if seq, err = m.write(ctx, r.conn, seq, rng); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
	load(8*time.Second, func() {})
	load(8*time.Second, func() {
		time.Sleep(time.Second)
		r.stop() // at once
		r.startTarn()
	})
	load(5*time.Second, func() { r.exec(`ALTER TABLE acc ADD COLUMN more numeric(5,2)`) })
	once := func(sql string, want bareState) {
		t.Helper()
		before, err := demo.FlushLSN(t.Context(), r.pg)
		if err != nil {
			t.Fatal(err)
		}
		r.exec(sql)
		r.publish()
		r.bareTable(before)
		m.states = map[int]bareState{want.seq: want}
		for _, read := range readers {
			read()
		}
	}
	once(`UPDATE acc SET more = 1 WHERE id = 1`, m.states[seq])
	once(`DELETE FROM acc`, bareState{})
	once(`INSERT INTO acc VALUES (3, 5, '00112233-4455-6677-8899-aabbccddeeff', '23:59:58.5', 1.5)`, bareState{rows: 1, checksum: 15})
	for _, f := range m.failed {
		t.Error(f)
	}
	for name, seen := range m.seen {
		t.Logf("%s: %d states of %d", name, len(seen), seq)
		if len(seen) < 3 {
			t.Errorf("%s saw too few states", name)
		}
	}
}
