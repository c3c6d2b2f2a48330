// Package visible decides which heap tuples are rows at a cut. It is the whole of tarn's transaction visibility: a row
// is a function of the page and of which transactions have committed, never of a replayed change. It is pure.
package visible

import "github.com/tarn-db/tarn/internal/pg"

// Transactions answers for the state of transactions at the cut.
type Transactions interface {
	// Committed says whether xid committed at or below the cut. In progress, prepared, aborted and crashed are all false.
	Committed(xid pg.XID) (bool, error)
	// MultiXactUpdater returns the member that updated or deleted the tuple, ok false when all members only lock.
	MultiXactUpdater(multi pg.MultiXactID) (xid pg.XID, ok bool, err error)
}

// Tuple says whether t is a committed row: xmin frozen or committed, and xmax absent, lock-only or not committed
// (compare HeapTupleSatisfiesMVCC with a snapshot of nothing running).
//
// Hint bits are not needed and, but for XMAX_INVALID, which redo maintains and freezing relies on, not looked at.
func Tuple(t pg.HeapTuple, x Transactions) (bool, error) {
	mask := t.Infomask()
	if mask&pg.HeapXminFrozen != pg.HeapXminFrozen {
		if mask&pg.HeapXminInvalid != 0 {
			return false, nil // hint: aborted, a fact that never changes
		}
		if ok, err := committed(t.Xmin(), x); !ok || err != nil {
			return false, err
		}
	}
	xmax, ok, err := Deleter(t, x)
	if err != nil || !ok {
		return err == nil, err
	}
	gone, err := committed(xmax, x)
	return !gone && err == nil, err
}

// Deleter is the transaction, or subtransaction, that deleted t or put another row in its place, whatever became of it; ok is false if
// none did.
func Deleter(t pg.HeapTuple, x Transactions) (xid pg.XID, ok bool, err error) {
	mask := t.Infomask()
	if mask&pg.HeapXmaxInvalid != 0 || t.Xmax() == 0 || LockOnly(mask) {
		return 0, false, nil
	}
	if mask&pg.HeapXmaxIsMulti != 0 {
		return x.MultiXactUpdater(pg.MultiXactID(t.Xmax()))
	}
	return t.Xmax(), true, nil
}

// LockOnly says whether xmax locks the tuple without changing it (HEAP_XMAX_IS_LOCKED_ONLY).
func LockOnly(infomask uint16) bool {
	return infomask&pg.HeapXmaxLockOnly != 0 ||
		infomask&(pg.HeapXmaxIsMulti|pg.HeapLockMask) == pg.HeapXmaxExclLock
}

func committed(xid pg.XID, x Transactions) (bool, error) {
	switch xid {
	case pg.InvalidXID: // a speculative insertion that was taken back
		return false, nil
	case pg.BootstrapXID, pg.FrozenXID:
		return true, nil
	}
	return x.Committed(xid)
}
