package redo

import (
	"errors"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/btreerec"
)

// btree is the manager of nbtree.
var btree = manager{apply: applyBtree, mask: maskBtree}

var (
	errWillInit  = errors.New("the block reference must, or must not, be flagged as built from nothing")
	errReference = errors.New("the record's other fields and its block references do not go together")
)

// btreeBlock is what a record type does with one of the blocks it names. built says that the page is built from nothing
// (XLogInitBufferForRedo), otherwise it must be there and lack the record (XLogReadBufferForRedo).
type btreeBlock struct {
	built bool
	redo  func(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error
}

// btreeBlocks are the blocks of each record type, by reference id.
var btreeBlocks = [16][5]btreeBlock{
	btreerec.OpInsertLeaf >> 4:   {{redo: btreeInsert}},
	btreerec.OpInsertUpper >> 4:  {{redo: btreeInsert}, {redo: btreeChildComplete}},
	btreerec.OpInsertMeta >> 4:   {{redo: btreeInsert}, {redo: btreeChildComplete}, {true, btreeMeta}},
	btreerec.OpInsertPost >> 4:   {{redo: btreeInsertPost}},
	btreerec.OpSplitL >> 4:       {{redo: btreeSplitLeft}, {true, btreeSplitRight}, {redo: btreeSplitNext}, {redo: btreeSplitChild}},
	btreerec.OpSplitR >> 4:       {{redo: btreeSplitLeft}, {true, btreeSplitRight}, {redo: btreeSplitNext}, {redo: btreeSplitChild}},
	btreerec.OpDedup >> 4:        {{redo: btreeDedup}},
	btreerec.OpDelete >> 4:       {{redo: btreeDelete}},
	btreerec.OpVacuum >> 4:       {{redo: btreeVacuum}},
	btreerec.OpMarkHalfDead >> 4: {{true, btreeHalfDead}, {redo: btreeHalfDeadParent}},
	btreerec.OpUnlinkPage >> 4: {
		{true, btreeUnlink}, {redo: btreeUnlinkLeft}, {redo: btreeUnlinkRight}, {true, btreeUnlinkLeaf},
	},
	btreerec.OpUnlinkPageMeta >> 4: {
		{true, btreeUnlink}, {redo: btreeUnlinkLeft}, {redo: btreeUnlinkRight}, {true, btreeUnlinkLeaf}, {true, btreeMeta},
	},
	btreerec.OpNewRoot >> 4:     {{true, btreeNewRoot}, {redo: btreeChildComplete}, {true, btreeMeta}},
	btreerec.OpReusePage >> 4:   {},
	btreerec.OpMetaCleanup >> 4: {{true, btreeMetaAlone}},
}

// applyBtree is btree_redo for one block.
func applyBtree(page pg.Page, rec *wal.Record, blk *wal.BlockRef, _ Env) (Result, error) {
	if int(blk.ID) >= len(btreeBlocks[0]) {
		return Skipped, noBlock(rec, blk)
	}
	b := &btreeBlocks[rec.Info>>4][blk.ID]
	switch {
	case b.redo == nil:
		return Skipped, noBlock(rec, blk)
	case b.built != blk.WillInit:
		return Skipped, corrupt(rec, blk, errWillInit.Error())
	case b.built:
		page.Init(btreerec.OpaqueSize) // _bt_pageinit
	default:
		if res, ok := needsRedo(page, rec); !ok {
			return res, nil
		}
		if !btreerec.IsPage(page) {
			return Skipped, corrupt(rec, blk, errNotOurs.Error())
		}
	}
	return stamp(page, rec, blk, b.redo(page, rec, blk))
}

// indexTuple returns the tuple at a line pointer, cut to its own size.
func indexTuple(page pg.Page, off pg.OffsetNumber) (btreerec.Tuple, error) {
	b, err := item(page, off)
	if err != nil {
		return nil, err
	}
	return btreerec.NewTuple(b)
}

// btreeMeta is _bt_restore_meta.
func btreeMeta(page pg.Page, _ *wal.Record, blk *wal.BlockRef) error {
	m, err := btreerec.DecodeMeta(blk.Data)
	if err != nil {
		return err
	}
	if blk.Block != btreerec.MetaBlock || m.Version < btreerec.VersionMin || m.Version > btreerec.VersionMax {
		return errors.New("the block is not a meta page, or one of an unknown version")
	}
	m.Put(page)
	btreerec.OpaqueOf(page).SetFlags(btreerec.FlagMeta)
	return nil
}

// btreeMetaAlone is btreeMeta for a record that is about the meta page alone and has no main data.
func btreeMetaAlone(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	if len(rec.Main) != 0 {
		return pg.BadLength("META_CLEANUP", len(rec.Main), 0)
	}
	return btreeMeta(page, rec, blk)
}

// maskBtree is btree_mask.
func maskBtree(page pg.Page, _ pg.BlockNumber) bool {
	maskHeader(page)
	maskHints(page)
	if !maskUnused(page) || !btreerec.IsPage(page) {
		return false
	}
	o := btreerec.OpaqueOf(page)
	if o.Flags()&btreerec.FlagLeaf != 0 {
		maskLineStates(page)
	}
	// A mere hint; and what vacuuming leaves for itself in pages that are split meanwhile, which is not logged.
	o.SetFlags(o.Flags() &^ (btreerec.FlagHasGarbage | btreerec.FlagSplitEnd))
	o.SetCycleID(0)
	return true
}
