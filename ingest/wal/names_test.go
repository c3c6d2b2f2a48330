package wal

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

// TestRedoDocument: docs/REDO.md has a row for each record type of each version, says that the version has it, and says of no other that
// it was seen.
func TestRedoDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/REDO.md")
	if err != nil {
		t.Fatal(err)
	}
	cells := map[string][]string{}
	for line := range strings.SplitSeq(string(text), "\n") {
		if c := strings.Split(line, " | "); len(c) >= 6 {
			cells[strings.TrimPrefix(c[0], "| ")+"/"+c[1]] = c[2:6]
		}
	}
	for i, major := range []pg.Major{pg.PG15, pg.PG16, pg.PG17, pg.PG18} {
		types := RecordTypes(major)
		for _, name := range types {
			if c := cells[name]; c == nil || c[i] == "–" {
				t.Errorf("docs/REDO.md does not know %s of PostgreSQL %d", name, major)
			}
		}
		for name, c := range cells {
			if c[i] == "seen" && !slices.Contains(types, name) {
				t.Errorf("docs/REDO.md has seen %s of PostgreSQL %d, which there is not", name, major)
			}
		}
	}
}
