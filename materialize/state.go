package materialize

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/types"
)

// stateVersion is written in every state; a newer one is refused.
const stateVersion = 1

// historyStateVersion is that of a history's: a tarn that does not know of histories refuses it.
const historyStateVersion = 2

// encodersVersion counts changes of what package types makes of the same bytes: a table written under another number is
// written whole again, so that a correction reaches rows that nobody changes.
const encodersVersion = 1

// tableState is what a publication carries for one table beside its files (lake.TableHead.State), as JSON.
type tableState struct {
	Version  int           `json:"version"`
	Encoders int           `json:"encoders"` // encodersVersion it was written under
	Columns  []columnState `json:"columns"`
	LeftOut  []LeftOut     `json:"left_out,omitempty"`
	Leaves   []leafState   `json:"leaves"`
	// OutOfRange counts, by attnum of the root, values that the lake's type cannot hold, since the table was last
	// written whole.
	OutOfRange map[int16]int64 `json:"out_of_range,omitempty"`
	// Policy is what became of them.
	Policy      types.OutOfRange `json:"policy,omitempty"`
	CopyOnWrite bool             `json:"copy_on_write,omitempty"`
	// Parquet: all data files are of one schema, which readers of bare Parquet know.
	Parquet bool `json:"parquet,omitempty"`
	// FileBytes is the size at which data files are wanted to be ended; 0: nothing was said.
	FileBytes int64  `json:"file_bytes,omitempty"`
	Error     string `json:"error,omitempty"`    // why the table no longer moves
	ErrorAt   pg.LSN `json:"error_at,omitempty"` // the last good LSN
	// FromPlan: the error came from the catalogs and ends when they change; otherwise only a resync ends it.
	FromPlan bool `json:"from_plan,omitempty"`
	History  bool `json:"history,omitempty"` // it is a history's, which has nothing else
}

// outOfRange lists the columns with values that became null.
func (s *tableState) outOfRange() (out []OutOfRange) {
	for i := range s.Columns {
		if n := s.OutOfRange[s.Columns[i].Num]; n > 0 {
			out = append(out, OutOfRange{s.Columns[i].Field.Name, n})
		}
	}
	return out
}

// outOfRange adds what this cut had no place for to what earlier ones did, unless they left nothing in the lake.
func (w *tableWork) outOfRange() map[int16]int64 {
	sum := map[int16]int64{}
	for i, n := range w.beyond {
		num := w.plan.cols.states[i].Num
		if w.old != nil && len(w.keep) > 0 {
			n += w.old.state.OutOfRange[num]
		}
		if n > 0 {
			sum[num] = n
		}
	}
	return sum
}

// leafState is one relation whose rows are in the table: the table itself, or a partition.
//
// Invariant: a relation file counts only while the pg_class row visible at the cut maps to it, and only if it was
// created at the LSN recorded here.
type leafState struct {
	Rel pg.OID `json:"rel"` // pg_class.oid
	leafFile
	// Attrs maps columns of the table (pg_attribute.attnum of the root) to the partition's own, where they differ. A
	// partition that is detached, loses a column, gets another of that name and is attached again has the same file and
	// other values, and nothing in the heap's WAL says so.
	Attrs map[int16]int16 `json:"attrs,omitempty"`
}

// leafFile is a relation file; Created tells it from an earlier tenant of the same file number.
type leafFile struct {
	File    pg.RelFileLocator `json:"file"`
	Created pg.LSN            `json:"created"`
}

// attr is the partition's column that stands for a column of the table.
func (l *leafState) attr(root int16) int16 {
	if a, ok := l.Attrs[root]; ok {
		return a
	}
	return root
}

// sameRows says whether rows in the lake that came from l are those that now would: the same file, read through the same
// columns.
func (l *leafState) sameRows(now *leafState, had, have []columnState) bool {
	return l.Rel == now.Rel && l.leafFile == now.leafFile && l.sameAttrs(now, had, have)
}

// sameAttrs says whether the same columns of the leaf stand for those of the table. Columns that came are not asked about:
// they have no values in the lake yet.
func (l *leafState) sameAttrs(now *leafState, had, have []columnState) bool {
	before := map[int16]bool{}
	for i := range had {
		before[had[i].Num] = true
	}
	return !slices.ContainsFunc(have, func(c columnState) bool { return before[c.Num] && l.attr(c.Num) != now.attr(c.Num) })
}

// engineState is what a publication carries for the whole lake (lake.Head.State), as JSON.
type engineState struct {
	Version int `json:"version"`
	// Resume is where WAL reading began to be needed when this was published: the page store's durable LSN.
	Resume pg.LSN `json:"resume"`
	// LCMonetary is the source's lc_monetary that money was printed by.
	LCMonetary string `json:"lc_monetary,omitempty"`
	// Rewinds counts publications that took the lake back to a fork.
	Rewinds int `json:"rewinds,omitempty"`
	// Failed are tables that never came to be in the lake, and why.
	Failed map[string]string `json:"failed,omitempty"`
}

func decodeEngineState(b []byte) (engineState, error) {
	var s engineState
	if len(b) == 0 {
		return s, nil // nothing was published yet
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("state of the lake: %w", err)
	}
	if s.Version != stateVersion {
		return s, fmt.Errorf("state of the lake has version %d; this tarn reads version %d", s.Version, stateVersion)
	}
	return s, nil
}

func decodeTableState(b []byte, name lake.TableName) (tableState, error) {
	var s tableState
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%w: state of table %s: %w", errDamaged, name, err)
	}
	if s.Version != stateVersion && !(s.History && s.Version == historyStateVersion) {
		return s, fmt.Errorf("state of table %s has version %d; this tarn reads version %d", name, s.Version, stateVersion)
	}
	return s, nil
}

func encodeState(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: state does not marshal: " + err.Error())
	}
	return b
}
