package e2e

import (
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// trouble interferes with servers and settings until a time.
func (s *stress) trouble(until time.Time) {
	s.t.Helper()
	for time.Now().Before(until) {
		time.Sleep(time.Duration(200+s.rng.IntN(1200)) * time.Millisecond)
		switch s.rng.IntN(20) {
		case 0, 1:
			s.tarn.kill9()
			s.pause()
			s.tarn.start()
		case 2:
			s.crashPostgres()
		case 3:
			s.tarn.kill9()
			s.crashPostgres()
			s.pause()
			s.tarn.start()
		case 4:
			s.tarn.stop()
			s.setMemory()
			s.pause()
			s.tarn.start()
		case 5:
			if err := s.pg.Stop(pgtest.Fast); err != nil {
				s.t.Fatal(err)
			}
			if err := s.pg.Restart(s.t.Context()); err != nil {
				s.t.Fatal(err)
			}
		case 6: // a backlog for the next start
			s.tarn.kill9()
			time.Sleep(time.Until(until))
			s.tarn.start()
		case 18: // go on with nothing but the store
			s.tarn.kill9()
			if err := os.RemoveAll(s.tarn.dataDir()); err != nil {
				s.t.Fatal(err)
			}
			s.tarn.start()
		case 19: // a server just starting may refuse it
			_, _ = s.tarn.run("resync", []string{"app.s.t1", "app.s.t0", "app.s.p", "app.public.accounts"}[s.rng.IntN(4)])
		case 7, 8:
			s.try("SELECT pg_switch_wal()")
		case 9, 10:
			s.try("CHECKPOINT")
		case 11: // the servers of some builds know pglz alone, and refuse lz4
			s.set("wal_compression", []string{"off", "pglz", "lz4"}[s.rng.IntN(3)])
		case 12:
			s.set("full_page_writes", []string{"off", "on"}[s.rng.IntN(2)])
			s.tearable = true
		default:
			s.set("default_toast_compression", []string{"pglz", "lz4"}[s.rng.IntN(2)])
		}
	}
}

// crashPostgres kills the server. Without full page writes it would not survive that: SIGKILL ends a write between the two
// halves of a page (generic_perform_write), and its own recovery then fails.
func (s *stress) crashPostgres() {
	if s.tearable {
		s.set("full_page_writes", "on")
		s.try("SELECT pg_sleep(0.2)") // until the checkpointer has written XLOG_FPW_CHANGE
		s.try("CHECKPOINT")
		s.tearable = false
	}
	s.killPostgres()
}

func (s *stress) pause() { time.Sleep(time.Duration(s.rng.IntN(300)) * time.Millisecond) }

// try runs a statement that a server just starting may refuse.
func (s *stress) try(sql string) {
	if err := s.pg.Exec(s.t.Context(), database, sql); err != nil {
		s.t.Logf("%s: %v", sql, err)
	}
}

func (s *stress) set(name, value string) {
	s.try(fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, value))
	s.try("SELECT pg_reload_conf()")
}

var memoryLine = regexp.MustCompile(`(?m)^memory: .*\n`)

// setMemory gives the next start of tarn a little or a lot of memory.
func (s *stress) setMemory() {
	s.t.Helper()
	b, err := os.ReadFile(s.tarn.config)
	if err != nil {
		s.t.Fatal(err)
	}
	text := memoryLine.ReplaceAllString(string(b), "") + "memory: " + []string{"64MiB", "1GiB"}[s.rng.IntN(2)] + "\n"
	if err := os.WriteFile(s.tarn.config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}
