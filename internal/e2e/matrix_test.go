package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// matrix has a cell in each line: a server and its settings. Each release is in a cell, each value of each setting, and each
// pair of values of two settings (TestMatrixCoversPairs). A long run has each release in each line.
//
// "distribution" is the packaged 15, the only server here that is built with lz4 and zstd: the other builds know pglz alone.
// "switched" is off and on again by a reload under load, with a checkpoint between; "lz4+zstd" changes over likewise. In the
// column crash is who is killed under load.
const matrix = `
	release       wal_compression  data_checksums  full_page_writes  wal_log_hints  wal_level  track_commit_timestamp  wal_segment_size  tablespaces  databases  crash
	15.1          off              on              switched          off            replica    off                     64MB              yes          one        tarn
	15.19         pglz             on              on                off            logical    off                     1MB               no           several    tarn
	16.0          off              off             on                off            replica    on                      1MB               no           several    postgres
	16.15         pglz             off             switched          off            logical    on                      64MB              yes          several    postgres
	17.0          pglz             on              switched          on             replica    on                      1MB               yes          several    tarn
	17.11         off              off             switched          on             logical    off                     1MB               no           one        postgres
	18.0          off              on              on                on             logical    on                      64MB              yes          one        postgres
	18.6          pglz             off             on                on             replica    off                     64MB              no           one        tarn
	distribution  lz4+zstd         off             on                off            logical    on                      1MB               yes          one        tarn
	distribution  lz4+zstd         on              switched          on             replica    off                     64MB              no           several    postgres`

// The settings are the columns behind the release.
const (
	distribution = "distribution"
	bothMethods  = "lz4+zstd"
	switched     = "switched"
)

// cell is a line of the matrix by column.
type cell map[string]string

func (c cell) String() string {
	var parts []string
	for _, name := range columns() {
		parts = append(parts, c[name])
	}
	return strings.Join(parts, ",")
}

func columns() []string { return strings.Fields(strings.Split(matrix, "\n")[1]) }

func cells() (list []cell) {
	for _, line := range strings.Split(matrix, "\n")[2:] {
		c := cell{}
		for i, value := range strings.Fields(line) {
			c[columns()[i]] = value
		}
		list = append(list, c)
	}
	return list
}

// longCells has each release under each line's settings that its build can have.
func longCells() (list []cell) {
	for _, release := range append(pgtest.Releases(), distribution) {
		for _, line := range cells() {
			c := cell{}
			for name, value := range line {
				c[name] = value
			}
			c["release"] = release
			if (release == distribution) == (line["wal_compression"] == bothMethods) {
				list = append(list, c)
			}
		}
	}
	return list
}

// TestMatrix runs the same workload on each server and compares every table of every database.
func TestMatrix(t *testing.T) {
	list := cells()
	if pgtest.Long() {
		list = longCells()
	}
	for _, c := range list {
		t.Run(c.String(), func(t *testing.T) { runCell(t, c) })
	}
}

// TestHugeSegments is a cell with WAL segments of the largest size there is: initdb alone writes one of them.
func TestHugeSegments(t *testing.T) {
	if !pgtest.Long() {
		t.Skip("make test-long: each segment is 1 GiB of disk, on the server and here")
	}
	c := cells()[0]
	c["wal_segment_size"] = "1024MB"
	runCell(t, c)
}

func TestMatrixCoversPairs(t *testing.T) {
	names, list := columns(), cells()
	for i, a := range names[1:] {
		for _, b := range names[i+2:] {
			for _, x := range valuesOf(a) {
				for _, y := range valuesOf(b) {
					if !slices.ContainsFunc(list, func(c cell) bool { return c[a] == x && c[b] == y }) {
						t.Errorf("no cell has %s %s and %s %s", a, x, b, y)
					}
				}
			}
		}
	}
	if got := valuesOf("release"); !slices.Equal(got, append(pgtest.Releases(), distribution)) {
		t.Errorf("the releases of the matrix are %v", got)
	}
}

// valuesOf are the values a column has, in the order of the lines.
func valuesOf(column string) (values []string) {
	for _, c := range cells() {
		if !slices.Contains(values, c[column]) {
			values = append(values, c[column])
		}
	}
	return values
}

// TestMatrixIsDocumented: the table of supported settings says what is tested, and nothing else.
func TestMatrixIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/OPERATING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(b), "\n## Supported servers and settings\n")
	if !found {
		t.Fatal("docs/OPERATING.md has no section of supported servers and settings")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	_, section, _ = strings.Cut(section, "|---|---|---|\n")
	documented := map[string]string{}
	for _, line := range strings.Split(section, "\n") {
		if f := strings.Split(line, "|"); len(f) == 5 {
			documented[strings.Trim(f[1], " `")] = strings.TrimSpace(f[2])
		}
	}
	for _, name := range columns() {
		if want := strings.Join(valuesOf(name), ", "); documented[name] != want {
			t.Errorf("docs/OPERATING.md says that %s is tested with %q; want %q", name, documented[name], want)
		}
		delete(documented, name)
	}
	for name, values := range documented {
		t.Errorf("docs/OPERATING.md says that %s is tested with %s; no cell has it", name, values)
	}
}

// options are the server of a cell.
func (c cell) options() pgtest.Options {
	o := pgtest.Options{Settings: map[string]string{"wal_log_hints": c["wal_log_hints"], "wal_level": c["wal_level"],
		"track_commit_timestamp": c["track_commit_timestamp"], "wal_compression": c["wal_compression"]}}
	if c["release"] == distribution {
		o.Major = 15
		o.Settings["wal_compression"] = "pglz" // until it is known that the server has another
	} else {
		o.Release = c["release"]
	}
	o.InitdbArgs = []string{"--wal-segsize=" + strings.TrimSuffix(c["wal_segment_size"], "MB")}
	switch checksums := c["data_checksums"] == "on"; {
	case checksums:
		o.InitdbArgs = append(o.InitdbArgs, "--data-checksums")
	case strings.HasPrefix(o.Release, "18."):
		o.InitdbArgs = append(o.InitdbArgs, "--no-data-checksums")
	}
	return o
}

// mustBeAsked checks that the server is what the cell says: a setting that does not take would be tested by nobody.
func (r *cellRig) mustBeAsked() {
	r.t.Helper()
	if r.cell["wal_compression"] == bothMethods {
		methods, err := r.pg.QueryText(r.t.Context(), database, "SELECT enumvals::text FROM pg_settings WHERE name = 'wal_compression'")
		if err != nil {
			r.t.Fatal(err)
		}
		if !strings.Contains(methods, "lz4") || !strings.Contains(methods, "zstd") {
			pgtest.Missing(r.t, "the Postgres 15 here compresses WAL by "+methods+" alone: install the distribution's, internal/tools/install-postgres 15")
		}
		r.set("wal_compression", "lz4")
		r.set("default_toast_compression", "lz4")
	}
	want := map[string]string{"server_version": r.cell["release"]}
	for _, name := range []string{"data_checksums", "wal_log_hints", "wal_level", "track_commit_timestamp", "wal_compression"} {
		want[name] = r.cell[name]
	}
	if r.cell["release"] == distribution {
		delete(want, "server_version")
		want["wal_compression"] = "lz4"
	}
	for name, value := range want {
		if got := r.show(name); got != value {
			r.t.Fatalf("%s is %s", name, got)
		}
	}
	if got := r.show("wal_segment_size"); got != r.cell["wal_segment_size"] && got != "1GB" {
		r.t.Fatalf("wal_segment_size is %s", got)
	}
}

func (r *cellRig) show(name string) string {
	r.t.Helper()
	text, err := r.pg.QueryText(r.t.Context(), database, "SHOW "+name)
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

// set changes a setting of the running server, and waits until it has.
func (r *cellRig) set(name, value string) {
	r.t.Helper()
	r.exec(fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, value), "SELECT pg_reload_conf()")
	for range 100 {
		if r.show(name) == value {
			return
		}
		r.exec("SELECT pg_sleep(0.05)")
	}
	r.t.Fatalf("%s does not become %s", name, value)
}

// cellRig is the rig of one cell.
type cellRig struct {
	*rig
	cell cell
}

func runCell(t *testing.T, c cell) {
	r := &cellRig{rig: &rig{t: t, journal: demo.NewJournal(), seed: pgtest.Seed(t)}, cell: c}
	r.on(c.options(), nil)
	r.mustBeAsked()
	r.prepare()
	if c["full_page_writes"] == switched {
		r.set("full_page_writes", "off") // also while the base backup is taken, which has the server write images all the same
	}
	stop := r.write(nil)
	r.tarn.startReady() // the base backup is of a server at work
	r.live()
	stop()
	r.mustBeEqualEverywhere()
	r.crash()
	r.mustBeEqualEverywhere()
	r.ledgerMustHold()
	r.tarn.stop()
	for _, line := range r.tarn.errors() {
		t.Errorf("tarn says: %s", line)
	}
}
