package pageserver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/cluster"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// applyXLog ends what a shut down server has ended (xlog_redo).
func (t *Timeline) applyXLog(rec *wal.Record) {
	if rec.Op() == xlrec.XLogCheckpointShutdown {
		// Nothing ran when the server shut down, or was past its crash: what has not ended never will, unless it is prepared.
		t.oldestRunning = pg.XID(t.apply.next.CheckPoint.NextXID)
		t.endCrashed(t.oldestRunning)
	}
}

// endCrashed forgets the blocks of transactions before oldest that left no commit or abort record.
func (t *Timeline) endCrashed(oldest pg.XID) {
	alive := map[pg.XID]bool{}
	for xid, subs := range t.prepared {
		alive[xid] = true
		for _, sub := range subs {
			alive[sub] = true
		}
	}
	for xid := range t.open {
		if xid.Precedes(oldest) && !alive[xid] {
			t.endXact(xid, false)
		}
	}
}

// applyStandby follows which transactions run (standby_redo).
func (t *Timeline) applyStandby(rec *wal.Record) error {
	if rec.Op() != xlrec.StandbyRunningXacts {
		return nil
	}
	r, err := xlrec.DecodeRunningXacts(rec.Main)
	if err != nil {
		return err
	}
	if t.inherited.Pending {
		t.inherited = inherited{From: r.OldestRunning, To: r.NextXID}
	}
	t.oldestRunning = r.OldestRunning
	t.endCrashed(r.OldestRunning)
	return nil
}

// applySmgr makes and cuts relation files (smgr_redo).
func (t *Timeline) applySmgr(ctx context.Context, rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.SmgrCreate:
		r, err := xlrec.DecodeSmgrCreate(rec.Main)
		if err != nil {
			return err
		}
		rel := t.relation(r.Rel)
		if rel == nil {
			rel = t.makeRelation(r.Rel, rec.End)
			t.relationChanged(rel)
		}
		if rel.opaque {
			return nil
		}
		f, err := t.fork(ctx, rel, r.Fork)
		if err != nil {
			return err
		}
		if !f.exists {
			t.resized(f)
		}
	case xlrec.SmgrTruncate:
		r, err := xlrec.DecodeSmgrTruncate(rec.Main)
		if err != nil {
			return err
		}
		return t.truncate(ctx, rec, r)
	default:
		return &pg.CorruptError{What: fmt.Sprintf("unknown storage record %#02x", rec.Info)}
	}
	return nil
}

// truncate cuts a relation's forks: the maps' last pages keep nothing of blocks that are cut.
func (t *Timeline) truncate(ctx context.Context, rec *wal.Record, r xlrec.RelTruncate) error {
	rel := t.relation(r.Rel)
	if rel == nil {
		rel = t.makeRelation(r.Rel, rec.End)
		t.relationChanged(rel)
	}
	if rel.opaque {
		return nil
	}
	// First bring everything in: only that can fail.
	s := t.run
	s.reset()
	rows, err := t.holdsRows(ctx, rel)
	var main, vm, fsm cutFork
	if err == nil {
		main.fork, err = t.fork(ctx, rel, pg.MainFork)
		main.keep = r.Block
	}
	if err == nil && r.Flags&xlrec.TruncateVM != 0 {
		vm, err = t.touchLast(ctx, rel, pg.VMFork, redo.VMBlock(r.Block), r.Block%redo.HeapBlocksPerVMPage != 0)
	}
	if err == nil && r.Flags&xlrec.TruncateFSM != 0 {
		fsm, err = t.touchLast(ctx, rel, pg.FSMFork, redo.FSMBlock(r.Block), r.Block%redo.FSMPerPage != 0)
	}
	if err != nil {
		t.rollback()
		return err
	}
	if vm.last != 0 && redo.TruncateVM(t.arena.page(vm.last), r.Block, rec.End) {
		t.markDirty(vm.last)
		t.noteImage(vm.last)
	}
	if fsm.last != 0 && redo.TruncateFSM(t.arena.page(fsm.last), r.Block) {
		t.markDirty(fsm.last)
		t.noteImage(fsm.last)
	}
	for i := range s.touched {
		t.arena.frames[s.touched[i].id].state &^= framePinned
	}
	if r.Flags&xlrec.TruncateHeap != 0 {
		if rows && main.keep < main.fork.size {
			d := t.dirtyOf(rel)
			d.Blocks.AddRange(uint64(main.keep), uint64(main.fork.size))
			d.Truncated = true
		}
		t.truncateFork(main.fork, main.keep, rec.End)
	}
	for _, f := range []cutFork{vm, fsm} {
		if f.fork != nil {
			t.truncateFork(f.fork, f.keep, rec.End)
		}
	}
	return nil
}

// cutFork is a fork to be cut to keep blocks. last is its last page's frame if that page is to be changed.
type cutFork struct {
	fork *fork
	keep pg.BlockNumber
	last frameID
}

// touchLast brings in the page of a map that covers the end of a heap. partly says that it covers blocks that stay.
func (t *Timeline) touchLast(ctx context.Context, rel *relation, num pg.ForkNumber, blk pg.BlockNumber, partly bool) (c cutFork, err error) {
	if c.fork, err = t.fork(ctx, rel, num); err != nil || !partly {
		c.keep = blk
		return c, err
	}
	c.keep = blk + 1
	if blk < c.fork.size {
		var tc *touch
		if tc, err = t.touch(ctx, c.fork, blk, true); err == nil {
			c.last = tc.id
		}
	}
	return c, err
}

// holdsRows says whether a relation may be a heap: its first page has no special space, or nothing on it.
func (t *Timeline) holdsRows(ctx context.Context, rel *relation) (bool, error) {
	f, err := t.fork(ctx, rel, pg.MainFork)
	if err != nil || f.size == 0 {
		return false, err
	}
	page, err := t.readBlock(ctx, f, 0)
	return err == nil && (page == nil || page.IsNew() || isHeap(page)), err
}

// isHeap tells the pages of heaps from those of indexes and sequences, which have a special space.
func isHeap(page pg.Page) bool { return page.Special() == pg.BlockSize }

// truncateFork cuts a fork to n blocks as of lsn.
func (t *Timeline) truncateFork(f *fork, n pg.BlockNumber, lsn pg.LSN) {
	for k := range t.invalid {
		if k.SameFork(f.key(0)) && k.Block() >= n {
			delete(t.invalid, k)
		}
	}
	if n >= f.size {
		return
	}
	f.frames(n, func(_ pg.BlockNumber, id frameID) { t.arena.unlink(id) })
	f.cutAt(lsn, n)
	f.size = n
	t.resized(f)
	t.relationChanged(f.rel)
}

// drop removes a relation with all its forks.
func (t *Timeline) drop(loc pg.RelFileLocator) {
	t.forgetInvalid(loc)
	rel := t.rels[loc]
	if rel == nil {
		return
	}
	t.dropFrames(rel)
	if rel.opaque {
		t.stats.opaque--
	}
	t.removeRelation(rel)
	delete(t.dirty, loc)
	t.dropped[loc] = true
	t.noteValue(key.OfRelation(loc), nil)
}

func (t *Timeline) forgetInvalid(loc pg.RelFileLocator) {
	for k := range t.invalid {
		if k.Rel() == loc {
			delete(t.invalid, k)
		}
	}
}

// applyRelMap replaces a relation map (relmap_redo).
func (t *Timeline) applyRelMap(rec *wal.Record) error {
	if rec.Op() != xlrec.RelmapUpdate {
		return &pg.CorruptError{What: fmt.Sprintf("unknown relation map record %#02x", rec.Info)}
	}
	r, err := xlrec.DecodeRelmapUpdate(rec.Major, rec.Main)
	if err != nil {
		return err
	}
	return t.setRelMap(r.Spc, r.DB, r.File)
}

func (t *Timeline) setRelMap(spc, db pg.OID, file []byte) error {
	if err := t.parseRelMap(db, file); err != nil {
		return err
	}
	t.setSmall(key.OfRelMap(spc, db), slices.Clone(file))
	return nil
}

// applyDbase makes and drops databases (dbase_redo).
func (t *Timeline) applyDbase(ctx context.Context, rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.DbaseCreateFileCopy:
		r, err := xlrec.DecodeDBCreateFileCopy(rec.Main)
		if err != nil {
			return err
		}
		return t.copyDatabase(ctx, rec, r)
	case xlrec.DbaseCreateWALLog:
		_, err := xlrec.DecodeDBCreateWALLog(rec.Main) // its pages and its map follow in the WAL
		return err
	case xlrec.DbaseDrop:
		r, err := xlrec.DecodeDBDrop(rec.Main)
		if err != nil {
			return err
		}
		for i := range r.Tablespaces.Len() {
			t.dropDatabase(r.Tablespaces.At(i), r.DB)
		}
	default:
		return &pg.CorruptError{What: fmt.Sprintf("unknown database record %#02x", rec.Info)}
	}
	return nil
}

func (t *Timeline) dropDatabase(spc, db pg.OID) {
	for loc := range t.rels {
		if loc.Spc == spc && loc.DB == db {
			t.drop(loc)
		}
	}
	if k := key.OfRelMap(spc, db); t.small[k] != nil {
		t.setSmall(k, nil)
		delete(t.relMaps, db)
		// ALTER DATABASE SET TABLESPACE: the same database lives on elsewhere.
		for other, file := range t.small {
			if other.Kind() == key.RelMap && other.Rel().DB == db {
				_ = t.parseRelMap(db, file) // it was read before
			}
		}
	}
}

// RelMap is a database's map of catalogs to file numbers; database 0 is the shared one. It must not be changed.
func (t *Timeline) RelMap(db pg.OID) map[pg.OID]pg.OID { return t.relMaps[db] }

// Databases lists the databases that have a relation map, in order. The shared one is not among them.
func (t *Timeline) Databases() []pg.OID {
	var dbs []pg.OID
	for db := range t.relMaps {
		if db != 0 {
			dbs = append(dbs, db)
		}
	}
	slices.Sort(dbs)
	return dbs
}

// TwoPhaseFile is a prepared transaction's file in pg_twophase.
type TwoPhaseFile struct {
	XID  pg.XID
	Name string
	Data []byte // state data and their CRC
}

// TwoPhase lists the transactions that are prepared at RedoLSN, as the files a server would have of them, by name.
func (t *Timeline) TwoPhase() []TwoPhaseFile {
	var files []TwoPhaseFile
	for k, state := range t.small {
		if k.Kind() == key.TwoPhase {
			xid := pg.XID(k.Block())
			files = append(files, TwoPhaseFile{xid, xlrec.TwoPhaseName(t.major, xid, t.live.CheckPoint.NextXID), cluster.AppendTwoPhase(nil, state)})
		}
	}
	slices.SortFunc(files, func(a, b TwoPhaseFile) int { return strings.Compare(a.Name, b.Name) })
	return files
}
