package pageserver

import (
	"errors"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// TestTornCopies: a copy that the base backup's WAL stands for is good as long as its template stays as it was, for as long
// as the backup takes. Databases 5 to 8 are in tablespace 1663, where 5 is the first template.
func TestTornCopies(t *testing.T) {
	in := func(db pg.OID) pg.RelFileLocator { return pg.RelFileLocator{Spc: 1663, DB: db, Rel: 2619} }
	type step = func(tl *Timeline) *wal.Record
	dbase := func(op uint8, ids ...uint32) step {
		return func(tl *Timeline) *wal.Record { return record(tl, wal.RMDbase, op, 0, u32s(ids...)) }
	}
	fileCopy := func(to, from uint32) step { return dbase(xlrec.DbaseCreateFileCopy, to, 1663, from, 1663) }
	drop := func(db uint32) step { return dbase(xlrec.DbaseDrop, db, 1, 1663) }
	change := func(db pg.OID) step {
		return func(tl *Timeline) *wal.Record { return fpi(tl.nextLSN(), 0, in(db), 1, 0) }
	}
	for name, c := range map[string]struct {
		steps []step
		torn  bool
	}{
		"nothing happens to the template":         {[]step{fileCopy(6, 5)}, false},
		"the template changed before":             {[]step{change(5), fileCopy(6, 5)}, false},
		"the template changes":                    {[]step{fileCopy(6, 5), change(5)}, true},
		"the template shrinks":                    {[]step{fileCopy(6, 5), func(tl *Timeline) *wal.Record { return truncate(tl, in(5), 0) }}, true},
		"the template loses a file":               {[]step{fileCopy(6, 5), func(tl *Timeline) *wal.Record { return commit(tl, 1000, in(5)) }}, true},
		"the template goes":                       {[]step{fileCopy(6, 5), drop(5)}, true},
		"the template goes in another tablespace": {[]step{fileCopy(6, 5), dbase(xlrec.DbaseDrop, 5, 1, 1700)}, false},
		"a move":                                    {[]step{dbase(xlrec.DbaseCreateFileCopy, 5, 1700, 5, 1663), drop(5)}, true},
		"a move and the copy goes too":              {[]step{dbase(xlrec.DbaseCreateFileCopy, 5, 1700, 5, 1663), drop(5), dbase(xlrec.DbaseDrop, 5, 1, 1700)}, false},
		"the copy changes":                          {[]step{fileCopy(6, 5), change(6)}, false},
		"another database changes":                  {[]step{fileCopy(6, 5), change(7)}, false},
		"the copy goes":                             {[]step{fileCopy(6, 5), change(5), drop(6)}, false},
		"a copy of a torn copy":                     {[]step{fileCopy(6, 5), change(5), fileCopy(7, 6)}, true},
		"a copy of a torn copy that goes":           {[]step{fileCopy(6, 5), change(5), fileCopy(7, 6), drop(6)}, true},
		"a second copy in the place of a torn one":  {[]step{fileCopy(6, 5), change(5), drop(6), fileCopy(6, 8)}, false},
		"a copy, and its template's template later": {[]step{fileCopy(6, 5), fileCopy(7, 6), drop(7), change(6)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
			tl.consistent = tl.redoLSN + 0x10000
			for i, s := range c.steps {
				apply(t, tl, s(tl))
				if i != 0 {
					continue
				}
				// A process that ends here goes on with the state as it is in the store.
				b, err := tl.snapshot().encode()
				if err != nil {
					t.Fatal(err)
				}
				saved, err := decodeState(b)
				if err != nil {
					t.Fatal(err)
				}
				tl.copies = saved.Copies
			}
			last := record(tl, wal.RMXLog, xlrec.XLogNoop, 0, nil)
			last.End = tl.consistent
			err := tl.Apply(t.Context(), last)
			if errors.Is(err, ErrTornCopy) != c.torn || !c.torn && (err != nil || len(tl.copies) != 0) {
				t.Errorf("at the backup's end: %v, want torn %v", err, c.torn)
			}
			if c.torn && !errors.Is(tl.Apply(t.Context(), record(tl, wal.RMXLog, xlrec.XLogNoop, 0, nil)), ErrTornCopy) {
				t.Error("the timeline goes on")
			}
		})
	}
}

// TestTornCopyExplains: a record that does not fit its page is no corruption if a copy is torn.
func TestTornCopyExplains(t *testing.T) {
	for _, torn := range []bool{false, true} {
		tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
		tl.consistent = tl.redoLSN + 0x10000
		apply(t, tl, record(tl, wal.RMDbase, xlrec.DbaseCreateFileCopy, 0, u32s(6, 1663, 5, 1663)))
		if torn {
			apply(t, tl, record(tl, wal.RMDbase, xlrec.DbaseDrop, 0, u32s(5, 1, 1663)))
		}
		err := tl.Apply(t.Context(), record(tl, wal.RMDbase, 0x70, 0, nil))
		if errors.Is(err, ErrTornCopy) != torn || errors.Is(err, pg.ErrCorrupt) == torn {
			t.Errorf("torn %v: %v", torn, err)
		}
	}
}
