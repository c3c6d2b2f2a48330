package verify

import (
	"bytes"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/cluster"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// beside is what a data directory holds beside its relations, as the WAL says it has become.
type beside struct {
	base     logReader // of no directory: nothing was there before the WAL
	state    cluster.State
	sets     slru.Sets
	pages    map[logPage]pg.Page         // pages of transaction logs that are not as in the base
	maps     map[datadir.Database][]byte // pg_filenode.map where it has changed; empty: the database is gone
	prepared map[pg.XID][]byte           // state data of prepared transactions
	changes  []slru.Change

	checkpoint    xlrec.CheckPoint // as the last checkpoint record has it
	checkpointLSN pg.LSN
	before        xlrec.CheckPoint // what the records before that one come to
}

// newBeside begins with what a stopped server has left.
func newBeside(base *datadir.Dir, c *control.Control) (*beside, error) {
	b := &beside{base: logReader{dir: base}, pages: map[logPage]pg.Page{}, maps: map[datadir.Database][]byte{}, prepared: map[pg.XID][]byte{}}
	if base == nil {
		return b, nil
	}
	b.state = cluster.New(c)
	files, err := base.Prepared()
	if err != nil {
		return nil, err
	}
	for xid, file := range files {
		if b.prepared[xid], err = cluster.ParseTwoPhase(file); err != nil {
			return nil, err
		}
	}
	if file, err := base.Origins(); err != nil {
		return nil, err
	} else if file != nil {
		if b.state.Origins, err = cluster.ParseOrigins(file); err != nil {
			return nil, err
		}
	}
	if b.sets, err = logSets(base); err != nil {
		return nil, err
	}
	if c.TrackCommitTimestamp { // StartupCommitTs
		b.changes = b.state.ActivateCommitTs(&b.sets, b.changes[:0])
		return b, b.change()
	}
	return b, nil
}

// page returns a page of a transaction log as the WAL has left it.
func (b *beside) page(at logPage) (pg.Page, error) {
	p := b.pages[at]
	if p == nil {
		p = pg.Page(make([]byte, pg.BlockSize))
		b.pages[at] = p
		if b.base.dir != nil {
			return p, b.base.copyPage(at, p)
		}
	}
	return p, nil
}

// apply follows a record.
func (b *beside) apply(rec *wal.Record) (err error) {
	before := b.state.CheckPoint
	if b.changes, err = b.state.Follow(rec, &b.sets, b.changes[:0]); err == nil {
		err = b.change()
	}
	if err == nil {
		err = b.other(rec)
	}
	if err == nil && rec.RMID == wal.RMXLog && rec.Op() <= xlrec.XLogCheckpointOnline {
		b.before, b.checkpointLSN = before, rec.LSN
		b.checkpoint, err = xlrec.DecodeCheckPoint(rec.Major, rec.Main)
	}
	if err != nil {
		return &pg.CorruptError{LSN: rec.LSN, What: err.Error()}
	}
	return nil
}

// change applies b.changes.
func (b *beside) change() error {
	for i := range b.changes {
		c := &b.changes[i]
		if !c.CutsSegments() {
			b.sets[c.Kind].Add(c.Page)
			page, err := b.page(logPage{c.Kind, c.Page})
			if err != nil {
				return err
			}
			c.Apply(page)
			continue
		}
		for _, run := range b.sets[c.Kind].Cut(c) {
			for no := run.From; no < run.To; no++ {
				b.pages[logPage{c.Kind, no}] = make(pg.Page, pg.BlockSize) // not the base's, should it come back
			}
		}
	}
	return nil
}

// other follows what are neither counters nor transaction logs.
func (b *beside) other(rec *wal.Record) error {
	switch rec.RMID {
	case wal.RMXact:
		return b.xact(rec)
	case wal.RMRelMap:
		r, err := xlrec.DecodeRelmapUpdate(rec.Major, rec.Main)
		b.maps[datadir.Database{Spc: r.Spc, DB: r.DB}] = bytes.Clone(r.File)
		return err
	case wal.RMDbase:
		return b.dbase(rec)
	}
	return nil
}

func (b *beside) xact(rec *wal.Record) error {
	switch rec.Info & xlrec.XactOpMask {
	case xlrec.XactPrepare:
		p, err := xlrec.DecodePrepare(rec.Major, rec.Main)
		b.prepared[p.XID] = bytes.Clone(p.State)
		return err
	case xlrec.XactCommitPrepared:
		r, err := xlrec.DecodeCommit(rec.Major, rec.Main, rec.Info)
		delete(b.prepared, r.PreparedXID)
		return err
	case xlrec.XactAbortPrepared:
		r, err := xlrec.DecodeAbort(rec.Major, rec.Main, rec.Info)
		delete(b.prepared, r.PreparedXID)
		return err
	}
	return nil
}

func (b *beside) dbase(rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.DbaseCreateFileCopy:
		r, err := xlrec.DecodeDBCreateFileCopy(rec.Main)
		if err != nil {
			return err
		}
		file, err := b.relMap(datadir.Database{Spc: r.SrcSpc, DB: r.SrcDB})
		b.maps[datadir.Database{Spc: r.Spc, DB: r.DB}] = bytes.Clone(file)
		return err
	case xlrec.DbaseDrop:
		r, err := xlrec.DecodeDBDrop(rec.Main)
		if err != nil {
			return err
		}
		for i := range r.Tablespaces.Len() {
			b.maps[datadir.Database{Spc: r.Tablespaces.At(i), DB: r.DB}] = nil
		}
	}
	return nil
}

// relMap is a database's pg_filenode.map as the WAL has left it.
func (b *beside) relMap(db datadir.Database) ([]byte, error) {
	if file, ok := b.maps[db]; ok || b.base.dir == nil {
		return file, nil
	}
	return b.base.dir.RelMap(db)
}
