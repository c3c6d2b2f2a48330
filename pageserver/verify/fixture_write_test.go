package verify

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestWriteFixtures makes fixtures from real servers, the newest minor release of each major version:
//
//	TARN_WRITE_FIXTURES=heap,btree18 go test -run TestWriteFixtures ./pageserver/verify
func TestWriteFixtures(t *testing.T) {
	wanted := strings.Split(os.Getenv("TARN_WRITE_FIXTURES"), ",")
	if wanted[0] == "" {
		t.Skip("the recorded fixtures are used; TARN_WRITE_FIXTURES=NAME makes new ones")
	}
	eachFixture(t, func(t *testing.T, r recorded) {
		if !slices.Contains(wanted, r.name) && !slices.Contains(wanted, r.String()) {
			t.Skip("not asked for")
		}
		r.write(t)
	})
}

var fixtureSettings = map[string]string{
	"wal_keep_size": "1GB", "autovacuum": "off", "fsync": "off", "checkpoint_timeout": "1h", "full_page_writes": "on",
}

// newest is the newest minor release of a major version.
func newest(major pg.Major) (release string) {
	for _, r := range pgtest.Releases() {
		if strings.HasPrefix(r, fmt.Sprintf("%d.", major)) {
			release = r
		}
	}
	return release
}

func (r recorded) write(t *testing.T) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "tarnfixture")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	settings := map[string]string{"wal_consistency_checking": r.checking}
	maps.Copy(settings, fixtureSettings)
	maps.Copy(settings, r.settings)
	srv, err := pgtest.Start(ctx, pgtest.Options{Release: newest(r.major), Dir: dir, InitdbArgs: []string{"--wal-segsize=1"}, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = srv.Remove() }()
	if err := srv.Exec(ctx, "postgres", "checkpoint"); err != nil {
		t.Fatal(err)
	}
	lsn := func(sql string) pg.LSN {
		text, err := srv.QueryText(ctx, "postgres", sql)
		if err != nil {
			t.Fatal(err)
		}
		lsn, err := pg.ParseLSN(text)
		if err != nil {
			t.Fatal(err)
		}
		return lsn
	}
	start := lsn("select redo_lsn::text from pg_control_checkpoint()")
	if err := srv.Exec(ctx, "postgres", r.script...); err != nil {
		t.Fatal(err)
	}
	if r.sessions != nil {
		r.sessions(ctx, t, srv)
	}
	end := lsn("select pg_current_wal_insert_lsn()::text")
	if err := srv.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	r.pack(t, filepath.Join(srv.DataDir(), "pg_wal"), start, end)
}

// fixtureSizeMax bounds a fixture's file, bytes.
const fixtureSizeMax = 500 << 10

func (r recorded) pack(t *testing.T, folder string, start, end pg.LSN) {
	src, err := waldir.Open(folder, waldir.Options{SegmentSize: fixtureSegment})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	b := append([]byte(fixtureMagic), make([]byte, 12)...)
	binary.LittleEndian.PutUint32(b[4:], uint32(r.major))
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
	if err := os.WriteFile(r.path(), packed, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes of WAL, %d packed", len(b), len(packed))
	if len(packed) > fixtureSizeMax {
		t.Errorf("%s is larger than %d KB", r.path(), fixtureSizeMax>>10)
	}
}
