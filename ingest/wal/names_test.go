package wal

import (
	"os"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

// TestRedoDocument: docs/REDO.md has a row for each record type of each version, and says that the version has it.
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
		for id := range RMID(len(rmgrNames)) {
			for op := range uint8(16) {
				name := RecordName(major, id, op<<4)
				if strings.HasPrefix(name, "UNKNOWN") {
					continue
				}
				if c := cells[id.String()+"/"+name]; c == nil || c[i] == "–" {
					t.Errorf("docs/REDO.md does not know %s/%s of PostgreSQL %d", id, name, major)
				}
			}
		}
	}
}
