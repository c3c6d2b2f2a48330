package doctor

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// settings of a tarn that could start against a source.
func settings(t *testing.T, source string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"lake", "data"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(config.Options{Env: func(string) (string, bool) { return "", false }, Flags: map[string]string{
		"source.url": source, "store": "file://" + filepath.Join(dir, "lake"), "data_dir": filepath.Join(dir, "data"),
		"http.listen": "127.0.0.1:0", "catalog.listen": "127.0.0.1:0", "sql.listen": "127.0.0.1:0",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func run(t *testing.T, cfg *config.Config) Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return Run(ctx, Options{Config: cfg})
}

// TestHealthy: on a stock server nothing fails, there are at least 20 checks, and each says something.
func TestHealthy(t *testing.T) {
	for _, major := range []int{15, 18} {
		srv := pgtest.NewTestServer(t, pgtest.Options{Major: major})
		r := run(t, settings(t, srv.ReplConnString("postgres")))
		if len(r.Checks) < 20 {
			t.Errorf("%d: only %d checks", major, len(r.Checks))
		}
		seen := map[string]bool{}
		for _, c := range r.Checks {
			t.Logf("%-7s %-40s %s | %s", c.State, c.Name, c.Found, c.Fix)
			if c.State == Fail || c.Found == "" || seen[c.Name] {
				t.Errorf("%d: %+v", major, c)
			}
			if c.State == Warn && c.Fix == "" {
				t.Errorf("%d: %s warns and says nothing to do", major, c.Name)
			}
			seen[c.Name] = true
		}
		for name, want := range map[string]State{"source.clock": OK, "source.password": OK, "source.system_id": OK, "store.conditional_put": OK, "host.fsync": OK, "source.slot": OK} {
			if c := r.Find(name); c == nil || c.State != want {
				t.Errorf("%d: %s: %+v, want %s", major, name, c, want)
			}
		}
	}
	_ = fault.Code(0)
}
