package cluster

import (
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// pageNumber checks a page number a record gives.
func pageNumber(kind slru.Kind, no int64) (uint32, error) {
	if no < 0 || no >= int64(kind.PagesMax()) {
		return 0, &pg.CorruptError{What: fmt.Sprintf("page %d of %s", no, kind)}
	}
	return uint32(no), nil
}

func zeroPage(rec *wal.Record, kind slru.Kind, changes []slru.Change) ([]slru.Change, error) {
	no, err := xlrec.DecodeZeroPage(rec.Major, rec.Main)
	if err != nil {
		return changes, err
	}
	page, err := pageNumber(kind, no)
	if err != nil {
		return changes, err
	}
	return append(changes, slru.Change{Kind: kind, Op: slru.Zero, Page: page}), nil
}

// cutBefore is SimpleLruTruncate: nothing goes if the page of the next id would ("apparent wraparound").
func cutBefore(changes []slru.Change, kind slru.Kind, next, page uint32) []slru.Change {
	if kind.Precedes(kind.Page(next), page) {
		return changes
	}
	return append(changes, slru.Change{Kind: kind, Op: slru.CutBefore, Page: page})
}

// clog is clog_redo.
func (s *State) clog(rec *wal.Record, changes []slru.Change) ([]slru.Change, error) {
	switch rec.Op() {
	case xlrec.ClogZeroPage:
		return zeroPage(rec, slru.CLOG, changes)
	case xlrec.ClogTruncate:
		r, err := xlrec.DecodeClogTruncate(rec.Major, rec.Main)
		if err != nil {
			return changes, err
		}
		page, err := pageNumber(slru.CLOG, r.Page)
		if err != nil {
			return changes, err
		}
		if s.OldestCLOGXID.Precedes(r.OldestXID) { // AdvanceOldestClogXid
			s.OldestCLOGXID = r.OldestXID
		}
		return cutBefore(changes, slru.CLOG, uint32(s.CheckPoint.NextXID), page), nil
	}
	return changes, unknown(rec, "commit log")
}

// commitTs is commit_ts_redo.
func (s *State) commitTs(rec *wal.Record, changes []slru.Change) ([]slru.Change, error) {
	switch rec.Op() {
	case xlrec.CommitTsZeroPage:
		return zeroPage(rec, slru.CommitTs, changes)
	case xlrec.CommitTsTruncate:
		r, err := xlrec.DecodeCommitTsTruncate(rec.Major, rec.Main)
		if err != nil {
			return changes, err
		}
		page, err := pageNumber(slru.CommitTs, r.Page)
		if err != nil {
			return changes, err
		}
		// AdvanceOldestCommitTsXid
		if oldest := s.CheckPoint.OldestCommitTsXID; oldest != 0 && oldest.Precedes(r.OldestXID) {
			s.CheckPoint.OldestCommitTsXID = r.OldestXID
		}
		return append(changes, slru.Change{Kind: slru.CommitTs, Op: slru.CutBefore, Page: page}), nil
	}
	return changes, unknown(rec, "commit timestamp")
}

// ActivateCommitTs begins to keep commit times. The page of the next transaction is made without a record of its own.
func (s *State) ActivateCommitTs(sets *slru.Sets, changes []slru.Change) []slru.Change {
	if s.CommitTs {
		return changes
	}
	s.CommitTs = true
	next := pg.XID(s.CheckPoint.NextXID)
	if s.CheckPoint.OldestCommitTsXID == 0 {
		s.CheckPoint.OldestCommitTsXID, s.CheckPoint.NewestCommitTsXID = next, next
	}
	if page := slru.CommitTs.Page(uint32(next)); !sets[slru.CommitTs].Has(page) {
		changes = append(changes, slru.Change{Kind: slru.CommitTs, Op: slru.Zero, Page: page})
	}
	return changes
}

// deactivateCommitTs ends that, and removes every time kept.
func (s *State) deactivateCommitTs(changes []slru.Change) []slru.Change {
	if !s.CommitTs {
		return changes
	}
	s.CommitTs = false
	s.CheckPoint.OldestCommitTsXID, s.CheckPoint.NewestCommitTsXID = 0, 0
	return append(changes, slru.Change{Kind: slru.CommitTs, Op: slru.CutAll})
}

// multiXact is multixact_redo.
func (s *State) multiXact(rec *wal.Record, sets *slru.Sets, changes []slru.Change) ([]slru.Change, error) {
	switch rec.Op() {
	case xlrec.MultiXactZeroOffPage:
		no, err := xlrec.DecodeZeroPage(rec.Major, rec.Main)
		if err != nil {
			return changes, err
		}
		page, err := pageNumber(slru.Offsets, no)
		if err != nil {
			return changes, err
		}
		if ahead := s.OffsetsAhead; ahead != no { // else it was made by the multixact before it, and has its first offset
			changes = append(changes, slru.Change{Kind: slru.Offsets, Op: slru.Zero, Page: page})
			s.OffsetsZeroed = no
		}
		s.OffsetsAhead = -1
		return changes, nil
	case xlrec.MultiXactZeroMemPage:
		return zeroPage(rec, slru.Members, changes)
	case xlrec.MultiXactCreateID:
		r, err := xlrec.DecodeMultiXactCreate(rec.Main)
		if err != nil {
			return changes, err
		}
		return s.createMulti(r, sets, changes)
	case xlrec.MultiXactTruncateID:
		r, err := xlrec.DecodeMultiXactTruncate(rec.Main)
		if err != nil {
			return changes, err
		}
		return s.truncateMulti(r, changes), nil
	}
	return changes, unknown(rec, "multixact")
}

// membersMax bounds a multixact's members: more than a server can have backends, MaxBackends is below 2^18.
const membersMax = 1 << 18

// createMulti is RecordNewMultiXact as newer minor releases have it: it also sets the next multixact's offset, and so meets
// pages that WAL of an older minor release makes only later.
func (s *State) createMulti(r xlrec.MultiXactCreate, sets *slru.Sets, changes []slru.Change) ([]slru.Change, error) {
	n := r.Members.Len()
	if r.ID == 0 || r.Offset == 0 || n == 0 || n > membersMax {
		return changes, &pg.CorruptError{What: fmt.Sprintf("multixact %d at %d with %d members", r.ID, r.Offset, n)}
	}
	s.OffsetsAhead = -1
	next := max(1, uint32(r.ID)+1)
	page, nextPage := slru.Offsets.Page(uint32(r.ID)), slru.Offsets.Page(next)
	if page != nextPage {
		missing := s.OffsetsZeroed == int64(page)
		if s.OffsetsZeroed < 0 {
			missing = !sets[slru.Offsets].Has(nextPage)
		}
		if missing {
			changes = append(changes, slru.Change{Kind: slru.Offsets, Op: slru.Zero, Page: nextPage})
			s.OffsetsAhead, s.OffsetsZeroed = int64(nextPage), int64(nextPage)
		}
	}
	changes = append(changes,
		slru.Change{Kind: slru.Offsets, Op: slru.Offset, Page: page, ID: uint32(r.ID), Value: r.Offset},
		slru.Change{Kind: slru.Offsets, Op: slru.Offset, Page: nextPage, ID: next, Value: max(1, r.Offset+uint32(n))}) // 0 is none
	for i := 0; i < n; {
		at := r.Offset + uint32(i) // wraps
		page := slru.Members.Page(at)
		to := i + 1
		for to < n && slru.Members.Page(r.Offset+uint32(to)) == page {
			to++
		}
		changes = append(changes, slru.Change{Kind: slru.Members, Op: slru.Member, Page: page, ID: at, Member: r.Members[8*i : 8*to : 8*to]})
		i = to
	}
	advanceMulti(&s.CheckPoint, r.ID+1, r.Offset+uint32(n))
	for i := range n {
		s.NoteXID(r.Members.At(i).XID)
	}
	return changes, nil
}

// truncateMulti is the truncation of multixact_redo.
func (s *State) truncateMulti(r xlrec.MultiXactTruncate, changes []slru.Change) []slru.Change {
	s.CheckPoint.OldestMulti, s.CheckPoint.OldestMultiDB = r.EndOffset, r.OldestDB
	last := uint32(r.EndOffset) - 1 // PreviousMultiXactId: its page exists
	if r.EndOffset <= 1 {
		last = 1<<32 - 1
	}
	segment := func(offset uint32) uint32 { return slru.Members.Page(offset) / slru.SegmentPages }
	changes = append(changes, slru.Change{Kind: slru.Members, Op: slru.CutSegments, From: segment(r.StartMember), To: segment(r.EndMember)})
	return cutBefore(changes, slru.Offsets, uint32(s.CheckPoint.NextMulti), slru.Offsets.Page(last))
}
