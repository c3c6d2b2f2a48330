package waldump_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/ingest/wal/waldump"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/internal/walfixture"
)

// dump runs Dump over a stopped server's pg_wal from its oldest segment.
func dump(t *testing.T, dir string, o waldump.Options) string {
	t.Helper()
	src, err := waldir.Open(dir, waldir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if o.From == 0 {
		o.From = src.First()
	}
	o.WAL = wal.Options{Source: src, Timeline: src.Timeline(), EndAtInvalid: true}
	var out bytes.Buffer
	if err := waldump.Dump(context.Background(), &out, o); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// bulkyServer runs the whole workload, pgbench's too where there is one, and stops.
func bulkyServer(t *testing.T, major int) (srv *pgtest.Server, walDir string) {
	srv = startServer(t, major, 16)
	runAll(t, srv, workload)
	runAll(t, srv, bulky)
	if pgbench := filepath.Join(srv.BinDir(), "pgbench"); major == 15 {
		conn := []string{"-h", "127.0.0.1", "-p", fmt.Sprint(srv.Port()), "-U", "postgres"}
		runTool(t, pgbench, append(conn, "-i", "-q", "-s", "2", "postgres")...)
		runTool(t, pgbench, append(conn, "-n", "-c", "4", "-t", "1500", "postgres")...)
	}
	if err := srv.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	return srv, filepath.Join(srv.DataDir(), "pg_wal")
}

// details are what pg_waldump prints of a record's content: the type's name is kept.
var details = regexp.MustCompile(`(desc: [A-Za-z_]+(?:\+INIT)?)[^\n]*?((?:, blkref #\d+: rel [^\n]*)?)\n`)

func TestEqualsPgWaldump(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	srv, dir := bulkyServer(t, 15)
	pgWaldump := tool(t, srv, "pg_waldump")
	src, err := waldir.Open(dir, waldir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	from := src.First().String()
	src.Close()

	for name, o := range map[string]waldump.Options{"--stats": {Stats: waldump.ByRMGR}, "--stats=record": {Stats: waldump.ByRecord}} {
		want := runTool(t, pgWaldump, "-p", dir, "-s", from, name)
		if got := dump(t, dir, o); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
	t.Log("\n" + dump(t, dir, waldump.Options{Stats: waldump.ByRecord}))

	want := details.ReplaceAllString(runTool(t, pgWaldump, "-p", dir, "-s", from), "$1$2\n")
	got := details.ReplaceAllString(dump(t, dir, waldump.Options{}), "$1$2\n")
	wantLines, gotLines := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	for i := range min(len(wantLines), len(gotLines)) {
		if wantLines[i] != gotLines[i] {
			t.Fatalf("line %d: got\n%swant\n%s", i+1, gotLines[i], wantLines[i])
		}
	}
	if len(gotLines) != len(wantLines) {
		t.Fatalf("%d lines, want %d", len(gotLines), len(wantLines))
	}
	t.Logf("%d lines equal", len(gotLines)-1)

	// From the middle of a record to the middle of another, some managers only.
	fromLSN, toLSN := lsnOf(t, gotLines[len(gotLines)/3])+9, lsnOf(t, gotLines[len(gotLines)/2])+3
	want = runTool(t, pgWaldump, "-p", dir, "-s", fromLSN.String(), "-e", toLSN.String(), "-r", "heap", "-r", "Transaction")
	_, want, _ = strings.Cut(want, "\n") // "first record is after"
	want = details.ReplaceAllString(want, "$1$2\n")
	got = details.ReplaceAllString(dump(t, dir, waldump.Options{From: fromLSN, To: toLSN, RMGRs: []string{"heap", "Transaction"}}), "$1$2\n")
	if got != want || strings.Count(got, "\n") < 100 {
		t.Errorf("from %s to %s: %d lines, want %d", fromLSN, toLSN, strings.Count(got, "\n"), strings.Count(want, "\n"))
	}
}

func lsnOf(t *testing.T, line string) pg.LSN {
	t.Helper()
	_, rest, _ := strings.Cut(line, "lsn: ")
	text, _, _ := strings.Cut(rest, ",")
	l, err := pg.ParseLSN(text)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return l
}

func TestJSON(t *testing.T) {
	w, err := walfixture.Load(pg.PG18)
	if err != nil {
		t.Fatal(err)
	}
	lines := func(o waldump.Options) []map[string]any {
		o.JSON, o.From, o.WAL = true, w.Start, wal.Options{Source: w}
		var out bytes.Buffer
		if err := waldump.Dump(context.Background(), &out, o); err != nil {
			t.Fatal(err)
		}
		var all []map[string]any
		for line := range bytes.Lines(out.Bytes()) {
			var v map[string]any
			if err := json.Unmarshal(line, &v); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			all = append(all, v)
		}
		return all
	}
	records, stats := lines(waldump.Options{}), lines(waldump.Options{Stats: waldump.ByRecord})
	sums := map[string]float64{}
	for _, r := range records {
		for _, name := range []string{"record_bytes", "fpi_bytes", "combined_bytes"} {
			sums[name] += r[name].(float64)
		}
		sums["count"]++
	}
	total := stats[0]["total"].(map[string]any)
	for name, sum := range sums {
		if total[name] != sum || sum == 0 {
			t.Errorf("%s: records give %v, statistics %v", name, sum, total[name])
		}
	}
	if n := len(lines(waldump.Options{Limit: 5, RMGRs: []string{"btree"}})); n != 5 {
		t.Errorf("%d records with a limit of 5", n)
	}
	err = waldump.Dump(context.Background(), io.Discard, waldump.Options{From: w.Start, WAL: wal.Options{Source: w}, RMGRs: []string{"nonsense"}})
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("unknown manager: %v", err)
	}
}

func TestRMNames(t *testing.T) {
	for id := range 256 {
		name := wal.RMID(id).String()
		if id > int(wal.RMLogicalMsg) && id < int(wal.RMCustomMin) {
			continue
		}
		if got, err := wal.ParseRMID(strings.ToUpper(name)); name[0] != 'c' && (err != nil || int(got) != id) {
			t.Errorf("%d: %s gives %d, %v", id, name, got, err)
		}
		if got, err := wal.ParseRMID(name); err != nil || int(got) != id {
			t.Errorf("%d: %s gives %d, %v", id, name, got, err)
		}
	}
}

// TestRecordTypes: those of a major are named, once each.
func TestRecordTypes(t *testing.T) {
	for major, want := range map[pg.Major][]string{
		pg.PG15: {"Heap2/PRUNE", "Transaction/INVALIDATION", "Generic/Generic"}, pg.PG18: {"Heap2/PRUNE_VACUUM_CLEANUP", "XLOG/CHECKPOINT_REDO", "BRIN/UPDATE+INIT"},
	} {
		names := wal.RecordTypes(major)
		for _, w := range want {
			if !slices.Contains(names, w) {
				t.Errorf("PostgreSQL %d: no %s in %v", major, w, names)
			}
		}
		seen := map[string]bool{}
		for _, n := range names {
			if seen[n] || strings.Contains(n, "UNKNOWN") {
				t.Errorf("PostgreSQL %d: %s", major, n)
			}
			seen[n] = true
		}
		t.Logf("PostgreSQL %d: %d record types", major, len(names))
	}
}
