package verify

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// pageSet is every page the WAL has touched, on top of the base directory: all in memory, for one pass over one folder
// of WAL.
type pageSet struct {
	base  *datadir.Dir // nil: there were no pages before the WAL
	forks map[datadir.Fork]*fork
}

// fork is the state of one relation fork.
//
// Invariant: blocks is at most what the fork is in the base directory, and pages below it that are not in pages are as the
// base has them.
type fork struct {
	pages  map[pg.BlockNumber]pg.Page
	base   bool           // the base directory's file is this fork's: it has not been dropped since
	blocks pg.BlockNumber // the base's blocks count below this only; cut by truncation
	opaque bool           // a record whose redo is not built changed it: its pages are no longer known
	// missing counts blocks that a record changed and that were not there (log_invalid_page), for a drop or truncation
	// to explain.
	missing map[pg.BlockNumber]pg.LSN
	// hints are the LSNs that the primary's pages may have since they were last changed, of FPI_FOR_HINT records and from before them:
	// redo stamps a page with that of each record that has an image, the primary with the first that finds it clean
	// (MarkBufferDirtyHint, xlog_redo).
	hints map[pg.BlockNumber][]pg.LSN
	// atMost are map pages of a database made by wal_log, with every bit set that the primary's may have. Their images leave out the
	// free space of a page, which is all of a map (RelationCopyStorageUsingBuffer), so that redo, the server's too, makes an empty one.
	//
	// Invariant: the primary's page has the bits of pages, and none that atMost has not: both have been through the same records since.
	atMost map[pg.BlockNumber]pg.Page
}

func newPageSet(base *datadir.Dir) *pageSet {
	return &pageSet{base: base, forks: map[datadir.Fork]*fork{}}
}

func (s *pageSet) fork(f datadir.Fork) *fork {
	st := s.forks[f]
	if st == nil {
		st = &fork{pages: map[pg.BlockNumber]pg.Page{}, base: true, blocks: pg.InvalidBlock}
		s.forks[f] = st
	}
	return st
}

// page returns the block as it is now, all zeros if there is none; changes to it stay.
func (s *pageSet) page(f datadir.Fork, st *fork, blk pg.BlockNumber) (pg.Page, error) {
	if p := st.pages[blk]; p != nil {
		return p, nil
	}
	p := pg.Page(make([]byte, pg.BlockSize))
	if err := s.readBase(f, st, blk, p); err != nil {
		return nil, err
	}
	st.pages[blk] = p
	return p, nil
}

// readBase reads a block as it was before the WAL, all zeros if there was none.
func (s *pageSet) readBase(f datadir.Fork, st *fork, blk pg.BlockNumber, dst pg.Page) error {
	clear(dst)
	if s.base == nil || !st.base || blk >= st.blocks {
		return nil
	}
	_, err := s.base.ReadPage(f, blk, dst)
	return err
}

// drop forgets all forks of a relation; a new one may get the same number.
func (s *pageSet) drop(rel pg.RelFileLocator) {
	for n := pg.MainFork; n <= pg.InitFork; n++ {
		s.forks[datadir.Fork{Rel: rel, Fork: n}] = &fork{pages: map[pg.BlockNumber]pg.Page{}}
	}
}

// truncate cuts a fork to n blocks.
func (st *fork) truncate(n pg.BlockNumber) {
	st.blocks = min(st.blocks, n)
	beyond := func(blk pg.BlockNumber) bool { return blk >= n }
	maps.DeleteFunc(st.pages, func(blk pg.BlockNumber, _ pg.Page) bool { return beyond(blk) })
	maps.DeleteFunc(st.missing, func(blk pg.BlockNumber, _ pg.LSN) bool { return beyond(blk) })
	maps.DeleteFunc(st.hints, func(blk pg.BlockNumber, _ []pg.LSN) bool { return beyond(blk) })
	maps.DeleteFunc(st.atMost, func(blk pg.BlockNumber, _ pg.Page) bool { return beyond(blk) })
}

// markOpaque gives a fork up.
func (st *fork) markOpaque() {
	st.opaque, st.pages, st.missing = true, nil, nil
}

// apply follows the records that change files as a whole: drops, truncations, copied and dropped databases.
func (s *pageSet) apply(rec *wal.Record) error {
	var err error
	switch rec.RMID {
	case wal.RMXact:
		err = s.applyXact(rec)
	case wal.RMSmgr:
		err = s.applySmgr(rec)
	case wal.RMDbase:
		err = s.applyDbase(rec)
	}
	if err != nil {
		return &pg.CorruptError{LSN: rec.LSN, What: err.Error()}
	}
	return nil
}

func (s *pageSet) applyXact(rec *wal.Record) error {
	var dropped xlrec.Rels
	switch rec.Info & xlrec.XactOpMask {
	case xlrec.XactCommit, xlrec.XactCommitPrepared:
		r, err := xlrec.DecodeCommit(rec.Major, rec.Main, rec.Info)
		if err != nil {
			return err
		}
		dropped = r.DroppedRels
	case xlrec.XactAbort, xlrec.XactAbortPrepared:
		r, err := xlrec.DecodeAbort(rec.Major, rec.Main, rec.Info)
		if err != nil {
			return err
		}
		dropped = r.DroppedRels
	}
	for i := range dropped.Len() {
		s.drop(dropped.At(i))
	}
	return nil
}

func (s *pageSet) applySmgr(rec *wal.Record) error {
	if rec.Op() != xlrec.SmgrTruncate {
		return nil
	}
	r, err := xlrec.DecodeSmgrTruncate(rec.Main)
	if err != nil {
		return err
	}
	if r.Flags&xlrec.TruncateHeap != 0 {
		s.fork(datadir.Fork{Rel: r.Rel, Fork: pg.MainFork}).truncate(r.Block)
	}
	if r.Flags&xlrec.TruncateVM == 0 {
		return nil
	}
	vm := datadir.Fork{Rel: r.Rel, Fork: pg.VMFork}
	st, last := s.fork(vm), redo.VMBlock(r.Block)
	if r.Block%redo.HeapBlocksPerVMPage == 0 {
		st.truncate(last)
		return nil
	}
	st.truncate(last + 1)
	page, err := s.page(vm, st, last)
	if err != nil {
		return err
	}
	redo.TruncateVM(page, r.Block, rec.End)
	if most := st.atMost[last]; most != nil {
		redo.TruncateVM(most, r.Block, rec.End)
	}
	return nil
}

func (s *pageSet) applyDbase(rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.DbaseCreateFileCopy:
		r, err := xlrec.DecodeDBCreateFileCopy(rec.Main)
		if err != nil {
			return err
		}
		return s.copyDatabase(r)
	case xlrec.DbaseDrop:
		r, err := xlrec.DecodeDBDrop(rec.Main)
		if err != nil {
			return err
		}
		for i := range r.Tablespaces.Len() {
			if err := s.dropDatabase(r.Tablespaces.At(i), r.DB); err != nil {
				return err
			}
		}
	}
	return nil
}

// databaseForks lists the forks of a database that exist in the base or have been touched since.
func (s *pageSet) databaseForks(spc, db pg.OID) ([]datadir.Fork, error) {
	var list []datadir.Fork
	if s.base != nil {
		var err error
		if list, err = s.base.DatabaseForks(spc, db); err != nil {
			return nil, err
		}
	}
	for f := range s.forks {
		if f.Rel.Spc == spc && f.Rel.DB == db {
			list = append(list, f)
		}
	}
	return list, nil
}

func (s *pageSet) dropDatabase(spc, db pg.OID) error {
	list, err := s.databaseForks(spc, db)
	if err != nil {
		return err
	}
	for _, f := range list {
		s.drop(f.Rel)
	}
	return nil
}

// copyDatabase gives the new database every page its template has now. A fork whose pages are not known stays so.
func (s *pageSet) copyDatabase(r xlrec.DBCreateFileCopy) error {
	if err := s.dropDatabase(r.Spc, r.DB); err != nil {
		return err
	}
	list, err := s.databaseForks(r.SrcSpc, r.SrcDB)
	if err != nil {
		return err
	}
	for _, src := range list {
		if src.Fork == pg.FSMFork {
			continue
		}
		st := s.fork(src)
		dst := datadir.Fork{Rel: pg.RelFileLocator{Spc: r.Spc, DB: r.DB, Rel: src.Rel.Rel}, Fork: src.Fork}
		copied := &fork{pages: make(map[pg.BlockNumber]pg.Page, len(st.pages)), opaque: st.opaque}
		s.forks[dst] = copied
		if st.opaque {
			continue
		}
		if err := s.copyBase(src, st, copied); err != nil {
			return fmt.Errorf("copy database %d: %w", r.SrcDB, err)
		}
		for blk, p := range st.pages {
			copied.pages[blk] = slices.Clone(p)
		}
		copied.hints, copied.atMost = maps.Clone(st.hints), maps.Clone(st.atMost)
		for blk, p := range copied.atMost {
			copied.atMost[blk] = slices.Clone(p)
		}
	}
	return nil
}

// copyBase copies the pages that only the base directory holds.
func (s *pageSet) copyBase(src datadir.Fork, from, to *fork) error {
	if s.base == nil || !from.base {
		return nil
	}
	n, err := s.base.Blocks(src)
	if err != nil {
		return err
	}
	for blk := range min(n, from.blocks) {
		p := pg.Page(make([]byte, pg.BlockSize))
		if _, err := s.base.ReadPage(src, blk, p); err != nil {
			return err
		}
		to.pages[blk] = p
	}
	return nil
}

// boundMap keeps atMost of a map page that a record has changed: begun by an image that has emptied page, and then redone as page is.
func (st *fork) boundMap(page pg.Page, rec *wal.Record, blk *wal.BlockRef, env redo.Env) error {
	if blk.Fork != pg.VMFork {
		return nil
	}
	if blk.ApplyImage && int(blk.HoleOffset) <= pg.PageHeaderSize && int(blk.HoleOffset)+int(blk.HoleLength) == pg.BlockSize {
		if st.atMost == nil {
			st.atMost = map[pg.BlockNumber]pg.Page{}
		}
		most := slices.Clone(page)
		for i := pg.PageHeaderSize; i < pg.BlockSize; i++ {
			most[i] = 0xFF
		}
		st.atMost[blk.Block] = most
		return nil
	}
	if most := st.atMost[blk.Block]; most != nil {
		_, err := redo.Apply(most, rec, blk, env)
		return err
	}
	return nil
}

// noteHint keeps which LSNs the primary's page may have after a record; before is what redo's page had.
func (st *fork) noteHint(before pg.LSN, rec *wal.Record, blk *wal.BlockRef) {
	if rec.RMID != wal.RMXLog || rec.Op() != xlrec.XLogFPIForHint {
		delete(st.hints, blk.Block)
		return
	}
	if st.hints == nil {
		st.hints = map[pg.BlockNumber][]pg.LSN{}
	}
	st.hints[blk.Block] = append(st.hints[blk.Block], before, rec.End)
}
