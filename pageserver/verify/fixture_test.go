package verify

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// A fixture is WAL from a checkpoint's redo point on, with full_page_writes, so that no base is needed, and images of
// every heap page after every record. In a zstd frame:
//
//	0 "TWF1"   4 major uint32   8 redo point uint64   16 the WAL from the start of the redo point's page on
//
// TARN_WRITE_FIXTURES=1 go test -run TestWriteFixtures ./pageserver/verify makes them anew.
const fixtureMagic = "TWF1"

// fixtureSegment is the fixtures' WAL segment size, bytes.
const fixtureSegment = 1 << 20

var fixtureMajors = []int{15, 18}

func fixturePath(major int) string { return fmt.Sprintf("testdata/heap%d.wal.zst", major) }

// memory is WAL held in memory.
type memory struct {
	start pg.LSN
	wal   []byte
}

func (m memory) Read(lsn pg.LSN, dst []byte) (int, error) {
	if lsn < m.start || lsn >= m.start+pg.LSN(len(m.wal)) {
		return 0, io.EOF
	}
	return copy(dst, m.wal[lsn-m.start:]), nil
}

// readFixture returns the options to read a fixture's WAL with.
func readFixture(t testing.TB, major int) wal.Options {
	t.Helper()
	packed, err := os.ReadFile(fixturePath(major))
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	b, err := dec.DecodeAll(packed, nil)
	if err != nil || len(b) < 16 || string(b[:4]) != fixtureMagic {
		t.Fatalf("%s is not a fixture: %v", fixturePath(major), err)
	}
	start := pg.LSN(binary.LittleEndian.Uint64(b[8:]))
	return wal.Options{
		Source: memory{start: start &^ 0x1FFF, wal: b[16:]}, Start: start,
		SegmentSize: fixtureSegment, Major: pg.Major(binary.LittleEndian.Uint32(b[4:])), EndAtInvalid: true,
	}
}

// fixtureVerifier redoes from nothing.
func fixtureVerifier(major int) *verifier {
	v := &verifier{pages: newPageSet(nil)}
	v.env.HintsLogged = major >= 18 // initdb's default since 18
	return v
}

func TestFixtures(t *testing.T) {
	for _, major := range fixtureMajors {
		v := fixtureVerifier(major)
		seen := map[string]int{}
		v.fault = func(_, _ pg.Page, rec *wal.Record, _ *wal.BlockRef) {
			if op := opName(rec); op != "" {
				seen[op]++
			}
		}
		if err := v.redo(context.Background(), readFixture(t, major), nil); err != nil {
			t.Fatal(err)
		}
		r := v.finish()
		t.Logf("PostgreSQL %d: %d records, %d images, %v", major, r.Records, r.ImagesCompared, seen)
		if !r.OK() {
			t.Errorf("PostgreSQL %d: %+v", major, r)
		}
		for _, op := range opsOf(pg.Major(major)) {
			if seen[op] == 0 {
				t.Errorf("PostgreSQL %d: the fixture has no %s", major, op)
			}
		}
	}
}

// opName names the record types whose redo is tested by planted faults.
func opName(rec *wal.Record) string {
	suffix := ""
	if rec.Info&0x80 != 0 {
		suffix = "+INIT"
	}
	switch rec.RMID {
	case wal.RMHeap:
		return [...]string{"INSERT", "DELETE", "UPDATE", "TRUNCATE", "HOT_UPDATE", "CONFIRM", "LOCK", "INPLACE"}[rec.Info>>4&7] + suffix
	case wal.RMHeap2:
		old := [...]string{"REWRITE", "PRUNE", "VACUUM", "FREEZE_PAGE", "VISIBLE", "MULTI_INSERT", "LOCK_UPDATED", "NEW_CID"}
		if rec.Major >= pg.PG17 {
			old[1], old[2], old[3] = "PRUNE_ON_ACCESS", "PRUNE_VACUUM_SCAN", "PRUNE_VACUUM_CLEANUP"
		}
		return old[rec.Info>>4&7] + suffix
	}
	return ""
}

// opsOf lists every record type that changes heap pages.
func opsOf(major pg.Major) []string {
	ops := []string{"INSERT", "INSERT+INIT", "DELETE", "UPDATE", "UPDATE+INIT", "HOT_UPDATE", "CONFIRM", "LOCK", "INPLACE",
		"VISIBLE", "MULTI_INSERT", "MULTI_INSERT+INIT", "LOCK_UPDATED"}
	if major >= pg.PG17 {
		return append(ops, "PRUNE_ON_ACCESS", "PRUNE_VACUUM_SCAN", "PRUNE_VACUUM_CLEANUP")
	}
	return append(ops, "PRUNE", "VACUUM", "FREEZE_PAGE")
}

// TestWriteFixtures makes the fixtures from real servers.
func TestWriteFixtures(t *testing.T) {
	if os.Getenv("TARN_WRITE_FIXTURES") == "" {
		t.Skip("the recorded fixtures are used; TARN_WRITE_FIXTURES=1 makes new ones")
	}
	for _, major := range fixtureMajors {
		writeFixture(t, major)
	}
}

// fixtureScript makes every heap record at least twice with few pages.
var fixtureScript = []string{
	"create table a (id int primary key, n int, t text) with (fillfactor = 70, autovacuum_enabled = off)",
	"create table b (id int, t text) with (autovacuum_enabled = off)",
	"create table p (id int, r int) partition by list (r)", "create table p0 partition of p for values in (0)", "create table p1 partition of p for values in (1)",
	"insert into a select i, i, repeat('x', i) from generate_series(1, 60) i",
	"insert into a values (1, 1) on conflict do nothing", "insert into a values (61, 1, null) on conflict do nothing",
	"insert into a values (61, 1) on conflict (id) do update set n = a.n + 1",
	"update a set n = n + 1 where id < 20", "update a set n = n + 1, t = t || 'longer' where id < 10",
	"update a set id = id + 1000 where id between 30 and 40", "update a set t = repeat('wide', 400) where id between 41 and 45",
	"begin; update a set n = 0 where id = 50; savepoint s; update a set n = 1 where id = 51; rollback to s; rollback",
	"delete from a where id between 52 and 55", "select count(*) from a where n > 0",
	"insert into p select i, 0 from generate_series(1, 5) i", "update p set r = 1 where id < 3",
	"begin; select 1 from a where id = 1 for share; commit", "begin; select 1 from a where id = 2 for update; select 1 from a where id = 3 for key share; commit",
	"vacuum (freeze) a", "insert into a values (70, 1, 'after'), (71, 2, 'after')", "select 1 from a where id = 4 for update",
	"update a set n = -1 where id in (5, 6)", "delete from a where id = 7", "vacuum a", "delete from a where id % 3 = 0", "vacuum a", "vacuum (freeze) a",
	"update a set n = n + 1 where id between 8 and 20", "update a set n = n + 1 where id between 8 and 20", "update a set n = n + 1 where id between 8 and 20",
	"update a set n = n + 1 where id between 8 and 20", "update a set n = n + 1 where id between 8 and 20", "select count(*) from a",
	"insert into b select i, 'x' from generate_series(1, 20) i", "vacuum (freeze) b", "analyze a", "vacuum (freeze) p0", "delete from b where id > 15", "vacuum b",
	"begin; truncate b; insert into b values (1, 'same'); commit",
	"create temp table t as select 1", "create materialized view mv as select * from a limit 30", "refresh materialized view mv", "delete from a where id = 13",
	"insert into a select i, 1, 'end' from generate_series(2000, 2400) i", "delete from a where id > 2010", "vacuum a",
}

func writeFixture(t *testing.T, major int) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "tarnfixture")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	srv, err := pgtest.Start(ctx, pgtest.Options{Major: major, Dir: dir, InitdbArgs: []string{"--wal-segsize=1"}, Settings: map[string]string{
		"wal_consistency_checking": "heap,heap2", "wal_keep_size": "1GB", "autovacuum": "off", "fsync": "off", "checkpoint_timeout": "1h",
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = srv.Remove() }()
	if err := srv.Exec(ctx, "postgres", "checkpoint"); err != nil {
		t.Fatal(err)
	}
	redoText, err := srv.QueryText(ctx, "postgres", "select redo_lsn::text from pg_control_checkpoint()")
	if err != nil {
		t.Fatal(err)
	}
	start, err := pg.ParseLSN(redoText)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Exec(ctx, "postgres", fixtureScript...); err != nil {
		t.Fatal(err)
	}
	fixtureSessions(ctx, t, srv)
	endText, err := srv.QueryText(ctx, "postgres", "select pg_current_wal_insert_lsn()::text")
	if err != nil {
		t.Fatal(err)
	}
	end, err := pg.ParseLSN(endText)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	packFixture(t, major, filepath.Join(srv.DataDir(), "pg_wal"), start, end)
}

// fixtureSessions makes what needs two sessions: multixacts, locks on updated versions, COPY in pieces.
func fixtureSessions(ctx context.Context, t *testing.T, srv *pgtest.Server) {
	var conns [2]*pgx.Conn
	for i := range conns {
		c, err := pgx.Connect(ctx, srv.ConnString("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(ctx)
		conns[i] = c
	}
	do := func(i int, sql string) {
		if _, err := conns[i].Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	do(0, "begin isolation level repeatable read; select count(*) from a")
	do(1, "update a set n = 100 where id in (8, 10)")
	do(1, "update a set n = 101 where id in (8, 10)")
	do(0, "select 1 from a where id in (8, 10) for key share")
	do(1, "begin; select 1 from a where id in (8, 10, 11) for key share; commit")
	do(0, "commit")
	do(0, "begin; select 1 from a where id = 11 for share")
	do(1, "begin; select 1 from a where id = 11 for share; commit")
	do(0, "commit")
	for _, n := range []int{90, 40} {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "%d\t%s\n", i, strings.Repeat("c", i%60))
		}
		if _, err := conns[0].PgConn().CopyFrom(ctx, strings.NewReader(text.String()), "copy b from stdin"); err != nil {
			t.Fatal(err)
		}
	}
	do(0, "begin; create table f (id int, t text)")
	if _, err := conns[0].PgConn().CopyFrom(ctx, strings.NewReader("1\tx\n2\ty\n"), "copy f from stdin (freeze)"); err != nil {
		t.Fatal(err)
	}
	do(0, "commit; delete from b where id % 2 = 0")
	do(0, "vacuum b")
	do(0, "vacuum (freeze) b")
	do(0, "insert into b values (1, 'last')")
}

func packFixture(t *testing.T, major int, folder string, start, end pg.LSN) {
	src, err := waldir.Open(folder, waldir.Options{SegmentSize: fixtureSegment})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	b := append([]byte(fixtureMagic), make([]byte, 12)...)
	binary.LittleEndian.PutUint32(b[4:], uint32(major))
	binary.LittleEndian.PutUint64(b[8:], uint64(start))
	page := make([]byte, 8192)
	for at := start &^ 0x1FFF; at < end; at += 8192 {
		if n, err := src.Read(at, page); err != nil || n != len(page) {
			t.Fatalf("read WAL at %s: %d bytes, %v", at, n, err)
		}
		b = append(b, page...)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	packed := enc.EncodeAll(b, nil)
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(fixturePath(major), packed, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("PostgreSQL %d: %d bytes of WAL, %d packed", major, len(b), len(packed))
	if len(packed) > 500<<10 {
		t.Errorf("%s is larger than 500 KB", fixturePath(major))
	}
}
