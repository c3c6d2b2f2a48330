// Package storetest is what every objstore.Store must do, as tests.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tarn-db/tarn/internal/objstore"
)

// Conform runs the tests on an empty store.
func Conform(t *testing.T, s objstore.Store) {
	_, overlay := s.(*objstore.Overlay)
	conform(t, s, false, overlay)
}

// ConformStreaming is Conform for a store that copies within itself by reading and writing.
func ConformStreaming(t *testing.T, s objstore.Store) { conform(t, s, false, true) }

// ConformFolders is Conform for a service that has folders: it takes a key that is the folder of others, as no key of tarn's is, and
// then lists one of the two.
func ConformFolders(t *testing.T, s objstore.Store) { conform(t, s, true, false) }

func conform(t *testing.T, s objstore.Store, folders, streaming bool) {
	t.Run("objects", func(t *testing.T) { objects(t, s) })
	t.Run("conditions", func(t *testing.T) { conditions(t, s) })
	t.Run("list", func(t *testing.T) { list(t, s, folders) })
	t.Run("keys", func(t *testing.T) { keys(t, s) })
	t.Run("race", func(t *testing.T) { race(t, s) })
	t.Run("copy", func(t *testing.T) { copies(t, s, streaming) })
}

// copies copies within the store, and through this process from a store of another kind.
func copies(t *testing.T, s objstore.Store, streaming bool) {
	ctx := context.Background()
	other := objstore.NewOverlay(objstore.NewMem(), objstore.NewMem()) // no kind of store copies from it
	big := bytes.Repeat([]byte("0123456789abcdef"), 3<<19)             // 24 MiB: several reads, and parts
	for _, from := range []objstore.Store{s, other} {
		streams := streaming || from == objstore.Store(other)
		for what, data := range map[string][]byte{"c/a b+c%d": []byte("small"), "c/empty": {}, "c/big": big} {
			if _, err := from.Put(ctx, what, data); err != nil {
				t.Fatal(err)
			}
			info, streamed, err := objstore.Copy(ctx, from, what, s, "d/"+what)
			if err != nil || info.Size != int64(len(data)) || info.Key != "d/"+what || streamed != streams {
				t.Errorf("Copy(%q) = %+v, streamed %v, %v", what, info, streamed, err)
			}
			if got, _, err := s.Get(ctx, "d/"+what); err != nil || !bytes.Equal(got, data) {
				t.Errorf("the copy of %q has %d bytes, want %d: %v", what, len(got), len(data), err)
			}
			// Independent: a copy outlives its source, and replaces what was there.
			if err := from.Delete(ctx, what); err != nil {
				t.Error(err)
			}
			if head, err := s.Head(ctx, "d/"+what); err != nil || head.Size != int64(len(data)) {
				t.Errorf("after its source was deleted: %+v, %v", head, err)
			}
		}
		if _, _, err := objstore.Copy(ctx, from, "c/none", s, "d/none"); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("a copy of what is not there: %v", err)
		}
	}
	dead, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Put(ctx, "c/x", big); err != nil {
		t.Fatal(err)
	}
	if _, _, err := objstore.Copy(dead, s, "c/x", s, "d/x"); err == nil {
		t.Error("a copy under a context that has ended was made")
	}
}

func objects(t *testing.T, s objstore.Store) {
	ctx := context.Background()
	for _, err := range []error{
		second(s.Head(ctx, "o/none")), third(s.Get(ctx, "o/none")), second(s.GetRange(ctx, "o/none", 0, 1)),
	} {
		if !errors.Is(err, objstore.ErrNotFound) || !strings.Contains(err.Error(), "o/none") {
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
	if _, err := s.Head(ctx, "o/x"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("after Delete: %v", err)
	}
	if _, err := s.PutStream(ctx, "o/half", &failingReader{n: 100}); err == nil {
		t.Error("a stream that failed was stored")
	}
	if _, err := s.Head(ctx, "o/half"); !errors.Is(err, objstore.ErrNotFound) {
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

func conditions(t *testing.T, s objstore.Store) {
	ctx := context.Background()
	first, err := s.PutIfAbsent(ctx, "c/x", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutIfAbsent(ctx, "c/x", []byte("2")); !errors.Is(err, objstore.ErrPrecondition) {
		t.Errorf("second PutIfAbsent: %v", err)
	}
	if _, err := s.PutIfMatch(ctx, "c/none", []byte("2"), first.ETag); !errors.Is(err, objstore.ErrPrecondition) {
		t.Errorf("PutIfMatch of nothing: %v", err)
	}
	etags := map[string]bool{first.ETag: true}
	last := first
	// Same size, in quick succession: ETags must still differ. (Of the same bytes they may be the same.)
	for i := range 50 {
		info, err := s.PutIfMatch(ctx, "c/x", []byte(strconv.Itoa(100+i)), last.ETag)
		if err != nil {
			t.Fatal(err)
		}
		if etags[info.ETag] {
			t.Fatalf("version %d has an ETag of an earlier one", i)
		}
		if _, err := s.PutIfMatch(ctx, "c/x", []byte("no"), last.ETag); !errors.Is(err, objstore.ErrPrecondition) {
			t.Fatalf("PutIfMatch with an old ETag: %v", err)
		}
		etags[info.ETag], last = true, info
	}
	if got, _, err := s.Get(ctx, "c/x"); err != nil || string(got) != "149" {
		t.Errorf("Get = %q, %v", got, err)
	}
}

func list(t *testing.T, s objstore.Store, folders bool) {
	ctx := context.Background()
	want := []string{"l/a", "l/a-b/x", "l/a.x", "l/a/b/c", "l/a/z", "l/a0", "l/b"}
	for i := range want {
		if want[len(want)-1-i] == "l/a" && folders {
			continue
		}
		if _, err := s.Put(ctx, want[len(want)-1-i], []byte("x")); err != nil {
			if want[len(want)-1-i] == "l/a" {
				continue // a directory cannot hold both l/a and l/a/z; S3 can
			}
			t.Fatal(err)
		}
	}
	for _, prefix := range []string{"l/", "l/a", "l/a/", "l/a/b", "l/zzz", "nothing/here/"} {
		var got []string
		err := s.List(ctx, prefix, func(o objstore.ObjectInfo) error { got = append(got, o.Key); return nil })
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
	if err := s.List(ctx, "l/", func(objstore.ObjectInfo) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("List after an error of fn: %v", err)
	}
}

func keys(t *testing.T, s objstore.Store) {
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

// race lets goroutines count with PutIfMatch: no increment may be lost.
func race(t *testing.T, s objstore.Store) {
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
			if err := Count(ctx, s, "r/n", rounds); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, _, err := s.Get(ctx, "r/n"); err != nil || string(got) != strconv.Itoa(workers*rounds) || created != 1 {
		t.Errorf("counted to %s (%v), created %d times", got, err, created)
	}
}

// Count adds n to the number in an object, one at a time.
func Count(ctx context.Context, s objstore.Store, key string, n int) error {
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
		case !errors.Is(err, objstore.ErrPrecondition):
			return err
		}
	}
	return nil
}

func second[A any](_ A, err error) error        { return err }
func third[A, B any](_ A, _ B, err error) error { return err }
