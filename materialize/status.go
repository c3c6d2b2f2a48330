package materialize

import (
	"slices"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/types"
)

// TableStatus is what users are told of one table.
type TableStatus struct {
	ID          lake.TableID   // zero if it is not in the lake
	Name        string         // db.schema.table
	Parts       lake.TableName // the same, apart
	State       string         // copying, live, excluded or error
	Rows        int64
	DataFiles   int
	SmallFiles  int // of them: written again once a leaf has many
	DeleteFiles int
	Upkeep      Upkeep
	LSN         pg.LSN
	Error       string // why it is excluded or in error
	LeftOut     []LeftOut
	PartitionBy []string // how new files are partitioned, as a rule has it
	Notes       []string // what of the rule for it could not be followed
	OutOfRange  []OutOfRange
	HistoryOf   string // of a history: its table
	NoHistory   string // why the table has no history, or a former one, though it is to have one
	Clamped     bool   // those values are the nearest ones that the lake can hold, where there is one, and not null
}

// OutOfRange is a column with values that the lake's type cannot hold, such as an infinite date.
type OutOfRange struct {
	Column string
	Values int64 // written since the table was last written whole
}

// Status lists the tables as of the last cut.
func (e *Engine) Status() []TableStatus {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]TableStatus(nil), e.status...)
}

func (e *Engine) setStatus(lsn pg.LSN) {
	var out []TableStatus
	there := map[lake.TableID]Upkeep{}
	for _, t := range e.tables {
		there[t.id] = e.upkeepOf[t.id]
		s := TableStatus{
			ID: t.id, Upkeep: there[t.id],
			Name: t.name.String(), Parts: t.name, State: "live", LSN: lsn, DeleteFiles: len(t.deletes), LeftOut: t.state.LeftOut, PartitionBy: t.partitionBy(), Notes: t.notes, OutOfRange: t.state.outOfRange(), Clamped: t.state.Policy == types.Clamp,
		}
		if t.state.Error != "" {
			s.State, s.Error, s.LSN = "error", t.state.Error, t.state.ErrorAt
		}
		for _, l := range t.leaves {
			for f := range l.in.files {
				s.Rows += f.live()
				s.DataFiles++
				if f.small(e.fileBytesOf(t.state.CopyOnWrite, t.state.FileBytes)) {
					s.SmallFiles++
				}
				if f.vector != "" {
					s.DeleteFiles++
				}
			}
		}
		if out = append(out, s); t.history != nil {
			out = append(out, t.history.status(t.name))
		}
	}
	for _, f := range e.failed {
		out = append(out, TableStatus{Name: f.name.String(), Parts: f.name, State: "error", Error: f.err, LSN: f.at})
	}
	for _, p := range e.plans {
		for _, t := range p.tables {
			if t.history.err == "" {
				continue
			}
			if i := slices.IndexFunc(out, func(s TableStatus) bool { return s.Parts == t.name && s.HistoryOf == "" }); i >= 0 {
				out[i].NoHistory = t.history.err
			}
		}
		for _, x := range p.excluded {
			out = append(out, TableStatus{Name: validUTF8(x.name.String()), Parts: x.name, State: "excluded", Error: x.reason})
		}
	}
	sortStatus(out)
	e.mu.Lock()
	e.status, e.upkeepOf = out, there
	e.mu.Unlock()
}
