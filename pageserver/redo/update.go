package redo

import (
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/heaprec"
)

// applyUpdate is heap_xlog_update for one of its pages. Block 0 is the new version's page; block 1 the old version's,
// and where there is none both are on block 0. Blocks are told by the ids present: later minors add others.
func applyUpdate(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := heaprec.DecodeUpdate(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	first := rec.Block(0)
	if first == nil {
		return Skipped, corrupt(rec, blk, "no block reference 0")
	}
	samePage := rec.Block(1) == nil
	if !samePage && blk.ID == 0 && rec.Info&heaprec.InitPage != 0 {
		page.Init(0)
	} else if res, ok := needsRedo(page, rec); !ok {
		return res, nil
	}
	newTID := pg.TID{Block: first.Block, Offset: r.NewOffset}
	var old pg.HeapTuple
	if samePage || blk.ID == 1 {
		if old, err = updateOld(page, rec, &r, newTID); err != nil {
			return Skipped, corrupt(rec, blk, "old tuple: "+atLine(err, r.OldOffset).Error())
		}
	}
	if blk.ID == 0 {
		if err := updateNew(page, rec.XID, blk.Data, &r, old, newTID); err != nil {
			return Skipped, corrupt(rec, blk, "new tuple: "+atLine(err, r.NewOffset).Error())
		}
	}
	page.SetLSN(rec.End)
	return Changed, nil
}

// updateOld gives the old version its successor.
func updateOld(page pg.Page, rec *wal.Record, r *heaprec.Update, successor pg.TID) (pg.HeapTuple, error) {
	t, err := tuple(page, r.OldOffset)
	if err != nil {
		return nil, err
	}
	setFromInfobits(t, r.OldInfobits)
	setHotUpdated(t, rec.Info&heaprec.OpMask == heaprec.OpHotUpdate)
	t.SetXmax(r.OldXmax)
	clearCID(t)
	t.SetCtid(successor)
	setPrunable(page, rec.XID)
	if r.Flags&heaprec.UpdateOldAllVisibleCleared != 0 {
		setFlag(page, pg.PageAllVisible, false)
	}
	return t, nil
}

// updateNew adds the new version. Column data it shares with the old one at either end is not in the record; log_heap_update
// leaves it out only when both versions are on one page, so old is at hand whenever it is needed.
func updateNew(page pg.Page, xid pg.XID, data []byte, r *heaprec.Update, old pg.HeapTuple, self pg.TID) error {
	n, err := heaprec.DecodeNewTuple(data, r.Flags)
	if err != nil {
		return err
	}
	// Cut out before the new tuple is placed: on a damaged page the two may overlap.
	var prefix, suffix []byte
	if n.Prefix+n.Suffix > 0 {
		if old == nil {
			return fmt.Errorf("it shares %d bytes with an old tuple on another page", n.Prefix+n.Suffix)
		}
		hoff := old.Hoff()
		if hoff < pg.HeapTupleHeaderSize || hoff+n.Prefix > len(old) || n.Suffix > len(old) {
			return fmt.Errorf("it shares %d and %d bytes with an old tuple of %d", n.Prefix, n.Suffix, len(old))
		}
		prefix, suffix = old[hoff:hoff+n.Prefix], old[len(old)-n.Suffix:]
	}
	size := int(n.Header.Hoff) + n.Prefix + len(n.Data) + n.Suffix
	if size > maxTupleSize {
		return errNoRoom
	}
	t, err := addItem(page, size, self.Offset)
	if err != nil {
		return err
	}
	putHeader(t, xid, r.NewXmax, n.Header, self)
	at := pg.HeapTupleHeaderSize + copy(t[pg.HeapTupleHeaderSize:], n.Bitmap)
	at += copy(t[at:], prefix)
	at += copy(t[at:], n.Data)
	copy(t[at:], suffix)
	if r.Flags&heaprec.UpdateNewAllVisibleCleared != 0 {
		setFlag(page, pg.PageAllVisible, false)
	}
	return nil
}
