package pageserver

import (
	"context"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// slruMemo is the commit log page read last at this barrier.
type slruMemo struct {
	page uint32
	data []byte
}

// slruFork holds the frames of an SLRU's pages. Which pages exist is in slruSets: a fork's size says nothing of them.
func (t *Timeline) slruFork(k slru.Kind) *fork { return t.slrus[k].forks[pg.MainFork].Load() }

// slruRoom is how many pages the changes need.
func (t *Timeline) slruRoom() (n int) {
	sets := t.slruSets
	for i := range t.apply.changes {
		if c := &t.apply.changes[i]; !c.CutsSegments() {
			n += int(c.Page-sets[c.Kind].Add(c.Page)) + 1
		}
	}
	return n
}

// touchSLRUs makes the pages of the record's changes resident and private to redo; after an error nothing has changed. A
// page that does not exist is made of zeros, and with it those before it in its segment: as a file would have them, and so
// that nothing shows through of pages of those numbers that were cut off.
func (t *Timeline) touchSLRUs(ctx context.Context) error {
	s := &t.apply
	s.slru = s.slru[:0]
	if len(s.changes) == 0 {
		return nil
	}
	s.sets = t.slruSets
	for i := range s.changes {
		c := &s.changes[i]
		if c.CutsSegments() {
			continue
		}
		f, from := t.slruFork(c.Kind), s.sets[c.Kind].Add(c.Page)
		for no := from; no <= c.Page; no++ {
			if err := t.touchSLRU(ctx, c.Kind, f, no); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Timeline) touchSLRU(ctx context.Context, k slru.Kind, f *fork, no uint32) error {
	blk := pg.BlockNumber(no)
	id := f.frame(blk)
	if id != 0 {
		id = t.own(id)
	} else {
		id = t.arena.alloc(f, blk)
		if page := t.arena.page(id); !t.slruSets[k].Has(no) {
			clear(page)
		} else if err := t.loadPage(ctx, f, blk, page); err != nil {
			t.arena.unlink(id)
			return err
		}
	}
	t.arena.frames[id].state |= frameUsed | framePinned
	t.apply.slru = append(t.apply.slru, id)
	return nil
}

// rollbackSLRUs lets go of the pages of changes that are not made.
func (t *Timeline) rollbackSLRUs() {
	s := &t.apply
	for _, id := range s.slru {
		fr := &t.arena.frames[id]
		if fr.fork == nil {
			continue // named twice
		}
		fr.state &^= framePinned
		if k := slru.Kind(fr.fork.rel.loc.Spc); !t.slruSets[k].Has(uint32(fr.blk)) {
			t.arena.unlink(id)
		}
	}
	s.slru, s.changes = s.slru[:0], s.changes[:0]
}

// finishSLRUs makes the changes.
func (t *Timeline) finishSLRUs() {
	s := &t.apply
	if len(s.changes) == 0 {
		return
	}
	others := t.noteSLRUs()
	for i := range s.changes {
		c := &s.changes[i]
		f := t.slruFork(c.Kind)
		if !c.CutsSegments() {
			c.Apply(t.arena.page(f.frame(pg.BlockNumber(c.Page))))
			continue
		}
		for _, gone := range s.sets[c.Kind].Cut(c) {
			for no := gone.From; no < gone.To; no++ {
				if id := f.frame(pg.BlockNumber(no)); id != 0 {
					t.arena.unlink(id)
				}
			}
		}
	}
	for _, id := range s.slru {
		t.arena.frames[id].state &^= framePinned
		t.markDirty(id)
	}
	t.slruSets = s.sets
	if others {
		t.noteSettings()
	}
	s.slru, s.changes = s.slru[:0], s.changes[:0]
}

// slruRead reads an SLRU page at a barrier; nil if it does not exist, or is of zeros and in no layer.
func (t *Timeline) slruRead(ctx context.Context, k slru.Kind, no uint32) (pg.Page, error) {
	if t.failed != nil {
		return nil, t.failed // a run begun may have set fates of after the last good record
	}
	if !t.slruSets[k].Has(no) {
		return nil, nil
	}
	return t.readBlock(ctx, t.slruFork(k), pg.BlockNumber(no))
}

// SLRUPages lists which pages of an SLRU exist at RedoLSN.
func (t *Timeline) SLRUPages(k slru.Kind) []slru.Run { return t.slruSets[k].Runs() }

// SLRUPage is a page of an SLRU at RedoLSN, valid, and not to be changed, until the next Apply; ok is false if there is none.
func (t *Timeline) SLRUPage(ctx context.Context, k slru.Kind, no uint32) (page []byte, ok bool, err error) {
	if t.failed == nil && !t.slruSets[k].Has(no) {
		return nil, false, nil
	}
	p, err := t.slruRead(ctx, k, no)
	if p == nil && err == nil {
		p = zeroPage[:]
	}
	return p, err == nil, err
}

// clogBits is a transaction's status in the commit log; 0 if there is no such page.
func (t *Timeline) clogBits(xid pg.XID) (byte, error) {
	no := slru.CLOG.Page(uint32(xid))
	m := t.memo.Load()
	if m == nil || m.page != no {
		page, err := t.slruRead(context.Background(), slru.CLOG, no)
		if err != nil {
			return 0, fmt.Errorf("status of transaction %d: %w", xid, err)
		}
		m = &slruMemo{no, page}
		t.memo.Store(m)
	}
	if m.data == nil {
		return 0, nil
	}
	return slru.StatusOf(m.data, xid), nil
}

// CommitTime is when a transaction committed, by the clock of where it began, and that replication origin, 0 for the
// primary itself. ok is false if it is not known (TransactionIdGetCommitTsData).
func (t *Timeline) CommitTime(ctx context.Context, xid pg.XID) (at pg.TimestampTz, origin uint16, ok bool, err error) {
	c := &t.live.CheckPoint
	if xid < pg.FirstNormalXID || c.OldestCommitTsXID == 0 || xid.Precedes(c.OldestCommitTsXID) || c.NewestCommitTsXID.Precedes(xid) {
		return 0, 0, false, nil
	}
	page, err := t.slruRead(ctx, slru.CommitTs, slru.CommitTs.Page(uint32(xid)))
	if err != nil || page == nil {
		return 0, 0, false, err
	}
	at, origin = slru.TimeOf(page, xid)
	return at, origin, at != 0, nil
}

// membersMax bounds a multixact's members: more than a server can have backends, MaxBackends is below 2^18.
const membersMax = 1 << 18

func nextMultiID(id pg.MultiXactID) pg.MultiXactID { return max(1, id+1) }

// multiPrecedes is MultiXactIdPrecedes.
func multiPrecedes(a, b pg.MultiXactID) bool { return int32(a-b) < 0 }

func (t *Timeline) offsetOf(ctx context.Context, id pg.MultiXactID) (uint32, error) {
	page, err := t.slruRead(ctx, slru.Offsets, slru.Offsets.Page(uint32(id)))
	if err != nil || page == nil {
		return 0, err
	}
	return slru.OffsetOf(page, id), nil
}

// membersEnd is the offset behind a multixact's members: where those of the next one begin that has been logged. One in between
// may be assigned and not logged yet (the second corner case of GetMultiXactIdMembers): its members are still zeros.
func (t *Timeline) membersEnd(ctx context.Context, multi pg.MultiXactID) (uint32, error) {
	for range membersMax {
		if multi = nextMultiID(multi); multi == max(1, t.live.CheckPoint.NextMulti) {
			break
		}
		if end, err := t.offsetOf(ctx, multi); end != 0 || err != nil {
			return end, err
		}
	}
	return max(1, t.live.CheckPoint.NextMultiOffset), nil
}

// MultiXactUpdater returns the member of a multixact that updated or deleted the tuple; ok is false if all members only
// lock it (GetMultiXactIdMembers, HeapTupleGetUpdateXid). A multixact that is not known is a *pg.CorruptError.
func (t *Timeline) MultiXactUpdater(multi pg.MultiXactID) (xid pg.XID, ok bool, err error) {
	ctx := context.Background()
	start, err := t.offsetOf(ctx, multi)
	if err != nil {
		return 0, false, fmt.Errorf("multixact %d: %w", multi, err)
	}
	end := uint32(0)
	if start != 0 && multiPrecedes(multi, t.live.CheckPoint.NextMulti) {
		if end, err = t.membersEnd(ctx, multi); err != nil {
			return 0, false, fmt.Errorf("multixact %d: %w", multi, err)
		}
	}
	if start == 0 || end == 0 || end-start > membersMax {
		return 0, false, &pg.CorruptError{LSN: t.redoLSN, What: fmt.Sprintf("multixact %d has members from %d to %d", multi, start, end)}
	}
	for at := start; at != end; at++ {
		no := slru.Members.Page(at)
		page, err := t.slruRead(ctx, slru.Members, no)
		if err != nil {
			return 0, false, fmt.Errorf("multixact %d: %w", multi, err)
		}
		if page == nil {
			return 0, false, &pg.CorruptError{LSN: t.redoLSN, What: fmt.Sprintf("multixact %d: no page for member %d", multi, at)}
		}
		if m := slru.MemberOf(page, at); m.XID != 0 && m.Status.IsUpdate() {
			return m.XID, true, nil // there is at most one
		}
	}
	return 0, false, nil
}
