package redo

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// generic is the manager of generic records, which extensions without a resource manager of their own write (contrib/bloom).
var generic = manager{apply: applyGeneric, mask: maskTuplesOnly}

// applyGeneric is generic_redo for one block.
func applyGeneric(page pg.Page, rec *wal.Record, blk *wal.BlockRef, _ Env) (Result, error) {
	switch {
	case blk.ID >= xlrec.GenericPagesMax:
		return Skipped, noBlock(rec, blk)
	case rec.Op() != 0 || len(rec.Main) != 0:
		return Skipped, corrupt(rec, blk, "a generic record with a type or data of its own")
	}
	return change(page, rec, blk, func() error { return applyDelta(page, blk.Data) })
}

// applyDelta is applyPageRedo. The delta says nothing of the space between the pointers as they are afterwards, which the
// primary has cleared.
func applyDelta(page pg.Page, delta xlrec.Delta) error {
	for len(delta) > 0 {
		f, err := delta.Next()
		if err != nil {
			return err
		}
		copy(page[f.Offset:], f.Data)
	}
	lower, upper := int(page.Lower()), int(page.Upper())
	if lower > upper || upper > pg.BlockSize {
		return errPointers
	}
	clear(page[lower:upper])
	return nil
}
