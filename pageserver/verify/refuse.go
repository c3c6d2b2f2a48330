package verify

import (
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// recordTypes names the types counted.
func (v *verifier) recordTypes() RecordTypes {
	t := RecordTypes{Major: v.major, Seen: map[string]int64{}, NeverSeen: []string{}}
	for id := range v.byType {
		for op, n := range v.byType[id] {
			if n > 0 {
				rmid := wal.RMID(id)
				t.Seen[rmid.String()+"/"+wal.RecordName(v.major, rmid, uint8(op)<<4)] += n
			}
		}
	}
	if v.major == 0 {
		return t
	}
	for _, name := range wal.RecordTypes(v.major) {
		if t.Seen[name] == 0 {
			t.NeverSeen = append(t.NeverSeen, name)
		}
	}
	return t
}

// fits refuses a folder of WAL that does not go on from the base.
func (v *verifier) fits(source *waldir.Source, folder string) error {
	cp := &v.control.CheckPoint
	if last := source.Last(); cp.Redo >= last {
		return fmt.Errorf("the base is newer than the WAL: its checkpoint's redo point is %s, the segments in %s end at %s", cp.Redo, folder, last)
	}
	h := source.History()
	switch {
	case h.Timeline < cp.TimelineID:
		return &wal.TimelineError{LSN: cp.Redo, Got: h.Timeline, Want: cp.TimelineID}
	case h.Timeline > cp.TimelineID && len(h.Ancestors) == 0:
		return &pg.CorruptError{LSN: cp.Redo, What: fmt.Sprintf("the base is of timeline %d, the WAL in %s of %d, and there is no %s to say how that came about",
			cp.TimelineID, folder, h.Timeline, pg.HistoryFileName(h.Timeline))}
	case len(h.Ancestors) > 0 && h.At(cp.Redo) != cp.TimelineID:
		return &wal.TimelineError{LSN: cp.Redo, Got: h.At(cp.Redo), Want: cp.TimelineID}
	}
	return source.CheckOverlaps(cp.Redo)
}

// meetsBase holds the WAL to the base's last checkpoint: its record is there, and is the one the control file has a copy of.
func (v *verifier) meetsBase(rec *wal.Record) error {
	at := v.control.CheckPointLSN
	if at == 0 || v.met || rec.LSN < at {
		return nil
	}
	v.met = true
	if rec.LSN == at && rec.RMID == wal.RMXLog && rec.Op() <= xlrec.XLogCheckpointOnline {
		cp, err := xlrec.DecodeCheckPoint(rec.Major, rec.Main)
		if err != nil {
			return &pg.CorruptError{LSN: rec.LSN, What: err.Error()}
		}
		if cp == v.control.CheckPoint {
			return nil
		}
	}
	return &pg.CorruptError{LSN: at, What: "the WAL does not have the base's checkpoint: it is of another history than the base"}
}

// ended refuses WAL that ends where it should not: before the base's checkpoint, or before more of it.
func (v *verifier) ended(source wal.Source) error {
	if at := v.control.CheckPointLSN; v.report.End <= at {
		return fmt.Errorf("the base is newer than the WAL: its checkpoint record is at %s, the WAL ends at %s", at, max(v.report.End, v.report.Start))
	}
	if v.stopped {
		return nil // what follows may be what a crash has left
	}
	if next, ok := wal.GoesOn(source, v.report.End, v.control.WALSegmentSize); ok {
		return &pg.CorruptError{LSN: v.report.End, What: fmt.Sprintf("no valid record, and it is not the end: WAL goes on at %s", next)}
	}
	return nil
}
