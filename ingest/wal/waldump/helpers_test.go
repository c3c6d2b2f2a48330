package waldump_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
)

func waldumpName(rec *wal.Record) string {
	return rec.RMID.String() + "/" + rec.TypeName()
}

func readControl(t *testing.T, dataDir string) control.Control {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dataDir, "global", "pg_control"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := control.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func lastRecord(t *testing.T, src *waldir.Source) (last pg.LSN) {
	t.Helper()
	r, err := wal.NewReader(wal.Options{Source: src, Start: src.First(), EndAtInvalid: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		rec, err := r.Next()
		if err != nil {
			return last
		}
		last = rec.LSN
	}
}
