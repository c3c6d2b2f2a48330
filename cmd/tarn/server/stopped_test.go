package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/rest"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/materialize"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/datadir"
)

// stoppedPages serves the engine from a stopped server's data directory: Postgres's own pages, none of our redo.
type stoppedPages struct {
	mu    sync.Mutex
	dir   *datadir.Dir
	dirty map[pg.RelFileLocator]*roaring.Bitmap
}

func openStopped(t *testing.T, root string) *stoppedPages {
	d, err := datadir.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	p := &stoppedPages{dir: d, dirty: map[pg.RelFileLocator]*roaring.Bitmap{}}
	forks, err := d.Forks()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range forks {
		if f.Fork == pg.MainFork {
			b := roaring.New()
			b.AddRange(0, 4096)
			p.dirty[f.Rel] = b
		}
	}
	return p
}

func (p *stoppedPages) Major() pg.Major { return p.dir.Major() }

func (p *stoppedPages) RelMap(db pg.OID) map[pg.OID]pg.OID {
	path := filepath.Join(p.dir.Root(), "global", "pg_filenode.map")
	if db != 0 {
		path = filepath.Join(p.dir.Root(), "base", fmt.Sprint(db), "pg_filenode.map")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	m, err := control.ParseRelMap(p.dir.Major(), b)
	if err != nil {
		return nil
	}
	out := map[pg.OID]pg.OID{}
	for _, e := range m {
		out[e.OID] = e.File
	}
	return out
}

// No table here has a history.
func (p *stoppedPages) NoteChanges(bool, []pg.RelFileLocator) {}

func (p *stoppedPages) CommitOf(pg.XID) (pageserver.Commit, bool) { return pageserver.Commit{}, false }

func (p *stoppedPages) Deleters(pg.RelFileLocator, pg.TID) []pg.XID { return nil }

func (p *stoppedPages) Committed(xid pg.XID) (bool, error) {
	b, err := os.ReadFile(filepath.Join(p.dir.Root(), "pg_xact", fmt.Sprintf("%04X", xid/(32768*32))))
	if err != nil {
		return false, err
	}
	at := xid % (32768 * 32)
	return b[at/4]>>(2*(at%4))&3 == 1, nil
}

func (p *stoppedPages) MultiXactUpdater(m pg.MultiXactID) (pg.XID, bool, error) {
	off, err := os.ReadFile(filepath.Join(p.dir.Root(), "pg_multixact", "offsets", fmt.Sprintf("%04X", m/65536)))
	if err != nil {
		return 0, false, err
	}
	members, err := os.ReadFile(filepath.Join(p.dir.Root(), "pg_multixact", "members", "0000"))
	if err != nil {
		return 0, false, err
	}
	from, to := binary.LittleEndian.Uint32(off[4*m:]), binary.LittleEndian.Uint32(off[4*m+4:])
	if to == 0 {
		to = from + 2
	}
	for i := from; i < to; i++ { // groups of 4 flag bytes and 4 xids, 409 groups to a page
		group := i / 4
		at := group/409*8192 + group%409*20
		if members[at+i%4] >= 4 {
			return pg.XID(binary.LittleEndian.Uint32(members[at+4+i%4*4:])), true, nil
		}
	}
	return 0, false, nil
}

func (p *stoppedPages) NBlocks(_ context.Context, rel pg.RelFileLocator, fork pg.ForkNumber) (pg.BlockNumber, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.dir.Blocks(datadir.Fork{Rel: rel, Fork: fork})
	return n, true, err
}

func (p *stoppedPages) Page(_ context.Context, rel pg.RelFileLocator, fork pg.ForkNumber, blk pg.BlockNumber) (pg.Page, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	page := make(pg.Page, pg.BlockSize)
	ok, err := p.dir.ReadPage(datadir.Fork{Rel: rel, Fork: fork}, blk, page)
	if err != nil || !ok || page.IsNew() {
		return nil, err
	}
	return page, nil
}

func (p *stoppedPages) Scan(ctx context.Context, rel pg.RelFileLocator, fork pg.ForkNumber, from, to pg.BlockNumber, fn func(pg.BlockNumber, pg.Page) error) error {
	for b := from; b < to; b++ {
		page, err := p.Page(ctx, rel, fork, b)
		if err != nil {
			return err
		}
		if page == nil {
			continue
		}
		if err := fn(b, page); err != nil {
			return err
		}
	}
	return nil
}

func (p *stoppedPages) RelationCreated(pg.RelFileLocator) (pg.LSN, bool) { return 1, true }
func (p *stoppedPages) TakeDirty() map[pg.RelFileLocator]*roaring.Bitmap { return p.dirty }
func (p *stoppedPages) Published()                                       {}
func (p *stoppedPages) ReturnDirty()                                     {}

// startReaders starts the two engines that are the oracle of rows.
func startReaders(t *testing.T) []*lakecheck.Reader {
	var out []*lakecheck.Reader
	for _, name := range []string{lakecheck.PyIceberg, lakecheck.DuckDB} {
		python, err := lakecheck.FindPython(t.Context(), name)
		if err != nil {
			pgtest.Missing(t, err)
		}
		r, err := lakecheck.StartReader(context.Background(), python, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		out = append(out, r)
	}
	return out
}

// compare reads every column of every row of a database from Postgres and through each reader.
func compare(t *testing.T, dsn, catalogURL string, readers []*lakecheck.Reader) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	report, err := lakecheck.Compare(t.Context(), conn, catalogURL, "app", nil, readers...)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Equal() {
		t.Errorf("Postgres and the lake differ:\n%s", report)
	}
}

// TestCutsOverStoppedServer publishes from the pages Postgres itself wrote, before and after changes, and compares
// row counts. What is wrong here is in catalogs, visibility, decoding or the diff, never in redo.
func TestCutsOverStoppedServer(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) { cutsOverStopped(t, major) })
	}
}

func cutsOverStopped(t *testing.T, major int) {
	ctx := context.Background()
	srv := pgtest.NewTestServer(t, pgtest.Options{Major: major, Databases: []string{"app"}})
	store, err := objstore.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Open(ctx, catalog.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer cat.Close()
	eng, err := materialize.New(ctx, materialize.Options{Store: store, Publisher: cat, ToastDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	handler, err := rest.New(rest.Options{View: cat.View()})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(handler)
	defer web.Close()
	readers := startReaders(t)
	cut := func(lsn pg.LSN) materialize.CutResult {
		if err := srv.Stop(pgtest.Fast); err != nil {
			t.Fatal(err)
		}
		eng.SetLCMonetary("C")
		eng.Attach(openStopped(t, srv.DataDir()))
		res, err := eng.Cut(ctx, materialize.CutPoint{LSN: lsn, Timeline: 1, SystemID: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		for _, s := range eng.Status() {
			t.Logf("%+v", s)
			want, err := srv.QueryText(ctx, "app", "select count(*) from "+s.Name[len("app."):])
			if s.State == "live" && (err != nil || want != fmt.Sprint(s.Rows)) {
				t.Errorf("%s has %d rows, Postgres %s %v", s.Name, s.Rows, want, err)
			}
			if s.State == "error" {
				t.Errorf("%s: %s", s.Name, s.Error)
			}
		}
		compare(t, srv.ConnString("app"), web.URL, readers)
		return res
	}
	must := func(sql ...string) {
		t.Helper()
		if err := srv.Exec(ctx, "app", sql...); err != nil {
			t.Fatal(err)
		}
	}
	must(`create table a (id bigint primary key, n numeric(12,2), t text, j jsonb, tags text[], at timestamptz default now())`,
		`insert into a select i, i*1.5, 'row '||i, jsonb_build_object('i', i, 's', repeat('x', i%50)), array['a','b'||i] from generate_series(1,5000) i`,
		`create table p (id int, d date) partition by range (id)`, `create table p1 partition of p for values from (0) to (100)`, `create table p2 partition of p for values from (100) to (1000)`,
		`insert into p select i, date '2020-01-01' + i from generate_series(1,500) i`,
		`create table big (id int, blob text)`, `insert into big select i, (select string_agg(md5((i*k)::text), '') from generate_series(1,400) k) from generate_series(1,50) i`,
		`create table price (id int, m money)`, `insert into price values (1, 1234567.8), (2, -0.05), (3, null)`,
		`create materialized view mv as select id, t from a where id < 100`, `create unlogged table u (id int)`, `create table empty (id int)`)
	cut(0x1000)
	must(`update a set t = t || '!' where id % 7 = 0`, `delete from a where id % 11 = 0`, `vacuum a`, `insert into a select i, null, 'new' from generate_series(6000,6200) i`,
		`begin; insert into a values (9999); rollback`, `update p set id = id + 100 where id between 50 and 60`, `update big set id = id + 1000 where id < 10`,
		`alter table a add column extra int default 7`, `alter table big rename to large`, `truncate empty`, `drop materialized view mv`, `vacuum full p1`)
	cut(0x2000)
	res := cut(0x3000)
	if res.RowsIn != 0 || res.RowsOut != 0 {
		t.Errorf("nothing changed, yet %d rows came and %d went", res.RowsIn, res.RowsOut)
	}
}
