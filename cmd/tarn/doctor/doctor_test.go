package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/ingest/archive"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// settings of a tarn that could start against a source; flags win.
func settings(t *testing.T, source string, flags map[string]string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"lake", "data"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]string{
		"source.url": source, "store": "file://" + filepath.Join(dir, "lake"), "data_dir": filepath.Join(dir, "data"),
		"http.listen": "127.0.0.1:0", "catalog.listen": "127.0.0.1:0", "sql.listen": "127.0.0.1:0",
	}
	for k, v := range flags {
		all[k] = v
	}
	cfg, err := config.Load(config.Options{Env: func(string) (string, bool) { return "", false }, Flags: all})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func run(t *testing.T, cfg *config.Config) Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return Run(ctx, Options{Config: cfg})
}

// expect holds a check to a state and to words of its text and fix.
func expect(t *testing.T, r Report, name string, state State, code fault.Code, words ...string) {
	t.Helper()
	c := r.Find(name)
	if c == nil {
		t.Errorf("there is no check %s", name)
		return
	}
	text := c.Found + " | " + c.Fix
	if c.State != state || c.Code != code {
		t.Errorf("%s is %s %s, want %s %s: %s", name, c.State, c.Code, state, code, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q: %s", name, w, text)
		}
	}
	if (state == Fail || state == Warn) && c.Fix == "" {
		t.Errorf("%s says nothing to do: %s", name, text)
	}
	if state == Fail && fault.CodeOf(c.Err()) != code {
		t.Errorf("%s would end a start with %s, want %s", name, fault.CodeOf(c.Err()), code)
	}
}

// TestHealthy: on a stock server nothing fails, there are at least 20 checks, and each says something.
func TestHealthy(t *testing.T) {
	for _, major := range []int{15, 16, 17, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			srv := pgtest.NewTestServer(t, pgtest.Options{Major: major})
			r := run(t, settings(t, srv.ReplConnString("postgres"), nil))
			if len(r.Checks) < 20 {
				t.Errorf("only %d checks", len(r.Checks))
			}
			seen := map[string]bool{}
			for _, c := range r.Checks {
				if c.State == Fail || c.Found == "" || seen[c.Name] || c.State == Warn && c.Fix == "" {
					t.Errorf("%+v", c)
				}
				seen[c.Name] = true
			}
			for _, name := range []string{"source.clock", "source.password", "source.system_id", "source.walsenders", "store.conditional_put", "host.fsync", "source.slot"} {
				expect(t, r, name, OK, 0)
			}
			expect(t, r, "source.max_slot_wal_keep_size", Warn, 0, "ALTER SYSTEM SET max_slot_wal_keep_size")
		})
	}
}

// replicationOnly is what tarn asks a user for, and no more: no ordinary connection.
const replicationOnly = `local all postgres trust
host all postgres 127.0.0.1/32 trust
host replication replicator 127.0.0.1/32 scram-sha-256
`

// TestReplicationOnly: a role that may do nothing but replicate is enough; what it cannot know is said, not guessed.
func TestReplicationOnly(t *testing.T) {
	srv := pgtest.NewTestServer(t, pgtest.Options{HBA: replicationOnly})
	r := run(t, settings(t, srv.ReplConnString("postgres"), nil))
	if failed := r.Failed(); len(failed) > 0 {
		t.Errorf("%+v", failed)
	}
	expect(t, r, "source.max_replication_slots", Unknown, 0, "not checkable with this role", "pg_hba.conf")
	expect(t, r, "source.walsenders", OK, 0, "at least 2 are free", "not checkable with this role")
	expect(t, r, "source.clock", OK, 0)
	expect(t, r, "source.password", OK, 0, "SCRAM")
}

// TestSourceFaults plants what users meet; each is found by its check, with the SQL or line that cures it.
func TestSourceFaults(t *testing.T) {
	srv := pgtest.NewTestServer(t, pgtest.Options{Settings: map[string]string{
		"full_page_writes": "off", "wal_sender_timeout": "0", "max_slot_wal_keep_size": "64MB", "max_wal_senders": "1", "synchronous_standby_names": "ANY 1 (tarn)",
		"synchronous_commit": "local",
	}})
	good := srv.ReplConnString("postgres")
	if err := srv.Exec(t.Context(), "postgres", "CREATE ROLE plain LOGIN PASSWORD 'p'", "SELECT pg_create_physical_replication_slot('unreserved')"); err != nil {
		t.Fatal(err)
	}
	r := run(t, settings(t, good, nil))
	expect(t, r, "source.full_page_writes", Warn, 0, "ALTER SYSTEM SET full_page_writes = on", "`tarn repair")
	expect(t, r, "source.wal_sender_timeout", Warn, 0, "ALTER SYSTEM SET wal_sender_timeout")
	expect(t, r, "source.max_slot_wal_keep_size", OK, 0, "64MB")
	expect(t, r, "source.walsenders", Warn, 0, "ALTER SYSTEM SET max_wal_senders")
	expect(t, r, "source.synchronous", Warn, 0, "set source.synchronous: true")

	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	at := fmt.Sprintf("host=127.0.0.1 port=%d dbname=postgres ", srv.Port())
	for _, c := range []struct {
		source, check string
		code          fault.Code
		words         string
	}{
		{at + "user=replicator password=wrong", "source.password", fault.SourcePassword, "PGPASSWORD"},
		{at + "user=plain password=p", "source.pg_hba", fault.SourceHBA, "host replication plain"},
		{fmt.Sprintf("host=127.0.0.1 port=%d user=x", nobody.Addr().(*net.TCPAddr).Port), "source.reachable", fault.SourceUnreachable, "listen_addresses"},
	} {
		r := run(t, settings(t, c.source, nil))
		expect(t, r, c.check, Fail, c.code, c.words)
		expect(t, r, "source.settings", Unknown, 0)
	}
	r = run(t, settings(t, at+"user=postgres", map[string]string{"source.url": at + "user=postgres"}))
	expect(t, r, "source.password", OK, 0, "without SCRAM")
}

// TestRoleAndMinimal: two faults that need their own server.
func TestRoleAndMinimal(t *testing.T) {
	srv := pgtest.NewTestServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "minimal", "max_wal_senders": "0"}})
	r := run(t, settings(t, srv.ReplConnString("postgres"), nil))
	expect(t, r, "source.walsenders", Fail, fault.SourceWALLevel, "ALTER SYSTEM SET wal_level = replica")

	srv = pgtest.NewTestServer(t, pgtest.Options{})
	if err := srv.Exec(t.Context(), "postgres", "ALTER ROLE replicator NOREPLICATION"); err != nil {
		t.Fatal(err)
	}
	r = run(t, settings(t, srv.ReplConnString("postgres"), nil))
	expect(t, r, "source.role", Fail, fault.SourceRole, `ALTER ROLE "replicator" REPLICATION`)
	expect(t, r, "source.password", OK, 0)
}

// TestSlotFaults: logical, and without WAL.
func TestSlotFaults(t *testing.T) {
	srv := pgtest.NewTestServer(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical", "max_replication_slots": "2"}})
	if err := srv.Exec(t.Context(), "postgres", "SELECT pg_create_physical_replication_slot('hollow')", "SELECT pg_create_logical_replication_slot('logical', 'pgoutput')"); err != nil {
		t.Fatal(err)
	}
	source := srv.ReplConnString("postgres")
	withSlot := func(name string) Report {
		cfg := settings(t, source, nil)
		cfg.Source.Slot = name
		return run(t, cfg)
	}
	expect(t, withSlot("hollow"), "source.slot", Fail, fault.SlotLost, "pg_drop_replication_slot('hollow')")
	expect(t, withSlot("logical"), "source.slot", Fail, fault.SlotLogical, "another source.slot")
	expect(t, withSlot("tarn"), "source.max_replication_slots", Fail, fault.SourceSlots, "ALTER SYSTEM SET max_replication_slots")
}

// TestOtherCluster: a store of another cluster, or of another timeline, is seen before anything is copied.
func TestOtherCluster(t *testing.T) {
	srv := pgtest.NewTestServer(t, pgtest.Options{})
	for _, c := range []struct {
		base  archive.Base
		check string
		state State
		code  fault.Code
	}{
		{archive.Base{SystemID: 42, Timeline: 1, SegmentSize: 16 << 20, LSN: 16 << 20}, "source.system_id", Fail, fault.SourceOther},
		{archive.Base{SystemID: 42, Timeline: 7, SegmentSize: 16 << 20, LSN: 16 << 20}, "source.timeline", Warn, 0},
	} {
		cfg := settings(t, srv.ReplConnString("postgres"), nil)
		store, err := objstore.Open(t.Context(), cfg.Store, objstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		a, err := archive.Open(t.Context(), store, nil, 0, func() {})
		if !errors.Is(err, archive.ErrNoBase) {
			t.Fatal(err)
		}
		if err := a.Begin(t.Context(), c.base, nil); err != nil {
			t.Fatal(err)
		}
		r := run(t, cfg)
		expect(t, r, c.check, c.state, c.code)
		if !r.Attached {
			t.Error("a store with WAL in it does not count as attached")
		}
		store.Close()
	}
}

// TestHostAndStoreFaults plants what is wrong on our side.
func TestHostAndStoreFaults(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const away = "host=127.0.0.1 port=1 user=x"
	cfg := settings(t, away, map[string]string{"store": "file://" + file + "/lake", "data_dir": file + "/data", "http.listen": taken.Addr().String(), "memory": "64TiB"})
	cfg.Memory = 64 << 40
	r := run(t, cfg)
	expect(t, r, "store.reachable", Fail, fault.StoreOpen, "not a directory")
	expect(t, r, "host.data_dir", Fail, fault.DataDirUnusable, "not a directory")
	expect(t, r, "listen.http", Fail, fault.PortTaken, "--http-listen")
	expect(t, r, "host.memory", Warn, 0, "set memory")

	cfg = settings(t, away, nil)
	if err := os.Chmod(cfg.DataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	expect(t, run(t, cfg), "host.data_dir", Warn, 0, "chmod 700")
}

// TestProbeVerdicts: what a store does not keep of its promises goes to the check that is about it.
func TestProbeVerdicts(t *testing.T) {
	x := &examiner{Options: Options{Config: &config.Config{Store: "s3://b/p"}}}
	verdict := func(err error) Report {
		var c checks
		x.probe(&c, storeFacts{probe: err})
		return Report{Checks: c}
	}
	r := verdict(fmt.Errorf("%w: If-None-Match was let through", objstore.ErrNotConditional))
	expect(t, r, "store.conditional_put", Fail, fault.StoreNotConditional, "two writers could both win")
	expect(t, r, "store.writable", OK, 0)
	r = verdict(fmt.Errorf("%w: it is listed 0 times", objstore.ErrStale))
	expect(t, r, "store.listing", Fail, fault.StoreStale)
	expect(t, r, "store.conditional_put", OK, 0)
	r = verdict(&objstore.S3Error{Op: "PutObject", URL: "s3://b/p/x", Status: 403, Code: "AccessDenied", Err: errors.New("denied")})
	expect(t, r, "store.writable", Fail, fault.StoreDenied, "s3:PutObject")
	expect(t, r, "store.listing", Unknown, 0)
	r = verdict(fs.ErrPermission)
	expect(t, r, "store.writable", Fail, fault.StoreWrite)
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		version string
		state   State
	}{{"14.9", Fail}, {"19beta1", Fail}, {"15.18", OK}, {"17.1", Warn}, {"17.3", Warn}, {"16.0", Warn}, {"18.99", OK}, {"18devel", OK}} {
		var got checks
		version(&got, examOf(c.version))
		if got[0].State != c.state {
			t.Errorf("%s is %s, want %s: %s", c.version, got[0].State, c.state, got[0].Found)
		}
	}
}

func TestClocks(t *testing.T) {
	for skew, want := range map[time.Duration]string{0: "within", 3 * time.Second: "ahead", -time.Hour: "behind"} {
		var c checks
		clockOf(&c, "source.clock", "the source", skew, nil)
		if !strings.Contains(c[0].Found, want) || (c[0].State == OK) != (skew == 0) {
			t.Errorf("%s: %+v", skew, c[0])
		}
	}
}

// TestChangesNothing: slots, settings, store and data folder are after a run as they were before, and folders that are not
// there are not made.
func TestChangesNothing(t *testing.T) {
	srv := pgtest.NewTestServer(t, pgtest.Options{})
	look := func(cfg *config.Config) (out []string) {
		for _, sql := range []string{
			"SELECT count(*)::text || coalesce(string_agg(s::text, ','), '') FROM pg_replication_slots s",
			"SELECT md5(string_agg(name || setting, ',' ORDER BY name)) FROM pg_settings WHERE source <> 'client' AND name NOT IN ('application_name')",
			"SELECT md5(string_agg(r::text, ',' ORDER BY oid)) FROM pg_roles r",
		} {
			text, err := srv.QueryText(t.Context(), "postgres", sql)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, text)
		}
		root := filepath.Dir(cfg.DataDir)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.Name() == ".tarn" { // where the store keeps its own locks; no listing shows it
				return fs.SkipDir
			}
			out = append(out, path)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, made := range []bool{true, false} {
		cfg := settings(t, srv.ReplConnString("postgres"), nil)
		if !made {
			if err := errors.Join(os.Remove(cfg.DataDir), os.Remove(strings.TrimPrefix(cfg.Store, "file://"))); err != nil {
				t.Fatal(err)
			}
		}
		before := look(cfg)
		r := run(t, cfg)
		if len(r.Failed()) > 0 {
			t.Errorf("%+v", r.Failed())
		}
		if after := look(cfg); !slices.Equal(before, after) {
			t.Errorf("folders made: %v\nbefore %v\nafter  %v", made, before, after)
		}
	}
}
