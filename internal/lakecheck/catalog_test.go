package lakecheck_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// staticCatalog serves tables whose metadata files lie in a folder over the read half of the Iceberg REST protocol. It
// stands in for a catalog only here, where the readers and the checker are what is tested.
type staticCatalog struct {
	t      *testing.T
	tables map[string]string // "namespace.table" -> metadata location
}

func serveCatalog(t *testing.T, tables map[string]string) string {
	srv := httptest.NewServer(staticCatalog{t, tables})
	t.Cleanup(srv.Close)
	return srv.URL
}

func (c staticCatalog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, _ := url.PathUnescape(strings.Trim(r.URL.Path, "/"))
	parts := strings.Split(path, "/")
	var body any
	switch {
	case path == "v1/config":
		body = map[string]any{"defaults": map[string]string{}, "overrides": map[string]string{}}
	case path == "v1/namespaces":
		body = map[string]any{"namespaces": [][]string{{"public"}}}
	case len(parts) == 3:
		body = map[string]any{"namespace": []string{"public"}, "properties": map[string]string{}}
	case len(parts) == 4:
		var identifiers []map[string]any
		for name := range c.tables {
			identifiers = append(identifiers, map[string]any{"namespace": []string{"public"}, "name": strings.TrimPrefix(name, "public.")})
		}
		body = map[string]any{"identifiers": identifiers}
	case len(parts) == 5 && c.tables[parts[2]+"."+parts[4]] != "":
		location := c.tables[parts[2]+"."+parts[4]]
		metadata, err := os.ReadFile(strings.TrimPrefix(location, "file://"))
		if err != nil {
			c.t.Errorf("catalog: %v", err)
		}
		body = map[string]any{"metadata-location": location, "metadata": json.RawMessage(metadata), "config": map[string]string{}}
	default:
		w.WriteHeader(http.StatusNotFound)
		body = map[string]any{"error": map[string]any{"message": "no " + path, "type": "NoSuchTableException", "code": 404}}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

// flipByte changes one byte in the middle of the first Parquet file of a table.
func flipByte(t *testing.T, root, table string) {
	files, err := filepath.Glob(filepath.Join(root, "lake", "public", table, "data", "*.parquet"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no data files: %v", err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0x40
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}
