package tidy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFormatPages: what docs/formats draws is what the source draws, and each magic in the source is in the index.
func TestFormatPages(t *testing.T) {
	root := root(t)
	pages, err := filepath.Glob(filepath.Join(root, "docs/formats/*.md"))
	if err != nil || len(pages) < 2 {
		t.Fatal(pages, err)
	}
	read := func(path string) ([]byte, error) { return os.ReadFile(filepath.Join(root, path)) }
	index := ""
	for _, p := range pages {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(p) == "README.md" {
			index = string(b)
		}
		for _, problem := range CheckDrawings(filepath.Base(p), b, read) {
			t.Error(problem)
		}
	}
	magics := 0
	err = Walk(root, func(path string, source []byte) error {
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := Parse(path, source)
		if err != nil {
			return nil // TestTree says so
		}
		for _, m := range Magics(f) {
			magics++
			if !strings.Contains(index, "`"+m+"`") {
				t.Errorf("%s has the magic %s, which docs/formats/README.md does not list", path, m)
			}
		}
		return nil
	})
	if err != nil || magics == 0 {
		t.Errorf("%d magics found, %v", magics, err)
	}
}

// TestDrawingsBite: a drawing that is off by one character is found.
func TestDrawingsBite(t *testing.T) {
	read := func(string) ([]byte, error) {
		return []byte("package a\n// Bytes:\n//\n//\t0 magic\n//\t8 crc\nconst x = 1\n"), nil
	}
	if p := CheckDrawings("p.md", []byte("# x\n```text a.go\n0 magic\n8 crc\n```\n"), read); len(p) != 0 {
		t.Error(p)
	}
	if p := CheckDrawings("p.md", []byte("# x\n```text a.go\n0 magic\n9 crc\n```\n"), read); len(p) != 1 {
		t.Error(p)
	}
}
