package demo

import (
	"os"
	"testing"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

// The install is 60 MB from a package registry: it runs when asked for, not in every test run.
func TestPythonIsInstalledWhereThereIsNone(t *testing.T) {
	if os.Getenv("TARN_TEST_FETCH") == "" {
		t.Skip("TARN_TEST_FETCH is not set")
	}
	t.Chdir(t.TempDir())
	cache := t.TempDir()
	for range 2 { // the second time it is there
		interpreter, err := python(t.Context(), cache, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		r, err := lakecheck.StartReader(t.Context(), interpreter, lakecheck.DuckDB)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
