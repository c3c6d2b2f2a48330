package basebackup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/verify"
)

// seam goes on with the timeline the directory was written of: the WAL of the server that was started on it and has stopped leads to its
// pages, as if it had been one server all along.
func (r *rig) seam(tl *pageserver.Timeline, dir string, report Report) error {
	ctx := context.Background()
	if err := tl.Replay(ctx, r.reader(dir, report.CheckPoint), pageserver.Target{}); err != nil {
		return err
	}
	final, err := verify.ComparePages(ctx, dir, func(f datadir.Fork, blk pg.BlockNumber, dst pg.Page) (bool, error) {
		clear(dst)
		page, err := tl.Page(ctx, f.Rel, f.Fork, blk)
		copy(dst, page)
		return true, err
	}, nil)
	if err == nil && !final.OK() {
		err = fmt.Errorf("%d pages differ of %d: %v", final.Differ, final.HeapPages, final.First)
	}
	return err
}

// joined is the WAL of the source up to an LSN, and from there on that of a directory written there.
type joined struct {
	at           pg.LSN
	before, from *waldir.Source
}

func (j *joined) Read(lsn pg.LSN, dst []byte) (int, error) {
	if lsn >= j.at {
		return j.from.Read(lsn, dst)
	}
	return j.before.Read(lsn, dst[:min(len(dst), int(j.at-lsn))])
}

// joins reads from the record before the checkpoint on, in the source's WAL, and over the seam to the end of the directory's.
func (r *rig) joins(dir string, report Report) error {
	j := joined{at: report.LSN}
	var err error
	if j.before, err = waldir.Open(filepath.Join(r.DataDir(), "pg_wal"), waldir.Options{}); err != nil {
		return err
	}
	defer j.before.Close()
	if j.from, err = waldir.Open(filepath.Join(dir, "pg_wal"), waldir.Options{}); err != nil {
		return err
	}
	defer j.from.Close()
	reader, err := wal.NewReader(wal.Options{Source: &j, Start: report.Previous, SegmentSize: j.from.SegmentSize(), EndAtInvalid: true})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		rec, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF) && n > 1:
			return nil
		case err != nil:
			return fmt.Errorf("record %d: %w", n, err)
		case n == 0 && (rec.LSN != report.Previous || rec.End != report.LSN):
			return fmt.Errorf("the record before is from %s to %s: %+v", rec.LSN, rec.End, report)
		case n == 1 && (rec.LSN != report.CheckPoint || rec.End != report.End || rec.RMID != wal.RMXLog || rec.Op() != xlrec.XLogCheckpointShutdown):
			return fmt.Errorf("the checkpoint is from %s to %s, %02x: %+v", rec.LSN, rec.End, rec.Info, report)
		}
	}
}
