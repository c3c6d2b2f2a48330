package objstore_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/objstore/storetest"
)

// stores opens one of each kind.
func stores(t *testing.T) map[string]objstore.Store {
	t.Helper()
	d, err := objstore.Open(context.Background(), "file://"+filepath.Join(t.TempDir(), "a b", "store"), objstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]objstore.Store{"dir": d, "mem": objstore.NewMem(), "faulty": objstore.NewFaulty(objstore.NewMem()),
		"overlay": objstore.NewOverlay(objstore.NewMem(), objstore.NewMem())}
}

func TestConformance(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) { storetest.Conform(t, s) })
	}
}

// TestDirProcesses counts from several processes; the test binary is its own helper.
func TestDirProcesses(t *testing.T) {
	const env = "TARN_TEST_COUNT_DIR"
	ctx := context.Background()
	if root := os.Getenv(env); root != "" {
		d, err := objstore.OpenDir(root)
		if err == nil {
			err = storetest.Count(ctx, d, "n", 20)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	root := t.TempDir()
	d, err := objstore.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put(ctx, "n", []byte("0")); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestDirProcesses$")
			cmd.Env = append(os.Environ(), env+"="+root)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if got, _, _ := d.Get(ctx, "n"); string(got) != "60" {
		t.Errorf("counted to %s, want 60", got)
	}
}

func TestDirFiles(t *testing.T) {
	ctx := context.Background()
	root := t.TempDir()
	d, err := objstore.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put(ctx, "a/b/c", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{"a/b/c": 0o044, "a/b": 0o055, "a": 0o055} {
		st, err := os.Stat(filepath.Join(root, path))
		if err != nil || st.Mode().Perm()&0o077 != want {
			t.Errorf("%s: %v, %v: other users must be able to read it", path, st.Mode(), err)
		}
	}
	_, _ = d.PutIfAbsent(ctx, "a/b/c", []byte("y"))
	temp := filepath.Join(root, ".tarn", "tmp")
	if left, _ := os.ReadDir(temp); len(left) != 0 {
		t.Errorf("unfinished writes left: %v", left)
	}
	old := filepath.Join(temp, "dead")
	if err := os.WriteFile(old, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-2 * 24 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	if _, err := objstore.OpenDir(root); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(temp); len(left) != 0 {
		t.Errorf("a dead write was kept: %v", left)
	}
}

func TestOpenRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"s3://": "s3", "s3://bucket:80/x": "s3", "s3://key:secret@bucket/x": "s3", "/just/a/path": "file:///", "gs://x": "gs", "file://host/x": "file:///", "file:rel": "file:///", "::": "",
	} {
		if _, err := objstore.Open(context.Background(), url, objstore.Options{}); !errors.Is(err, objstore.ErrScheme) || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q) = %v", url, err)
		}
	}
}

func TestFaults(t *testing.T) {
	ctx := context.Background()
	f := objstore.NewFaulty(objstore.NewMem())
	hits := f.Inject(objstore.Fault{Op: objstore.OpPut, Contains: "x", Skip: 1, Times: 1, Err: objstore.ErrInjected})
	for i, wantErr := range []bool{false, true, false} {
		if _, err := f.Put(ctx, "x", []byte{byte(i)}); (err != nil) != wantErr {
			t.Errorf("put %d: %v", i, err)
		}
	}
	if hits() != 1 || f.Count(objstore.OpPut) != 3 {
		t.Errorf("%d hits, %d puts", hits(), f.Count(objstore.OpPut))
	}
	f.Clear()
	f.Inject(objstore.Fault{Op: objstore.OpAnyPut, Times: 1, LoseReply: true})
	if _, err := f.PutIfAbsent(ctx, "lost", []byte("v")); !errors.Is(err, objstore.ErrInjected) {
		t.Errorf("lost answer: %v", err)
	}
	if _, err := f.PutIfAbsent(ctx, "lost", []byte("v")); !errors.Is(err, objstore.ErrPrecondition) {
		t.Errorf("after a lost answer: %v", err)
	}
	f.Clear()
	f.Inject(objstore.Fault{Op: objstore.OpGetRange, Times: 1, Short: 1})
	f.Inject(objstore.Fault{Op: objstore.OpGetRange, Times: 1, FlipByte: true})
	_, _ = f.Put(ctx, "r", []byte("abc"))
	for _, want := range []string{"ab", "a\"c", "abc"} {
		if got, err := f.GetRange(ctx, "r", 0, -1); err != nil || string(got) != want {
			t.Errorf("GetRange = %q, %v, want %q", got, err, want)
		}
	}
}
