package verify

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// historyMax bounds the records logHistory prints.
const historyMax = 60

// logHistory prints what the WAL says of a page that differs at the end: the records that name it, those that cut or drop files, and
// checkpoints.
func (c *corpus) logHistory(t *testing.T, v *verifier, d PageDifference) {
	source, err := waldir.Open(c.wal, waldir.Options{SegmentSize: v.control.WALSegmentSize})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	reader, err := wal.NewReader(wal.Options{Source: source, Start: v.control.CheckPoint.Redo, EndAtInvalid: true})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for {
		rec, err := reader.Next()
		if err != nil {
			break
		}
		line := ""
		for i := range rec.Blocks {
			if b := &rec.Blocks[i]; b.Rel.String() == d.Name && b.Block == d.Block {
				line = fmt.Sprintf("fork %s, image %t", b.Fork, b.HasImage)
			}
		}
		switch {
		case rec.RMID == wal.RMSmgr && rec.Op() == xlrec.SmgrTruncate:
			if r, err := xlrec.DecodeSmgrTruncate(rec.Main); err == nil && r.Rel.String() == d.Name {
				line = fmt.Sprintf("%+v", r)
			}
		case rec.RMID == wal.RMXLog && rec.Op() <= xlrec.XLogCheckpointOnline, rec.RMID == wal.RMXLog && rec.Op() == xlrec.XLogOverwriteContrecord:
			line = fmt.Sprintf("%x", rec.Main[:min(8, len(rec.Main))])
		}
		if line != "" {
			lines = append(lines, fmt.Sprintf("%s-%s %s/%s: %s", rec.LSN, rec.End, rec.RMID, rec.TypeName(), line))
		}
	}
	t.Logf("%s block %d:\n%s", d.Name, d.Block, strings.Join(lines[max(0, len(lines)-historyMax):], "\n"))
}
