package pageapi_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestGenerated: the Go that is committed is what page.proto gives: made anew where the generators are installed, else by the hash that
// they left.
func TestGenerated(t *testing.T) {
	proto, err := os.ReadFile("pagepb/page.proto")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("pagepb/page.proto.sha256")
	if err != nil || string(sum) != fmt.Sprintf("%x  page.proto\n", sha256.Sum256(proto)) {
		t.Errorf("page.proto has changed since Go was generated from it: make generate (%v)", err)
	}
	dir := t.TempDir()
	out, err := exec.Command("../../internal/tools/generate-pages", "--installed", dir).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		t.Skipf("by the hash alone: %s", out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"page.pb.go", "page_grpc.pb.go"} {
		want, err1 := os.ReadFile(filepath.Join(dir, "pageapi", "pagepb", name))
		got, err2 := os.ReadFile(filepath.Join("pagepb", name))
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what page.proto gives: make generate (%v)", name, err)
		}
	}
}
