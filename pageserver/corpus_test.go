package pageserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// corpus is what a real server did: a base to import, WAL from there on, and how the server stopped.
type corpus struct {
	base       string                     // folder
	start, end pg.LSN                     // of a base backup; 0 if the base is of a stopped server
	final      string                     // data directory of the stopped server
	wal        string                     // folder
	tids       map[string]map[string]bool // table file path -> ctids the server saw at the end
	times      map[pg.XID]commitTime      // pg_xact_commit_timestamp_origin at the end
	xids       map[pg.XID]string          // pg_xact_status at the end
}

const corpusSchema = `
create table hot (id int primary key, n int, filler text) with (fillfactor = 60);
create table wide (id serial primary key, a int, b text, c text);
create index on wide (a);
create table locked (id int primary key, v int);
create table child (id serial primary key, parent int references locked (id));
create table toasty (id int primary key, big text);
alter table toasty alter big set storage external;
create table bulk (id int, t text);
create table idx (id serial, h text, arr int[], p point, r int4range, word text) with (fillfactor = 80);
create index on idx using hash (h);
create index on idx using gin (arr);
create index on idx using gist (p);
create index on idx using gist (r);
create index on idx using spgist (p);
create index on idx using spgist (word);
create index on idx using brin (id) with (pages_per_range = 2, autosummarize = on);
create index on idx (word, id desc) include (h);
create extension bloom;
create index on idx using bloom (h, id);
create sequence counted;
create unlogged table scratch (id int primary key, t text);
create index on scratch using gin (string_to_array(t, ' '));
select pg_replication_origin_create('elsewhere');
select pg_replication_origin_create('gone');
insert into hot select i, 0, repeat('x', i % 100) from generate_series(1, 2000) i;
insert into locked select i, 0 from generate_series(1, 300) i;
insert into wide (a, b) select i, md5(i::text) from generate_series(1, 30000) i;
insert into toasty select i, repeat(md5(i::text), 200) from generate_series(1, 50) i`

// corpusActions are scripts for several sessions at once; # is a random number of 0-999.
var corpusActions = []string{
	`update hot set n = n + 1 where id = #`,
	`begin; update hot set n = 1 where id = #; update hot set n = 2 where id = #; rollback`,
	`insert into wide (a, b, c) select i, md5(i::text), repeat('c', i % 50) from generate_series(1, #) i`,
	`update wide set b = 'changed' || b where id % 1000 = #`,
	`delete from wide where a between # and #`,
	`begin; select 1 from locked where id = # for share; savepoint a; update locked set v = v + 1 where id = #; rollback to a; select 1 from locked where id = # for update; commit`,
	`begin; select 1 from locked where id between # and 300 for key share; update locked set v = v + 1 where id = #; commit`,
	`begin; select 1 from locked where id < 20 for key share; select pg_sleep(0.01); commit`,
	`begin; select 1 from locked where id < 40 for key share; savepoint a; update locked set v = v + 1 where id < 40; rollback to a; update locked set v = v + 2 where id < 30; commit`,
	`begin; select 1 from locked where id = # % 300 + 1 for key share; savepoint a; update locked set v = v - 1 where id = # % 300 + 1; release a; commit`,
	`begin; select 1 from locked where id < 20 for no key update; update locked set v = v + 1 where id < 20; select pg_sleep(0.01); commit`,
	`begin; insert into child (parent) values (# % 300 + 1); savepoint a; insert into child (parent) values (# % 300 + 1); release a; select pg_sleep(0.02); commit`,
	`begin; update wide set a = -1 where id between # and # + 50; select pg_sleep(0.2); commit`,
	`begin; insert into bulk select i, 'slow' from generate_series(1, 300) i; select pg_sleep(0.3); commit`,
	`begin; insert into bulk select i, 'prepared' from generate_series(1, #) i; savepoint s; update hot set n = -1 where id = #; prepare transaction 'g#'; select pg_sleep(0.1)`,
	`commit prepared 'g#'`, `commit prepared 'g#'`, `rollback prepared 'g#'`,
	`update toasty set big = repeat(md5('#'), 100 + #) where id = # % 50`,
	`delete from bulk where id = #; vacuum bulk`, `vacuum wide`, `vacuum (freeze) hot`, `vacuum (freeze) locked`,
	`checkpoint`, `truncate bulk`, `begin; truncate bulk; insert into bulk values (1, 'x'); rollback`,
	`drop table if exists shrink#; create table shrink# as select i from generate_series(1, 20000) i; delete from shrink# where i > 500; vacuum shrink#`,
	`drop table if exists same; begin; create table same (id int, t text); insert into same select i, 'x' from generate_series(1, 3000) i; truncate same; insert into same values (1); commit`,
	`vacuum full locked`, `select pg_switch_wal()`,
	`insert into idx (h, arr, p, r, word) select md5((# + i)::text), array[i, i % 7, #], point(# + i % 13, i), int4range(i, i + # + 1), md5(i::text) from generate_series(1, 200) i`,
	`update idx set h = md5(h), arr = arr || #, p = point(#, #) where id % 997 = # % 997`,
	`update idx set word = 'w' || # where id between # and # + 20`, `delete from idx where id % 1000 between # and 1000 - #`,
	`begin; insert into idx (h, arr) select 'undone', array[#] from generate_series(1, 100); savepoint a; delete from idx where id % 1000 = #; rollback`,
	`vacuum idx`, `vacuum (index_cleanup on, freeze) idx`, `reindex table idx`, `select brin_summarize_new_values('idx_id_idx')`,
	`select gin_clean_pending_list('idx_arr_idx')`,
	`select nextval('counted'), nextval('counted')`, `select setval('counted', #)`, `select nextval('counted') from generate_series(1, #)`,
	`insert into scratch select i, md5(i::text) from generate_series(1, #) i on conflict do nothing`, `truncate scratch`,
	`select pg_logical_emit_message(# % 2 = 0, 'note', repeat('m', #))`, `select pg_create_restore_point('here#')`,
	`begin; truncate idx; insert into idx (h) values ('#'); commit`,
	`create temp table lob as select lo_create(0) o; select lo_put(o, 0, decode(repeat('ab', #), 'hex')) from lob; drop table lob`,
	`select pg_replication_origin_session_setup('elsewhere'); begin; select pg_replication_origin_xact_setup('0/1000#', now() - interval '# days'); insert into bulk values (#, 'from elsewhere'); commit; select pg_replication_origin_session_reset()`,
	`select pg_replication_origin_advance('gone', '0/2000#')`,
}

var corpusOnce = []string{
	`create database walcopy strategy wal_log`, `drop database walcopy`, `create database filecopy template app strategy file_copy`,
	`drop database if exists filecopy2`, `create database filecopy2 template app strategy file_copy`, `drop database filecopy2`,
	`alter database filecopy set tablespace inplace`, `create tablespace second location ''`, `drop tablespace second`,
	`select pg_replication_origin_drop('gone')`,
	`insert into idx (h, arr, p, r, word) select md5(i::text), array[i, i % 7], point(i % 13, i), int4range(i, i + 5), md5(i::text) from generate_series(1, 6000) i`,
	`delete from idx where id % 3 = 0`, `vacuum idx`, `insert into idx (h, arr, word) select md5(i::text), array[i], i::text from generate_series(1, 1000) i`,
}

func (c *corpus) session(ctx context.Context, srv *pgtest.Server, r *rand.Rand) {
	conn, err := pgx.Connect(ctx, srv.ConnString("postgres"))
	if err != nil {
		return
	}
	defer conn.Close(context.Background())
	for ctx.Err() == nil {
		for _, s := range strings.Split(corpusActions[r.IntN(len(corpusActions))], ";") {
			for strings.Contains(s, "#") {
				n := r.IntN(1000)
				if strings.Contains(s, "g#") || strings.Contains(s, "shrink#") {
					n = n % 6 // names must meet again
				}
				s = strings.Replace(s, "#", fmt.Sprint(n), 1)
			}
			if _, err := conn.Exec(ctx, s); err != nil {
				break // deadlocks and names in use are part of it
			}
		}
		if conn.IsClosed() {
			return
		}
		if conn.PgConn().TxStatus() != 'I' {
			_, _ = conn.Exec(ctx, "rollback")
		}
	}
}

// makeCorpus runs a server through a workload with a crash in its midst. online takes the base while it runs.
func makeCorpus(t *testing.T, major int, seed uint64, d time.Duration, online bool) *corpus {
	t.Helper()
	ctx := context.Background()
	var initdb []string
	if online {
		initdb = []string{"--data-checksums"}
	}
	srv := pgtest.NewTestServer(t, pgtest.Options{Major: major, Databases: []string{"app"}, Settings: map[string]string{
		"wal_keep_size": "8GB", "max_prepared_transactions": "10", "allow_in_place_tablespaces": "on", "autovacuum_naptime": "1s",
		"max_wal_size": "64MB", "checkpoint_timeout": "30s", "log_min_messages": "error", "lock_timeout": "1s",
		// Those with commit times from the beginning have checksums, so that hints and free space maps are in the WAL.
		"track_commit_timestamp": onOff(online), "gin_pending_list_limit": "64kB",
	}, InitdbArgs: initdb})
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	must(srv.Exec(ctx, "postgres", strings.Split(corpusSchema, ";")...))
	must(srv.Exec(ctx, "postgres", "create tablespace inplace location ''"))
	must(srv.Exec(ctx, "app", "create table t as select i, md5(i::text) from generate_series(1, 5000) i", "create index on t (i)"))
	c := &corpus{base: filepath.Join(t.TempDir(), "base"), final: srv.DataDir(), wal: filepath.Join(srv.DataDir(), "pg_wal"), tids: map[string]map[string]bool{}, xids: map[pg.XID]string{}, times: map[pg.XID]commitTime{}}
	if !online {
		must(srv.Stop(pgtest.Fast))
		must(copyTree(srv.DataDir(), c.base))
		must(srv.Restart(ctx))
	}
	run := func(d time.Duration) {
		work, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 4 {
			seed += 1000
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			wg.Go(func() { c.session(work, srv, r) })
		}
		if online && c.end == 0 {
			c.backup(t, srv)
		}
		wg.Wait()
	}
	run(d / 2)
	must(srv.Exec(ctx, "postgres", "alter system set track_commit_timestamp = on")) // if it was not
	crash := make(chan struct{})
	go func() {
		defer close(crash)
		run(d / 4)
	}()
	time.Sleep(d / 8)
	must(srv.Kill9())
	<-crash
	must(srv.Restart(ctx))
	run(d / 4)
	for _, s := range corpusOnce {
		must(srv.Exec(ctx, "postgres", s))
	}
	// A vacuum that the end of the server cuts short would change what was just noted.
	must(srv.Exec(ctx, "postgres", "alter system set autovacuum = off", "select pg_reload_conf()"))
	must(srv.Exec(ctx, "postgres", "select pg_sleep(0.5)", "select pg_terminate_backend(pid, 10000) from pg_stat_activity where backend_type = 'autovacuum worker'"))
	// What is still prepared stays so: it must neither be seen nor forgotten.
	c.see(t, srv, "postgres")
	c.see(t, srv, "filecopy")
	c.seeXIDs(t, srv)
	c.seeTimes(t, srv)
	must(srv.Stop(pgtest.Fast))
	return c
}

// backup copies the running server's directory as pg_basebackup would.
func (c *corpus) backup(t *testing.T, srv *pgtest.Server) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, srv.ConnString("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var start, end string
	if err := conn.QueryRow(ctx, "select pg_backup_start('test', true)::text").Scan(&start); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(srv.DataDir(), c.base); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(ctx, "select lsn::text from pg_backup_stop(false)").Scan(&end); err != nil {
		t.Fatal(err)
	}
	c.start, _ = pg.ParseLSN(start)
	c.end, _ = pg.ParseLSN(end)
}

// copyTree copies files that may change or vanish meanwhile.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		dst := filepath.Join(to, strings.TrimPrefix(path, from))
		if e.IsDir() {
			return os.MkdirAll(dst, 0o755)
		}
		if strings.Contains(path, "/pg_wal/") || !e.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(dst, data, 0o644)
	})
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// importBase imports the corpus's base.
func (c *corpus) importBase(t *testing.T, o Options) *Timeline {
	t.Helper()
	tl, err := importFolder(o, c.base, c.start, c.end)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

func importFolder(o Options, dir string, start, end pg.LSN) (*Timeline, error) {
	ctx := context.Background()
	im, err := NewImport(ctx, o, ImportInfo{})
	if err != nil {
		return nil, err
	}
	defer im.Abort()
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return im.File(ctx, 0, rel, info.Size(), f)
	})
	if err != nil {
		return nil, err
	}
	return im.Finish(ctx, start, end)
}

// records reads the corpus's WAL from an LSN on.
func (c *corpus) records(t *testing.T, from pg.LSN) *wal.Reader {
	t.Helper()
	src, err := waldir.Open(c.wal, waldir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	r, err := wal.NewReader(wal.Options{Source: src, Start: from, EndAtInvalid: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// applyAll applies WAL in batches of several sizes until it ends, or until says so. It is asked for each record after its batch, which
// ends before a record of the XLOG manager.
func (c *corpus) applyAll(t *testing.T, tl *Timeline, until func(*wal.Record) bool) (records int, ended bool) {
	t.Helper()
	r := c.records(t, tl.ResumeLSN())
	if tl.RedoLSN() != tl.ResumeLSN() {
		t.Fatal("not a fresh timeline")
	}
	for n := 0; ; n++ {
		recs, err := r.NextBatch([]int{1, 600, 7, BatchRecords, 60}[n%5])
		if errors.Is(err, io.EOF) || errors.Is(err, wal.ErrNoMoreYet) {
			if err := tl.Barrier(); err != nil {
				t.Fatal(err)
			}
			return records, true
		}
		if err != nil {
			t.Fatal(err)
		}
		for len(recs) > 0 {
			some := recs[:1]
			for len(some) < len(recs) && recs[len(some)].RMID != wal.RMXLog {
				some = recs[:len(some)+1]
			}
			recs = recs[len(some):]
			if _, err := tl.ApplyBatch(context.Background(), some); err != nil {
				t.Fatal(err)
			}
			records += len(some)
			for i := range some {
				if until != nil && until(&some[i]) {
					return records, false
				}
			}
		}
	}
}
