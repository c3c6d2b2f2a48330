package waldir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
)

// ancestor is a timeline that leads to the wanted one, and where it was left.
type ancestor struct {
	tli pg.TimelineID
	end pg.LSN
}

// readHistory reads a timeline's .history file, one line "parent TLI, switch LSN, reason" per ancestor, oldest first
// (readTimeLineHistory). A missing file is an empty history.
func readHistory(dir string, tli pg.TimelineID) ([]ancestor, error) {
	name := fmt.Sprintf("%08X.history", uint32(tli))
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read timeline history: %w", err)
	}
	h, err := parseHistory(string(b), tli)
	if err != nil {
		return nil, &pg.CorruptError{What: fmt.Sprintf("timeline history %s: %v", name, err)}
	}
	return h, nil
}

func parseHistory(text string, tli pg.TimelineID) (h []ancestor, err error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) < 2 {
			return nil, fmt.Errorf("line %q has no switch point", strings.TrimSpace(line))
		}
		n, err := strconv.ParseUint(f[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %q does not begin with a timeline", strings.TrimSpace(line))
		}
		end, err := pg.ParseLSN(f[1])
		if err != nil {
			return nil, err
		}
		a := ancestor{tli: pg.TimelineID(n), end: end}
		if a.tli >= tli || len(h) > 0 && a.tli <= h[len(h)-1].tli {
			return nil, fmt.Errorf("timeline %d is out of order", a.tli)
		}
		h = append(h, a)
	}
	return h, nil
}
