package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stores opens one of each kind.
func stores(t *testing.T) map[string]Store {
	t.Helper()
	d, err := Open(context.Background(), "file://"+filepath.Join(t.TempDir(), "a b", "store"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Store{"dir": d, "mem": NewMem(), "faulty": NewFaulty(NewMem())}
}

func TestConformance(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name+"/objects", func(t *testing.T) { conformObjects(t, s) })
		t.Run(name+"/conditions", func(t *testing.T) { conformConditions(t, s) })
		t.Run(name+"/list", func(t *testing.T) { conformList(t, s) })
		t.Run(name+"/keys", func(t *testing.T) { conformKeys(t, s) })
		t.Run(name+"/race", func(t *testing.T) { conformRace(t, s) })
	}
}

func conformObjects(t *testing.T, s Store) {
	ctx := context.Background()
	for _, err := range []error{
		second(s.Head(ctx, "o/none")), third(s.Get(ctx, "o/none")), second(s.GetRange(ctx, "o/none", 0, 1)),
	} {
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "o/none") {
			t.Errorf("missing object: %v", err)
		}
	}
	info, err := s.Put(ctx, "o/x", []byte("hello"))
	if err != nil || info.Size != 5 || info.ETag == "" || info.Key != "o/x" || info.ModTime.IsZero() {
		t.Fatalf("Put = %+v, %v", info, err)
	}
	if head, err := s.Head(ctx, "o/x"); err != nil || head.ETag != info.ETag || head.Size != 5 {
		t.Errorf("Head = %+v, %v", head, err)
	}
	for _, c := range []struct {
		off, n int64
		want   string
	}{{0, 5, "hello"}, {1, 2, "el"}, {3, 10, "lo"}, {2, -1, "llo"}, {5, 1, ""}, {9, -1, ""}, {0, 0, ""}} {
		if got, err := s.GetRange(ctx, "o/x", c.off, c.n); err != nil || string(got) != c.want {
			t.Errorf("GetRange(%d, %d) = %q, %v", c.off, c.n, got, err)
		}
	}
	if _, err := s.GetRange(ctx, "o/x", -1, 1); err == nil {
		t.Error("a negative offset was accepted")
	}
	big := bytes.Repeat([]byte("0123456789"), 100_000)
	if _, err := s.PutStream(ctx, "o/x", bytes.NewReader(big)); err != nil {
		t.Fatal(err)
	}
	if got, info, err := s.Get(ctx, "o/x"); err != nil || !bytes.Equal(got, big) || info.Size != int64(len(big)) {
		t.Errorf("Get after PutStream: %d bytes, %v", len(got), err)
	}
	if err := errors.Join(s.Delete(ctx, "o/x"), s.Delete(ctx, "o/x")); err != nil {
		t.Error(err)
	}
	if _, err := s.Head(ctx, "o/x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after Delete: %v", err)
	}
	if _, err := s.PutStream(ctx, "o/half", &failingReader{n: 100}); err == nil {
		t.Error("a stream that failed was stored")
	}
	if _, err := s.Head(ctx, "o/half"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a stream that failed left an object: %v", err)
	}
	dead, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Put(dead, "o/dead", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Put under a cancelled context: %v", err)
	}
}

type failingReader struct{ n int }

func (r *failingReader) Read(p []byte) (int, error) {
	if r.n--; r.n < 0 {
		return 0, errors.New("source failed")
	}
	return min(len(p), 1000), nil
}

func conformConditions(t *testing.T, s Store) {
	ctx := context.Background()
	first, err := s.PutIfAbsent(ctx, "c/x", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutIfAbsent(ctx, "c/x", []byte("2")); !errors.Is(err, ErrPrecondition) {
		t.Errorf("second PutIfAbsent: %v", err)
	}
	if _, err := s.PutIfMatch(ctx, "c/none", []byte("2"), first.ETag); !errors.Is(err, ErrPrecondition) {
		t.Errorf("PutIfMatch of nothing: %v", err)
	}
	etags := map[string]bool{first.ETag: true}
	last := first
	// Same size, in quick succession: ETags must still differ.
	for i := range 50 {
		info, err := s.PutIfMatch(ctx, "c/x", []byte(strconv.Itoa(i%10)), last.ETag)
		if err != nil {
			t.Fatal(err)
		}
		if etags[info.ETag] {
			t.Fatalf("version %d has an ETag of an earlier one", i)
		}
		if _, err := s.PutIfMatch(ctx, "c/x", []byte("no"), last.ETag); !errors.Is(err, ErrPrecondition) {
			t.Fatalf("PutIfMatch with an old ETag: %v", err)
		}
		etags[info.ETag], last = true, info
	}
	if got, _, err := s.Get(ctx, "c/x"); err != nil || string(got) != "9" {
		t.Errorf("Get = %q, %v", got, err)
	}
}

func conformList(t *testing.T, s Store) {
	ctx := context.Background()
	want := []string{"l/a", "l/a-b/x", "l/a.x", "l/a/b/c", "l/a/z", "l/a0", "l/b"}
	for i := range want {
		if _, err := s.Put(ctx, want[len(want)-1-i], []byte("x")); err != nil {
			if want[len(want)-1-i] == "l/a" {
				continue // a directory cannot hold both l/a and l/a/z; S3 can
			}
			t.Fatal(err)
		}
	}
	for _, prefix := range []string{"l/", "l/a", "l/a/", "l/a/b", "l/zzz", "nothing/here/"} {
		var got []string
		err := s.List(ctx, prefix, func(o ObjectInfo) error { got = append(got, o.Key); return nil })
		if err != nil {
			t.Fatal(err)
		}
		var expect []string
		for _, k := range want {
			if _, err := s.Head(ctx, k); err == nil && strings.HasPrefix(k, prefix) {
				expect = append(expect, k)
			}
		}
		if !slices.Equal(got, expect) {
			t.Errorf("List(%q) = %q, want %q", prefix, got, expect)
		}
	}
	stop := errors.New("stop")
	if err := s.List(ctx, "l/", func(ObjectInfo) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("List after an error of fn: %v", err)
	}
}

func conformKeys(t *testing.T, s Store) {
	for _, key := range []string{"", "/x", "x/", "a//b", "../x", "a/./b", "a/../b", ".tarn/x", "a\x00b", `a\b`, strings.Repeat("x", 1025)} {
		if _, err := s.Put(context.Background(), key, nil); err == nil {
			t.Errorf("key %q was accepted", key)
		}
	}
	for _, key := range []string{"a/b", "a b/c%20d", "ü/x=1"} {
		if got, ok := s.Key(s.URL(key)); !ok || got != key {
			t.Errorf("Key(URL(%q)) = %q, %v", key, got, ok)
		}
	}
	if _, ok := s.Key("s3://elsewhere/x"); ok {
		t.Error("a location elsewhere was taken for ours")
	}
}

// conformRace lets goroutines count with PutIfMatch: no increment may be lost.
func conformRace(t *testing.T, s Store) {
	ctx := context.Background()
	var wg sync.WaitGroup
	var mu sync.Mutex
	created := 0
	const workers, rounds = 4, 15
	for range workers {
		wg.Go(func() {
			if _, err := s.PutIfAbsent(ctx, "r/n", []byte("0")); err == nil {
				mu.Lock()
				created++
				mu.Unlock()
			}
			if err := count(ctx, s, "r/n", rounds); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, _, err := s.Get(ctx, "r/n"); err != nil || string(got) != strconv.Itoa(workers*rounds) || created != 1 {
		t.Errorf("counted to %s (%v), created %d times", got, err, created)
	}
}

// count adds n to the number in an object, one at a time.
func count(ctx context.Context, s Store, key string, n int) error {
	for i := 0; i < n; {
		data, info, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		v, err := strconv.Atoi(string(data))
		if err != nil {
			return fmt.Errorf("a partial object was seen: %q", data)
		}
		switch _, err = s.PutIfMatch(ctx, key, []byte(strconv.Itoa(v+1)), info.ETag); {
		case err == nil:
			i++
		case !errors.Is(err, ErrPrecondition):
			return err
		}
	}
	return nil
}

// TestDirProcesses counts from several processes; the test binary is its own helper.
func TestDirProcesses(t *testing.T) {
	const env = "TARN_TEST_COUNT_DIR"
	ctx := context.Background()
	if root := os.Getenv(env); root != "" {
		d, err := OpenDir(root)
		if err == nil {
			err = count(ctx, d, "n", 20)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	root := t.TempDir()
	d, err := OpenDir(root)
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
	d, err := OpenDir(root)
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
	temp := filepath.Join(root, privateDir, "tmp")
	if left, _ := os.ReadDir(temp); len(left) != 0 {
		t.Errorf("unfinished writes left: %v", left)
	}
	old := filepath.Join(temp, "dead")
	if err := os.WriteFile(old, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-2 * staleTemp)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(root); err != nil {
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
		if _, err := Open(context.Background(), url, Options{}); !errors.Is(err, ErrScheme) || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q) = %v", url, err)
		}
	}
}

func TestFaults(t *testing.T) {
	ctx := context.Background()
	f := NewFaulty(NewMem())
	hits := f.Inject(Fault{Op: OpPut, Contains: "x", Skip: 1, Times: 1, Err: ErrInjected})
	for i, wantErr := range []bool{false, true, false} {
		if _, err := f.Put(ctx, "x", []byte{byte(i)}); (err != nil) != wantErr {
			t.Errorf("put %d: %v", i, err)
		}
	}
	if hits() != 1 || f.Count(OpPut) != 3 {
		t.Errorf("%d hits, %d puts", hits(), f.Count(OpPut))
	}
	f.Clear()
	f.Inject(Fault{Op: OpAnyPut, Times: 1, LoseReply: true})
	if _, err := f.PutIfAbsent(ctx, "lost", []byte("v")); !errors.Is(err, ErrInjected) {
		t.Errorf("lost answer: %v", err)
	}
	if _, err := f.PutIfAbsent(ctx, "lost", []byte("v")); !errors.Is(err, ErrPrecondition) {
		t.Errorf("after a lost answer: %v", err)
	}
	f.Clear()
	f.Inject(Fault{Op: OpGetRange, Times: 1, Short: 1})
	f.Inject(Fault{Op: OpGetRange, Times: 1, FlipByte: true})
	_, _ = f.Put(ctx, "r", []byte("abc"))
	for _, want := range []string{"ab", "a\"c", "abc"} {
		if got, err := f.GetRange(ctx, "r", 0, -1); err != nil || string(got) != want {
			t.Errorf("GetRange = %q, %v, want %q", got, err, want)
		}
	}
}

func second[A any](_ A, err error) error        { return err }
func third[A, B any](_ A, _ B, err error) error { return err }
