package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDamageIsRefused damages a sealed file of the raft log (the tail's end may be torn by a crash): it is not opened, with an error that says what to remove, and without them it
// begins anew. Nothing panics, as raft would over an entry that it cannot read.
func TestDamageIsRefused(t *testing.T) {
	edit := func(change func(b []byte) []byte) func(string) error {
		return func(dir string) error {
			files, err := filepath.Glob(filepath.Join(dir, "raft", "log", "*.wal"))
			if err != nil || len(files) == 0 {
				return fmt.Errorf("no raft log: %w", err)
			}
			b, err := os.ReadFile(files[0])
			if err != nil {
				return err
			}
			return os.WriteFile(files[0], change(b), 0o600)
		}
	}
	for name, damage := range map[string]func(dir string) error{
		"log cut short": edit(func(b []byte) []byte { return b[:100] }),
		"log empty":     edit(func([]byte) []byte { return nil }),
		"entry changed": edit(func(b []byte) []byte { b[bytes.LastIndex(b, []byte("tnRL"))+500] ^= 1; return b }),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := testOptions(dir)
			o.SnapshotBytes, o.RaftSegmentBytes = 1<<40, 1<<20
			l := openLog(t, o)
			if err := l.Reset(testCtx(t), testCluster, 1, 8<<20); err != nil {
				t.Fatal(err)
			}
			appendAll(t, l, 8<<20, 5<<20)
			if err := errors.Join(l.Close(), damage(dir)); err != nil {
				t.Fatal(err)
			}
			_, err := Open(o)
			if err == nil || !strings.Contains(err.Error(), "remove them there") {
				t.Fatalf("opened, or refused without help: %v", err)
			}
			t.Log(err)
			if err := errors.Join(os.RemoveAll(filepath.Join(dir, "raft")), os.RemoveAll(filepath.Join(dir, "wal"))); err != nil {
				t.Fatal(err)
			}
			if _, end := openLog(t, o).Bounds(); end != 0 {
				t.Fatalf("an empty log ends at %s", end)
			}
		})
	}
}
