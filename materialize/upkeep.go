package materialize

import (
	"time"

	"github.com/tarn-db/tarn/materialize/lake"
)

// Upkeep counts what was written again so that a table's files stay few, since this process began. Publications count, not
// attempts.
type Upkeep struct {
	Compactions       int64         // publications that wrote data files again
	CompactedFiles    int64         // data files that left for it
	WrittenFiles      int64         // data files that came with it, new rows of the same publication included
	CompactedRows     int64         // rows written again
	MergedDeleteFiles int64         // delete files that left because all were written again as few, or had nothing left to say
	OverwrittenFiles  int64         // data files that left because they lost rows, in copy-on-write mode
	CarriedRows       int64         // rows of theirs that were written again
	Took              time.Duration // finding and encoding the tables' part of publications that compacted
}

// Add adds up.
func (u *Upkeep) Add(o Upkeep) {
	u.Compactions += o.Compactions
	u.CompactedFiles += o.CompactedFiles
	u.WrittenFiles += o.WrittenFiles
	u.CompactedRows += o.CompactedRows
	u.MergedDeleteFiles += o.MergedDeleteFiles
	u.OverwrittenFiles += o.OverwrittenFiles
	u.CarriedRows += o.CarriedRows
	u.Took += o.Took
}

// upkeep is the work's own part.
func (w *tableWork) upkeep() (u Upkeep) {
	if w.old == nil || len(w.keep) == 0 {
		return u // a copy of the whole table
	}
	u.MergedDeleteFiles, u.OverwrittenFiles, u.CarriedRows = int64(len(w.removeDeletes)), int64(len(w.overwritten)), w.carried
	if len(w.compact) > 0 {
		u.Compactions, u.CompactedFiles, u.WrittenFiles, u.CompactedRows, u.Took = 1, int64(len(w.compact)), int64(len(w.files)), w.moved, w.took
	}
	return u
}

// kept notes the upkeep of a publication that was made.
func (e *Engine) kept(id lake.TableID, u Upkeep) {
	if u == (Upkeep{}) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.upkeep.Add(u)
	t := e.upkeepOf[id]
	t.Add(u)
	e.upkeepOf[id] = t
}

// Upkeep is that of all tables, dropped ones included.
func (e *Engine) Upkeep() Upkeep {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.upkeep
}
