package pageapi

import (
	"fmt"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/pageapi/pagepb"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// PagesMax is how many pages one request may ask for: 2 MiB, which are read while redo stands still.
const PagesMax = 256

// blockRange is blocks [first, first+count) of a fork; their keys are those of pages.
type blockRange struct {
	rel   pg.RelFileLocator
	fork  pg.ForkNumber
	first pg.BlockNumber
	count int // 1 to PagesMax
}

func bad(format string, args ...any) error {
	return &fault.Error{Code: fault.RequestBad, Err: fmt.Errorf(format, args...)}
}

func decodeFork(f *pagepb.RelFork) (rel pg.RelFileLocator, num pg.ForkNumber, err error) {
	if f == nil {
		return rel, 0, bad("no fork is given: name tablespace, database, relation and fork")
	}
	rel = pg.RelFileLocator{Spc: pg.OID(f.GetSpcOid()), DB: pg.OID(f.GetDbOid()), Rel: pg.OID(f.GetRelNumber())}
	if rel.Rel == 0 {
		return rel, 0, bad("fork of relation %s: name a relation's file number, pg_relation_filenode()", rel)
	}
	if f.GetForkNumber() > uint32(pg.InitFork) {
		return rel, 0, bad("relation %s fork number %d: it is 0 main, 1 fsm, 2 vm or 3 init", rel, f.GetForkNumber())
	}
	return rel, pg.ForkNumber(f.GetForkNumber()), nil
}

// decodeRanges checks that the ranges hold between 1 and PagesMax blocks, each of which a fork can have.
func decodeRanges(list []*pagepb.BlockRange) (ranges []blockRange, err error) {
	total := uint64(0)
	for _, r := range list {
		if total += uint64(r.GetCount()); r.GetCount() == 0 || total > PagesMax {
			return nil, bad("a range of %d blocks, %d in all so far: ask for 1 to %d blocks in one request", r.GetCount(), total, PagesMax)
		}
		b := blockRange{first: pg.BlockNumber(r.GetBlock()), count: int(r.GetCount())}
		if b.rel, b.fork, err = decodeFork(r.GetFork()); err != nil {
			return nil, err
		}
		// The greatest number is no block: its key is that of the fork's size.
		if uint64(r.GetBlock())+uint64(r.GetCount()) > uint64(pg.InvalidBlock) {
			return nil, bad("%d blocks from %d on: the last block a fork can have is %d", r.GetCount(), r.GetBlock(), pg.InvalidBlock-1)
		}
		ranges = append(ranges, b)
	}
	if len(ranges) == 0 {
		return nil, bad("no blocks are named: ask for 1 to %d in one request", PagesMax)
	}
	return ranges, nil
}

// appendKeys adds the keys of the range's pages.
func (r *blockRange) appendKeys(keys []key.Key) []key.Key {
	k := key.OfBlock(r.rel, r.fork, r.first)
	for i := range r.count {
		keys = append(keys, k.WithBlock(r.first+pg.BlockNumber(i)))
	}
	return keys
}

// want is a position, and the identity that its pages must have; zeros are not asked about.
type want struct {
	Position
	systemID uint64
	timeline pg.TimelineID
}

// branchMax is longer than any branch's name, bytes.
const branchMax = 64

func decodePosition(at *pagepb.ReadAt) (want, error) {
	w := want{systemID: at.GetSystemIdentifier(), timeline: pg.TimelineID(at.GetTimeline())}
	w.Position = Position{Branch: at.GetBranch(), LSN: pg.LSN(at.GetLsn()), MinLSN: pg.LSN(at.GetMinLsn())}
	if len(w.Branch) > branchMax {
		return w, bad("a branch's name of %d bytes: none is that long", len(w.Branch))
	}
	if w.LSN != 0 && w.MinLSN != 0 {
		return w, bad("both lsn %s and min_lsn %s: give the one that is to be read, or the one that must have been reached", w.LSN, w.MinLSN)
	}
	return w, nil
}

// check says whether a snapshot is of the cluster and timeline asked for.
func (w *want) check(s Snapshot) error {
	if w.systemID != 0 && w.systemID != s.SystemID() {
		return fault.Errorf(fault.PagesOfOther, "pages are of the cluster with system identifier %d, %d was asked for", s.SystemID(), w.systemID)
	}
	if w.timeline != 0 && w.timeline != s.Timeline() {
		return fault.Errorf(fault.PagesOfOther, "pages at %s are of WAL timeline %d, %d was asked for", s.LSN(), s.Timeline(), w.timeline)
	}
	return nil
}

// decodeSegment is an SLRU and the first page of one of its segments.
func decodeSegment(r *pagepb.GetSlruSegmentRequest) (slru.Kind, uint32, error) {
	if r.GetKind() < pagepb.SlruKind_SLRU_KIND_XACT || r.GetKind() > pagepb.SlruKind_SLRU_KIND_COMMIT_TS {
		return 0, 0, bad("SLRU kind %d: it is 1 pg_xact, 2 pg_multixact/offsets, 3 pg_multixact/members or 4 pg_commit_ts", r.GetKind())
	}
	kind := slru.Kind(r.GetKind() - pagepb.SlruKind_SLRU_KIND_XACT)
	if last := (kind.PagesMax() - 1) / slru.SegmentPages; r.GetSegment() > last {
		return 0, 0, bad("segment %d of %s: the last one there can be is %d", r.GetSegment(), kind, last)
	}
	return kind, r.GetSegment() * slru.SegmentPages, nil
}
