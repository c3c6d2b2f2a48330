package materialize

import (
	"encoding/json"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// stateVersion is written in every state; a newer one is refused.
const stateVersion = 1

// tableState is what a publication carries for one table beside its files (lake.TableHead.State), as JSON.
type tableState struct {
	Version int           `json:"version"`
	Columns []columnState `json:"columns"`
	LeftOut []LeftOut     `json:"left_out,omitempty"`
	Leaves  []leafState   `json:"leaves"`
	Error   string        `json:"error,omitempty"`    // why the table no longer moves
	ErrorAt pg.LSN        `json:"error_at,omitempty"` // the last good LSN
	// FromPlan: the error came from the catalogs and ends when they change; otherwise only a resync ends it.
	FromPlan bool `json:"from_plan,omitempty"`
}

// leafState is one relation whose rows are in the table: the table itself, or a partition.
//
// Invariant: a relation file counts only while the pg_class row visible at the cut maps to it, and only if it was
// created at the LSN recorded here.
type leafState struct {
	Rel     pg.OID            `json:"rel"` // pg_class.oid
	File    pg.RelFileLocator `json:"file"`
	Created pg.LSN            `json:"created"`
}

// engineState is what a publication carries for the whole lake (lake.Head.State), as JSON.
type engineState struct {
	Version int `json:"version"`
	// Resume is where WAL reading began to be needed when this was published: the page store's durable LSN.
	Resume pg.LSN `json:"resume"`
	// LCMonetary is the source's lc_monetary that money was printed by.
	LCMonetary string `json:"lc_monetary,omitempty"`
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
	if s.Version != stateVersion {
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
