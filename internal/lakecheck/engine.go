package lakecheck

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/fault"
)

// jvm is what a reader that runs on Java needs beside a Python.
type jvm struct {
	folder, variable string // under .cache, and the variable that names it to the reader
	javaMin, javaMax int    // Java's majors it runs on
	javaVariable     string // names a JDK of them
}

var jvms = map[string]jvm{
	Spark: {folder: "spark", variable: "TARN_SPARK", javaMin: 17, javaMax: 21, javaVariable: "TARN_JDK17"},
	Trino: {folder: "trino", variable: "TARN_TRINO", javaMin: 25, javaMax: 99, javaVariable: "TARN_JDK25"},
}

// javaEnv finds a Java reader's folder and JDK, as variables of its process.
func javaEnv(name string, roots []string) ([]string, error) {
	need, ok := jvms[name]
	if !ok {
		return nil, nil
	}
	home := os.Getenv(need.variable)
	for _, root := range aboveWorkingDirectory(roots) {
		if dir := filepath.Join(root, ".cache", need.folder); home == "" && isFile(filepath.Join(dir, ".stamp")) {
			home = dir
		}
	}
	if home == "" {
		return nil, fmt.Errorf("%w: no %s: run internal/tools/install-engines or set %s", ErrNoEngine, name, need.variable)
	}
	jdk, err := findJDK(need)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoEngine, name, err)
	}
	return []string{need.variable + "=" + home, "JAVA_HOME=" + jdk, "TARN_JDK=" + jdk}, nil
}

// findJDK looks where internal/tools/install-engines does.
func findJDK(need jvm) (string, error) {
	candidates := []string{os.Getenv(need.javaVariable), os.Getenv("JAVA_HOME")}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/root"
	}
	for _, pattern := range []string{"/usr/lib/jvm/*", "/opt/java/*", home + "/.sdkman/candidates/java/*", "/Library/Java/JavaVirtualMachines/*/Contents/Home"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		candidates = append(candidates, found...)
	}
	for _, dir := range candidates {
		if major := javaMajor(dir); major >= need.javaMin && major <= need.javaMax && isFile(filepath.Join(dir, "bin", "java")) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no JDK from %d to %d: install one or set %s", need.javaMin, need.javaMax, need.javaVariable)
}

// javaMajor reads a JDK's release file; 0 where there is none.
func javaMajor(dir string) int {
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil || dir == "" {
		return 0
	}
	_, rest, _ := strings.Cut(string(release), `JAVA_VERSION="`)
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	major, err := strconv.Atoi(rest[:max(end, 0)])
	if err != nil {
		return 0
	}
	return major
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// aboveWorkingDirectory are the roots, and the working directory with the folders above it.
func aboveWorkingDirectory(roots []string) []string {
	roots = slices.Clone(roots)
	if dir, err := os.Getwd(); err == nil {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			roots = append(roots, dir)
		}
	}
	return roots
}

// ErrNoEngine is wrapped when a Java reader, or a JDK for it, is not found.
var ErrNoEngine = fault.New(fault.DemoReader, "no engine")
