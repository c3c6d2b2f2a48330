package waldump_test

import (
	"errors"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldump"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/walfixture"
)

// FuzzState runs each decoder of internal/pg/xlrec, and the line printed of the record.
func FuzzState(f *testing.F) {
	for _, m := range []pg.Major{pg.PG15, pg.PG18} {
		w, err := walfixture.Load(m)
		if err != nil {
			f.Fatal(err)
		}
		r, err := wal.NewReader(wal.Options{Source: w, Start: w.Start})
		if err != nil {
			f.Fatal(err)
		}
		seen := map[string]int{}
		for {
			rec, err := r.Next()
			if err != nil {
				break
			}
			if ok, _ := decodeState(m, rec.RMID, rec.Info, rec.Main); ok && len(rec.Main) < 3000 {
				if seen[waldumpName(rec)]++; seen[waldumpName(rec)] < 4 {
					f.Add(uint8(m), uint8(rec.RMID), rec.Info, rec.Main)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, major, id, info uint8, main []byte) {
		m := pg.PG15 + pg.Major(major%4)
		if _, err := decodeState(m, wal.RMID(id), info, main); err != nil && !errors.Is(err, pg.ErrCorrupt) {
			t.Fatalf("error is not a corruption: %v", err)
		}
		waldump.AppendLine(nil, &wal.Record{Major: m, RMID: wal.RMID(id), Info: info, Main: main, TotLen: uint32(len(main))})
		control.ParseRelMap(m, main)
		control.ParseBackupLabel(main)
	})
}
