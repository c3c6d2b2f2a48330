package redo

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/btreerec"
)

// btreeVacuum is btree_xlog_vacuum. Redo before 18 leaves the vacuum's cycle id on the page; the server, in all versions, has
// taken it off.
func btreeVacuum(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	r, err := btreerec.DecodeVacuum(rec.Main, blk.Data)
	if err != nil {
		return err
	}
	btreerec.OpaqueOf(page).SetCycleID(0)
	return btreeDeleteItems(page, &r)
}

// btreeDelete is btree_xlog_delete.
func btreeDelete(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	r, err := btreerec.DecodeDelete(rec.Major, rec.Main, blk.Data)
	if err != nil {
		return err
	}
	return btreeDeleteItems(page, &r)
}

// btreeDeleteItems takes TIDs out of posting lists first: the numbers of the line pointers are still those of the record.
func btreeDeleteItems(page pg.Page, r *btreerec.Delete) error {
	for off, gone, ok := r.Updates.Next(); ok; off, gone, ok = r.Updates.Next() {
		if err := updatePosting(page, off, gone); err != nil {
			return atLine(err, off)
		}
	}
	if r.Deleted.Len() > 0 {
		if err := deleteItems(page, r.Deleted); err != nil {
			return err
		}
	}
	o := btreerec.OpaqueOf(page)
	o.SetFlags(o.Flags() &^ btreerec.FlagHasGarbage)
	return nil
}

// updatePosting takes the TIDs with these indexes, which rise, out of a posting list (btree_xlog_updates, _bt_update_posting).
// One at least stays.
func updatePosting(page pg.Page, off pg.OffsetNumber, gone pg.Offsets) error {
	t, err := indexTuple(page, off)
	if err != nil {
		return err
	}
	key, tids, ok := t.Heap()
	n := len(tids) / pg.TIDSize
	if !ok || !t.IsPosting() || gone.Len() >= n {
		return errPostingList
	}
	var b postingBuilder
	if err := b.start(key); err != nil {
		return err
	}
	from := 0 // of the run that stays
	for i := range gone.Len() {
		at := int(gone.At(i))
		if at < from || at >= n {
			return errOrder
		}
		if err := b.add(tids[from*pg.TIDSize : at*pg.TIDSize]); err != nil {
			return err
		}
		from = at + 1
	}
	if err := b.add(tids[from*pg.TIDSize:]); err != nil {
		return err
	}
	return replaceItem(page, off, b.finish())
}
