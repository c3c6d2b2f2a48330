package demo

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/lakecheck"
)

// duckdbPackages are installed when no Python with DuckDB is found. Engine and extensions must be of one version;
// internal/tools/requirements.txt pins the same. The list is complete, and pip is told so: resolving takes it minutes.
var duckdbPackages = []string{
	"pyarrow==26.0.1", "duckdb==1.5.5", "duckdb-extensions==1.5.5",
	"duckdb-extension-httpfs==1.5.5", "duckdb-extension-avro==1.5.5", "duckdb-extension-iceberg==1.5.5",
}

// python finds a Python that has DuckDB, or makes an environment with it under cacheDir.
func python(ctx context.Context, cacheDir string, say func(string, ...any)) (string, error) {
	if found, err := lakecheck.FindPython(ctx, lakecheck.DuckDB, executableRoot()); err == nil {
		return found, nil
	}
	venv := filepath.Join(cacheDir, "venv-duckdb-1.5.5")
	interpreter := filepath.Join(venv, "bin", "python")
	if exec.CommandContext(ctx, interpreter, "-c", "import duckdb_extension_iceberg, duckdb, pyarrow").Run() == nil {
		return interpreter, nil
	}
	say("DuckDB       not found: installing it for Python into %s", venv)
	steps := [][]string{
		{"python3", "-m", "venv", "--clear", venv},
		append([]string{interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"}, duckdbPackages...),
	}
	for _, step := range steps {
		out, err := exec.CommandContext(ctx, step[0], step[1:]...).CombinedOutput()
		if err != nil {
			_ = os.RemoveAll(venv)
			return "", fault.Errorf(fault.DemoReader, "install the reader: %s: %w: %s; or set TARN_PYTHON to a Python that has duckdb",
				strings.Join(step[:min(4, len(step))], " "), err, lastLine(string(out)))
		}
	}
	return interpreter, nil
}

// executableRoot is the folder above the one the program is in: the tree, for bin/tarn.
func executableRoot() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Dir(filepath.Dir(path))
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
