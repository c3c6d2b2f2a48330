package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/internal/s3test"
)

// s3Rig is a demo rig whose store is a bucket of a real S3 server.
type s3Rig struct {
	*rig
	s3    *s3test.Server
	proxy *s3test.Proxy // between tarn and the server; the readers go through it too
}

// newS3Rig starts the servers and tarn, with the tables of the demo's workload.
func newS3Rig(t *testing.T, major int) *s3Rig {
	t.Helper()
	r := &s3Rig{rig: &rig{t: t, journal: demo.NewJournal(), seed: pgtest.Seed(t)}}
	r.s3 = s3test.New(t, "lake")
	r.proxy = s3test.NewProxy(t, r.s3.URL)
	r.pg = pgtest.NewTestServer(t, pgtest.Options{
		Major: major, Databases: []string{database}, Settings: map[string]string{"wal_sender_timeout": "5s", "checkpoint_timeout": "30s", "max_prepared_transactions": "10"},
	})
	if err := demo.CreateSchema(t.Context(), r.connect()); err != nil {
		t.Fatal(err)
	}
	env := r.s3.Environ(r.proxy.URL)
	r.tarn = newTarnOn(t, r.pg.ReplConnString(database), t.TempDir(), "s3://lake/some/prefix")
	r.tarn.env = env
	r.startReaders(env...)
	r.tarn.startReady()
	return r
}

// The lake in a bucket: equal after the copy, under a load with DDL, after kill -9 of tarn with bits flipped in its cache, and with
// nothing left but bucket and slot.
func TestS3(t *testing.T) {
	r := newS3Rig(t, 18)
	r.mustBeEqual()
	rng := rand.New(rand.NewPCG(r.seed, 21))
	stop := r.write(func(w *demo.Workload) { w.DDL, w.DDLSpread = true, 4*time.Second })
	flipped := 0
	for range 3 {
		time.Sleep(time.Duration(500+rng.IntN(1500)) * time.Millisecond)
		r.tarn.kill9()
		flipped = r.flipCache(rng)
		r.tarn.start()
	}
	time.Sleep(time.Second)
	stop()
	r.tarn.waitReady()
	r.mustBeEqual()
	r.ledgerMustHold()
	st, err := r.tarn.client().Status(t.Context())
	if c := st.Cache; err != nil || flipped == 0 || c.Damaged == 0 || c.Damaged > int64(flipped) || c.Misses < c.Damaged || c.Errors != 0 || c.Bytes == 0 {
		t.Errorf("%d flipped blocks, the cache says %+v (%v)", flipped, c, err)
	}

	stop = r.write(nil)
	time.Sleep(time.Second)
	r.tarn.kill9()
	if err := os.RemoveAll(r.tarn.dataDir()); err != nil {
		t.Fatal(err)
	}
	r.tarn.startReady()
	stop()
	r.mustBeEqual()
	r.ledgerMustHold()
	if out, code := r.tarn.run("scrub", "--deep"); code != 0 {
		t.Errorf("tarn scrub: %d %s", code, out)
	}
	const rows = "SELECT md5(string_agg(r::text, ';' ORDER BY r.id)) FROM transfers r"
	want, err := r.pg.QueryText(t.Context(), database, rows)
	if err != nil {
		t.Fatal(err)
	}
	r.tarn.stop()
	// The bucket alone makes a server.
	if got, err := r.restored().QueryText(t.Context(), database, rows); err != nil || got != want {
		t.Errorf("restored from the bucket: %s, want %s (%v)", got, want, err)
	}
}

// flipCache flips a bit of each block in the cache of a tarn that is down.
func (r *s3Rig) flipCache(rng *rand.Rand) (blocks int) {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.tarn.dataDir(), "cache", "tarn-blocks-1", "*"))
	for _, name := range files {
		var b []byte
		if b, err = os.ReadFile(name); err != nil {
			break
		}
		b[rng.IntN(min(len(b), 1<<10))] ^= 1 << rng.IntN(8) // in the first chunk, where reads begin
		if err = os.WriteFile(name, b, 0o600); err != nil {
			break
		}
		blocks++
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return blocks
}

// A store that is slow, throttles, breaks connections, cuts answers and loses them after it has done what was asked: nothing
// is lost, nothing comes twice, and tarn stays up.
func TestS3Faults(t *testing.T) {
	r := newS3Rig(t, 15)
	rng := rand.New(rand.NewPCG(r.seed, 22))
	stop := r.write(nil)
	hits := []func() int{}
	for range 40 {
		f := s3test.Fault{Times: 1 + rng.IntN(2), Skip: rng.IntN(10)}
		switch rng.IntN(8) {
		case 0:
			f.Status, f.Code = 500, "InternalError"
		case 1:
			f.Status, f.Code = 503, "SlowDown"
		case 2:
			f.Reset = true
		case 3:
			f.Latency = time.Duration(rng.IntN(1000)) * time.Millisecond
		case 4:
			f.Method, f.CutBody = "GET", true
		case 5:
			f.Method, f.Status, f.Code = "PUT", 409, "ConditionalRequestConflict"
		default:
			f.Method, f.LoseIt = "PUT", true // twice as often: it is the hardest
		}
		hits = append(hits, r.proxy.Inject(f))
		time.Sleep(200 * time.Millisecond)
	}
	stop()
	met := 0
	for _, h := range hits {
		met += h()
	}
	r.proxy.Clear()
	if met < 20 {
		t.Fatalf("only %d faults were met", met)
	}
	r.mustBeEqual()
	r.ledgerMustHold()
	if !r.tarn.running() {
		t.Fatal("tarn has ended")
	}
	t.Logf("%d faults", met)
}
