package pgtest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// The download is 10 MB from a public repository: it runs when asked for, not in every test run.
func TestFetchBinStartsAServer(t *testing.T) {
	if os.Getenv("TARN_TEST_FETCH") == "" {
		t.Skip("TARN_TEST_FETCH is not set")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	t.Chdir(t.TempDir()) // out of the module, so that nothing unpacked in its cache is found
	cache, err := os.MkdirTemp("", "pgcache")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(cache)
	if err := os.Chmod(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", cache)
	bin, err := pgtest.FetchBin(ctx, 18, cache)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*")); err != nil || len(left) != 0 {
		t.Errorf("left in the temporary folder: %v, %v", left, err)
	}
	srv := pgtest.NewTestServer(t, pgtest.Options{Bin: bin})
	if v, err := srv.QueryText(ctx, "postgres", "SHOW server_version"); err != nil || !strings.HasPrefix(v, "18.") {
		t.Fatalf("server_version = %q, %v", v, err)
	}
	again, err := pgtest.FetchBin(ctx, 18, cache)
	if err != nil || again != bin {
		t.Fatalf("the second call: %q, %v; want %q from the cache", again, err, bin)
	}
}

func TestFetchBinRefusesUnknownVersion(t *testing.T) {
	if _, err := pgtest.FetchBin(context.Background(), 3, t.TempDir()); !errors.Is(err, pgtest.ErrNoBinaries) {
		t.Fatalf("FetchBin(3) = %v; want ErrNoBinaries", err)
	}
}
