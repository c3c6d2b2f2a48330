package pgtest

import (
	"fmt"
	"strings"
	"testing"
)

// logged is a test whose log is kept.
type logged struct {
	*testing.T
	text *strings.Builder
}

func (l logged) Logf(format string, args ...any) { fmt.Fprintf(l.text, format, args...) }

// TestSeed: the command that a test logs has its seed, its name and what else the environment says.
func TestSeed(t *testing.T) {
	t.Setenv("TARN_SEED", "")
	t.Setenv("TARN_SEED_TEST", "x")
	t.Run("a,b", func(t *testing.T) {
		l := logged{t, &strings.Builder{}}
		first := Seed(l)
		t.Setenv("TARN_SEED", fmt.Sprint(first))
		if again := Seed(l); again != first {
			t.Errorf("%d, then %d", first, again)
		}
		want := fmt.Sprintf("TARN_SEED_TEST=x TARN_SEED=%d go test ./internal/pgtest -run '^TestSeed$/^a,b$'", first)
		if got := l.text.String(); strings.Count(got, want) != 2 {
			t.Errorf("%s, not %s", got, want)
		}
	})
}
