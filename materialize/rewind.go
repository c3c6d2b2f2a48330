package materialize

import "github.com/tarn-db/tarn/internal/pg"

// A cut that takes the lake back (CutPoint.Rewind) is a difference like any other: pages as of the fork are compared with what was
// published behind it. Of a row that was published there, with a transaction id that the source will use again, nothing stays: at
// the fork no tuple of that transaction is visible, so none has its raw xmin.

// undone says whether a difference would not take a table back. What came to be forwards without its rows being written again may
// not go back so: rows written while a column was dropped have no values for it. And a table in error has rows of an LSN before, which
// may be of what is undone.
func (c *cut) undone(p *tablePlan, t *table) bool {
	return t == nil || t.state.Error != "" || p.cols.change != same
}

// incarnation is the LSN that tells a table which comes from former ones of its number. One that a rewind brings back may have come for
// the first time at the very LSN of the fork; where it was dropped lies behind that.
func (c *cut) incarnation() pg.LSN {
	if c.at.Rewind {
		return max(c.at.LSN, c.e.Published())
	}
	return c.at.LSN
}
