package materialize

import (
	"context"
	"errors"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// mangled plants faults in what an engine is told of the pages.
type mangled struct {
	*server
	committed func(pg.XID) bool
	forget    bool // ReturnDirty forgets
	unmapped  bool // pg_class rows count as committed while their transaction is open
}

func (m *mangled) Committed(x pg.XID) (bool, error) {
	if m.committed != nil && m.committed(x) {
		return true, nil
	}
	return m.server.Committed(x)
}

func (m *mangled) ReturnDirty() {
	if m.forget {
		m.Published()
		return
	}
	m.server.ReturnDirty()
}

func (m *mangled) Scan(ctx context.Context, rel pg.RelFileLocator, fork pg.ForkNumber, from, to pg.BlockNumber, fn func(pg.BlockNumber, pg.Page) error) error {
	if !m.unmapped || rel != catalogFile(1259) {
		return m.server.Scan(ctx, rel, fork, from, to, fn)
	}
	old := m.fate
	m.fate = map[pg.XID]byte{}
	for x := range old {
		m.fate[x] = old[x]
	}
	for x := range m.open {
		m.fate[x] = 'c'
	}
	defer func() { m.fate = old }()
	return m.server.Scan(ctx, rel, fork, from, to, fn)
}

// TestPlantedFaults: what an engine could be told wrongly of transactions, files and dirty blocks shows as wrong rows.
func TestPlantedFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(*mangled, *rig)
		run   func(r *rig, a, b *table0)
	}{
		{"a subtransaction's abort is ignored", func(m *mangled, _ *rig) { m.committed = func(x pg.XID) bool { return m.fate[x] == 'a' } }, func(r *rig, a, _ *table0) {
			x, sub := r.srv.begin(), r.srv.begin()
			r.srv.insert(x, a, 100, "kept")
			r.srv.insert(sub, a, 101, "rolled back")
			r.srv.abort(sub)
			r.srv.commit(x)
			r.cut()
		}},
		{"a file counts before the row that maps to it does", func(m *mangled, _ *rig) { m.unmapped = true }, func(r *rig, a, _ *table0) {
			x := r.srv.begin()
			r.srv.rewrite(x, a, false) // TRUNCATE, not committed
			r.cut()
		}},
		{"a taken dirty set is forgotten", func(m *mangled, _ *rig) { m.forget = true }, func(r *rig, a, _ *table0) {
			r.srv.do(func(x pg.XID) { r.srv.insert(x, a, 100, "once") })
			r.lake.fail = errPublish
			if _, err := r.tryCut(); !errors.Is(err, errPublish) {
				r.t.Error(err)
			}
			r.cut()
		}},
		{"published before all tables are there", func(_ *mangled, r *rig) { r.lake.change = func(p *lake.Publication) { p.Tables = p.Tables[:1] } }, func(r *rig, a, b *table0) {
			r.srv.do(func(x pg.XID) { r.srv.insert(x, a, 100, "x"); r.srv.insert(x, b, 100, "x") })
			r.cut()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, planted := range []bool{false, true} {
				r, a, b := filled(t, 5)
				m := &mangled{server: r.srv}
				r.pages = m
				r.eng.Attach(m)
				if planted {
					c.plant(m, r)
				}
				c.run(r, a, b)
				if d := r.differs(); (d != "") != planted {
					t.Errorf("planted %t: %q", planted, d)
				}
			}
		})
	}
}
