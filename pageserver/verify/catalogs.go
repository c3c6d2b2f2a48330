package verify

import (
	"encoding/binary"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/syscat"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/cluster"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// mappedFiles reads a database's relation map: the files of catalogs that are not found through pg_class, by OID. A folder without
// a map has none.
func mappedFiles(dir *datadir.Dir, db datadir.Database) (map[pg.OID]pg.RelFileLocator, error) {
	b, err := dir.RelMap(db)
	if err != nil || b == nil {
		return nil, err
	}
	entries, err := control.ParseRelMap(dir.Major(), b)
	if err != nil {
		return nil, fmt.Errorf("%s, tablespace %d database %d: %w", dir.Root(), db.Spc, db.DB, err)
	}
	files := make(map[pg.OID]pg.RelFileLocator, len(entries))
	for _, e := range entries {
		files[e.OID] = pg.RelFileLocator{Spc: db.Spc, DB: db.DB, Rel: e.File}
	}
	return files, nil
}

// catalogRows calls row with the columns named, of 4 bytes each, of every row of a mapped catalog that log says is live.
func catalogRows(dir *datadir.Dir, catalog string, files map[pg.OID]pg.RelFileLocator, log *commitLog, columns []string, row func(values []uint32)) error {
	layout := syscat.Lookup(dir.Major(), catalog)
	file, ok := files[layout.OID]
	if !ok {
		return &pg.CorruptError{What: dir.Root() + ": a relation map has no " + catalog}
	}
	at, err := fixedOffsets(layout, columns)
	if err != nil {
		return err
	}
	f := datadir.Fork{Rel: file, Fork: pg.MainFork}
	n, err := dir.Blocks(f)
	if err != nil {
		return err
	}
	values, page := make([]uint32, len(at)), pg.Page(make([]byte, pg.BlockSize))
	for blk := range n {
		if _, err := dir.ReadPage(f, blk, page); err != nil {
			return err
		}
		for off := range page.NumItems() {
			t, ok := page.Tuple(pg.OffsetNumber(off + 1))
			if !ok {
				continue
			}
			if live, err := log.live(t); err != nil {
				return err
			} else if !live {
				continue
			}
			data := t[min(t.Hoff(), len(t)):]
			for i, from := range at {
				if len(data) < from+4 {
					return &pg.CorruptError{Rel: file, Block: blk, What: "row of " + catalog + " is too short"}
				}
				values[i] = binary.LittleEndian.Uint32(data[from:])
			}
			row(values)
		}
	}
	return nil
}

// fixedOffsets says where columns begin in a catalog's rows, bytes: what precedes them is of fixed length and never null.
func fixedOffsets(c *syscat.Catalog, columns []string) ([]int, error) {
	align := map[byte]int{'c': 1, 's': 2, 'i': 4, 'd': 8}
	begins, at := map[string]int{}, 0
	for _, a := range c.Attrs {
		if a.Len < 0 {
			break
		}
		at = (at + align[a.Align] - 1) &^ (align[a.Align] - 1)
		if a.Len == 4 {
			begins[a.Name] = at
		}
		at += int(a.Len)
	}
	offsets := make([]int, len(columns))
	for i, name := range columns {
		var ok bool
		if offsets[i], ok = begins[name]; !ok {
			return nil, fmt.Errorf("BUG: %s.%s is not of 4 bytes at a fixed place", c.Name, name)
		}
	}
	return offsets, nil
}

// commitLog is pg_xact of a stopped server.
type commitLog struct {
	logReader
	// prepared says which transactions may still end. They count as committed for the rows they made, not for those they deleted: what
	// either outcome leaves is there.
	prepared func(xid pg.XID) bool
}

func newCommitLog(dir *datadir.Dir, prepared func(xid pg.XID) bool) *commitLog {
	return &commitLog{logReader{dir: dir}, prepared}
}

// live says whether a tuple is a row now that no transaction runs (HeapTupleSatisfiesMVCC). A row whose xmax is a
// multixact counts as one that is locked only.
func (l *commitLog) live(t pg.HeapTuple) (bool, error) {
	mask := t.Infomask()
	switch mask & pg.HeapXminFrozen {
	case pg.HeapXminFrozen:
	case pg.HeapXminInvalid:
		return false, nil
	default:
		status, err := l.status(t.Xmin())
		if err != nil || status != slru.CLOGCommitted && (status == slru.CLOGAborted || !l.prepared(t.Xmin())) {
			return false, err
		}
	}
	if mask&(pg.HeapXmaxInvalid|pg.HeapXmaxLockOnly|pg.HeapXmaxIsMulti) != 0 || t.Xmax() == pg.InvalidXID {
		return true, nil
	}
	status, err := l.status(t.Xmax())
	return status != slru.CLOGCommitted, err
}

func (l *commitLog) status(xid pg.XID) (byte, error) {
	if xid == pg.BootstrapXID || xid == pg.FrozenXID {
		return slru.CLOGCommitted, nil
	}
	at := logPage{slru.CLOG, slru.CLOG.Page(uint32(xid))}
	page, err := l.page(at)
	if err != nil {
		return 0, err
	}
	if page == nil {
		return 0, fmt.Errorf("status of transaction %d in %s: %s has no page %d", xid, l.dir.Root(), at.kind, at.no)
	}
	return slru.StatusOf(page, xid), nil
}

// preparedXIDs lists the transactions that a stopped server has prepared, and their subtransactions. If one of their files is
// damaged, ok is false.
func preparedXIDs(dir *datadir.Dir) (xids map[pg.XID]bool, ok bool, err error) {
	files, err := dir.Prepared()
	if err != nil {
		return nil, false, err
	}
	xids = map[pg.XID]bool{}
	for xid, file := range files {
		state, err := cluster.ParseTwoPhase(file)
		if err != nil {
			return nil, false, nil
		}
		p, err := xlrec.DecodePrepare(dir.Major(), state)
		if err != nil {
			return nil, false, nil
		}
		xids[xid] = true
		for i := range p.Subxacts.Len() {
			xids[p.Subxacts.At(i)] = true
		}
	}
	return xids, true, nil
}
