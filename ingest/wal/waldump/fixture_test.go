package waldump_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/internal/walfixture"
)

var record = flag.Bool("record", false, "record the WAL fixtures of internal/walfixture anew")

// TestRecordFixtures writes internal/walfixture/testdata: go test ./ingest/wal/waldump -run RecordFixtures -record
func TestRecordFixtures(t *testing.T) {
	if !*record {
		t.Skip("only with -record")
	}
	for _, major := range []int{15, 18} {
		srv := startServer(t, major, walfixture.SegmentSize>>20)
		runAll(t, srv, workload)
		if err := srv.Stop(pgtest.Fast); err != nil {
			t.Fatal(err)
		}
		src, err := waldir.Open(filepath.Join(srv.DataDir(), "pg_wal"), waldir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		enc, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
		if err != nil {
			t.Fatal(err)
		}
		raw := wholeWAL(t, src)
		enc.Write(raw)
		if err := enc.Close(); err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("../../../internal/walfixture/testdata/pg%d.wal.zst", major)
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Logf("PostgreSQL %d: %d bytes of WAL in %d", major, len(raw), out.Len())
	}
}

// wholeWAL reads the first segment to the end of the last record.
func wholeWAL(t *testing.T, src *waldir.Source) []byte {
	r, err := wal.NewReader(wal.Options{Source: src, Start: src.First(), EndAtInvalid: true})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = r.Next()
	}
	raw := make([]byte, r.Position().Complete-src.First())
	for at := 0; at < len(raw); {
		n, err := src.Read(src.First()+pg.LSN(at), raw[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += n
	}
	return raw
}
