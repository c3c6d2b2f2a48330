package verify

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// finalScript writes to everything a data directory holds: relations of each kind, transaction logs, relation maps, prepared
// transactions.
var finalScript = []string{
	"create table t (id int primary key, s text)", "insert into t select i, md5(i::text) from generate_series(1, 2000) i",
	"create sequence given increment 3", "select nextval('given')", "create sequence spent cache 32", "select nextval('spent')", "select setval('spent', 7)",
	"create unlogged table loose (id int primary key)", "insert into loose values (1)",
	"begin; insert into t values (3000); savepoint a; insert into t values (3001); rollback to a; insert into t values (3002); commit",
	"begin; insert into t values (4000); rollback", "vacuum full pg_class", "vacuum full pg_database", "vacuum t",
	"begin; select 1 from t where id = 5 for key share; savepoint a; update t set s = 'x' where id = 5; commit",
	"begin; insert into t values (5000); prepare transaction 'one'", "commit prepared 'one'",
	"begin; insert into t values (5001); prepare transaction 'two'", "rollback prepared 'two'",
	"begin; insert into t values (5002); prepare transaction 'open'",
	"create extension if not exists bloom", "create table i (n int, a int[], p point)",
	"insert into i select g, array[g, g % 10], point(g, g % 100) from generate_series(1, 3000) g",
	"create index on i using hash (n)", "create index on i using gin (a)", "create index on i using gist (p)", "create index on i using spgist (p)",
	"create index on i using brin (n)", "create index on i using bloom (n)",
	"insert into i select g, array[g, g % 10], point(g, g % 100) from generate_series(1, 500) g", "delete from i where n % 7 = 0", "vacuum i",
	"create table gone (id int)", "insert into gone values (1)", "drop table gone",
	"create database copied strategy file_copy", "create database logged strategy wal_log",
}

// TestFinal compares the whole data directory of a stopped server with what redo has, and then one that has been tampered with, a
// place at a time.
func TestFinal(t *testing.T) {
	for _, major := range majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL%d", major), func(t *testing.T) {
			srv := pgtest.NewFixture(t, pgtest.SmallWAL(major, map[string]string{"wal_consistency_checking": "all", "wal_keep_size": "1GB",
				"track_commit_timestamp": "on", "max_prepared_transactions": "5"}))
			base := filepath.Join(t.TempDir(), "base")
			srv.FastStop(20 * time.Second)
			copyTree(t, srv.DataDir(), base)
			srv.StartAgain()
			srv.Do(finalScript...)
			kinds := relationKinds(srv)
			paths := map[string]string{}
			for _, name := range []string{"t", "pg_language"} {
				paths[name] = srv.One("select pg_relation_filepath('" + name + "')")
			}
			srv.FastStop(20 * time.Second)

			data := srv.DataDir()
			run := func(final string) Report {
				t.Helper()
				r, err := Run(t.Context(), Options{Base: base, WAL: filepath.Join(data, "pg_wal"), Final: final})
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			checkKinds(t, data, kinds)
			r := run(data)
			t.Logf("%+v", r.Final)
			if !r.OK() || r.Skipped != 0 || r.Final.Unknown != 0 {
				t.Fatalf("%+v", r)
			}
			for _, name := range []string{"pg_xact", "pg_multixact/offsets", "pg_multixact/members", "pg_commit_ts", "pg_filenode.map", "pg_twophase", "pg_control"} {
				if r.Final.Files[name].Pages == 0 {
					t.Errorf("no %s was compared", name)
				}
			}
			for _, tm := range tampering(t, data, paths) {
				original, err := os.ReadFile(filepath.Join(data, tm.file))
				srv.Must(err)
				altered := bytes.Clone(original)
				tm.alter(altered)
				srv.Must(os.WriteFile(filepath.Join(data, tm.file), altered, 0o600))
				r := run(data)
				srv.Must(os.WriteFile(filepath.Join(data, tm.file), original, 0o600))
				if r.OK() || r.Final.Differ != 1 {
					t.Errorf("%s, %s: %+v", tm.file, tm.name, r.Final)
				} else {
					t.Logf("%s: %v", tm.name, r.Final.First[0])
				}
			}
			// A file that redo has and the server has not.
			file := filepath.Join(data, paths["t"])
			srv.Must(os.Rename(file, file+".away"))
			r = run(data)
			srv.Must(os.Rename(file+".away", file))
			if r.OK() || r.Final.Extra == 0 {
				t.Errorf("a relation's file is gone: %+v", r.Final)
			}
		})
	}
}

// relationKinds says of each permanent relation that is not empty what its access method is.
func relationKinds(srv pgtest.Fixture) (lines []string) {
	return strings.Split(srv.One(`select string_agg(pg_relation_filepath(c.oid) || ' ' || case relkind when 'S' then 'sequence' else amname end, E'\n')
		from pg_class c left join pg_am a on a.oid = relam
		where relkind in ('r', 't', 'm', 'i', 'S') and relpersistence = 'p' and pg_relation_size(c.oid) > 0`), "\n")
}

// checkKinds holds managerOf to what the catalog says.
func checkKinds(t *testing.T, data string, kinds []string) {
	t.Helper()
	managers := map[string]wal.RMID{"heap": wal.RMHeap, "btree": wal.RMBtree, "hash": wal.RMHash, "gin": wal.RMGin, "gist": wal.RMGist,
		"spgist": wal.RMSpgist, "brin": wal.RMBrin, "sequence": wal.RMSeq, "bloom": wal.RMGeneric}
	seen := map[wal.RMID]int{}
	for _, line := range kinds {
		path, am, _ := strings.Cut(line, " ")
		b, err := os.ReadFile(filepath.Join(data, path))
		if err != nil {
			t.Fatal(err)
		}
		got := managerOf(pg.Page(b[:pg.BlockSize]))
		if got != managers[am] {
			t.Errorf("%s of %s is taken for %s", path, am, got)
		}
		seen[got]++
	}
	if len(seen) != len(managers) {
		t.Errorf("relations by manager: %v", seen)
	}
}

// tamper is one change to a file of the data directory.
type tamper struct {
	name, file string
	alter      func(b []byte)
}

func tampering(t *testing.T, data string, paths map[string]string) []tamper {
	flip := func(at int) func([]byte) { return func(b []byte) { b[at] ^= 1 } }
	twophase, err := filepath.Glob(filepath.Join(data, "pg_twophase", "*"))
	if err != nil || len(twophase) != 1 {
		t.Fatalf("prepared transactions: %v, %v", twophase, err)
	}
	ctl := func(f func(c *control.Control)) func(b []byte) {
		return func(b []byte) {
			c, err := control.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			f(&c)
			if err := control.Patch(b, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A log's last entry before the checkpoint's next number.
	var next control.Control
	b, err := os.ReadFile(filepath.Join(data, "global/pg_control"))
	if err == nil {
		next, err = control.Parse(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	xid, multi, member := int(next.CheckPoint.NextXID)-1, int(next.CheckPoint.NextMulti)-1, next.CheckPoint.NextMultiOffset-1
	group := int(member/4) * 20 // 4 status bytes, then 4 ids
	status, memberXID := group+int(member%4), group+4+4*int(member%4)
	return []tamper{
		{"a transaction's fate", "pg_xact/0000", flip(xid / 4)},
		{"where a multixact begins", "pg_multixact/offsets/0000", flip(4 * multi)},
		{"a member's status", "pg_multixact/members/0000", flip(status)},
		{"a member", "pg_multixact/members/0000", flip(memberXID)},
		{"a commit's time", "pg_commit_ts/0000", flip(10 * int(next.CheckPoint.NewestCommitTsXID))},
		{"a prepared transaction", "pg_twophase/" + filepath.Base(twophase[0]), flip(100)},
		{"a database's map", filepath.Join(filepath.Dir(paths["t"]), "pg_filenode.map"), flip(500)},
		{"the next transaction", "global/pg_control", ctl(func(c *control.Control) { c.CheckPoint.NextXID++ })},
		{"the next multixact", "global/pg_control", ctl(func(c *control.Control) { c.CheckPoint.NextMulti++ })},
		{"the place of the checkpoint", "global/pg_control", ctl(func(c *control.Control) { c.CheckPointLSN -= 8 })},
		{"a table's first xmin", paths["t"], func(b []byte) { b[pg.Page(b).Item(1).Offset()] ^= 1 }},
		{"the LSN of a table's page", paths["t"], flip(4)},
		{"a byte of a page never touched", paths["pg_language"], flip(pg.BlockSize - 1)},
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
