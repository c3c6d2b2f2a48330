package lakecheck

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/tarn-db/tarn/internal/fault"
)

// ErrNoPython is wrapped when no Python with the wanted engine is found.
var ErrNoPython = fault.New(fault.DemoReader, "no Python that has the reader")

// modules a reader imports.
var modules = map[string]string{
	PyIceberg: "pyiceberg, pyarrow",
	DuckDB:    "duckdb, pyarrow, duckdb_extension_httpfs, duckdb_extension_avro, duckdb_extension_iceberg",
	Polars:    "polars, pyiceberg, pyarrow",
	Spark:     "pyarrow",
	Trino:     "trino, pyarrow",
}

// FindPython returns a Python interpreter that can import a reader's modules: TARN_PYTHON, .cache/venv under one of the
// roots or a folder above the working directory, or python3 on PATH. For Spark and Trino it also looks for the engine and a JDK, which
// StartReader finds again.
func FindPython(ctx context.Context, reader string, roots ...string) (string, error) {
	if _, err := javaEnv(reader, roots); err != nil {
		return "", err
	}
	var tried []string
	for _, candidate := range pythonCandidates(roots) {
		path, err := exec.LookPath(candidate)
		if err != nil {
			continue
		}
		tried = append(tried, path)
		if exec.CommandContext(ctx, path, "-c", "import "+modules[reader]).Run() == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w %s (tried %v): run internal/tools/install-readers or set TARN_PYTHON", ErrNoPython, reader, tried)
}

func pythonCandidates(roots []string) []string {
	candidates := []string{os.Getenv("TARN_PYTHON")}
	for _, root := range aboveWorkingDirectory(roots) {
		candidates = append(candidates, filepath.Join(root, ".cache", "venv", "bin", "python"))
	}
	return append(candidates, "python3")
}
