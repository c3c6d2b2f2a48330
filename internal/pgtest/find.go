package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ErrNoBinaries is returned (wrapped) when no server binaries of a major version are on this machine.
var ErrNoBinaries = errors.New("no Postgres binaries")

// Bin returns the folder that holds initdb, pg_ctl and postgres of a major version. Looked for in this order: TARN_PGBIN
// (a folder, or for several versions "15=/folder,18=/folder"), .cache/pg/MAJOR/bin under the module's root, Debian's
// /usr/lib/postgresql/MAJOR/bin. Only the first of these has to be of the right version by itself: a plain TARN_PGBIN
// is taken for every major version asked for.
//
// A folder that TARN_PGBIN names has to be one: another server than the one asked for would be a surprise.
func Bin(major int) (string, error) {
	for _, dir := range namedBins(major, os.Getenv("TARN_PGBIN")) {
		if !hasServer(dir) {
			return "", fmt.Errorf("TARN_PGBIN names %s, where there is no postgres and initdb: name a server's bin folder, or unset it", dir)
		}
	}
	tried := binCandidates(major, os.Getenv("TARN_PGBIN"), ModuleRoot())
	for _, dir := range tried {
		if hasServer(dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w of version %d in %s: run internal/tools/install-postgres %d or set TARN_PGBIN", ErrNoBinaries, major, strings.Join(tried, ", "), major)
}

func hasServer(dir string) bool {
	return isExecutable(filepath.Join(dir, "postgres")) && isExecutable(filepath.Join(dir, "initdb"))
}

// namedBins are the folders that TARN_PGBIN names for a major version.
func namedBins(major int, env string) (dirs []string) {
	for _, part := range strings.Split(env, ",") {
		version, dir, named := strings.Cut(part, "=")
		switch {
		case part == "":
		case !named:
			dirs = append(dirs, part)
		case version == fmt.Sprint(major):
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func binCandidates(major int, env, root string) []string {
	dirs := namedBins(major, env)
	if root != "" {
		dirs = append(dirs, filepath.Join(root, ".cache", "pg", fmt.Sprint(major), "bin"))
	}
	return append(dirs, fmt.Sprintf("/usr/lib/postgresql/%d/bin", major))
}

// ModuleRoot is the nearest folder upwards of the working directory that holds a go.mod, or "". Tests run in their
// package's folder; an installed binary has no such folder and needs none.
func ModuleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
