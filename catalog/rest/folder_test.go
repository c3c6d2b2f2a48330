package rest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestFolder reads a table with a version hint by its folder alone. Iceberg's own client does so in TestJavaClient.
func TestFolder(t *testing.T) {
	py := python(t)
	store, err := objstore.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Open(t.Context(), catalog.Options{Store: store, MaintainEvery: -1, VersionHint: func(lake.TableName) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &lakeFixture{t: t, c: c, want: map[pg.LSN]map[string]seen{}, history: map[lake.TableID][]int{}, at: map[lake.TableID]pg.LSN{}}
	folder := f.clientLake()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), py, "testdata/folder.py", folder)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != `{"duckdb": 7, "pyiceberg": 7, "polars": 7}` {
		t.Errorf("%v: %s", err, out)
	}
}
