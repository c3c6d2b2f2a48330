package pageserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// inherited is a range of transaction ids some of which ran when the base backup began. What they wrote before its start
// is in its pages and not in the WAL, so their blocks have to be looked for: rows there become visible when they commit.
//
// A base backup begins with a checkpoint, and that logs the running transactions (LogStandbySnapshot); whatever began
// after that record has written nothing before the start. In the directory of a stopped server only prepared
// transactions are open.
type inherited struct {
	From, To pg.XID // [From, To)
	Pending  bool   // the range is not known yet: the next RUNNING_XACTS record gives it
}

func (i *inherited) empty() bool { return i.From == i.To }

func (i *inherited) has(xid pg.XID) bool { return !xid.Precedes(i.From) && xid.Precedes(i.To) }

// inheritPrepared sets the range for a base without running transactions.
func (t *Timeline) inheritPrepared() {
	next := pg.XID(t.live.CheckPoint.NextXID)
	oldest := next
	for xid, subs := range t.prepared {
		for _, x := range append(subs, xid) {
			if x.Precedes(oldest) {
				oldest = x
			}
		}
	}
	t.inherited = inherited{From: oldest, To: next}
}

// findInherited looks for blocks of inherited transactions that are still open, once pages can be trusted. It reads every
// heap page, but only if there is such a transaction at all.
func (t *Timeline) findInherited(ctx context.Context) error {
	for xid := t.inherited.From; ; xid++ {
		if xid == t.inherited.To {
			t.inherited = inherited{}
			return nil
		}
		if xid < pg.FirstNormalXID {
			continue
		}
		s, err := t.XIDStatus(xid)
		if err != nil {
			return err
		}
		if s == InProgress {
			break
		}
	}
	found := map[pg.XID]*openXact{}
	for _, rel := range t.rels {
		if rel.opaque {
			continue
		}
		f, err := t.fork(ctx, rel, pg.MainFork)
		if err != nil {
			return err
		}
		err = t.scanFork(ctx, f, 0, f.size, func(blk pg.BlockNumber, page pg.Page) error {
			if !isHeap(page) {
				return errNotHeap // nor are its other pages
			}
			return t.inheritedOn(page, func(xid pg.XID) {
				if found[xid] == nil {
					found[xid] = &openXact{}
				}
				found[xid].add(rel, blk)
			})
		})
		if err != nil && !errors.Is(err, errNotHeap) {
			return fmt.Errorf("look for rows of transactions older than the base backup: %w", err)
		}
	}
	for xid, blocks := range found {
		x := t.openOf(xid)
		for rel, b := range blocks.all() {
			x.addAll(rel, b)
		}
		x.gen = t.gen - 1 // a set may have been taken that has not these blocks
	}
	t.inherited = inherited{}
	return nil
}

// errNotHeap ends the look at a relation that has no rows.
var errNotHeap = errors.New("no heap")

// inheritedOn calls fn for each inherited transaction in progress that has written a tuple of the heap page.
func (t *Timeline) inheritedOn(page pg.Page, fn func(pg.XID)) error {
	check := func(xid pg.XID) error {
		if xid < pg.FirstNormalXID || !t.inherited.has(xid) {
			return nil
		}
		s, err := t.XIDStatus(xid)
		if err == nil && s == InProgress {
			fn(xid)
		}
		return err
	}
	for off := pg.OffsetNumber(1); int(off) <= page.NumItems(); off++ {
		tup, ok := page.Tuple(off)
		if !ok {
			continue
		}
		mask := tup.Infomask()
		if mask&pg.HeapXminCommitted == 0 {
			if err := check(tup.Xmin()); err != nil {
				return err
			}
		}
		if mask&(pg.HeapXmaxInvalid|pg.HeapXmaxLockOnly) != 0 {
			continue
		}
		xmax := tup.Xmax()
		if mask&pg.HeapXmaxIsMulti != 0 {
			updater, ok, err := t.MultiXactUpdater(pg.MultiXactID(xmax))
			if err != nil || !ok {
				continue // whoever reads the row will say so; it is not this scan's business
			}
			xmax = updater
		}
		if err := check(xmax); err != nil {
			return err
		}
	}
	return nil
}
