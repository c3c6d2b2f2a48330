package toast

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDiskFull: what pebble cannot go on after ends the process in one line that says what to do.
func TestDiskFull(t *testing.T) {
	var told error
	defer func() {
		// The one given here returns, which only a mistake of ours does.
		if p, _ := recover().(string); !strings.HasPrefix(p, "BUG: ") {
			t.Errorf("panic %q", p)
		}
		if told == nil || !strings.Contains(told.Error(), "/data/toast: MANIFEST: no space left: free space") || strings.Contains(told.Error(), "\n") {
			t.Errorf("told %v", told)
		}
	}()
	quiet{"/data/toast", func(err error) { told = err }}.Fatalf("%s: no space left", "MANIFEST")
}

// TestDamagedFolder: the index is a cache, and one that does not open is made anew.
func TestDamagedFolder(t *testing.T) {
	dir := t.TempDir()
	x, err := Open(dir, 1<<20, func(err error) { panic(err) })
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	manifests, err := filepath.Glob(filepath.Join(dir, "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no manifest in %s: %v", dir, err)
	}
	for _, name := range manifests {
		if err := os.WriteFile(name, []byte("not a manifest"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if x, err = Open(dir, 1<<20, func(err error) { panic(err) }); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}
