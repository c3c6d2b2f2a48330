package fault

import (
	"fmt"
	"strings"
)

var chapters = map[Code]string{
	0: "Unexpected", 1: "Command line and configuration", 2: "The source", 3: "The store", 4: "The machine tarn runs on", 5: "WAL and pages",
	6: "Tables and the lake", 7: "Talking to a running tarn", 8: "The demo", 9: "The doctor",
}

// Markdown is the text of docs/ERRORS.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Error codes\n\nEvery failure of tarn is one line with a code: `tarn: TARN-0205: ...`. The code is also in the log (attribute `code`),\n" +
		"in `tarn status --json` and in the answers of the HTTP API. `tarn errors CODE` prints its entry. Codes are stable: a\n" +
		"number never changes its meaning. This file is made from the registry in `internal/fault`:\n" +
		"`go test ./internal/fault -update` writes it.\n")
	last := Code(99)
	for _, e := range registry {
		if c := e.Code / 100; c != last {
			last = c
			fmt.Fprintf(&b, "\n## %s\n", chapters[c])
		}
		fmt.Fprintf(&b, "\n### %s: %s\n\n%s\n\n**Fix:** %s\n", e.Code, e.Summary, e.Cause, e.Fix)
	}
	return b.String()
}
