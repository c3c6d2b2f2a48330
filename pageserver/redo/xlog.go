package redo

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

// Records of the XLOG manager that name blocks (catalog/pg_control.h).
const (
	opFPIForHint = 0xA0
	opFPI        = 0xB0
)

// applyXLog sees blocks of full-page-image records that carry no image to apply. Such a record is one image per block
// and nothing else; only FPI_FOR_HINT may lack it, when full_page_writes was off and no backup ran (xlog_redo).
func applyXLog(_ pg.Page, rec *wal.Record, blk *wal.BlockRef, _ Env) (Result, error) {
	switch rec.Op() {
	case opFPIForHint:
		return Skipped, nil
	case opFPI:
		return Skipped, corrupt(rec, blk, "a full-page image record without its image")
	}
	return Skipped, noBlock(rec, blk)
}
