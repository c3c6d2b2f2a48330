package pageserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/pageserver/cluster"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// checkCluster compares what a timeline keeps beside relations' pages with the files of the server that has stopped where it
// stands.
func (c *corpus) checkCluster(t *testing.T, tl *Timeline) {
	t.Helper()
	for k := slru.Kind(0); k < slru.Kinds; k++ {
		compareSLRU(t, tl, c.final, k)
	}
	compareSmall(t, tl, c.final)
	compareControl(t, tl, c.final)
	wrong := 0
	for xid, want := range c.times {
		at, origin, ok, err := tl.CommitTime(context.Background(), xid)
		if err != nil || !ok || int64(at) != want.at || int64(origin) != want.origin {
			wrong++
			t.Logf("transaction %d committed at %d from %d, %v, %v; the server says %v", xid, at, origin, ok, err, want)
		}
	}
	if wrong > 0 || len(c.times) == 0 {
		t.Errorf("%d of %d commit times are wrong", wrong, len(c.times))
	}
}

// compareSLRU compares an SLRU with its files: the same segments, of the same length, and every byte that matters.
func compareSLRU(t *testing.T, tl *Timeline, dataDir string, k slru.Kind) {
	t.Helper()
	next := slru.Next{Multi: tl.CheckPoint().NextMulti, Offset: tl.CheckPoint().NextMultiOffset}
	files, err := os.ReadDir(filepath.Join(dataDir, filepath.FromSlash(k.Folder())))
	if err != nil {
		t.Fatal(err)
	}
	var theirs slru.Set
	pages := 0
	for _, f := range files {
		segment, err := strconv.ParseUint(f.Name(), 16, 32)
		if err != nil || f.Name() != slru.SegmentName(uint32(segment)) {
			continue // offsets and members beside each other
		}
		data, err := os.ReadFile(filepath.Join(dataDir, filepath.FromSlash(k.Folder()), f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint32(len(data) / pg.BlockSize) {
			no := uint32(segment)*slru.SegmentPages + i
			theirs.Add(no)
			ours, ok, err := tl.SLRUPage(context.Background(), k, no)
			if err != nil || !ok {
				t.Errorf("%s page %d: %v, %v", k, no, ok, err)
				continue
			}
			want, got := bytes.Clone(data[i*pg.BlockSize:(i+1)*pg.BlockSize]), bytes.Clone(ours)
			slru.Mask(k, no, want, next)
			slru.Mask(k, no, got, next)
			for at := range want {
				if got[at] != want[at] {
					t.Errorf("%s page %d byte %d is %#x, the server's is %#x", k, no, at, got[at], want[at])
					break
				}
			}
			pages++
		}
	}
	if fmt.Sprint(tl.SLRUPages(k)) != fmt.Sprint(theirs.Runs()) {
		t.Errorf("%s has pages %v, the server's %v", k, tl.SLRUPages(k), theirs.Runs())
	}
	t.Logf("%s: %d pages compared, %v", k, pages, theirs.Runs())
}

// compareSmall compares relation maps, two-phase state files and the progress of replication origins.
func compareSmall(t *testing.T, tl *Timeline, dataDir string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dataDir, "pg_twophase", "*"))
	prepared := tl.TwoPhase()
	for _, f := range files {
		want, err := os.ReadFile(f)
		i := slices.IndexFunc(prepared, func(p TwoPhaseFile) bool { return p.Name == filepath.Base(f) })
		if err != nil || i < 0 || !bytes.Equal(prepared[i].Data, want) {
			t.Errorf("two-phase state file %s: %d, %v", filepath.Base(f), i, err)
		}
	}
	if len(prepared) != len(files) {
		t.Errorf("%d transactions prepared, the server has %d", len(prepared), len(files))
	}
	maps := 0
	for k, ours := range tl.small {
		if k.Kind() != key.RelMap {
			continue
		}
		folder := filepath.Join(dataDir, "global")
		if loc := k.Rel(); loc.Spc == pg.DefaultTablespace {
			folder = filepath.Join(dataDir, "base", fmt.Sprint(loc.DB))
		} else if loc.Spc != pg.GlobalTablespace {
			found, _ := filepath.Glob(filepath.Join(dataDir, "pg_tblspc", fmt.Sprint(loc.Spc), "PG_*", fmt.Sprint(loc.DB)))
			folder = fmt.Sprint(found)
			if len(found) == 1 {
				folder = found[0]
			}
		}
		theirs, err := os.ReadFile(filepath.Join(folder, "pg_filenode.map"))
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("relation map %s: %v", k, err)
		}
		maps++
	}
	if theirs, err := os.ReadFile(filepath.Join(dataDir, "pg_logical", "replorigin_checkpoint")); err == nil {
		want, err := cluster.ParseOrigins(theirs)
		if err != nil || !slices.Equal(tl.Cluster().Origins, want) {
			t.Errorf("replication origins %v, the server's %v, %v", tl.Cluster().Origins, want, err)
		}
		t.Logf("replication origins %v", want)
	}
	t.Logf("%d two-phase state files and %d relation maps compared", len(files), maps)
}

// compareControl compares counters and settings with pg_control.
func compareControl(t *testing.T, tl *Timeline, dataDir string) {
	t.Helper()
	dir, err := datadir.Open(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	c, err := dir.Control()
	if err != nil || c.State != control.ShutDown {
		t.Fatal(c.State, err)
	}
	want := cluster.New(&c)
	got := tl.Cluster()
	if got.CheckPoint != want.CheckPoint {
		t.Errorf("checkpoint\n%+v, the server's\n%+v", got.CheckPoint, want.CheckPoint)
	}
	if got.Settings != want.Settings || got.CommitTs != c.TrackCommitTimestamp {
		t.Errorf("settings %+v, the server's %+v", got.Settings, want.Settings)
	}
}

// checkFollowed compares the counters followed up to a shutdown checkpoint with what the server, which had given them out,
// wrote there.
func checkFollowed(t *testing.T, rec *wal.Record, ours xlrec.CheckPoint) {
	t.Helper()
	c, err := xlrec.DecodeCheckPoint(rec.Major, rec.Main)
	if err != nil {
		t.Fatal(err)
	}
	if ours.NextXID != c.NextXID || ours.NextMulti != c.NextMulti || ours.NextMultiOffset != c.NextMultiOffset ||
		ours.OldestMulti != c.OldestMulti || ours.OldestMultiDB != c.OldestMultiDB || ours.FullPageWrites != c.FullPageWrites ||
		ours.OldestCommitTsXID != c.OldestCommitTsXID || ours.NewestCommitTsXID != c.NewestCommitTsXID {
		t.Errorf("before the checkpoint at %s\n%+v, the server's\n%+v", rec.LSN, ours, c)
	}
	// What was logged ahead, and what only a checkpoint says.
	if c.NextOID > ours.NextOID || c.OldestXID.Precedes(ours.OldestXID) {
		t.Errorf("before the checkpoint at %s next OID %d, oldest xid %d; the server's %d, %d", rec.LSN, ours.NextOID, ours.OldestXID, c.NextOID, c.OldestXID)
	}
}

// TestClusterFiles follows servers of old and new minor releases through truncations of every SLRU but the commit log, whose
// segments hold a million transactions, a crash, and commit times switched on, off and on again; at each stop
// every file is the server's.
func TestClusterFiles(t *testing.T) {
	releases := []string{"15.1", "18.6"}
	if pgtest.Long() {
		releases = pgtest.Releases()
	}
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			if _, err := pgtest.ReleaseBin(release); err != nil {
				t.Fatal(err)
			}
			f := newClusterRun(t, release)
			f.do("create table m (id int primary key, v int)", "insert into m values (1, 0)")
			f.do(`do $$ begin for i in 1..34000 loop perform 1 from m where id = 1 for key share;
				begin update m set v = v + 1 where id = 1; exception when others then null; end; commit; end loop; end $$`)
			f.stop()
			f.do(`do $$ begin for i in 1..34000 loop perform 1 from m where id = 1 for key share;
				begin update m set v = v + 1 where id = 1; exception when others then null; end; commit; end loop; end $$`)
			f.do("alter database template0 allow_connections true")
			for range 2 {
				for _, db := range []string{"template0", "template1", "postgres"} {
					f.must(f.srv.Exec(f.ctx, db, "vacuum (freeze)"))
				}
			}
			f.do("begin", "insert into m values (2, 0)", "savepoint a", "insert into m values (3, 0)", "prepare transaction 'left open'")
			f.stop()
			f.do("insert into m values (4, 0)", "alter system set track_commit_timestamp = off", "alter system set max_connections = 77", "alter system set wal_level = logical")
			f.must(f.srv.Kill9())
			f.must(f.srv.Restart(f.ctx))
			f.do("commit prepared 'left open'", "insert into m values (5, 0)")
			f.stop()
			f.do("insert into m values (6, 0)", "alter system set track_commit_timestamp = on")
			f.must(f.srv.Stop(pgtest.Fast))
			f.must(f.srv.Restart(f.ctx))
			f.do("insert into m values (7, 0)")
			f.stop()
			seen := f.tl.Stats().Records
			if seen["MultiXact"] == 0 || seen["CommitTs"] == 0 || f.cuts[slru.Offsets] == 0 || f.cuts[slru.Members] == 0 || f.cuts[slru.CommitTs] < 2 {
				t.Errorf("records %v, segments cut off %v", seen, f.cuts)
			}
		})
	}
}

// clusterRun is a server and a timeline that follows it from stop to stop.
type clusterRun struct {
	t    *testing.T
	ctx  context.Context
	srv  *pgtest.Server
	tl   *Timeline
	c    corpus
	cuts map[slru.Kind]int
}

func newClusterRun(t *testing.T, release string) *clusterRun {
	f := &clusterRun{t: t, ctx: context.Background(), cuts: map[slru.Kind]int{}}
	f.srv = pgtest.NewTestServer(t, pgtest.Options{Release: release, Settings: map[string]string{
		"wal_keep_size": "8GB", "max_prepared_transactions": "10", "track_commit_timestamp": "on", "autovacuum": "off", "synchronous_commit": "off",
		"vacuum_freeze_min_age": "0", "vacuum_multixact_freeze_min_age": "0",
	}})
	f.must(f.srv.Stop(pgtest.Fast))
	f.c = corpus{base: filepath.Join(t.TempDir(), "base"), final: f.srv.DataDir(), wal: filepath.Join(f.srv.DataDir(), "pg_wal")}
	f.must(copyTree(f.srv.DataDir(), f.c.base))
	f.must(f.srv.Restart(f.ctx))
	f.tl = f.c.importBase(t, Options{Store: objstore.NewMem(), MemoryBytes: 64 << 20})
	t.Cleanup(func() { _ = f.tl.Close() })
	return f
}

func (f *clusterRun) must(err error) {
	if err != nil {
		f.t.Helper()
		f.t.Fatal(err)
	}
}

func (f *clusterRun) do(statements ...string) {
	f.t.Helper()
	conn, err := pgx.Connect(f.ctx, f.srv.ConnString("postgres"))
	f.must(err)
	defer conn.Close(f.ctx)
	for _, s := range statements {
		if _, err := conn.Exec(f.ctx, s); err != nil {
			f.t.Fatalf("%s: %v", s, err)
		}
	}
}

// stop stops the server, redoes what it did, compares everything, as it is and read back from the store, and starts it.
func (f *clusterRun) stop() {
	f.t.Helper()
	f.must(f.srv.Stop(pgtest.Fast))
	r := f.c.records(f.t, f.tl.RedoLSN())
	before := f.tl.CheckPoint()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, wal.ErrNoMoreYet) {
			break
		}
		f.must(err)
		f.must(f.tl.Apply(f.ctx, rec))
		if rec.RMID == wal.RMXLog && rec.Op() == xlrec.XLogCheckpointShutdown {
			checkFollowed(f.t, rec, before)
		}
		before = f.tl.CheckPoint()
	}
	f.compare()
	flush(f.t, f.tl)
	seen := f.tl.stats.records
	f.tl = reopen(f.t, f.tl)
	f.tl.stats.records = seen
	f.compare()
	f.must(f.srv.Restart(f.ctx))
}

func (f *clusterRun) compare() {
	f.t.Helper()
	for k := slru.Kind(0); k < slru.Kinds; k++ {
		compareSLRU(f.t, f.tl, f.c.final, k)
		if runs := f.tl.SLRUPages(k); len(runs) == 0 || runs[0].From > 0 {
			f.cuts[k]++
		}
	}
	compareSmall(f.t, f.tl, f.c.final)
	compareControl(f.t, f.tl, f.c.final)
}
