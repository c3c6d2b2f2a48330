package pageserver

import (
	"context"
	"errors"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// BatchRecords is how many records it is worth reading for ApplyBatch at once: with fewer, waking the workers costs more than
// they bring (benchmarks/README.md).
const BatchRecords = 2048

// ApplyBatch applies records as Apply would one after the other, and faster: those that only change pages, or end a
// transaction, are taken in runs. For a run all pages are looked up and the books are kept first, record by record; then the
// pages are redone, each by the records that name it, in their order. Different pages have nothing to do with each other, so
// workers redo them (Options.Workers) while the next batch is read and begun.
//
// The records must stay as they are until the call after the next, as those of wal.Reader.NextBatch do, or until Barrier. It returns
// how many of them have been applied or are in the workers' hands, and the error Apply had for the one after them. A record that turns
// out bad in a worker's hands ends the timeline, and a later call says so; RedoLSN is then where the last good record ended.
func (t *Timeline) ApplyBatch(ctx context.Context, recs []wal.Record) (int, error) {
	done := 0
	for done < len(recs) {
		n, err := 0, error(nil)
		if run := t.plainRun(recs[done:]); run > 1 {
			n, err = t.applyRun(ctx, recs[done:done+run])
		}
		if n == 0 && err == nil {
			if err = t.Apply(ctx, &recs[done]); err == nil {
				n = 1
			}
		}
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Barrier waits until the workers have redone what ApplyBatch gave them.
func (t *Timeline) Barrier() error {
	if t.flight != nil {
		t.land()
	}
	return t.failed
}

// runMemory bounds the pages a run names, as a part of page memory: 1/runMemory.
const runMemory = 16

// plainRun is how many records from the first on can be applied as one run.
func (t *Timeline) plainRun(recs []wal.Record) int {
	if t.failed != nil || !t.reached() || !t.inherited.empty() || len(t.invalid)+len(t.copies) > 0 || recs[0].LSN < t.redoLSN {
		return 0
	}
	blocks, limit := 0, t.arena.limit/runMemory
	for i := range recs {
		if blocks += len(recs[i].Blocks); blocks > limit || !plain(&recs[i]) {
			return i
		}
	}
	return len(recs)
}

// plainXact bounds the main data of a transaction record in a run, bytes: it ends few subtransactions, on few pages of the commit
// log.
const plainXact = 512

// plain says that a record does nothing but change the pages it names, whose redo is known, or set the fate of a transaction that
// drops no files.
func plain(rec *wal.Record) bool {
	switch rec.RMID {
	case wal.RMXLog:
		return false // only an image itself says whether it is a heap's
	case wal.RMXact:
		return len(rec.Blocks) == 0 && len(rec.Main) <= plainXact && xlrec.DropsNothing(rec.Main, rec.Info)
	}
	return redo.Redone(rec.RMID)
}

// errRunFull ends a run before a record that needs more pages than can be brought in without a flush.
var errRunFull = errors.New("the run needs a barrier")

// applyRun begins a run, and has its pages redone once those of the run before are. It returns how many of its records it has begun,
// which may be none.
//
// Invariant: a page that a run names is dirty from when its record has been begun until it is redone, so that it is not evicted; and it
// belongs to no flush: flushes begin at barriers only, and own has copied what an earlier one has yet to read.
func (t *Timeline) applyRun(ctx context.Context, recs []wal.Record) (n int, err error) {
	t.settle()
	if t.memo.Load() != nil {
		t.memo.Store(nil)
	}
	need := roomFor(recs)
	if err := t.makeRunRoom(ctx, need); err != nil {
		return 0, err
	}
	t.run = &t.runs[0]
	if t.flight == t.run {
		t.run = &t.runs[1]
	}
	s := t.run
	s.recs, s.before, s.need, s.touched, s.vm = recs, t.redoLSN, need, s.touched[:0], s.vm[:0]
	for n < len(recs) {
		if err = t.begin(ctx, &recs[n]); err != nil {
			break
		}
		n++
	}
	if errors.Is(err, errRunFull) {
		err = nil
	} else if err != nil {
		err = t.refuse(&recs[n], err)
	}
	if failed := t.Barrier(); failed != nil {
		return 0, failed
	}
	if n > 0 {
		t.redoLSN, t.lastRecord = recs[n-1].End, recs[n-1].LSN
	}
	if !t.launch(s) || err != nil {
		if failed := t.Barrier(); failed != nil {
			return n, failed
		}
	}
	return n, err
}

// roomFor is how many pages records may bring in besides those of transaction logs.
func roomFor(recs []wal.Record) int {
	blocks := 0
	for i := range recs {
		blocks += len(recs[i].Blocks)
	}
	return recordRoom + 2*blocks
}

// makeRunRoom is makeRoom for a run: what may begin a flush or wait for one is done at a barrier.
func (t *Timeline) makeRunRoom(ctx context.Context, need int) error {
	t.integrate()
	if t.roomy(need) {
		return nil
	}
	if err := t.Barrier(); err != nil {
		return err
	}
	return t.makeRoom(ctx, need)
}

// begin does everything for a record of a run but change its pages, which it brings in. What it notes of them is true once they are
// redone; if one of them cannot be, the timeline is over. All of them are noted as changed. A page that redo then leaves as it was
// (redo.Skipped, a map without the bits that are to be cleared) is written once more by the next flush and looked at once more for the
// lake, and nothing else.
func (t *Timeline) begin(ctx context.Context, rec *wal.Record) error {
	s := t.run
	s.from, s.made = len(s.touched), s.made[:0]
	t.applying = rec.End
	if rec.RMID == wal.RMXact {
		return t.beginXact(ctx, rec)
	}
	if err := t.touchAll(ctx, rec); err != nil {
		t.rollback()
		return err
	}
	rows := changesRows(rec)
	if rows {
		t.noteDeleter(rec)
	}
	for i := s.from; i < len(s.touched); i++ {
		tc := &s.touched[i]
		t.arena.frames[tc.id].state &^= framePinned // it is dirty from here on
		t.noteChanged(tc, rec, rows)
	}
	for _, rel := range s.made {
		t.relationChanged(rel)
	}
	t.live.NoteXID(rec.XID)
	t.stats.record(rec)
	return nil
}

// beginXact sets the fate of transactions. Which pages of transaction logs that takes is known only now.
func (t *Timeline) beginXact(ctx context.Context, rec *wal.Record) error {
	err := t.follow(rec)
	if err == nil && t.arena.available() < t.run.need+t.slruRoom() {
		err = errRunFull
	}
	if err == nil {
		err = t.touchSLRUs(ctx)
	}
	if err == nil {
		err = t.applyXact(rec)
	}
	if err != nil {
		t.rollbackSLRUs()
		return err
	}
	t.finishSLRUs()
	t.live = t.apply.next
	t.stats.record(rec)
	return nil
}
