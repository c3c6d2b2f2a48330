package verify

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// refusalDirs is a base and the WAL since, to be spoilt.
type refusalDirs struct {
	t         *testing.T
	base, wal string
	newer     string // the data directory the WAL leads to
	control   control.Control
	stopped   control.Control // of newer
	segments  []string        // of 1 MiB, rising
}

func (d *refusalDirs) edit(name string, f func(b []byte)) {
	d.t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		f(b)
		err = os.WriteFile(name, b, 0o600)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *refusalDirs) segment(lsn pg.LSN) string {
	return filepath.Join(d.wal, pg.WALFileName(1, lsn, 1<<20))
}

// editControl alters pg_control of a data directory.
func (d *refusalDirs) editControl(dir string, f func(c *control.Control)) {
	d.edit(filepath.Join(dir, "global", "pg_control"), func(b []byte) {
		c, err := control.Parse(b)
		if err != nil {
			d.t.Fatal(err)
		}
		f(&c)
		if err := control.Patch(b, c); err != nil {
			d.t.Fatal(err)
		}
	})
}

// refusals are what is wrong with a base and WAL, and what the error must say.
var refusals = []struct {
	name, want string
	spoil      func(d *refusalDirs)
}{
	{"nothing", "", func(*refusalDirs) {}},
	{"WAL of another system", "want system", func(d *refusalDirs) {
		for _, s := range d.segments {
			d.edit(s, func(b []byte) { b[24]++ })
		}
	}},
	{"one segment of another system", "want system", func(d *refusalDirs) { d.edit(d.segments[3], func(b []byte) { b[24]++ }) }},
	{"a base of another system", "want system", func(d *refusalDirs) {
		d.edit(filepath.Join(d.base, "global", "pg_control"), func(b []byte) {
			b[0]++
			at := 288
			if d.control.Major >= pg.PG18 {
				at = 292
			}
			binary.LittleEndian.PutUint32(b[at:], crc32.Checksum(b[:at], crc32.MakeTable(crc32.Castagnoli)))
		})
	}},
	{"a base of a later timeline", "timeline", func(d *refusalDirs) {
		d.editControl(d.base, func(c *control.Control) { c.CheckPoint.TimelineID = 2 })
	}},
	{"a segment of a later timeline", "timeline", func(d *refusalDirs) {
		d.edit(d.segments[3], func(b []byte) { b[4] = 2 })
	}},
	{"a gap", "later ones are", func(d *refusalDirs) { _ = os.Remove(d.segments[3]) }},
	{"the first segment is missing", "later ones are", func(d *refusalDirs) { _ = os.Remove(d.segments[0]) }},
	{"a segment in the place of the next", "pageaddr", func(d *refusalDirs) {
		b, _ := os.ReadFile(d.segments[2])
		_ = os.WriteFile(d.segments[3], b, 0o600)
	}},
	{"the same segment twice", "", func(d *refusalDirs) {
		b, _ := os.ReadFile(d.segments[3])
		_ = os.WriteFile(d.segments[3]+".partial", append(b[:500_000:500_000], make([]byte, 1<<20-500_000)...), 0o600)
	}},
	{"a segment with other content", "differ in what both hold", func(d *refusalDirs) {
		b, _ := os.ReadFile(d.segments[3])
		b[300_000] ^= 1
		_ = os.WriteFile(d.segments[3]+".partial", b, 0o600)
	}},
	{"no history file", "00000002.history", func(d *refusalDirs) {
		last := d.segments[len(d.segments)-1]
		_ = os.Rename(last, strings.Replace(last, "/00000001", "/00000002", 1))
	}},
	{"a history that left the base's timeline before the base", "timeline", func(d *refusalDirs) {
		_ = os.WriteFile(filepath.Join(d.wal, "00000002.history"), []byte(fmt.Sprintf("1\t%s\tno\n", d.control.CheckPoint.Redo-8)), 0o600)
		b, _ := os.ReadFile(d.segments[0])
		_ = os.WriteFile(strings.Replace(d.segments[0], "/00000001", "/00000002", 1), b, 0o600)
	}},
	{"a base newer than all segments", "newer", func(d *refusalDirs) {
		d.base = d.newer
		for _, s := range d.segments {
			if s >= d.segment(d.stopped.CheckPoint.Redo) {
				_ = os.Remove(s)
			}
		}
	}},
	{"a base newer than the WAL's end", "newer", func(d *refusalDirs) {
		d.base = d.newer
		d.edit(d.segment(d.stopped.CheckPointLSN), func(b []byte) { clear(b[d.stopped.CheckPointLSN%(1<<20):]) })
	}},
	{"a base of another history", "another history", func(d *refusalDirs) {
		d.editControl(d.base, func(c *control.Control) { c.CheckPoint.Time++ })
	}},
	{"damage before the last segment", "incorrect checksum", func(d *refusalDirs) { d.edit(d.segments[3], func(b []byte) { b[700_000] ^= 4 }) }},
	{"damage in the last segment", "goes on at", func(d *refusalDirs) {
		d.edit(d.segment(d.stopped.CheckPointLSN), func(b []byte) { b[wal.PageSize/2] ^= 4 })
	}},
}

// TestRefusesWAL spoils a base or its WAL in every way, and expects an error that says which.
func TestRefusesWAL(t *testing.T) {
	for _, major := range majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL%d", major), func(t *testing.T) {
			srv := pgtest.NewFixture(t, pgtest.SmallWAL(major, map[string]string{"wal_consistency_checking": "heap", "wal_keep_size": "1GB"}))
			d := refusalDirs{t: t, base: filepath.Join(t.TempDir(), "base"), newer: srv.DataDir()}
			srv.FastStop(20 * time.Second)
			copyTree(t, srv.DataDir(), d.base)
			srv.StartAgain()
			srv.Do("create table t (i int, s text)", "insert into t select i, repeat('x', 100) from generate_series(1, 20000) i")
			// The shutdown checkpoint is to lie well inside its segment.
			srv.Do("select pg_switch_wal()", "insert into t select i, repeat('x', 100) from generate_series(1, 500) i")
			srv.FastStop(20 * time.Second)
			d.control, d.stopped = readControl(t, d.base), readControl(t, srv.DataDir())
			for _, r := range refusals {
				t.Run(r.name, func(t *testing.T) {
					d := d
					d.t, d.wal = t, filepath.Join(t.TempDir(), "wal")
					copyTree(t, filepath.Join(srv.DataDir(), "pg_wal"), d.wal)
					if r.want != "" {
						base := filepath.Join(t.TempDir(), "base")
						copyTree(t, d.base, base)
						d.base = base
					}
					d.segments, _ = filepath.Glob(filepath.Join(d.wal, "000000010000*"))
					slices.Sort(d.segments)
					d.segments = d.segments[slices.Index(d.segments, d.segment(d.control.CheckPoint.Redo)):]
					r.spoil(&d)
					report, err := Run(t.Context(), Options{Base: d.base, WAL: d.wal})
					switch {
					case r.want == "" && (err != nil || !report.OK()):
						t.Errorf("refused: %v, %+v", err, report)
					case r.want != "" && (err == nil || !strings.Contains(err.Error(), r.want)):
						t.Errorf("%v; %d records to %s", err, report.Records, report.End)
					default:
						t.Log(err)
					}
				})
			}
		})
	}
}

func readControl(t *testing.T, dir string) control.Control {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "global", "pg_control"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := control.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
