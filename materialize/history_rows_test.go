package materialize

import (
	"math"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/types"
)

// TestHistoryPastTheEnd has rows deleted whose line pointers a VACUUM has taken from the page's end.
func TestHistoryPastTheEnd(t *testing.T) {
	r := historyRig(t)
	s := r.srv
	var a *table0
	var rows []*version
	s.do(func(x pg.XID) {
		a = s.create(x, "a")
		for i := range 5 {
			rows = append(rows, s.insert(x, a, i, "x"))
		}
	})
	r.cut()
	s.do(func(x pg.XID) { s.delete(x, rows[3]); s.delete(x, rows[4]) })
	s.vacuum(a)
	r.cut()
	if d := r.historyDiffers(); d != "" {
		t.Error(d)
	}
	if inserts, deletes, unknown := r.told(); inserts != 5 || deletes != 2 || unknown != 0 {
		t.Errorf("%d inserts, %d deletes, %d by nobody", inserts, deletes, unknown)
	}
}

// TestHistoryClamps: a history has the values that its table has, those that are the nearest ones to what Postgres has included.
func TestHistoryClamps(t *testing.T) {
	r := historyRig(t)
	s := r.srv
	r.eng.opts.Types = func(lake.TableName) types.Options { return types.Options{OutOfRange: types.Clamp} }
	var a *table0
	s.do(func(x pg.XID) { a = s.create(x, "a") })
	s.do(func(x pg.XID) {
		a.columns = append(a.columns, "day")
		s.attribute(x, a, 3, "day", map[string]any{"atttypid": 1082})
		s.insert(x, a, math.MaxInt32, "infinity")
	})
	r.cut()
	s.do(func(x pg.XID) { s.insert(x, a, math.MaxInt32, "once more"); s.delete(x, a.rows[0]) })
	r.cut()
	if d := r.historyDiffers(); d != "" {
		t.Error(d)
	}
}
