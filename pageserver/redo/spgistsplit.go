package redo

import (
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/spgistrec"
)

// Block references of PICKSPLIT.
const (
	spgSource = iota
	spgDest
	spgInner
	spgParent
)

// spgPickSplit is spgRedoPickSplit.
func spgPickSplit(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (Result, error) {
	r, err := spgistrec.DecodePickSplit(rec.Main)
	if err != nil {
		return Skipped, err
	}
	inner := rec.Block(spgInner)
	if inner == nil || (rec.Block(spgSource) == nil) != r.RootSplit ||
		(rec.Block(spgParent) == nil) != (r.InnerIsParent || r.RootSplit) {
		return Skipped, errNoBlock
	}
	at := pg.TID{Block: inner.Block, Offset: r.Inner}
	switch blk.ID {
	case spgSource, spgDest:
		return spgSplitLeafs(page, rec, blk, &r, at)
	case spgInner:
		res, err := spgStart(page, rec, blk, r.InitInner, spgInnerFlags(r.StoresNulls))
		if res != Changed || err != nil {
			return res, err
		}
		if err := spgAdd(page, r.Inner, r.Tuple); err != nil || !r.InnerIsParent {
			return Changed, err
		}
		return Changed, spgSetLink(page, r.Parent, at)
	case spgParent:
		return spgDownlink(page, rec, blk, r.Parent, at)
	}
	return Skipped, errNoBlock
}

// spgSplitLeafs redoes PICKSPLIT on either leaf page: the chain leaves the source, and each page gets its part of the new tuples.
func spgSplitLeafs(page pg.Page, rec *wal.Record, blk *wal.BlockRef, r *spgistrec.PickSplit, inner pg.TID) (Result, error) {
	dest := blk.ID == spgDest
	init := dest && r.InitDest || !dest && r.InitSrc
	res, err := spgStart(page, rec, blk, init, spgLeafFlags(r.StoresNulls))
	if res != Changed || err != nil {
		return res, err
	}
	if !dest && !init {
		if err := spgLeave(page, r.Delete, r.State, inner); err != nil {
			return Skipped, err
		}
	}
	for i := 0; ; i++ {
		t, ok := r.Tuples.Next()
		if !ok {
			return Changed, nil
		}
		if (r.OnDest[i] == 1) != dest {
			continue
		}
		if err := spgAdd(page, r.Insert.At(i), t); err != nil {
			return Skipped, err
		}
	}
}
