package waldir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tarn-db/tarn/internal/pg"
)

// readHistory reads a timeline's .history file. A missing file is a history nobody knows.
func readHistory(dir string, tli pg.TimelineID) (pg.History, error) {
	b, err := os.ReadFile(filepath.Join(dir, pg.HistoryFileName(tli)))
	if errors.Is(err, fs.ErrNotExist) {
		return pg.History{Timeline: tli}, nil
	}
	if err != nil {
		return pg.History{}, fmt.Errorf("read timeline history: %w", err)
	}
	return pg.ParseHistory(tli, string(b))
}
