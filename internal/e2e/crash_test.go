package e2e

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
)

// Whatever is killed, and whenever: after the restart the lake is equal, and it holds every acknowledged transaction
// exactly once and no other.
func TestKill9(t *testing.T) {
	for _, c := range []struct {
		name           string
		tarn, postgres bool
	}{{"tarn", true, false}, {"postgres", false, true}, {"both", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			r := newDemoRig(t, 15)
			rng := rand.New(rand.NewPCG(r.seed, 9))
			stop := r.write(func(w *demo.Workload) { w.Reconnect = true })
			for range 4 {
				time.Sleep(time.Duration(300+rng.IntN(1500)) * time.Millisecond)
				if c.tarn {
					r.tarn.kill9()
				}
				if c.postgres {
					r.killPostgres()
				}
				if c.tarn {
					time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
					r.tarn.start()
				}
			}
			time.Sleep(time.Second)
			stop()
			r.tarn.waitReady()
			r.mustBeEqual()
			r.ledgerMustHold()
		})
	}
}

// A first attach that is killed again and again, anywhere between the slot and the first publication, begins or goes on.
func TestKilledWhileAttaching(t *testing.T) {
	r := newRig(t, 18, nil)
	if err := demo.CreateSchema(t.Context(), r.connect()); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(r.seed, 11))
	stop := r.write(nil)
	for range 8 {
		r.tarn.start()
		time.Sleep(time.Duration(100+rng.IntN(900)) * time.Millisecond)
		r.tarn.kill9()
	}
	r.tarn.startReady()
	stop()
	r.mustBeEqual()
	r.ledgerMustHold()
}

func (r *rig) killPostgres() {
	r.t.Helper()
	if err := r.pg.Kill9(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.pg.Restart(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// A clean stop loses nothing either, and the next start goes on where it was: no second copy.
func TestCleanRestartGoesOn(t *testing.T) {
	r := newDemoRig(t, 18)
	r.mustBeEqual()
	first, err := r.tarn.client().Publications(t.Context())
	if err != nil || len(first) == 0 {
		t.Fatalf("publications: %v, %v", first, err)
	}
	stop := r.write(nil)
	time.Sleep(time.Second)
	r.tarn.stop()
	time.Sleep(time.Second)
	stop()
	r.tarn.startReady()
	r.mustBeEqual()
	r.ledgerMustHold()
	again, err := r.tarn.client().Publications(t.Context())
	if err != nil || len(again) == 0 {
		t.Fatalf("publications: %v, %v", again, err)
	}
	if again[len(again)-1].Seq <= first[len(first)-1].Seq {
		t.Fatalf("publication %d after %d: it began anew", again[len(again)-1].Seq, first[len(first)-1].Seq)
	}
}

// The data directory is a cache: with the object store alone tarn goes on.
func TestLostDataDirectory(t *testing.T) {
	r := newDemoRig(t, 15)
	stop := r.write(nil)
	time.Sleep(2 * time.Second)
	r.tarn.kill9()
	if err := os.RemoveAll(r.tarn.dataDir()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	r.tarn.startReady()
	time.Sleep(time.Second)
	stop()
	r.mustBeEqual()
	r.ledgerMustHold()
}
