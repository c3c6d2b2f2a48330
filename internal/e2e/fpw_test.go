package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestFullPageWritesFollowed switches full_page_writes off and on by `tarn fpw` under load, with tarn killed in between: it says when,
// and pages and lake are the server's all along.
func TestFullPageWritesFollowed(t *testing.T) {
	majors := []int{18}
	if pgtest.Long() {
		majors = []int{15, 16, 17, 18}
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			r := newDemoRig(t, major)
			r.exec("CREATE TABLE fpw_seen (id int PRIMARY KEY, balance int)", "INSERT INTO fpw_seen SELECT i, 0 FROM generate_series(1, 50) i")
			if on, lsn := r.fullPageWrites(); !on || lsn != 0 {
				t.Errorf("full_page_writes is %v since %s before anything was switched", on, lsn)
			}
			stop := r.write(nil)
			if out, code := r.tarn.run("fpw", "off"); code != 1 || !strings.Contains(out, "TARN-0224") || !strings.Contains(out, "tarn repair") {
				t.Errorf("off without --force: exit code %d: %s", code, out)
			}
			if out, code := r.tarn.run("fpw", "off", "--force"); code != 0 || !strings.Contains(out, "\nALTER SYSTEM SET full_page_writes = off;\nSELECT pg_reload_conf();\n") {
				t.Errorf("off without a connection: exit code %d: %s", code, out)
			}
			if on, _ := r.fullPageWrites(); !on {
				t.Error("what was printed was run")
			}
			for round := range 2 {
				off := r.fpw("off", "--force")
				r.tarn.kill9()
				r.exec(fmt.Sprintf("UPDATE fpw_seen SET balance = balance + %d WHERE id %% 2 = 0", round+1), "CHECKPOINT", "UPDATE fpw_seen SET balance = balance + 1 WHERE id < 30")
				r.tarn.startReady()
				time.Sleep(200 * time.Millisecond)
				stop()
				r.caughtUp()
				if on, lsn := r.fullPageWrites(); on || lsn != off {
					t.Errorf("after a crash: full_page_writes is %v since %s, want off since %s", on, lsn, off)
				}
				s := r.seePage("fpw_seen")
				r.caughtUp()
				if page := r.pageOf(s, "--at", s.lsn.String()); tuples(page) != tuples(s.page) || page.LSN() != s.page.LSN() {
					t.Errorf("a page redone without an image is of %s and holds\n%s, the server's of %s\n%s", page.LSN(), tuples(page), s.page.LSN(), tuples(s.page))
				}
				r.mustBeEqual()
				stop = r.write(nil)
				if on := r.fpw("on"); on <= off {
					t.Errorf("on since %s, off since %s", on, off)
				}
				r.exec("UPDATE fpw_seen SET balance = balance + 1")
			}
			stop()
			r.mustBeEqual()
			r.ledgerMustHold()
			r.stopped()
		})
	}
}

// stopped says what off asks of tarn: with the source gone, nothing could be repaired.
func (r *rig) stopped() {
	r.t.Helper()
	if err := r.pg.Kill9(); err != nil {
		r.t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, code := r.tarn.run("fpw", "off", "--force")
		if code == 1 && strings.Contains(out, "TARN-0224") && strings.Contains(out, "state attaching") {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("off, with the source gone: exit code %d: %s", code, out)
		}
	}
}

// fpw runs `tarn fpw` over a superuser's connection and returns since when the setting is so.
func (r *rig) fpw(args ...string) pg.LSN {
	r.t.Helper()
	out, code := r.tarn.run(append([]string{"fpw"}, append(args, "--json", "--admin-url", r.pg.ConnString(database))...)...)
	var rep struct {
		FullPageWrites bool     `json:"full_page_writes"`
		SQL            []string `json:"sql"`
		Ran            bool     `json:"ran"`
		LSN            pg.LSN   `json:"lsn"`
	}
	if err := json.Unmarshal([]byte(out), &rep); code != 0 || err != nil || !rep.Ran || len(rep.SQL) != 2 || rep.FullPageWrites != (args[0] == "on") {
		r.t.Fatalf("tarn fpw %v: exit code %d: %s", args, code, out)
	}
	r.caughtUp()
	path, err := binary()
	if err != nil {
		r.t.Fatal(err)
	}
	record, err := exec.Command(path, "wal", "dump", "--store", "file://"+r.tarn.storeDir(), "--from", rep.LSN.String(), "--limit", "1").CombinedOutput()
	if err != nil || !strings.Contains(string(record), "FPW_CHANGE") {
		r.t.Errorf("the record at %s: %v: %s", rep.LSN, err, record)
	}
	return rep.LSN
}

// fullPageWrites is what the status says.
func (r *rig) fullPageWrites() (on bool, since pg.LSN) {
	r.t.Helper()
	s, err := r.tarn.client().Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if s.Source.FullPageWrites == nil {
		r.t.Fatal("the status does not say what full_page_writes is")
	}
	return *s.Source.FullPageWrites, s.Source.FullPageWritesLSN
}
