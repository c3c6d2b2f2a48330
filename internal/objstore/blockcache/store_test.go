package blockcache

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/objstore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testBlock = 64 << 10

// lake is a store below a cache, and what it is asked for.
type lake struct {
	t     *testing.T
	below *objstore.Faulty
	dir   string
	limit int64
	*Store
}

func newLake(t *testing.T, limit int64) *lake {
	t.Helper()
	l := &lake{t: t, below: objstore.NewFaulty(objstore.NewMem()), dir: t.TempDir(), limit: limit}
	l.open()
	return l
}

func immutable(key string) bool { return strings.HasPrefix(key, "layers/") }

func (l *lake) open() {
	l.t.Helper()
	s, err := Open(l.below, Options{Dir: l.dir, Bytes: l.limit, BlockBytes: testBlock, Immutable: immutable})
	if err != nil {
		l.t.Fatal(err)
	}
	l.Store = s
	l.t.Cleanup(func() { s.Close() })
}

// put makes an object of random bytes.
func (l *lake) put(key string, size int) []byte {
	l.t.Helper()
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{byte(size), byte(len(key))})
	_, _ = rng.Read(data)
	if _, err := l.below.Put(context.Background(), key, data); err != nil {
		l.t.Fatal(err)
	}
	return data
}

// want reads a range and compares it.
func (l *lake) want(key string, data []byte, off, n int64) {
	l.t.Helper()
	got, err := l.GetRange(context.Background(), key, off, n)
	from := min(off, int64(len(data)))
	if n < 0 || n > int64(len(data))-from {
		n = int64(len(data)) - from
	}
	if err != nil || !bytes.Equal(got, data[from:from+n]) {
		l.t.Fatalf("GetRange(%s, %d, %d): %d bytes, %v", key, off, n, len(got), err)
	}
}

// asked is how often the store below was asked for bytes.
func (l *lake) asked() int {
	return l.below.Count(objstore.OpGetRange) + l.below.Count(objstore.OpGet)
}

// files are the block files in the folder, and their bytes.
func (l *lake) files() (names []string, bytes int64) {
	l.t.Helper()
	entries, err := os.ReadDir(filepath.Join(l.dir, folderName))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			names = append(names, filepath.Join(l.dir, folderName, e.Name()))
			bytes += allocated(info.Size())
		}
	}
	return names, bytes
}

func TestConformance(t *testing.T) {
	s, err := Open(objstore.NewMem(), Options{Dir: t.TempDir(), Bytes: 1 << 20, BlockBytes: testBlock, Immutable: func(string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storetest.ConformStreaming(t, s)
}

// TestRanges: every kind of range is what the object has there, cold and warm; warm, the store below is not asked.
func TestRanges(t *testing.T) {
	l := newLake(t, 8<<20)
	data := l.put("layers/a", 5*testBlock+777)
	ranges := [][2]int64{{0, 1}, {0, testBlock}, {1, testBlock}, {testBlock - 1, 2}, {chunkBytes - 1, 2}, {chunkBytes, chunkBytes}, {5 * testBlock, 777}, {5*testBlock + 776, 5},
		{3, 5 * testBlock}, {0, -1}, {int64(len(data)), 1}, {int64(len(data)) + 9, -1}, {7, 0}}
	for range 2 {
		for _, r := range ranges {
			l.want("layers/a", data, r[0], r[1])
		}
	}
	before := l.asked()
	for _, r := range ranges {
		l.want("layers/a", data, r[0], r[1])
	}
	got, info, err := l.Get(context.Background(), "layers/a")
	if err != nil || !bytes.Equal(got, data) || info.Size != int64(len(data)) || info.ETag == "" {
		t.Errorf("Get: %d bytes, %+v, %v", len(got), info, err)
	}
	if n := l.asked() - before; n != 0 {
		t.Errorf("the store was asked %d times for what is cached", n)
	}
	if l.below.Count(objstore.OpHead) != 1 {
		t.Errorf("%d Heads of one object", l.below.Count(objstore.OpHead))
	}
	if _, err := l.GetRange(context.Background(), "layers/none", 0, 1); !errors.Is(err, objstore.ErrNotFound) || !strings.Contains(err.Error(), "layers/none") {
		t.Errorf("a missing object: %v", err)
	}
}

// TestWhole: an object is read in one request, and is cached.
func TestWhole(t *testing.T) {
	l := newLake(t, 8<<20)
	data := l.put("layers/a", 20*testBlock+5)
	for range 2 {
		if got, _, err := l.Get(context.Background(), "layers/a"); err != nil || !bytes.Equal(got, data) {
			t.Fatal(err)
		}
	}
	if n := l.asked(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestMutable: what may change is not cached.
func TestMutable(t *testing.T) {
	l := newLake(t, 8<<20)
	ctx := context.Background()
	for i := range 3 {
		if _, err := l.Put(ctx, "index.json", []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if got, _, err := l.Get(ctx, "index.json"); err != nil || got[0] != byte(i) {
			t.Fatalf("%d was read, %v", got, err)
		}
	}
	if names, _ := l.files(); len(names) != 0 || l.asked() != 3 {
		t.Errorf("files %q, %d requests", names, l.asked())
	}
}

// TestReplaced: an object that was deleted or replaced is never read as it was, in this process and, replaced behind its back, in
// the next.
func TestReplaced(t *testing.T) {
	l := newLake(t, 8<<20)
	ctx := context.Background()
	l.want("layers/a", l.put("layers/a", 1000), 0, -1)
	if err := l.Delete(ctx, "layers/a"); err != nil {
		t.Fatal(err)
	}
	if names, _ := l.files(); len(names) != 0 || l.Stats().Bytes != 0 {
		t.Errorf("a deleted object's blocks stay: %q, %+v", names, l.Stats())
	}
	if _, _, err := l.Get(ctx, "layers/a"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("a deleted object: %v", err)
	}
	l.want("layers/a", l.put("layers/a", 1000), 0, -1)
	other := bytes.Repeat([]byte{7}, 1000)
	if _, err := l.Put(ctx, "layers/a", other); err != nil {
		t.Fatal(err)
	}
	l.want("layers/a", other, 0, -1)
	l.Close()
	again := l.put("layers/a", 1000)
	l.open()
	l.want("layers/a", again, 0, -1)
}

// TestOnce: concurrent readers of a block make one request; one who stops waiting takes nothing from the others.
func TestOnce(t *testing.T) {
	l := newLake(t, 8<<20)
	data := l.put("layers/a", testBlock)
	l.below.Inject(objstore.Fault{Op: objstore.OpGetRange, Latency: 300 * time.Millisecond})
	impatient, cancel := context.WithCancel(context.Background())
	gone := make(chan error)
	go func() {
		_, err := l.GetRange(impatient, "layers/a", 0, 1)
		gone <- err
	}()
	for l.below.Count(objstore.OpGetRange) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("a reader whose context ended: %v", err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { l.want("layers/a", data, int64(i*100), 100) })
	}
	wg.Wait()
	if n := l.asked(); n != 1 {
		t.Errorf("%d requests for one block", n)
	}
}

// TestFailedRead: an error of the store reaches the reader and leaves nothing behind.
func TestFailedRead(t *testing.T) {
	l := newLake(t, 8<<20)
	data := l.put("layers/a", 3*testBlock)
	hits := l.below.Inject(objstore.Fault{Op: objstore.OpGetRange, Times: 1, Err: objstore.ErrInjected})
	if _, err := l.GetRange(context.Background(), "layers/a", 5, 5); !errors.Is(err, objstore.ErrInjected) || hits() != 1 {
		t.Errorf("the store fails: %v", err)
	}
	l.want("layers/a", data, 5, 5)
	l.below.Inject(objstore.Fault{Op: objstore.OpGetRange, Times: 1, Short: 10})
	l.want("layers/a", data, testBlock, 5) // a short block is not kept: the range is asked for as it is
	l.want("layers/a", data, testBlock, testBlock)
	if st := l.Stats(); st.Damaged != 0 {
		t.Errorf("%+v: a short block was kept", st)
	}
}

// lateStore gives answers when it is told to.
type lateStore struct {
	objstore.Store
	read, answer chan struct{}
}

func (s *lateStore) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	b, err := s.Store.GetRange(ctx, key, off, n)
	s.read <- struct{}{}
	<-s.answer
	return b, err
}

// TestDeletedWhileRead: what is read of an object while it is deleted is not kept.
func TestDeletedWhileRead(t *testing.T) {
	l := newLake(t, 8<<20)
	late := &lateStore{l.below.Store, make(chan struct{}), make(chan struct{})}
	l.below.Store = late
	for _, n := range []int64{10, 10 * testBlock} {
		data, done := l.put("layers/a", 20*testBlock), make(chan struct{})
		go func() {
			defer close(done)
			l.want("layers/a", data, 0, n)
		}()
		<-late.read
		if err := l.Delete(context.Background(), "layers/a"); err != nil {
			t.Fatal(err)
		}
		late.answer <- struct{}{}
		<-done
		if names, _ := l.files(); len(names) != 0 {
			t.Errorf("%d files", len(names))
		}
	}
}

// TestCloseWaits: whoever takes the folder over meets no writer of the former process.
func TestCloseWaits(t *testing.T) {
	l := newLake(t, 8<<20)
	l.put("layers/a", 100)
	writing, release := make(chan struct{}), make(chan struct{})
	l.disk.writeFile = func(string, []byte) error {
		close(writing)
		<-release
		return nil
	}
	go func() { _, _ = l.GetRange(context.Background(), "layers/a", 0, 10) }()
	<-writing
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	select {
	case <-closed:
		t.Error("Close did not wait")
		close(release)
	case <-time.After(100 * time.Millisecond):
		close(release)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
}

// TestClosed: Close ends a request that is under way, whose reader asks the store itself; nothing is written after it.
func TestClosed(t *testing.T) {
	l := newLake(t, 8<<20)
	data := l.put("layers/a", 20*testBlock)
	l.want("layers/a", data, 0, 10)
	for _, n := range []int64{10, int64(10 * testBlock)} {
		l.below.Inject(objstore.Fault{Op: objstore.OpGetRange, Times: 1, Latency: time.Hour})
		asked, done := l.asked(), make(chan struct{})
		go func() {
			defer close(done)
			l.want("layers/a", data, 5*testBlock, n)
		}()
		for l.asked() == asked {
			time.Sleep(time.Millisecond)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		<-done
		l.want("layers/a", data, 0, 10)
		if names, _ := l.files(); len(names) != 1 {
			t.Errorf("%d files", len(names))
		}
		l.open()
	}
}

// TestReadOnly: a second process reads what the first one has cached, and leaves it as it is.
func TestReadOnly(t *testing.T) {
	l := newLake(t, 8<<20)
	data := l.put("layers/a", 8*testBlock)
	l.want("layers/a", data, 0, 5*testBlock)
	names, size := l.files()
	second := &lake{t: t, below: objstore.NewFaulty(l.below.Store), dir: l.dir}
	var err error
	second.Store, err = Open(second.below, Options{Dir: l.dir, Bytes: l.limit, BlockBytes: testBlock, Immutable: immutable, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	second.want("layers/a", data, 0, 5*testBlock)
	if n := second.asked(); n != 0 {
		t.Errorf("%d requests for what is cached", n)
	}
	second.want("layers/a", data, 0, -1)
	if err := flip(names[0], rand.New(rand.NewPCG(1, 2))); err != nil {
		t.Fatal(err)
	}
	for block := range int64(5) {
		second.want("layers/a", data, block*testBlock, testBlock)
	}
	if err := second.Delete(context.Background(), "layers/a"); err != nil {
		t.Fatal(err)
	}
	st := second.Stats()
	if after, n := l.files(); len(after) != len(names) || n != size || st.Damaged == 0 || st.Bytes != 0 || st.Misses == 0 {
		t.Errorf("%d files of %d bytes, before %d of %d; %+v", len(after), n, len(names), size, st)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	l.Close()
	none, err := Open(l.below, Options{Dir: filepath.Join(l.dir, "none"), Immutable: immutable, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	l.put("layers/a", 10)
	if _, _, err := none.Get(context.Background(), "layers/a"); err != nil || none.Stats().Errors != 0 {
		t.Errorf("without a folder: %v, %+v", err, none.Stats())
	}
	none.Close()
}
