package basebackup

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// position is where an LSN lies, bytes before the end of what it lies in.
type position struct {
	name   string
	of     int64 // bytes; 0 is a segment
	before int64
}

var positions = []position{
	{"mid page", wal.PageSize, 4096}, {"page start", wal.PageSize, 0}, {"a header's first half before the page end", wal.PageSize, 8},
	{"a header before the page end", wal.PageSize, 24}, {"half a record before the page end", wal.PageSize, 64},
	{"a record before the page end", wal.PageSize, 120}, {"segment start", 0, 0}, {"a header before the segment end", 0, 24},
	{"half a record before the segment end", 0, 64}, {"a record before the segment end", 0, 120},
}

// reach pads the source's WAL until a record ends at the position, and returns where.
func (r *rig) reach(p position, segment int64) pg.LSN {
	r.t.Helper()
	of := pg.LSN(cmp.Or(p.of, segment))
	// A message's record has 24 bytes of header, 2 or 5 before the data, and in these the message's own, and what pads it.
	const overhead = 24 + 5 + 32 + 2
	for round := range 50 { // each a little longer or shorter: the length of the record's own fields depends on its length
		now := r.recordEnd(segment)
		want := (now+pg.LSN(p.before)+of-1)/of*of - pg.LSN(p.before)
		if want == now && (p.of == 0 || now%pg.LSN(segment) != 0) {
			return now
		}
		for want-now < 2*overhead || p.of != 0 && want%pg.LSN(segment) == 0 {
			want += of
		}
		n := int64(want-now) - overhead
		for page := now&^(wal.PageSize-1) + wal.PageSize; page < want; page += wal.PageSize {
			n -= int64(recordStart(page, segment) - page) // its header
		}
		r.do("postgres", fmt.Sprintf("select pg_logical_emit_message(false, 'p', repeat('x', %d))", n-n%8+int64(round%5-2)*8))
	}
	r.t.Fatalf("no record ends %q", p.name)
	return 0
}

// recordEnd is where the last record ends: not behind a page's header, as the next one begins.
func (r *rig) recordEnd(segment int64) pg.LSN {
	lsn := r.lsn()
	for _, end := range []pg.LSN{lsn - wal.LongPageHeaderSize, lsn - wal.ShortPageHeaderSize} {
		if end%wal.PageSize == 0 && recordStart(end, segment) == lsn {
			return end
		}
	}
	return lsn
}

// TestPositions: the checkpoint may lie anywhere, as records do.
func TestPositions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	sizes := []int64{1}
	if pgtest.Long() {
		sizes = []int64{1, 16, 64}
	}
	for _, major := range pgtest.Majors() {
		for _, mb := range sizes {
			t.Run(fmt.Sprintf("PostgreSQL%d/%dMiB", major, mb), func(t *testing.T) { testPositions(t, major, mb) })
		}
	}
}

func testPositions(t *testing.T, major int, mb int64) {
	r := newRig(t, pgtest.Options{Major: major, InitdbArgs: []string{fmt.Sprintf("--wal-segsize=%d", mb)}, Settings: map[string]string{
		"min_wal_size": fmt.Sprintf("%dMB", 2*mb), "max_wal_size": fmt.Sprintf("%dMB", 64*mb),
	}})
	r.importOnline()
	lsns := make([]pg.LSN, len(positions))
	for i, p := range positions {
		lsns[i] = r.reach(p, mb<<20)
	}
	r.do("postgres", "create table t as select 1 as i", "select pg_switch_wal()")
	switched := r.recordEnd(mb << 20)
	r.do("postgres", "create table u as select 1 as i")
	r.must(r.Kill9())
	for i, p := range append(positions, position{name: "behind a switch"}) {
		lsn := append(lsns, switched)[i]
		t.Run(p.name, func(t *testing.T) {
			ctx := context.Background()
			tl := r.at(lsn)
			dir, report := r.backup(tl, fmt.Sprint("at", i))
			defer os.RemoveAll(filepath.Dir(dir))
			if report.LSN != lsn || report.CheckPoint != recordStart(lsn, mb<<20) {
				t.Fatalf("%+v, want %s", report, lsn)
			}
			srv, err := r.start(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{
				startedClean(srv), walinspect(ctx, srv, report), srv.Exec(ctx, "postgres", "create table made as select generate_series(1, 5000) i", "checkpoint"),
				srv.Stop(pgtest.Fast), r.joins(dir, report), r.seam(tl, dir, report), waldump(t, major, dir, report), srv.Restart(ctx), startedClean(srv), srv.Remove(),
			} {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}
