package pageserver

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/key"
)

// Layout of the SLRUs' pages (access/transam/clog.c, multixact.c).
const (
	clogCommitted   = 1 // TRANSACTION_STATUS_COMMITTED
	clogAborted     = 2 // TRANSACTION_STATUS_ABORTED
	clogXactsByte   = 4
	clogXactsPage   = pg.BlockSize * clogXactsByte
	offsetsPage     = pg.BlockSize / 4               // multixact offsets on a page
	memberGroup     = 4                              // members of a group: their 4 status bytes, then their 4 ids
	memberGroupSize = 4 + 4*memberGroup              // bytes
	memberGroupsAt  = pg.BlockSize / memberGroupSize // groups on a page
	membersPage     = memberGroupsAt * memberGroup
	slruPagesFile   = 32 // SLRU_PAGES_PER_SEGMENT

	// membersMax bounds a multixact's members: more than a server can have backends, MaxBackends is below 2^18.
	membersMax = 1 << 18
)

// slruMemo is the commit log page read last at this barrier.
type slruMemo struct {
	page pg.BlockNumber
	data []byte
}

// pendingOffset is where the members of a multixact to come will begin.
type pendingOffset struct {
	id     pg.MultiXactID
	offset uint32
}

// slruFork is the pages of one of the SLRUs.
func (t *Timeline) slruFork(ctx context.Context, slru pg.OID) (*fork, error) {
	return t.fork(ctx, t.slrus[slru], pg.MainFork)
}

// slruPage makes an SLRU page writable and marks it dirty. A page that does not exist is made of zeros.
func (t *Timeline) slruPage(ctx context.Context, slru pg.OID, no pg.BlockNumber, zero bool) (pg.Page, error) {
	f, err := t.slruFork(ctx, slru)
	if err != nil {
		return nil, err
	}
	id := f.frame(no)
	if id == 0 {
		id = t.arena.alloc(f, no)
		page := t.arena.page(id)
		if no < f.size && !zero {
			if err := t.loadPage(ctx, f, no, page); err != nil {
				t.arena.unlink(id)
				return nil, err
			}
		} else {
			clear(page)
		}
	} else {
		id = t.own(id)
		if zero {
			clear(t.arena.page(id))
		}
	}
	if no >= f.size {
		f.size = no + 1
		t.resized(f)
	}
	t.markDirty(id)
	t.arena.frames[id].state = t.arena.frames[id].state&^framePinned | frameUsed
	return t.arena.page(id), nil
}

// slruRead reads an SLRU page at a barrier; nil if it does not exist.
func (t *Timeline) slruRead(ctx context.Context, slru pg.OID, no pg.BlockNumber) (pg.Page, error) {
	f, err := t.slruFork(ctx, slru)
	if err != nil || no >= f.size {
		return nil, err
	}
	return t.readBlock(ctx, f, no)
}

func (t *Timeline) needCLOG(ctx context.Context, xid pg.XID) error {
	if xid < pg.FirstNormalXID {
		return &pg.CorruptError{What: fmt.Sprintf("end of transaction %d", xid)}
	}
	_, err := t.slruPage(ctx, key.CLOG, pg.BlockNumber(xid/clogXactsPage), false)
	return err
}

// setCLOG is TransactionIdSetStatusBit.
func (t *Timeline) setCLOG(ctx context.Context, xid pg.XID, fate byte) error {
	page, err := t.slruPage(ctx, key.CLOG, pg.BlockNumber(xid/clogXactsPage), false)
	if err != nil {
		return err
	}
	at, shift := xid%clogXactsPage/clogXactsByte, xid%clogXactsByte*2
	page[at] = page[at]&^(3<<shift) | fate<<shift
	return nil
}

// clogBits is a transaction's status in the commit log; 0 if there is no such page.
func (t *Timeline) clogBits(xid pg.XID) (byte, error) {
	no := pg.BlockNumber(xid / clogXactsPage)
	m := t.memo.Load()
	if m == nil || m.page != no {
		page, err := t.slruRead(context.Background(), key.CLOG, no)
		if err != nil {
			return 0, fmt.Errorf("status of transaction %d: %w", xid, err)
		}
		m = &slruMemo{no, page}
		t.memo.Store(m)
	}
	if m.data == nil {
		return 0, nil
	}
	return m.data[xid%clogXactsPage/clogXactsByte] >> (xid % clogXactsByte * 2) & 3, nil
}

// applyClog is clog_redo. Pages cut off stay: nothing asks for them, and they are few.
func (t *Timeline) applyClog(ctx context.Context, rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.ClogZeroPage:
		return t.zeroPage(ctx, rec, key.CLOG)
	case xlrec.ClogTruncate:
		r, err := xlrec.DecodeClogTruncate(rec.Major, rec.Main)
		if err != nil {
			return err
		}
		if t.checkpoint.OldestXID.Precedes(r.OldestXID) {
			t.checkpoint.OldestXID, t.checkpoint.OldestXIDDB = r.OldestXID, r.OldestXIDDB
		}
	}
	return nil
}

func (t *Timeline) zeroPage(ctx context.Context, rec *wal.Record, slru pg.OID) error {
	no, err := xlrec.DecodeZeroPage(rec.Major, rec.Main)
	if err != nil {
		return err
	}
	if no >= int64(key.SizeBlock) {
		return &pg.CorruptError{What: fmt.Sprintf("page number %d", no)}
	}
	_, err = t.slruPage(ctx, slru, pg.BlockNumber(no), true)
	return err
}

// applyMultiXact is multixact_redo.
func (t *Timeline) applyMultiXact(ctx context.Context, rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.MultiXactZeroOffPage:
		if err := t.zeroPage(ctx, rec, key.MultiOffsets); err != nil {
			return err
		}
		// The first entry may have been set, ahead of the page's own record, by the multixact before it.
		if p := t.nextMulti; p.id != 0 {
			return t.setOffset(ctx, p.id, p.offset)
		}
	case xlrec.MultiXactZeroMemPage:
		return t.zeroPage(ctx, rec, key.MultiMembers)
	case xlrec.MultiXactCreateID:
		r, err := xlrec.DecodeMultiXactCreate(rec.Main)
		if err != nil {
			return err
		}
		return t.createMulti(ctx, r)
	case xlrec.MultiXactTruncateID:
		r, err := xlrec.DecodeMultiXactTruncate(rec.Main)
		if err != nil {
			return err
		}
		t.checkpoint.OldestMulti, t.checkpoint.OldestMultiDB = r.EndOffset, r.OldestDB
	}
	return nil
}

// createMulti is RecordNewMultiXact with what follows it. It also sets the offset of the next multixact, which newer
// minor releases do too: offsets are given out without gaps, so it is known, and a reader needs it for the length.
func (t *Timeline) createMulti(ctx context.Context, r xlrec.MultiXactCreate) error {
	n := r.Members.Len()
	if r.ID == 0 || r.Offset == 0 || n == 0 || n > membersMax {
		return &pg.CorruptError{What: fmt.Sprintf("multixact %d at %d with %d members", r.ID, r.Offset, n)}
	}
	for i := range n {
		m := r.Members.At(i)
		if err := t.setMember(ctx, r.Offset+uint32(i), m); err != nil {
			return err
		}
		t.noteXID(m.XID)
	}
	next := pendingOffset{nextMultiID(r.ID), r.Offset + uint32(n)}
	if next.offset == 0 {
		next.offset = 1 // 0 means there is none
	}
	if err := t.setOffset(ctx, next.id, next.offset); err != nil {
		return err
	}
	t.nextMulti = next
	if err := t.setOffset(ctx, r.ID, r.Offset); err != nil {
		return err
	}
	if multiPrecedes(t.checkpoint.NextMulti, next.id) {
		t.checkpoint.NextMulti, t.checkpoint.NextMultiOffset = next.id, next.offset
	}
	return nil
}

// multiPrecedes is MultiXactIdPrecedes.
func multiPrecedes(a, b pg.MultiXactID) bool { return int32(a-b) < 0 }

func nextMultiID(id pg.MultiXactID) pg.MultiXactID { return max(1, id+1) }

func (t *Timeline) setOffset(ctx context.Context, id pg.MultiXactID, offset uint32) error {
	page, err := t.slruPage(ctx, key.MultiOffsets, pg.BlockNumber(id/offsetsPage), false)
	if err == nil {
		binary.LittleEndian.PutUint32(page[id%offsetsPage*4:], offset)
	}
	return err
}

// memberAt is where a member's status and id lie on its page (MXOffsetToFlagsOffset, MXOffsetToMemberOffset).
func memberAt(offset uint32) (no pg.BlockNumber, status, xid int) {
	group := int(offset/memberGroup) % memberGroupsAt * memberGroupSize
	i := int(offset % memberGroup)
	return pg.BlockNumber(offset / membersPage), group + i, group + 4 + 4*i
}

func (t *Timeline) setMember(ctx context.Context, offset uint32, m xlrec.MultiXactMember) error {
	no, status, xid := memberAt(offset)
	page, err := t.slruPage(ctx, key.MultiMembers, no, false)
	if err == nil {
		page[status] = byte(m.Status)
		binary.LittleEndian.PutUint32(page[xid:], uint32(m.XID))
	}
	return err
}

func (t *Timeline) offsetOf(ctx context.Context, id pg.MultiXactID) (uint32, error) {
	page, err := t.slruRead(ctx, key.MultiOffsets, pg.BlockNumber(id/offsetsPage))
	if err != nil || page == nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(page[id%offsetsPage*4:]), nil
}

// membersEnd is the offset behind a multixact's members: where those of the next one begin that has been logged. One in between
// may be assigned and not logged yet (the second corner case of GetMultiXactIdMembers): its members are still zeros.
func (t *Timeline) membersEnd(ctx context.Context, multi pg.MultiXactID) (uint32, error) {
	for range membersMax {
		if multi = nextMultiID(multi); multi == t.checkpoint.NextMulti {
			break
		}
		if end, err := t.offsetOf(ctx, multi); end != 0 || err != nil {
			return end, err
		}
	}
	return t.checkpoint.NextMultiOffset, nil
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
	if start != 0 && multiPrecedes(multi, t.checkpoint.NextMulti) {
		if end, err = t.membersEnd(ctx, multi); err != nil {
			return 0, false, fmt.Errorf("multixact %d: %w", multi, err)
		}
	}
	if start == 0 || end == 0 || end-start > membersMax {
		return 0, false, &pg.CorruptError{LSN: t.redoLSN, What: fmt.Sprintf("multixact %d has members from %d to %d", multi, start, end)}
	}
	for at := start; at != end; at++ {
		no, statusAt, xidAt := memberAt(at)
		page, err := t.slruRead(ctx, key.MultiMembers, no)
		if err != nil {
			return 0, false, fmt.Errorf("multixact %d: %w", multi, err)
		}
		if page == nil {
			return 0, false, &pg.CorruptError{LSN: t.redoLSN, What: fmt.Sprintf("multixact %d: no page for member %d", multi, at)}
		}
		member := pg.XID(binary.LittleEndian.Uint32(page[xidAt:]))
		if member != 0 && xlrec.MultiXactStatus(page[statusAt]).IsUpdate() {
			return member, true, nil // there is at most one
		}
	}
	return 0, false, nil
}
