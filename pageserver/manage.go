package pageserver

import (
	"context"
	"fmt"
	"slices"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// applyXLog follows checkpoints and settings (xlog_redo).
func (t *Timeline) applyXLog(rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.XLogCheckpointShutdown, xlrec.XLogCheckpointOnline:
		c, err := xlrec.DecodeCheckPoint(rec.Major, rec.Main)
		if err != nil {
			return err
		}
		return t.applyCheckpoint(rec, c)
	case xlrec.XLogNextOID:
		oid, err := xlrec.DecodeNextOID(rec.Main)
		if err != nil {
			return err
		}
		t.checkpoint.NextOID = oid
	case xlrec.XLogParameterChange:
		p, err := xlrec.DecodeParameterChange(rec.Main)
		if err != nil {
			return err
		}
		if p.WALLevel == xlrec.WALLevelMinimal {
			return ErrWALMinimal
		}
		t.walLevel, t.walLogHints = p.WALLevel, p.WALLogHints
		t.updateEnv()
	case xlrec.XLogFPWChange:
		on, err := xlrec.DecodeFPWChange(rec.Main)
		if err != nil {
			return err
		}
		t.checkpoint.FullPageWrites = on
	case xlrec.XLogEndOfRecovery:
		r, err := xlrec.DecodeEndOfRecovery(rec.Major, rec.Main)
		if err != nil {
			return err
		}
		if r.WALLevel == xlrec.WALLevelMinimal {
			return ErrWALMinimal
		}
		t.walTimeline = r.TimelineID
	}
	return nil
}

func (t *Timeline) applyCheckpoint(rec *wal.Record, c xlrec.CheckPoint) error {
	if c.WALLevel == xlrec.WALLevelMinimal {
		return ErrWALMinimal
	}
	t.walTimeline = c.TimelineID
	if rec.Op() == xlrec.XLogCheckpointOnline {
		t.checkpoint = advance(t.checkpoint, c)
		return nil
	}
	t.checkpoint = c
	// Nothing ran when the server shut down, or was past its crash: what has not ended never will, unless it is prepared.
	t.oldestRunning = pg.XID(c.NextXID)
	t.endCrashed(t.oldestRunning)
	return nil
}

// advance takes over an online checkpoint. Its counters are those of when it began: newer ones seen since are kept.
func advance(old, c xlrec.CheckPoint) xlrec.CheckPoint {
	c.NextXID = max(c.NextXID, old.NextXID)
	c.NextOID = old.NextOID
	if multiPrecedes(c.NextMulti, old.NextMulti) {
		c.NextMulti, c.NextMultiOffset = old.NextMulti, old.NextMultiOffset
	}
	if c.OldestXID.Precedes(old.OldestXID) {
		c.OldestXID, c.OldestXIDDB = old.OldestXID, old.OldestXIDDB
	}
	if multiPrecedes(c.OldestMulti, old.OldestMulti) {
		c.OldestMulti, c.OldestMultiDB = old.OldestMulti, old.OldestMultiDB
	}
	return c
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

// noteXID keeps the next transaction id above every one seen, and its epoch (AdvanceNextFullTransactionIdPastXid).
func (t *Timeline) noteXID(xid pg.XID) {
	if xid < pg.FirstNormalXID {
		return
	}
	next := pg.XID(t.checkpoint.NextXID)
	if xid.Precedes(next) {
		return
	}
	epoch := t.checkpoint.NextXID >> 32
	if xid+1 < pg.FirstNormalXID { // wrapped
		epoch++
		t.checkpoint.NextXID = epoch<<32 | pg.FullXID(pg.FirstNormalXID)
		return
	}
	if xid < next {
		epoch++
	}
	t.checkpoint.NextXID = epoch<<32 | pg.FullXID(xid+1)
}

// applySmgr makes and cuts relation files (smgr_redo).
func (t *Timeline) applySmgr(ctx context.Context, rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.SmgrCreate:
		r, err := xlrec.DecodeSmgrCreate(rec.Main)
		if err != nil || r.Fork == pg.FSMFork {
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
	}
	return nil
}

func (t *Timeline) truncate(ctx context.Context, rec *wal.Record, r xlrec.RelTruncate) error {
	rel := t.relation(r.Rel)
	if rel == nil {
		rel = t.makeRelation(r.Rel, rec.End)
		t.relationChanged(rel)
	}
	if rel.opaque {
		return nil
	}
	main, err := t.fork(ctx, rel, pg.MainFork)
	if err != nil {
		return err
	}
	vm, err := t.fork(ctx, rel, pg.VMFork)
	if err != nil {
		return err
	}
	// The map's last page first: only bringing it in can fail.
	if r.Flags&xlrec.TruncateVM != 0 {
		keep := redo.VMBlock(r.Block)
		if r.Block%redo.HeapBlocksPerVMPage != 0 {
			if keep < vm.size {
				t.apply.touched, t.apply.made = t.apply.touched[:0], nil
				tc, err := t.touch(ctx, vm, keep, true)
				if err != nil {
					t.rollback()
					return err
				}
				if redo.TruncateVM(t.arena.page(tc.id), r.Block, rec.End) {
					t.markDirty(tc.id)
				}
				t.arena.frames[tc.id].state &^= framePinned
			}
			keep++
		}
		t.truncateFork(vm, keep, rec.End)
	}
	if r.Flags&xlrec.TruncateHeap != 0 {
		t.truncateFork(main, r.Block, rec.End)
	}
	return nil
}

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
	if f.num == pg.MainFork && f.rel.kind == key.Block {
		d := t.dirtyOf(f.rel)
		d.Blocks.AddRange(uint64(n), uint64(f.size))
		d.Truncated = true
	}
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
