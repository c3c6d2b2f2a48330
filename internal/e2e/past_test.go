package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pg"
)

// seenPage is the first page of a table as the server had it in its file at an LSN.
type seenPage struct {
	lsn  pg.LSN
	at   time.Time // after the commits before the LSN and before those behind it, by the server's clock
	rel  string
	page pg.Page
}

// seePage has the server write the page of a table and reads it.
func (r *rig) seePage(table string) (s seenPage) {
	r.t.Helper()
	r.exec("CHECKPOINT")
	var err error
	if s.lsn, err = demo.FlushLSN(r.t.Context(), r.pg); err != nil {
		r.t.Fatal(err)
	}
	var path string
	err = r.connect().QueryRow(r.t.Context(), `SELECT pg_relation_filepath($1::regclass), format('%s/%s/%s', 1663, d.oid, pg_relation_filenode($1::regclass)), clock_timestamp()
		FROM pg_database d WHERE datname = current_database()`, table).Scan(&path, &s.rel, &s.at)
	if err != nil {
		r.t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(r.pg.DataDir(), path))
	if err != nil {
		r.t.Fatal(err)
	}
	s.page = file[:pg.BlockSize]
	time.Sleep(20 * time.Millisecond)
	return s
}

// tuples is what a heap page holds but for what only the server knows, which is hints.
func tuples(page pg.Page) (out string) {
	for off := pg.OffsetNumber(1); int(off) <= page.NumItems(); off++ {
		if tup, ok := page.Tuple(off); ok {
			out += fmt.Sprintf("%d: %d %d %x\n", off, tup.Xmin(), tup.Xmax(), tup[tup.Hoff():])
		}
	}
	return out
}

// pageOf is what `tarn page` writes.
func (r *rig) pageOf(s seenPage, args ...string) pg.Page {
	r.t.Helper()
	out, code := r.tarn.run(append([]string{"page", "--rel", s.rel, "--block", "0"}, args...)...)
	if code != 0 || len(out) != pg.BlockSize {
		r.t.Fatalf("tarn page %v: exit code %d, %d bytes: %.300s", args, code, len(out), out)
	}
	return pg.Page(out)
}

// TestPast reads pages as they were at several LSNs and times, while tarn runs, after it was killed and after it was stopped: each is
// what the server had in its file then.
func TestPast(t *testing.T) {
	r := newRig(t, 18, []string{"CREATE TABLE accounts (id int, balance int)", "INSERT INTO accounts SELECT i, 0 FROM generate_series(1, 50) i"})
	r.tarn.startReady()
	r.caughtUp()
	var seen []seenPage
	for i := range 4 {
		r.exec(fmt.Sprintf("UPDATE accounts SET balance = %d WHERE id %% 4 = %d", i+1, i), "DELETE FROM accounts WHERE id = 50 - "+fmt.Sprint(i))
		seen = append(seen, r.seePage("accounts"))
	}
	r.exec("DROP TABLE accounts", "CREATE TABLE accounts (other text)", "INSERT INTO accounts VALUES ('new')")
	r.caughtUp()
	branches := map[string]int{}
	check := func(when string) {
		t.Helper()
		for i, s := range seen {
			page := r.pageOf(s, "--at", s.lsn.String())
			if got, want := tuples(page), tuples(s.page); got != want || page.LSN() != s.page.LSN() {
				t.Errorf("%s: page %d at %s is of %s and holds\n%s, the server's of %s held\n%s", when, i, s.lsn, page.LSN(), got, s.page.LSN(), want)
			}
			for name, at := range branches {
				if at == i {
					page := r.pageOf(s, "--branch", name)
					if name == "early" && tuples(page) != tuples(s.page) || page.LSN() < s.page.LSN() || page.LSN() >= seen[i+1].lsn {
						t.Errorf("%s: branch %s is of %s, made at %s", when, name, page.LSN(), s.lsn)
					}
				}
			}
			// Before the next commit: what it was to commit may be on the page.
			if page = r.pageOf(s, "--at", s.at.Format(time.RFC3339Nano)); page.LSN() < s.page.LSN() || i+1 < len(seen) && page.LSN() >= seen[i+1].lsn {
				t.Errorf("%s: page %d at %s is of %s", when, i, s.at, page.LSN())
			}
		}
		out, code := r.tarn.run("page", "--rel", seen[0].rel)
		if code != 1 || !strings.Contains(out, "TARN-0510") {
			t.Errorf("%s: the page of a table that was dropped: exit code %d, %.300s", when, code, out)
		}
	}
	check("running")
	if out, code := r.tarn.run("branch", "create", "early", "--at", seen[0].lsn.String()); code != 0 || out != fmt.Sprintf("early of main at %s\n", seen[0].lsn) {
		t.Fatalf("branch create: %d %s", code, out)
	}
	if out, code := r.tarn.run("branch", "create", "timed", "--at", seen[2].at.Format(time.RFC3339Nano), "--json"); code != 0 {
		t.Fatalf("branch create: %d %s", code, out)
	}
	branches = map[string]int{"early": 0, "timed": 2}
	if out, code := r.tarn.run("branch", "create", "far", "--at", "FFFF/0"); code == 0 || !strings.Contains(out, "TARN-0508") {
		t.Errorf("a branch of WAL to come: %d %s", code, out)
	}
	if out, code := r.tarn.run("branch", "create", "ancient", "--at", "2020-01-01"); code == 0 || !strings.Contains(out, "TARN-0507") {
		t.Errorf("a branch of before the base backup: %d %s", code, out)
	}
	r.tarn.kill9()
	check("killed")
	r.tarn.startReady()
	r.tarn.stop()
	check("stopped")
}
