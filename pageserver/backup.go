package pageserver

import (
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// ErrTornCopy: a database was copied file by file while the base backup was taken, and what it was copied from changed or
// went before the backup ended. Another base backup is the only way on.
var ErrTornCopy = errors.New("the base backup does not hold a database whole that was copied while it was taken")

// database is one of a cluster's folders of relation files.
type database struct {
	Spc pg.OID `json:"spc"`
	DB  pg.OID `json:"db"`
}

// copiedDatabase is a copy that a record of the base backup's WAL stands for (CREATE DATABASE STRATEGY file_copy, ALTER
// DATABASE SET TABLESPACE). Its redo copies the template's files as the backup holds them, which is right as long as they
// are what they were at the record: no page of the copy follows in the WAL that could put it right. The backup may have
// taken the template's files later, or have found them gone already, and the copy's before they were there. Postgres's own
// recovery is wrong then as well (dbase_redo copies a folder it finds empty).
type copiedDatabase struct {
	From database `json:"from"`
	To   database `json:"to"`
	LSN  pg.LSN   `json:"lsn"`  // of the record
	Torn pg.LSN   `json:"torn"` // first record since that changed From; 0: none
}

// noteCopies follows the records of a base backup's WAL before they are applied: which copies stand, and whether that can be
// relied on. It costs nothing once the backup is consistent.
func (t *Timeline) noteCopies(rec *wal.Record) error {
	if rec.RMID == wal.RMDbase {
		return t.noteDatabase(rec)
	}
	if len(t.copies) == 0 {
		return nil
	}
	for i := range rec.Blocks {
		if rec.Blocks[i].Fork != pg.FSMFork {
			t.templateChanged(rec, rec.Blocks[i].Rel)
		}
	}
	switch {
	case rec.RMID == wal.RMSmgr && rec.Op() == xlrec.SmgrTruncate:
		r, err := xlrec.DecodeSmgrTruncate(rec.Main)
		if err != nil {
			return err
		}
		t.templateChanged(rec, r.Rel)
	case rec.RMID == wal.RMXact:
		dropped, err := droppedRels(rec)
		if err != nil {
			return err
		}
		for i := range dropped.Len() {
			t.templateChanged(rec, dropped.At(i))
		}
	case rec.RMID == wal.RMRelMap:
		r, err := xlrec.DecodeRelmapUpdate(rec.Major, rec.Main)
		if err != nil {
			return err
		}
		t.templateChanged(rec, pg.RelFileLocator{Spc: r.Spc, DB: r.DB})
	}
	return nil
}

func (t *Timeline) noteDatabase(rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.DbaseCreateFileCopy:
		r, err := xlrec.DecodeDBCreateFileCopy(rec.Main)
		if err != nil {
			return err
		}
		to := database{r.Spc, r.DB}
		t.forgetCopies(to)
		// If its template is a torn copy itself, that either stays, and is found, or goes, which tears this one.
		t.copies = append(t.copies, copiedDatabase{From: database{r.SrcSpc, r.SrcDB}, To: to, LSN: rec.LSN})
	case xlrec.DbaseDrop:
		r, err := xlrec.DecodeDBDrop(rec.Main)
		if err != nil {
			return err
		}
		for i := range r.Tablespaces.Len() {
			t.forgetCopies(database{r.Tablespaces.At(i), r.DB})
			t.templateChanged(rec, pg.RelFileLocator{Spc: r.Tablespaces.At(i), DB: r.DB})
		}
	}
	return nil
}

// droppedRels are the relations whose files go with a transaction's end.
func droppedRels(rec *wal.Record) (xlrec.Rels, error) {
	switch rec.Info & xlrec.XactOpMask {
	case xlrec.XactCommit, xlrec.XactCommitPrepared:
		r, err := xlrec.DecodeCommit(rec.Major, rec.Main, rec.Info)
		return r.DroppedRels, err
	case xlrec.XactAbort, xlrec.XactAbortPrepared:
		r, err := xlrec.DecodeAbort(rec.Major, rec.Main, rec.Info)
		return r.DroppedRels, err
	}
	return xlrec.Rels{}, nil
}

// forgetCopies: whatever was copied there is gone.
func (t *Timeline) forgetCopies(to database) {
	kept := t.copies[:0]
	for _, c := range t.copies {
		if c.To != to {
			kept = append(kept, c)
		}
	}
	t.copies = kept
}

// templateChanged marks the copies made of the database the relation is in.
func (t *Timeline) templateChanged(rec *wal.Record, rel pg.RelFileLocator) {
	for i := range t.copies {
		if c := &t.copies[i]; c.From == (database{rel.Spc, rel.DB}) && c.Torn == 0 {
			c.Torn = rec.LSN
		}
	}
}

// endBackup is called when the base backup should be consistent. An error ends the timeline: a database was torn, or blocks are
// missing that nothing explained (XLogCheckInvalidPages).
func (t *Timeline) endBackup(rec *wal.Record) error {
	if err := t.torn(); err != nil {
		return err
	}
	t.copies = nil
	for k, lsn := range t.invalid {
		t.failed = &pg.CorruptError{LSN: lsn, Rel: k.Rel(), Fork: k.Fork(), Block: k.Block(),
			What: fmt.Sprintf("the record changes a block that is not there, and %d such blocks are unexplained at the end of the base backup, %s",
				len(t.invalid), rec.End)}
		break
	}
	return t.failed
}

// torn ends the timeline if a copy is torn. What else goes wrong before the backup is consistent then comes of that.
func (t *Timeline) torn() error {
	for _, c := range t.copies {
		if c.Torn != 0 {
			t.failed = fmt.Errorf("%w: the copy of database %d in tablespace %d made at %s, whose template changed at %s", ErrTornCopy, c.To.DB, c.To.Spc, c.LSN, c.Torn)
			return t.failed
		}
	}
	return nil
}
