package redo

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// seq is the manager of sequences.
var seq = manager{apply: applySeq, mask: maskTuplesOnly}

// seqMagic is SEQ_MAGIC, the whole of a sequence page's special area (sequence_magic).
const seqMagic = 0x1717

// applySeq is seq_redo: the page is built from nothing each time.
func applySeq(page pg.Page, rec *wal.Record, blk *wal.BlockRef, _ Env) (Result, error) {
	if rec.Op() != xlrec.SeqLog || blk.ID != 0 {
		return Skipped, noBlock(rec, blk)
	}
	r, err := xlrec.DecodeSeqLog(rec.Main)
	if err != nil {
		return Skipped, corrupt(rec, blk, err.Error())
	}
	if r.Rel != blk.Rel {
		return Skipped, corrupt(rec, blk, "the sequence is "+r.Rel.String())
	}
	page.Init(pg.MaxAlign(4))
	binary.LittleEndian.PutUint32(page[page.Special():], seqMagic)
	return stamp(page, rec, blk, atLine(insertItem(page, r.Tuple, 1), 1))
}

// maskTuplesOnly is seq_mask and generic_mask: all but LSN, checksum and free space must be equal.
func maskTuplesOnly(page pg.Page, _ pg.BlockNumber) bool {
	maskHeader(page)
	return maskUnused(page)
}
