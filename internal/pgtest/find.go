package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tarn-db/tarn/internal/fault"
)

// ErrNoBinaries is returned (wrapped) when no server binaries of a version are on this machine.
var ErrNoBinaries = fault.New(fault.DemoPostgres, "no Postgres binaries")

// Bin returns the folder that holds initdb, pg_ctl and postgres of a major version. Looked for in this order: TARN_PGBIN
// (a folder, or for several versions "15=/folder,18=/folder"), .cache/pg/MAJOR/bin under the module's root, Debian's
// /usr/lib/postgresql/MAJOR/bin. Only the first of these has to be of the right version by itself: a plain TARN_PGBIN
// is taken for every major version asked for.
//
// A folder that TARN_PGBIN names has to be one: another server than the one asked for would be a surprise.
func Bin(major int) (string, error) {
	version := fmt.Sprint(major)
	return find(version, namedBins(version, true), "/usr/lib/postgresql/"+version+"/bin")
}

// ReleaseBin is Bin for a minor release such as 15.1: what TARN_PGBIN names as "15.1=/folder", else .cache/pg/15.1/bin.
func ReleaseBin(release string) (string, error) {
	return find(release, namedBins(release, false))
}

// find returns the first folder with a server among named, the module's cache and what a distribution has.
func find(version string, named []string, distribution ...string) (string, error) {
	for _, dir := range named {
		if !hasServer(dir) {
			return "", fmt.Errorf("TARN_PGBIN names %s, where there is no postgres and initdb: name a server's bin folder, or unset it", dir)
		}
	}
	tried := named
	if root := ModuleRoot(); root != "" {
		tried = append(tried, filepath.Join(root, ".cache", "pg", version, "bin"))
	}
	tried = append(tried, distribution...)
	for _, dir := range tried {
		if hasServer(dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w of version %s in %s: run internal/tools/install-postgres %s or set TARN_PGBIN", ErrNoBinaries, version, strings.Join(tried, ", "), version)
}

func hasServer(dir string) bool {
	return isExecutable(filepath.Join(dir, "postgres")) && isExecutable(filepath.Join(dir, "initdb"))
}

// namedBins are the folders that TARN_PGBIN names for a version; those that it names for none count if any may do.
func namedBins(version string, any bool) (dirs []string) {
	for _, part := range strings.Split(os.Getenv("TARN_PGBIN"), ",") {
		of, dir, named := strings.Cut(part, "=")
		switch {
		case part == "":
		case named && of == version:
			dirs = append(dirs, dir)
		case !named && any:
			dirs = append(dirs, part)
		}
	}
	return dirs
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
