package lakecheck

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJavaMajor(t *testing.T) {
	dir := t.TempDir()
	for release, want := range map[string]int{
		"JAVA_VERSION=\"17.0.15\"\n": 17, "IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"25\"\n": 25, "JAVA_VERSION=\"1.8.0_402\"": 1, "": 0, "JAVA_VERSION=\"": 0, "JAVA_VERSION=17": 0,
	} {
		if err := os.WriteFile(filepath.Join(dir, "release"), []byte(release), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := javaMajor(dir); got != want {
			t.Errorf("%q is Java %d, want %d", release, got, want)
		}
	}
	if got := javaMajor(""); got != 0 {
		t.Errorf("no folder is Java %d", got)
	}
}

// A JDK of the wrong age is not taken, though a variable names it.
func TestFindJDK(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"release": "JAVA_VERSION=\"996.1\"", "bin/java": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TARN_JDK_TEST", dir)
	need := jvm{javaMin: 995, javaMax: 999, javaVariable: "TARN_JDK_TEST"}
	if got, err := findJDK(need); err != nil || got != dir {
		t.Errorf("found %q, %v", got, err)
	}
	need.javaMin = 997
	if got, err := findJDK(need); err == nil || !strings.Contains(err.Error(), "no JDK from 997 to 999: install one or set TARN_JDK_TEST") {
		t.Errorf("found %q, %v", got, err)
	}
}
