package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Seed is the seed of a test's random numbers: TARN_SEED repeats one. It logs the command that runs the test again with it, and with all
// else that the environment says to tests. What a server does at once, and when, no seed decides.
func Seed(t interface {
	TB
	Name() string
}) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("TARN_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("TARN_SEED: %v", err)
		}
	}
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return !strings.HasPrefix(s, "TARN_") || strings.HasPrefix(s, "TARN_SEED=") })
	env = append(env, fmt.Sprintf("TARN_SEED=%d", seed))
	dir, err := os.Getwd()
	if err == nil {
		dir, err = filepath.Rel(ModuleRoot(), dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("repeat with: %s go test ./%s -run '^%s$'", strings.Join(env, " "), filepath.ToSlash(dir), strings.ReplaceAll(t.Name(), "/", "$/^"))
	return seed
}
