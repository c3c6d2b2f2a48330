package pageserver

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// XIDState is what became of a transaction.
type XIDState uint8

// The states. A transaction that the primary's crash ended counts as aborted.
const (
	InProgress XIDState = iota
	Committed
	Aborted
)

func (s XIDState) String() string {
	switch s {
	case InProgress:
		return "in progress"
	case Committed:
		return "committed"
	case Aborted:
		return "aborted"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// applyXact ends and prepares transactions (xact_redo). The commit log and the counters are follow's.
func (t *Timeline) applyXact(rec *wal.Record) error {
	switch rec.Info & xlrec.XactOpMask {
	case xlrec.XactCommit, xlrec.XactCommitPrepared:
		r, err := xlrec.DecodeCommit(rec.Major, rec.Main, rec.Info)
		if err != nil {
			return err
		}
		t.endAll(rec.XID, r.PreparedXID, r.Subxacts, true)
		t.commitLSN, t.commitTime = rec.End, r.Time.Time()
		t.noteCommit(cmp.Or(r.PreparedXID, rec.XID), r.Subxacts)
		if t.onCommit != nil {
			t.onCommit(t.commitLSN, t.commitTime)
		}
		t.stats.commits++
		t.dropAll(r.DroppedRels)
	case xlrec.XactAbort, xlrec.XactAbortPrepared:
		r, err := xlrec.DecodeAbort(rec.Major, rec.Main, rec.Info)
		if err != nil {
			return err
		}
		t.endAll(rec.XID, r.PreparedXID, r.Subxacts, false)
		t.dropAll(r.DroppedRels)
	case xlrec.XactPrepare:
		p, err := xlrec.DecodePrepare(rec.Major, rec.Main)
		if err != nil {
			return err
		}
		t.notePrepared(p)
		t.setSmall(key.OfTwoPhase(p.XID), slices.Clone(p.State))
	}
	return nil
}

func (t *Timeline) notePrepared(p xlrec.Prepare) {
	subs := make([]pg.XID, p.Subxacts.Len())
	for i := range subs {
		subs[i] = p.Subxacts.At(i)
	}
	t.prepared[p.XID] = subs
}

// endAll ends a transaction and its subtransactions. prepared is the transaction's id if it was prepared.
func (t *Timeline) endAll(xid, prepared pg.XID, subs xlrec.XIDs, committed bool) {
	if prepared != 0 {
		xid = prepared
		delete(t.prepared, prepared)
		t.setSmall(key.OfTwoPhase(prepared), nil)
	}
	for i := range subs.Len() {
		t.endXact(subs.At(i), committed)
	}
	t.endXact(xid, committed)
}

func (t *Timeline) dropAll(rels xlrec.Rels) {
	for i := range rels.Len() {
		t.drop(rels.At(i))
	}
}

// XIDStatus says what had become of a transaction at RedoLSN. Ids older than the commit log are committed, as
// Postgres assumes of whatever has not been frozen.
func (t *Timeline) XIDStatus(xid pg.XID) (XIDState, error) {
	switch {
	case xid == pg.InvalidXID:
		return Aborted, nil
	case xid < pg.FirstNormalXID:
		return Committed, nil
	case xid.Precedes(t.live.CheckPoint.OldestXID), xid.Precedes(t.live.OldestCLOGXID):
		return Committed, nil
	case !xid.Precedes(pg.XID(t.live.CheckPoint.NextXID)):
		return InProgress, nil
	}
	bits, err := t.clogBits(xid)
	switch {
	case err != nil:
		return InProgress, err
	case bits == slru.CLOGCommitted:
		return Committed, nil
	case bits == slru.CLOGAborted:
		return Aborted, nil
	case xid.Precedes(t.oldestRunning) && !t.isPrepared(xid):
		return Aborted, nil
	}
	return InProgress, nil
}

// Committed says whether a transaction had committed at RedoLSN.
func (t *Timeline) Committed(xid pg.XID) (bool, error) {
	s, err := t.XIDStatus(xid)
	return s == Committed, err
}

func (t *Timeline) isPrepared(xid pg.XID) bool {
	if _, ok := t.prepared[xid]; ok {
		return true
	}
	for _, subs := range t.prepared {
		if slices.Contains(subs, xid) {
			return true
		}
	}
	return false
}
