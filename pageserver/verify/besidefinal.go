package verify

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/cluster"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/redo"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// compare compares what a stopped server's data directory holds beside its relations with what the WAL says: the transaction
// logs, relation maps, prepared transactions, replication origins, and the control file's checkpoint and settings.
func (b *beside) compare(dir *stoppedDir, final *Final) error {
	c, err := dir.Control()
	if err != nil {
		return err
	}
	sets, err := logSets(dir.Dir)
	if err != nil {
		return err
	}
	for kind := range slru.Kind(slru.Kinds) {
		if err := b.compareLog(dir.Dir, kind, &sets[kind], &c, final); err != nil {
			return err
		}
	}
	if err := b.compareMaps(dir, final); err != nil {
		return err
	}
	if err := b.comparePrepared(dir.Dir, final); err != nil {
		return err
	}
	if err := b.compareOrigins(dir.Dir, final); err != nil {
		return err
	}
	final.file("pg_control", 0, b.controlDiffers(&c))
	return nil
}

// compareLog compares which pages of a log there are, and what they hold.
func (b *beside) compareLog(dir *datadir.Dir, kind slru.Kind, theirs *slru.Set, c *control.Control, final *Final) error {
	for _, run := range b.sets[kind].Runs() {
		for no := run.From; no < run.To; no++ {
			if !theirs.Has(no) {
				final.file(kind.Folder(), no, "the server has no such page")
			}
		}
	}
	log := logReader{dir: dir}
	page, next := pg.Page(make([]byte, pg.BlockSize)), slru.Next{Multi: c.CheckPoint.NextMulti, Offset: c.CheckPoint.NextMultiOffset}
	for _, run := range theirs.Runs() {
		for no := run.From; no < run.To; no++ {
			at := logPage{kind, no}
			if err := log.copyPage(at, page); err != nil {
				return err
			}
			ours, err := b.page(at)
			if err != nil {
				return err
			}
			ours = slices.Clone(ours)
			slru.Mask(kind, no, ours, next)
			slru.Mask(kind, no, page, next)
			what := ""
			switch {
			case !b.sets[kind].Has(no):
				what = "redo has no such page"
			case !bytes.Equal(ours, page):
				what = bytesDiffer(ours, page)
			}
			final.file(kind.Folder(), no, what)
		}
	}
	return nil
}

func (b *beside) compareMaps(dir *stoppedDir, final *Final) error {
	dbs, err := dir.Databases()
	if err != nil {
		return err
	}
	for _, db := range dbs {
		theirs, err := dir.RelMap(db)
		if err != nil {
			return err
		}
		if ok, err := dir.whole.has(db); err != nil {
			return err
		} else if theirs == nil || !ok {
			continue
		}
		ours, err := b.relMap(db)
		if err != nil {
			return err
		}
		what := ""
		if !bytes.Equal(ours, theirs) {
			what = fmt.Sprintf("tablespace %d database %d: %s", db.Spc, db.DB, bytesDiffer(ours, theirs))
		}
		final.file("pg_filenode.map", 0, what)
	}
	return nil
}

func (b *beside) comparePrepared(dir *datadir.Dir, final *Final) error {
	theirs, err := dir.Prepared()
	if err != nil {
		return err
	}
	for xid, file := range theirs {
		what := ""
		if state, ok := b.prepared[xid]; !ok {
			what = fmt.Sprintf("transaction %d is not prepared", xid)
		} else if ours := cluster.AppendTwoPhase(nil, state); !bytes.Equal(ours, file) {
			what = fmt.Sprintf("transaction %d: %s", xid, bytesDiffer(ours, file))
		}
		final.file("pg_twophase", 0, what)
	}
	for xid := range b.prepared {
		if theirs[xid] == nil {
			final.file("pg_twophase", 0, fmt.Sprintf("transaction %d is prepared, the server's is not", xid))
		}
	}
	return nil
}

func (b *beside) compareOrigins(dir *datadir.Dir, final *Final) error {
	file, err := dir.Origins()
	if err != nil || file == nil && len(b.state.Origins) == 0 {
		return err
	}
	var theirs []cluster.Origin
	if file != nil {
		if theirs, err = cluster.ParseOrigins(file); err != nil {
			return err
		}
	}
	what := ""
	if !slices.Equal(b.state.Origins, theirs) {
		what = fmt.Sprintf("%v, the server's %v", b.state.Origins, theirs)
	}
	final.file("pg_logical/replorigin_checkpoint", 0, what)
	return nil
}

// controlDiffers compares the control file with the last checkpoint record, and that with what the records before it come to: transaction
// ids and OIDs may have been given out, or not, ahead of any record that says so.
func (b *beside) controlDiffers(c *control.Control) string {
	cp, was := c.CheckPoint, b.before
	settings := xlrec.ParameterChange{
		MaxConnections: c.MaxConnections, MaxWorkerProcesses: c.MaxWorkerProcesses, MaxWALSenders: c.MaxWALSenders,
		MaxPreparedXacts: c.MaxPreparedXacts, MaxLocksPerXact: c.MaxLocksPerXact, WALLevel: c.WALLevel,
		WALLogHints: c.WALLogHints, TrackCommitTimestamp: c.TrackCommitTimestamp,
	}
	switch {
	case b.checkpointLSN != c.CheckPointLSN || b.checkpoint != cp:
		return fmt.Sprintf("the last checkpoint is at %s, %+v; the server's at %s, %+v", b.checkpointLSN, b.checkpoint, c.CheckPointLSN, cp)
	case cp.NextXID < was.NextXID:
		return fmt.Sprintf("the next transaction is at least %d, the server's %d", was.NextXID, cp.NextXID)
	case c.State == control.ShutDown && int32(cp.NextOID-was.NextOID) > 0:
		return fmt.Sprintf("the next OID is at most %d, the server's %d", was.NextOID, cp.NextOID)
	case cp.NextMulti != was.NextMulti || cp.NextMultiOffset != was.NextMultiOffset:
		return fmt.Sprintf("the next multixact is %d at %d, the server's %d at %d", was.NextMulti, was.NextMultiOffset, cp.NextMulti, cp.NextMultiOffset)
	case cp.OldestCommitTsXID != was.OldestCommitTsXID || cp.NewestCommitTsXID != was.NewestCommitTsXID:
		return fmt.Sprintf("commit times from %d to %d, the server's from %d to %d", was.OldestCommitTsXID, was.NewestCommitTsXID, cp.OldestCommitTsXID, cp.NewestCommitTsXID)
	case b.state.Settings != settings:
		return fmt.Sprintf("settings %+v, the server's %+v", b.state.Settings, settings)
	}
	return ""
}

// bytesDiffer says where two files differ.
func bytesDiffer(ours, theirs []byte) string {
	for i := range min(len(ours), len(theirs)) {
		if ours[i] != theirs[i] {
			return fmt.Sprintf("byte %d is %#02x, the server's %#02x", i, ours[i], theirs[i])
		}
	}
	return fmt.Sprintf("%d bytes, the server's %d", len(ours), len(theirs))
}

// file counts a file, or a page of one, that is not a relation's; what says how it differs.
func (f *Final) file(name string, page uint32, what string) {
	if f.Files == nil {
		f.Files = map[string]FinalPages{}
	}
	n := f.Files[name]
	n.Pages++
	if what != "" {
		n.Differ++
		f.differ(PageDifference{Name: name, Block: pg.BlockNumber(page), Bytes: what, Ranges: []redo.Range{}})
	}
	f.Files[name] = n
}
