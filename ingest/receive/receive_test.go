package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// startServer starts a server of the oldest major with WAL segments of 1 MiB.
func startServer(t *testing.T, settings map[string]string) pgtest.Fixture {
	t.Helper()
	return pgtest.NewFixture(t, pgtest.SmallWAL(15, settings))
}

func ctxFor(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// wantCode fails unless err is an AttachError of that code, on one line, with a fix.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var ae *AttachError
	if !errors.As(err, &ae) || ae.Code != code {
		t.Fatalf("error %v (%T), want code %s", err, err, code)
	}
	if strings.ContainsAny(ae.Error(), "\n\r") || ae.Fix == "" || ae.Msg == "" {
		t.Fatalf("%q is not one line with a fix", ae.Error())
	}
	t.Log(ae.Error())
}

func TestPreflight(t *testing.T) {
	for major := 15; major <= 18; major++ {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			srv := pgtest.NewFixture(t, pgtest.SmallWAL(major, nil))
			info, err := Preflight(ctxFor(t), Source{URL: srv.ReplConnString("postgres")})
			if err != nil {
				t.Fatal(err)
			}
			if int(info.Major) != major || info.SegmentSize != 1<<20 || info.Timeline != 1 || info.WALLevel != "replica" || info.LCMonetary != srv.One("SHOW lc_monetary") ||
				fmt.Sprint(info.SystemID) != srv.One("SELECT system_identifier FROM pg_control_system()") {
				t.Fatalf("%+v", info)
			}
			wantCode(t, CheckSystemID(info, info.SystemID+1), CodeSystemID)
		})
	}
}

// TestAttachErrors brings about each refusal on a real server.
func TestAttachErrors(t *testing.T) {
	opts := pgtest.SmallWAL(15, map[string]string{"max_wal_senders": "2", "max_replication_slots": "2", "wal_level": "logical"})
	opts.HBA = "host all postgres 127.0.0.1/32 trust\nhost replication postgres,plain 127.0.0.1/32 trust\n" +
		"host replication secret 127.0.0.1/32 scram-sha-256\nhost all nobody 127.0.0.1/32 trust\n"
	srv := pgtest.NewFixture(t, opts)
	urlOf := func(login string) string {
		return strings.Replace(srv.ConnString("postgres"), "//postgres@", "//"+login+"@", 1)
	}
	srv.Do("CREATE ROLE plain LOGIN; CREATE ROLE secret LOGIN REPLICATION PASSWORD 'right'; CREATE ROLE nobody LOGIN REPLICATION")
	ctx := ctxFor(t)
	src := Source{URL: srv.ConnString("postgres")}
	preflight := func(url string) error { _, err := Preflight(ctx, Source{URL: url}); return err }

	wantCode(t, preflight("postgres://%zz"), CodeURL)
	wantCode(t, preflight(urlOf("plain")), CodeRole)
	wantCode(t, preflight(urlOf("nobody")), CodeHBA)
	wantCode(t, preflight(urlOf("secret:wrong")), CodePassword)
	if err := preflight(urlOf("secret:right")); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	wantCode(t, preflight(fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", l.Addr())), CodeUnreachable)
	wantCode(t, preflight(strings.Replace(srv.ConnString("postgres"), "disable", "require", 1)), CodeUnreachable)

	_, _, err = EnsureSlot(ctx, src, "Bad-Name")
	wantCode(t, err, CodeSlotName)
	srv.Do("SELECT pg_create_logical_replication_slot('logi', 'pgoutput')")
	_, _, err = EnsureSlot(ctx, src, "logi")
	wantCode(t, err, CodeSlotLogical)
	_, err = StartStream(ctx, src, StreamOptions{Slot: "logi", Start: 0x1000000, Timeline: 1})
	wantCode(t, err, CodeSlotLogical)
	_, err = ReadSlot(ctx, src, "absent")
	wantCode(t, err, CodeSlotMissing)
	srv.Do("SELECT pg_create_physical_replication_slot('bare')")
	_, _, err = EnsureSlot(ctx, src, "bare")
	wantCode(t, err, CodeSlotLost)
	_, _, err = EnsureSlot(ctx, src, "third")
	wantCode(t, err, CodeSlotFree)
	if err := DropSlot(ctx, src, "bare"); err != nil {
		t.Fatal(err)
	}
	if err := DropSlot(ctx, src, "bare"); err != nil {
		t.Fatalf("dropping twice: %v", err)
	}

	slot, created, err := EnsureSlot(ctx, src, "tarn")
	if err != nil || !created {
		t.Fatal(created, err)
	}
	if _, created, err = EnsureSlot(ctx, src, "tarn"); err != nil || created {
		t.Fatalf("second EnsureSlot: created %v, %v", created, err)
	}
	start := slot.RestartLSN.SegmentStart(1 << 20)
	one, err := StartStream(ctx, src, StreamOptions{Slot: "tarn", Start: start, Timeline: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	_, err = StartStream(ctx, src, StreamOptions{Slot: "tarn", Start: start, Timeline: 1})
	wantCode(t, err, CodeSlotInUse)
	srv.Do("SELECT pg_drop_replication_slot('logi')")
	if _, _, err = EnsureSlot(ctx, src, "other"); err != nil {
		t.Fatal(err)
	}
	two, err := StartStream(ctx, src, StreamOptions{Slot: "other", Start: start, Timeline: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	wantCode(t, preflight(srv.ConnString("postgres")), CodeWalsender)
}

func TestMinimalWALRefused(t *testing.T) {
	srv := startServer(t, map[string]string{"wal_level": "minimal", "max_wal_senders": "0"})
	_, err := Preflight(ctxFor(t), Source{URL: srv.ReplConnString("postgres")})
	wantCode(t, err, CodeWALLevel)
}

func TestStandbyRefused(t *testing.T) {
	srv := startServer(t, nil)
	srv.FastStop(10 * time.Second)
	srv.StartAsStandby()
	_, err := Preflight(ctxFor(t), Source{URL: srv.ReplConnString("postgres")})
	wantCode(t, err, CodeStandby)
}

// collector keeps what a stream brings until it has reached stop.
type collector struct {
	data []byte
	stop pg.LSN
}

var errEnough = errors.New("enough")

func (c *collector) Data(start pg.LSN, data []byte) error {
	c.data = append(c.data, data...)
	if start+pg.LSN(len(data)) >= c.stop {
		return errEnough
	}
	return nil
}
func (c *collector) Drained() error                     { return nil }
func (c *collector) Keepalive(end pg.LSN, _ bool) error { return nil }

func TestStreamEqualsServerSegments(t *testing.T) {
	srv := startServer(t, nil)
	ctx, src := ctxFor(t), Source{URL: srv.ReplConnString("postgres")}
	slot, _, err := EnsureSlot(ctx, src, "tarn")
	if err != nil {
		t.Fatal(err)
	}
	start := slot.RestartLSN.SegmentStart(1 << 20)
	srv.Do("CREATE TABLE t AS SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g; SELECT pg_switch_wal()")
	end, _ := pg.ParseLSN(srv.One("SELECT pg_current_wal_insert_lsn()"))
	end = end.SegmentStart(1 << 20)
	st, err := StartStream(ctx, src, StreamOptions{Slot: "tarn", Start: start, Timeline: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	c := &collector{stop: end}
	if err := st.Receive(c); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if end-start < 2<<20 {
		t.Fatalf("only %d bytes of WAL", end-start)
	}
	for at := start; at < end; at += 1 << 20 {
		want, err := os.ReadFile(srv.DataDir() + "/pg_wal/" + pg.WALFileName(1, at, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.data[at-start : at-start+1<<20]; string(got) != string(want) {
			t.Fatalf("segment at %s differs", at)
		}
	}
	// Status is heard, and the slot lets go of what is flushed.
	if err := st.Status(Ack{Write: end, Flush: end - 1<<20, Apply: start}, true); err != nil {
		t.Fatal(err)
	}
	srv.Await(fmt.Sprintf("%s %s %s", end, end-1<<20, start),
		"SELECT coalesce(write_lsn || ' ' || flush_lsn || ' ' || replay_lsn, '') FROM pg_stat_replication")
	if got := srv.One("SELECT restart_lsn FROM pg_replication_slots"); got != (end - 1<<20).String() {
		t.Fatalf("restart_lsn %s", got)
	}
}

func TestStreamErrors(t *testing.T) {
	srv := startServer(t, nil)
	ctx, src := ctxFor(t), Source{URL: srv.ReplConnString("postgres")}
	if _, _, err := EnsureSlot(ctx, src, "tarn"); err != nil {
		t.Fatal(err)
	}
	st, err := StartStream(ctx, src, StreamOptions{Slot: "tarn", Start: 0x100000, Timeline: 1}) // initdb recycled it long ago
	if err == nil {
		defer st.Close()
		err = st.Receive(&collector{stop: 1 << 60})
	}
	if !errors.Is(err, ErrWALGone) {
		t.Fatalf("removed WAL: %v", err)
	}
	srv.AwaitFreeSlot()
	ahead, err := StartStream(ctx, src, StreamOptions{Slot: "tarn", Start: 0xFF_00000000, Timeline: 1})
	if err == nil {
		defer ahead.Close()
		err = ahead.Receive(&collector{stop: 1 << 60})
	}
	if !errors.Is(err, ErrServerBehind) {
		t.Fatalf("ahead of the server: %v", err)
	}
	srv.AwaitFreeSlot()
	slot, err := ReadSlot(ctx, src, "tarn")
	if err != nil {
		t.Fatal(err)
	}
	quiet, err := StartStream(ctx, src, StreamOptions{Slot: "tarn", Start: slot.RestartLSN.SegmentStart(1 << 20), Timeline: 1, Silence: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.Close()
	if err := quiet.Receive(&collector{stop: 1 << 60}); err == nil || !strings.Contains(err.Error(), "nothing from the server") {
		t.Fatalf("a silent server: %v", err)
	}
}

// slowpoke is a handler that takes longer, over some of what it gets, than the server may be silent.
type slowpoke struct {
	collector
	calls int
}

func (s *slowpoke) Data(start pg.LSN, data []byte) error {
	if s.calls++; s.calls < 6 {
		time.Sleep(400 * time.Millisecond)
	}
	return s.collector.Data(start, data)
}

// TestSlowHandlerIsNoSilence says that the server's silence is not measured while we are busy.
func TestSlowHandlerIsNoSilence(t *testing.T) {
	srv := startServer(t, map[string]string{"wal_keep_size": "1GB"})
	ctx, src := ctxFor(t), Source{URL: srv.ReplConnString("postgres")}
	slot, _, err := EnsureSlot(ctx, src, "tarn")
	if err != nil {
		t.Fatal(err)
	}
	srv.Do("CREATE TABLE t AS SELECT g, repeat('x', 100) FROM generate_series(1, 50000) g")
	start := slot.RestartLSN.SegmentStart(1 << 20)
	st, err := StartStream(ctx, src, StreamOptions{Slot: "tarn", Start: start, Timeline: 1, Silence: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.Receive(&slowpoke{collector: collector{stop: start + 5<<20}}); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
}

func TestPromotionEndsStream(t *testing.T) {
	srv := startServer(t, nil)
	ctx, src := ctxFor(t), Source{URL: srv.ReplConnString("postgres")}
	slot, _, err := EnsureSlot(ctx, src, "tarn")
	if err != nil {
		t.Fatal(err)
	}
	srv.FastStop(10 * time.Second)
	srv.StartAsStandby()
	srv.Do("SELECT pg_promote()")
	st, err := StartStream(ctx, src, StreamOptions{Slot: "tarn", Start: slot.RestartLSN.SegmentStart(1 << 20), Timeline: 1})
	if err == nil {
		defer st.Close()
		err = st.Receive(&collector{stop: 1 << 60})
	}
	var te *TimelineEndError
	if !errors.As(err, &te) || te.Timeline != 1 || te.Next != 2 || te.Switch == 0 {
		t.Fatalf("after promotion: %v", err)
	}
}

func TestBaseBackup(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			srv := pgtest.NewFixture(t, pgtest.SmallWAL(major, nil))
			space := srv.DataDir() + "-space"
			if err := os.Mkdir(space, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(space, 0o777); err != nil {
				t.Fatal(err)
			}
			owner(t, srv.DataDir(), space)
			srv.Do("CREATE TABLE t AS SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g")
			srv.Do("CREATE TABLESPACE sp LOCATION '" + space + "'")
			srv.Do("CREATE TABLE u TABLESPACE sp AS SELECT g FROM generate_series(1, 1000) g; CHECKPOINT")
			path := srv.One("SELECT pg_relation_filepath('t')")
			spaceOID := srv.One("SELECT oid FROM pg_tablespace WHERE spcname = 'sp'")

			files := map[string]int64{}
			spaces := map[pg.OID]int{}
			var table []byte
			var done, total int64
			b, err := BaseBackup(ctxFor(t), Source{URL: srv.ReplConnString("postgres")}, BackupOptions{
				Progress: func(d, n int64) { done, total = d, n },
				File: func(f BaseFile) error {
					spaces[f.Tablespace]++
					if f.Tablespace != 0 {
						return nil // leaves its bytes unread
					}
					files[f.Path] = f.Size
					if f.Path == path {
						var err error
						table, err = io.ReadAll(f.Reader)
						return err
					}
					return nil
				}})
			if err != nil {
				t.Fatal(err)
			}
			if b.Start == 0 || b.End <= b.Start || b.Timeline != 1 || len(b.Tablespaces) != 2 || done != total || total == 0 {
				t.Fatalf("%+v, progress %d of %d", b, done, total)
			}
			if fmt.Sprint(b.Tablespaces[0].OID) != spaceOID || spaces[b.Tablespaces[0].OID] == 0 {
				t.Fatalf("tablespaces %+v, files %v", b.Tablespaces, spaces)
			}
			for _, p := range []string{"backup_label", "tablespace_map", "global/pg_control", "PG_VERSION", "pg_xact/0000"} {
				if _, ok := files[p]; !ok {
					t.Errorf("%s was not sent", p)
				}
			}
			want, err := os.ReadFile(srv.DataDir() + "/" + path)
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != string(table) {
				t.Errorf("%s differs: %d bytes, want %d", path, len(table), len(want))
			}

			stop := errors.New("disk full")
			_, err = BaseBackup(ctxFor(t), Source{URL: srv.ReplConnString("postgres")}, BackupOptions{File: func(BaseFile) error { return stop }})
			if !errors.Is(err, stop) {
				t.Fatalf("an error of the callback came back as %v", err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			_, err = BaseBackup(ctx, Source{URL: srv.ReplConnString("postgres")}, BackupOptions{File: func(BaseFile) error { cancel(); return nil }})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("cancelled: %v", err)
			}
		})
	}
}

// owner gives path to the owner of like.
func owner(t *testing.T, like, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	uid, gid := fileOwner(t, like)
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}
