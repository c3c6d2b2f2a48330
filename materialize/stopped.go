package materialize

import (
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Stopped says of a table whose published state (lake.TableHead.State) is given why it no longer moves, and the LSN at which it was good
// last; why is empty if it does. Damaged or newer states are errors.
func Stopped(state []byte, name lake.TableName) (why string, good pg.LSN, err error) {
	if len(state) == 0 {
		return "", 0, nil
	}
	s, err := decodeTableState(state, name)
	return s.Error, s.ErrorAt, err
}
