package cluster

import (
	"fmt"
	"slices"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// xact is xact_redo as far as counters, commit log, commit times and origins go.
func (s *State) xact(rec *wal.Record, changes []slru.Change) ([]slru.Change, error) {
	switch rec.Info & xlrec.XactOpMask {
	case xlrec.XactCommit, xlrec.XactCommitPrepared:
		r, err := xlrec.DecodeCommit(rec.Major, rec.Main, rec.Info)
		if err != nil {
			return changes, err
		}
		return s.commit(rec, &r, changes)
	case xlrec.XactAbort, xlrec.XactAbortPrepared:
		r, err := xlrec.DecodeAbort(rec.Major, rec.Main, rec.Info)
		if err != nil {
			return changes, err
		}
		if r.XInfo&xlrec.XInfoHasOrigin != 0 {
			if err := s.advanceOrigin(rec.Origin, r.OriginLSN, false); err != nil {
				return changes, err
			}
		}
		return s.end(changes, ended(rec, r.PreparedXID), r.Subxacts, slru.CLOGAborted)
	case xlrec.XactPrepare:
		p, err := xlrec.DecodePrepare(rec.Major, rec.Main)
		if err == nil && rec.Origin != 0 {
			err = s.advanceOrigin(rec.Origin, p.OriginLSN, false) // PrepareRedoAdd
		}
		return changes, err
	case xlrec.XactAssignment:
		_, err := xlrec.DecodeAssignment(rec.Main)
		return changes, err
	case xlrec.XactInvalidations:
		_, err := xlrec.DecodeXactInvalidations(rec.Main)
		return changes, err
	}
	return changes, unknown(rec, "transaction")
}

// ended is the transaction a record ends: the one prepared if it names one.
func ended(rec *wal.Record, prepared pg.XID) pg.XID {
	if prepared != 0 {
		return prepared
	}
	return rec.XID
}

// commit is xact_redo_commit.
func (s *State) commit(rec *wal.Record, r *xlrec.Commit, changes []slru.Change) ([]slru.Change, error) {
	xid, at := ended(rec, r.PreparedXID), r.Time
	if r.XInfo&xlrec.XInfoHasOrigin != 0 {
		at = r.OriginTime
		if err := s.advanceOrigin(rec.Origin, r.OriginLSN, false); err != nil {
			return changes, err
		}
	}
	changes, err := s.end(changes, xid, r.Subxacts, slru.CLOGCommitted)
	if err != nil || !s.CommitTs {
		return changes, err
	}
	// TransactionTreeSetCommitTsData
	newest := xid
	if n := r.Subxacts.Len(); n > 0 {
		newest = r.Subxacts.At(n - 1)
	}
	if s.CheckPoint.NewestCommitTsXID.Precedes(newest) {
		s.CheckPoint.NewestCommitTsXID = newest
	}
	return byPage(changes, slru.Change{Kind: slru.CommitTs, Op: slru.Time, Time: at, Origin: rec.Origin}, xid, r.Subxacts), nil
}

// end sets the fate of a transaction and its subtransactions (TransactionIdCommitTree, TransactionIdAbortTree).
func (s *State) end(changes []slru.Change, xid pg.XID, subs xlrec.XIDs, status byte) ([]slru.Change, error) {
	if xid < pg.FirstNormalXID {
		return changes, &pg.CorruptError{What: fmt.Sprintf("end of transaction %d", xid)}
	}
	s.NoteXID(xid)
	for i := range subs.Len() {
		if subs.At(i) < pg.FirstNormalXID {
			return changes, &pg.CorruptError{What: fmt.Sprintf("end of subtransaction %d", subs.At(i))}
		}
		s.NoteXID(subs.At(i))
	}
	return byPage(changes, slru.Change{Kind: slru.CLOG, Op: slru.Status, Status: status}, xid, subs), nil
}

// byPage makes one change of each run of transactions on one page: their ids rise.
func byPage(changes []slru.Change, c slru.Change, xid pg.XID, subs xlrec.XIDs) []slru.Change {
	c.ID, c.Page = uint32(xid), c.Kind.Page(uint32(xid))
	for from := 0; ; {
		to := from
		for to < subs.Len() && c.Kind.Page(uint32(subs.At(to))) == c.Page {
			to++
		}
		c.XIDs = subs[4*from : 4*to : 4*to]
		changes = append(changes, c)
		if to == subs.Len() {
			return changes
		}
		c.ID, c.Page, from = 0, c.Kind.Page(uint32(subs.At(to))), to
	}
}

// doNotReplicate is DoNotReplicateId: an origin whose progress is not kept.
const doNotReplicate = 0xFFFF

// advanceOrigin is replorigin_advance.
func (s *State) advanceOrigin(id uint16, remote pg.LSN, backward bool) error {
	switch id {
	case 0:
		return &pg.CorruptError{What: "progress of a replication origin without its id"}
	case doNotReplicate:
		return nil
	}
	i, ok := s.findOrigin(id)
	if ok && s.Origins[i].RemoteLSN >= remote && !backward {
		return nil
	}
	s.Origins = slices.Clone(s.Origins)
	if !ok {
		s.Origins = slices.Insert(s.Origins, i, Origin{ID: id})
	}
	s.Origins[i].RemoteLSN = remote
	return nil
}

func (s *State) findOrigin(id uint16) (int, bool) {
	return slices.BinarySearchFunc(s.Origins, id, func(o Origin, id uint16) int { return int(o.ID) - int(id) })
}

// origin is replorigin_redo.
func (s *State) origin(rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.ReplOriginSet:
		r, err := xlrec.DecodeReplOriginSet(rec.Main)
		if err != nil {
			return err
		}
		return s.advanceOrigin(r.ID, r.RemoteLSN, r.Force)
	case xlrec.ReplOriginDrop:
		id, err := xlrec.DecodeReplOriginDrop(rec.Main)
		if err != nil {
			return err
		}
		if i, ok := s.findOrigin(id); ok {
			s.Origins = slices.Delete(slices.Clone(s.Origins), i, i+1)
		}
		return nil
	}
	return unknown(rec, "replication origin")
}
