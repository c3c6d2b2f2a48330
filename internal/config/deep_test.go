package config

import (
	"strings"
	"testing"
)

// TestLargeFiles: a file of the greatest length is read, one byte more is refused, and depth is an error.
func TestLargeFiles(t *testing.T) {
	rule := "  - {match: app.public.t_*, exclude: true}\n"
	text := base + "tables:\n" + strings.Repeat(rule, (fileBytesMax-len(base)-len("tables:\n"))/len(rule))
	text += strings.Repeat("#", fileBytesMax-len(text))
	if c, err := load(t, text, env(), nil); err != nil || len(c.Tables) < 1000 {
		t.Error(err)
	}
	for _, bad := range []string{text + "#", strings.Repeat("[", 2000), strings.Repeat("{a: ", 500), strings.Repeat("- ", 2000)} {
		if _, err := load(t, bad, env(), nil); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.20s...: %v", bad, err)
		}
	}
}
