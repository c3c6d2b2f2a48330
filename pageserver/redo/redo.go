// Package redo turns a page and a WAL record into the page after the record. It is pure: no I/O, clock, goroutine or
// global state, and no allocation unless a record is refused.
//
// A record that changes several blocks is applied to each of them alone: the other blocks are neither needed nor
// looked at. Postgres itself is the oracle: with wal_consistency_checking it logs each page as it was after the record,
// and Check compares.
package redo

import (
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

// Env is what redo must know of the cluster besides the record.
type Env struct {
	// HintsLogged is XLogHintBitIsNeeded: data checksums or wal_log_hints are on (pg_control, XLOG_PARAMETER_CHANGE).
	// It decides whether Heap2/VISIBLE bumps the heap page's LSN.
	HintsLogged bool
}

// Result says what Apply did with the page.
type Result uint8

const (
	// Skipped: the page already has the record (its LSN is not below rec.End), or the record does not change this block.
	Skipped Result = iota
	// Changed: the page is as it was right after the record.
	Changed
	// NotRedone: the redo of this resource manager is not built and the record carries no image of the block.
	// The page is untouched and no longer what Postgres has; the caller must not serve it (nor later versions of it until
	// one comes as an image).
	NotRedone
	// Missing: the page is new (all zeros) but the record changes an existing one. Postgres remembers such a block as an
	// "invalid page", which a later drop or truncation of the relation must explain (log_invalid_page); at the end of a
	// base backup's redo any that is left is corruption. The page is untouched.
	Missing
)

func (r Result) String() string {
	switch r {
	case Skipped:
		return "skipped"
	case Changed:
		return "changed"
	case NotRedone:
		return "not redone"
	case Missing:
		return "missing"
	}
	return fmt.Sprintf("result %d", uint8(r))
}

// Apply brings page from just before rec to just after it, for the block that blk, one of rec.Blocks, names. page is
// pg.BlockSize bytes, all zeros if the block did not exist. It is what XLogReadBufferForRedo and the resource manager's
// redo do for that one block.
//
// An image to be applied is restored whatever the page's LSN; a page that the record builds from nothing is built
// whatever it held; everything else happens only if rec.End is above the page's LSN.
//
// An error is a *pg.CorruptError with LSN, relation and block: the record or the page is not what it claims to be.
// The page's bytes are then undefined; the caller throws them away and stops the timeline.
//
// Redo does not restore what the WAL does not hold: command ids are 0, hint bits are unset, free space maps are not
// maintained. Bytes between line pointers and tuples are zero after each operation that frees space.
func Apply(page pg.Page, rec *wal.Record, blk *wal.BlockRef, env Env) (Result, error) {
	if len(page) != pg.BlockSize {
		panic(fmt.Sprintf("BUG: redo.Apply on a page of %d bytes", len(page)))
	}
	var m manager
	if int(rec.RMID) < len(managers) {
		m = managers[rec.RMID]
	}
	switch {
	case blk.HasImage && blk.ApplyImage:
		return restoreImage(page, rec, blk, m.restored)
	case blk.Fork == pg.FSMFork:
		return Skipped, nil
	case m.apply == nil:
		return NotRedone, nil
	}
	return m.apply(page, rec, blk, env)
}

// manager is what a resource manager whose records change pages brings: its redo for one block, and what may differ on a page
// of its relations between the primary and redo, set to zero (rm_redo and rm_mask of RmgrTable).
//
// mask returns false, with the page half masked, when the page is not one that can be masked.
//
// restored changes a page further that has just been restored from an image (what redo does for BLK_RESTORED). It is nil where
// all images are of pages as they were after the record.
type manager struct {
	apply    func(page pg.Page, rec *wal.Record, blk *wal.BlockRef, env Env) (Result, error)
	mask     func(page pg.Page, blk pg.BlockNumber) bool
	restored func(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error
}

var managers = [...]manager{
	wal.RMXLog:    {apply: applyXLog},
	wal.RMHeap2:   {apply: applyHeap2, mask: MaskHeap},
	wal.RMHeap:    {apply: applyHeap, mask: MaskHeap},
	wal.RMBtree:   btree,
	wal.RMHash:    hash,
	wal.RMGin:     gin,
	wal.RMGist:    gist,
	wal.RMSeq:     seq,
	wal.RMSpgist:  spgist,
	wal.RMBrin:    brin,
	wal.RMGeneric: generic,
}

// Redone says whether Apply knows the resource manager's records, so that it never answers NotRedone for one.
func Redone(rmid wal.RMID) bool { return int(rmid) < len(managers) && managers[rmid].apply != nil }

// restoreImage mirrors the BKPIMAGE_APPLY branch of XLogReadBufferForRedoExtended. restored is the manager's.
func restoreImage(page pg.Page, rec *wal.Record, blk *wal.BlockRef, restored func(pg.Page, *wal.Record, *wal.BlockRef) error) (Result, error) {
	if err := blk.RestoreImage(page); err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	// A page that was never initialised keeps LSN 0: with any other it would be neither new nor valid.
	if !page.IsNew() {
		page.SetLSN(rec.End)
	}
	if restored != nil {
		if err := restored(page, rec, blk); err != nil {
			return Skipped, corrupt(rec, blk, err.Error())
		}
	}
	return Changed, nil
}

// needsRedo is the part of XLogReadBufferForRedoExtended for a block without an image: whether the record is still to be
// applied, and if not, why.
func needsRedo(page pg.Page, rec *wal.Record) (Result, bool) {
	if page.IsNew() {
		return Missing, false
	}
	if rec.End <= page.LSN() {
		return Skipped, false
	}
	return Changed, true
}

// change brings a page that was there before the record past it, unless it is there already: the frame of a redo function around
// XLogReadBufferForRedo.
func change(page pg.Page, rec *wal.Record, blk *wal.BlockRef, redo func() error) (Result, error) {
	if res, ok := needsRedo(page, rec); !ok {
		return res, nil
	}
	return stamp(page, rec, blk, redo())
}

// stamp ends the redo of a page that was changed or built from nothing: the page has the record from now on, or err says why it
// cannot have.
func stamp(page pg.Page, rec *wal.Record, blk *wal.BlockRef, err error) (Result, error) {
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	page.SetLSN(rec.End)
	return Changed, nil
}

// corrupt refuses a record or the page it meets.
func corrupt(rec *wal.Record, blk *wal.BlockRef, what string) error {
	return &pg.CorruptError{
		LSN: rec.LSN, Rel: blk.Rel, Fork: blk.Fork, Block: blk.Block,
		What: fmt.Sprintf("redo of %s record %#02x: %s", rec.RMID, rec.Info, what),
	}
}

// noBlock refuses a block reference the record type does not have.
func noBlock(rec *wal.Record, blk *wal.BlockRef) error {
	return corrupt(rec, blk, fmt.Sprintf("block reference %d is not part of this record type", blk.ID))
}
