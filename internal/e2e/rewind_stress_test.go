package e2e

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// Random sessions do whatever SQL allows before a fork, behind it and instead of it, some of them in transactions that are open or prepared
// at the fork, and tarn runs, is killed or is stopped meanwhile: each time every table is as in the server that was promoted.
func TestRandomRewinds(t *testing.T) {
	if !pgtest.Long() {
		t.Skip("set TARN_LONG to run it: five minutes")
	}
	seed := pgtest.Seed(t)
	major := 15 + int(seed%4)
	s := &stress{rig: &rig{t: t, journal: demo.NewJournal(), seed: seed}, major: major, ops: stressOps(major), done: map[string]int{}, refused: map[string]string{}}
	s.rng = rand.New(rand.NewPCG(s.seed, uint64(major)))
	s.on(s.server(), nil) // without a tablespace: it would not go back with the data directory
	s.exec(stressSetup[1:]...)
	s.tarn.startReady()
	var rows int64
	round := 0
	for end := time.Now().Add(2 * stressDuration(t)); time.Now().Before(end); round++ {
		s.sessions(3 * round)
		s.fork(func() {
			s.sessions(3*round + 1)
			s.caughtUp()
			switch s.rng.IntN(3) {
			case 0:
				s.tarn.kill9()
			case 1:
				s.tarn.stop()
			}
		})
		if !s.tarn.running() {
			if s.rng.IntN(2) == 0 {
				s.tarn.start()
				time.Sleep(time.Duration(s.rng.IntN(800)) * time.Millisecond)
				s.tarn.kill9()
			}
			s.tarn.start()
		}
		s.sessions(3*round + 2)
		s.tarn.waitReady()
		rows += s.mustBeEqualEverywhere(round)
	}
	st, err := s.tarn.client().Status(t.Context())
	if err != nil || st.Rewinds == 0 {
		t.Fatalf("%d rewinds, %v", st.Rewinds, err)
	}
	t.Logf("PostgreSQL %d: %d failovers below what was published, %d rewinds, %d rows compared, %d kinds of statements", major, round, st.Rewinds, rows, len(s.done))
}

// sessions lets random sessions work for a moment.
func (s *stress) sessions(episode int) {
	stop := s.begin(episode)
	time.Sleep(time.Duration(1000+s.rng.IntN(1500)) * time.Millisecond)
	stop()
}
