package visible

import (
	"encoding/binary"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

// world has committed transactions 10-19, aborted 20-29, running 30-39; multi 100 was updated by 10, 101 by 30, 102 only locked.
type world struct{}

func (world) Committed(x pg.XID) (bool, error) { return x >= 10 && x < 20, nil }

func (world) MultiXactUpdater(m pg.MultiXactID) (pg.XID, bool, error) {
	switch m {
	case 100:
		return 10, true, nil
	case 101:
		return 30, true, nil
	}
	return 0, false, nil
}

func tup(xmin, xmax pg.XID, mask uint16) pg.HeapTuple {
	t := make(pg.HeapTuple, 24)
	t.SetXmin(xmin)
	t.SetXmax(xmax)
	binary.LittleEndian.PutUint16(t[20:], mask)
	return t
}

func TestTuple(t *testing.T) {
	for _, c := range []struct {
		name string
		tup  pg.HeapTuple
		want bool
	}{
		{"committed", tup(10, 0, pg.HeapXmaxInvalid), true},
		{"committed, xmax zero without the hint", tup(10, 0, 0), true},
		{"aborted", tup(20, 0, pg.HeapXmaxInvalid), false},
		{"aborted by hint", tup(10, 0, pg.HeapXminInvalid), false},
		{"running", tup(30, 0, pg.HeapXmaxInvalid), false},
		{"frozen, whatever its xid says", tup(30, 0, pg.HeapXminFrozen|pg.HeapXmaxInvalid), true},
		{"bootstrap", tup(pg.BootstrapXID, 0, pg.HeapXmaxInvalid), true},
		{"super-deleted speculative insertion", tup(0, 0, pg.HeapXmaxInvalid), false},
		{"deleted", tup(10, 11, 0), false},
		{"deleted by an aborted transaction", tup(10, 20, 0), true},
		{"deleted by a running transaction", tup(10, 30, 0), true},
		{"deleted by a committed one, hint says invalid", tup(10, 11, pg.HeapXmaxInvalid), true},
		{"locked by a committed transaction", tup(10, 11, pg.HeapXmaxLockOnly|pg.HeapXmaxExclLock), true},
		{"locked, flag implied", tup(10, 11, pg.HeapXmaxExclLock), true},
		{"key-share locked", tup(10, 11, pg.HeapXmaxLockOnly|pg.HeapXmaxKeyShrLck), true},
		{"multi with committed updater", tup(10, 100, pg.HeapXmaxIsMulti), false},
		{"multi with running updater", tup(10, 101, pg.HeapXmaxIsMulti), true},
		{"multi of lockers", tup(10, 102, pg.HeapXmaxIsMulti), true},
		{"multi lock-only is not looked up", tup(10, 100, pg.HeapXmaxIsMulti|pg.HeapXmaxLockOnly), true},
		{"frozen and deleted", tup(30, 12, pg.HeapXminFrozen), false},
	} {
		if got, err := Tuple(c.tup, world{}); err != nil || got != c.want {
			t.Errorf("%s: visible %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}
