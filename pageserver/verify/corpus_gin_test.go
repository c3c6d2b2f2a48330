package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/ginrec"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// TestGinAgainstServers redoes what servers wrote of GIN indexes under concurrent sessions killed in the middle of it: every
// page they logged an image of, and every page of those indexes they stopped with.
func TestGinAgainstServers(t *testing.T) {
	if !pgtest.Long() && os.Getenv("TARN_PGRELEASE") == "" {
		t.Skip("the recorded fixtures are enough for a short run; TARN_LONG=1 or TARN_PGRELEASE=18.6 runs servers")
	}
	for _, from := range sources() {
		t.Run(from.release, func(t *testing.T) {
			c, crashes := makeGinCorpus(t, from, pgtest.Seed(t))
			checkGinCorpus(t, c, crashes)
		})
	}
}

const ginSchema = `
create table doc (id serial, k int, tags int[], j jsonb, body tsvector) with (autovacuum_enabled = off);
create index on doc using gin (tags) with (fastupdate = off);
create index on doc using gin (j) with (fastupdate = on, gin_pending_list_limit = 64);
create index on doc using gin (j jsonb_path_ops) with (fastupdate = off);
create index on doc using gin (body);
create index on doc using gin (tags, body) with (fastupdate = on);
create table wide (id serial, k text[]);
create index wide_k on wide using gin (k) with (fastupdate = off);
create table same (n int);
insert into same select 1 from generate_series(1, 47000);
create index same_n on same using gin ((array[n])) with (fastupdate = off);
create table few (n int);
create index few_n on few using gin ((array[n % 3])) with (fastupdate = on, gin_pending_list_limit = 256);
`

var ginActions = []action{
	script(`insert into doc (k, tags, j, body) select #, array[i, i % 7, #], jsonb_build_object('a', i, 'b', array['x' || #, 'y']), to_tsvector('simple', 'common word' || i || ' other' || #) from generate_series(1, 1 + # / 100) i`),
	script(`insert into doc (k, tags, j, body) values (#, null, null, null), (#, '{}', '{}', ''), (#, '{null,1}', '[null]', 'a b c')`),
	script(`insert into doc (k, tags) select #, array_agg((random() * 100000)::int) from generate_series(1, 20 + # / 20)`),
	script(`update doc set tags = tags || #, k = # where k = #`),
	script(`delete from doc where k between # and #`),
	script(`begin; insert into doc (k, tags, body) values (#, '{1,2,3}', 'lost'); rollback`),
	ginWide, ginWide, ginWide, ginWide,
	script(`delete from wide where id % 10 = # % 10`),
	script(`insert into same select 1 from generate_series(1, 1 + # / 50)`),
	script(`insert into few select # from generate_series(1, #)`),
	script(`delete from few where n % 20 = # % 20`),
}

// ginWide adds keys of half a kilobyte: a page has room for sixteen.
var ginWide = script(`insert into wide (k) select array_agg(repeat(md5(random()::text), 15)) from generate_series(1, 1 + # / 250)`)

var ginMaintenance = []action{
	script(`vacuum doc; vacuum wide`), script(`vacuum few; vacuum wide`), script(`checkpoint`),
	script(`delete from same where ctid >= '(40,1)' and ctid < '(120,1)' and # < 300; vacuum same`),
	script(`delete from same where (ctid::text::point)[0]::int % 50 = # % 50; vacuum same`),
	script(`insert into same select 1 from generate_series(1, 300)`),
	script(`select gin_clean_pending_list(c.oid) from pg_class c join pg_am a on a.oid = c.relam where a.amname = 'gin'`),
	script(`alter index wide_k set (fastupdate = on); insert into wide (k) select array_agg(repeat(md5(random()::text), 15)) from generate_series(1, 200); select gin_clean_pending_list('wide_k'); alter index wide_k set (fastupdate = off)`),
	script(`alter index same_n set (fastupdate = on); insert into same select 1 from generate_series(1, #); select gin_clean_pending_list('same_n'); alter index same_n set (fastupdate = off)`),
	script(`alter system set full_page_writes = off; select pg_reload_conf(); select pg_sleep(0.5); alter system set full_page_writes = on; select pg_reload_conf()`),
}

// makeGinCorpus runs the workload over a new server with some crashes, whose places in the WAL it returns. Nothing in it drops files:
// recovery checks its own pages too, and takes a page of zeros in a file that is dropped later for one redone wrongly.
func makeGinCorpus(t *testing.T, from source, seed uint64) (_ corpus, crashes []pg.LSN) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	srv, c := startCorpus(ctx, t, from, map[string]string{
		"wal_consistency_checking": "gin", "wal_keep_size": "60GB", "max_wal_size": "60GB", "fsync": "off", "synchronous_commit": "off",
		"checkpoint_timeout": "30s", "autovacuum": "off", "lock_timeout": "2s", "shared_buffers": "32MB",
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(srv.Exec(ctx, "postgres", ginSchema))
	w := workload{t: t, srv: srv, seed: seed}
	mixed := [][]action{ginActions, ginActions, ginActions, {ginWide}, ginMaintenance}
	splits := [][]action{{ginWide}, {ginWide}, {ginWide}, {ginWide}, {ginWide}, {ginWide}}
	for i := range 6 {
		if i < 2 {
			w.ginRun(ctx, corpusTime(t), mixed, srv.Kill9)
		} else { // so many splits at once that WAL is likely to end within one
			w.ginRun(ctx, 500*time.Millisecond, splits, srv.Kill9)
		}
		must(srv.Restart(ctx))
		text, err := srv.QueryText(ctx, "postgres", "select redo_lsn::text from pg_control_checkpoint()")
		must(err)
		at, err := pg.ParseLSN(text)
		must(err)
		crashes = append(crashes, at)
		w.seed++
	}
	w.ginRun(ctx, corpusTime(t), mixed, func() error { return nil })
	must(srv.Exec(ctx, "postgres", "vacuum doc", "vacuum wide", "delete from same where ctid >= '(40,1)' and ctid < '(120,1)'", "vacuum same", "vacuum few"))
	must(srv.Stop(pgtest.Fast))
	return c, crashes
}

// ginRun works for d and then calls end while all sessions are still at it.
func (w *workload) ginRun(ctx context.Context, d time.Duration, sessions [][]action, end func() error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for i, actions := range sessions {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w.session(ctx, rand.New(rand.NewPCG(w.seed, uint64(i))), actions)
		}()
	}
	time.Sleep(d)
	if err := end(); err != nil {
		w.t.Error(err)
	}
	cancel()
	wg.Wait()
}

func checkGinCorpus(t *testing.T, c corpus, crashes []pg.LSN) {
	t.Helper()
	v, err := open(c.base)
	if err != nil {
		t.Fatal(err)
	}
	defer v.pages.base.Close()
	type place struct {
		rel pg.RelFileLocator
		blk pg.BlockNumber
	}
	seen, images, incomplete := map[string]int{}, map[string]int{}, map[place]pg.LSN{}
	finished := 0
	v.fault = func(before, after pg.Page, rec *wal.Record, blk *wal.BlockRef) {
		if rec.RMID != wal.RMGin {
			return
		}
		if blk.ID == rec.Blocks[0].ID {
			seen[rec.TypeName()]++
		}
		if redo.HasCheck(blk) {
			images[fmt.Sprintf("%s %d", rec.TypeName(), blk.ID)]++
		}
		// A split that the crash left for a later record to finish.
		if was, is := ginKind(before, ginrec.PageIncompleteSplit, ginrec.PageIncompleteSplit), ginKind(after, ginrec.PageIncompleteSplit, ginrec.PageIncompleteSplit); is && !was {
			incomplete[place{blk.Rel, blk.Block}] = rec.LSN
		} else if was && !is {
			for _, crash := range crashes {
				if incomplete[place{blk.Rel, blk.Block}] < crash && rec.LSN >= crash {
					finished++
					break
				}
			}
		}
	}
	err = v.redoFolder(context.Background(), c.wal, nil)
	r := v.finish()
	if err != nil {
		t.Fatalf("after %s: %v", r.End, err)
	}
	all, err := v.compareFinal(context.Background(), c.final)
	if err != nil {
		t.Fatal(err)
	}
	final := all.ByRmgr["Gin"]
	t.Logf("%d records, %d MB, Gin %+v, final pages %+v", r.Records, r.Bytes>>20, r.ByRmgr["Gin"], final)
	t.Logf("records %v", seen)
	t.Logf("images %v; %d splits finished after a crash", images, finished)
	for _, m := range r.First {
		t.Errorf("%v", m)
	}
	for _, d := range all.First {
		t.Logf("final: %v", d)
	}
	if !r.OK() || r.Skipped != 0 || final.Differ+final.Unknown != 0 || final.Pages == 0 {
		t.Errorf("not verified: %d images, %d mismatches, %d skipped, %d invalid pages; final %+v",
			r.ImagesCompared, r.Mismatches, r.Skipped, r.InvalidPages, final)
	}
	for _, name := range ginTypes(v.pages.base.Major()) {
		if seen[name] == 0 {
			t.Errorf("there was no %s", name)
		}
	}
}
