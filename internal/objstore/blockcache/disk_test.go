package blockcache

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestDamage: whatever becomes of the files, readers get the object.
func TestDamage(t *testing.T) {
	l := newLake(t, 8<<20)
	data := l.put("layers/a", 3*testBlock+100)
	other := l.put("layers/b", 3*testBlock+100)
	rng := rand.New(rand.NewPCG(1, 2))
	for i, c := range []struct {
		name    string
		damage  func(names []string) error
		damaged bool
	}{
		{"a bit", func(n []string) error { return flip(n[rng.IntN(len(n))], rng) }, true},
		{"the end", func(n []string) error { return os.Truncate(n[0], 100) }, true},
		{"all", func(n []string) error { return os.Truncate(n[0], 0) }, true},
		{"exchanged", func(n []string) error {
			return errors.Join(os.Rename(n[0], n[1]+"x"), os.Rename(n[1], n[0]), os.Rename(n[1]+"x", n[1]))
		}, true},
		{"chunks exchanged", exchangeChunks, true},
		{"a file", func(n []string) error { return os.Remove(n[0]) }, false},
		{"a folder in its place", func(n []string) error { return errors.Join(os.Remove(n[0]), os.Mkdir(n[0], 0o700)) }, false},
		{"the folder", func([]string) error { return os.RemoveAll(filepath.Join(l.dir, folderName)) }, false},
	} {
		for block := range int64(4) { // block by block, as page reads do
			l.want("layers/a", data, block*testBlock, testBlock)
			l.want("layers/b", other, block*testBlock, testBlock)
		}
		names, _ := l.files()
		if len(names) < 8 {
			t.Fatalf("%s: %d files", c.name, len(names))
		}
		if err := c.damage(names); err != nil {
			t.Fatal(err)
		}
		was := l.Stats()
		for _, n := range []int64{testBlock, -1} {
			for block := range int64(4) {
				l.want("layers/a", data, block*testBlock, n)
				l.want("layers/b", other, block*testBlock, n)
			}
		}
		now := l.Stats()
		if (now.Damaged > was.Damaged) != c.damaged {
			t.Errorf("%d %s: damaged %d, before %d", i, c.name, now.Damaged, was.Damaged)
		}
		if now.Misses == was.Misses {
			t.Errorf("%s: nothing was read again", c.name)
		}
		if names, n := l.files(); len(names) != 8 || n != now.Bytes {
			t.Errorf("%s: %d files of %d bytes are there again, %+v", c.name, len(names), n, now)
		}
	}
}

func flip(name string, rng *rand.Rand) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
	return os.WriteFile(name, b, 0o600)
}

func exchangeChunks(names []string) error {
	for _, name := range names {
		b, err := os.ReadFile(name)
		const chunk = chunkBytes + chunkOverhead
		if err != nil || len(b) < 2*chunk {
			continue
		}
		return os.WriteFile(name, append(append(bytes.Clone(b[chunk:2*chunk]), b[:chunk]...), b[2*chunk:]...), 0o600)
	}
	return fs.ErrNotExist
}

// TestBound: the folder is never above its limit, whatever is read at once, and after a restart with less.
func TestBound(t *testing.T) {
	const limit = 10 * (testBlock + allocationBytes)
	l := newLake(t, limit)
	var objects [][]byte
	for i := range 8 {
		objects = append(objects, l.put(fmt.Sprintf("layers/%d", i), 6*testBlock+i))
	}
	stop, over := make(chan struct{}), make(chan int64, 1)
	var watch, wg sync.WaitGroup
	watch.Go(func() {
		worst := int64(0)
		for {
			select {
			case <-stop:
				over <- worst
				return
			default:
				_, n := l.files()
				worst = max(worst, n, l.Stats().Bytes)
			}
		}
	})
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range 100 {
				i := rng.IntN(len(objects))
				off := rng.Int64N(int64(len(objects[i])))
				l.want(fmt.Sprintf("layers/%d", i), objects[i], off, rng.Int64N(3*testBlock))
			}
		})
	}
	wg.Wait()
	close(stop)
	watch.Wait()
	if worst := <-over; worst > limit || worst < limit/2 {
		t.Errorf("the folder had up to %d bytes, the limit is %d", worst, limit)
	}
	st := l.Stats()
	if _, n := l.files(); n != st.Bytes || st.Evictions == 0 || st.Hits == 0 || st.Errors != 0 || st.Damaged != 0 {
		t.Errorf("%d bytes in files, %+v", n, st)
	}
	l.Close()
	l.limit = limit / 2
	l.open()
	if _, n := l.files(); n > l.limit || n != l.Stats().Bytes || n == 0 {
		t.Errorf("after a restart with %d: %d bytes in files, %+v", l.limit, n, l.Stats())
	}
}

// TestEviction: what was used last stays.
func TestEviction(t *testing.T) {
	l := newLake(t, 3*(testBlock+allocationBytes))
	data := l.put("layers/a", 10*testBlock)
	for block := range int64(10) {
		l.want("layers/a", data, block*testBlock, 10)
		l.want("layers/a", data, 0, 10)
	}
	if st := l.Stats(); st.Misses != 10 || st.Hits != 10 {
		t.Errorf("%+v: the block that was used all the time was removed", st)
	}
}

// TestTakenOver: the next process finds the blocks, and removes what was half written and what it does not know.
func TestTakenOver(t *testing.T) {
	l := newLake(t, 8<<20)
	data := l.put("layers/a", 3*testBlock)
	l.want("layers/a", data, 0, -1)
	if _, err := Open(l.below, Options{Dir: l.dir, Bytes: 1 << 20, Immutable: immutable}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second cache in one folder: %v", err)
	}
	l.Close()
	old := filepath.Join(l.dir, folderPrefix+"0")
	half := filepath.Join(l.dir, folderName, tempPrefix+"zz")
	if err := errors.Join(os.Mkdir(old, 0o700), os.WriteFile(filepath.Join(old, "x"), []byte("x"), 0o600), os.WriteFile(half, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	before := l.asked()
	l.open()
	l.want("layers/a", data, 0, -1)
	if l.asked() != before {
		t.Error("blocks of the former process were read from the store")
	}
	for _, name := range []string{old, half} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

// TestFullDisk: on a file system without room everything is read, and what fits is cached.
func TestFullDisk(t *testing.T) {
	l := newLake(t, 64<<20)
	l.Close()
	if err := syscall.Mount("tmpfs", l.dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("no small file system can be mounted here: ", err)
	}
	t.Cleanup(func() {
		l.Close()
		if err := syscall.Unmount(l.dir, 0); err != nil {
			t.Error(err)
		}
	})
	l.open()
	data := l.put("layers/a", 40*testBlock)
	for range 2 {
		for block := range int64(40) {
			l.want("layers/a", data, block*testBlock, testBlock)
		}
	}
	st := l.Stats()
	if names, n := l.files(); st.Errors == 0 || st.Hits == 0 || n != st.Bytes || len(names) == 0 || strings.Contains(fmt.Sprint(names), tempPrefix) {
		t.Errorf("%+v, %d bytes in %d files", st, n, len(names))
	}
}

// TestFailingWrites: a disk that takes no bytes costs nothing but requests.
func TestFailingWrites(t *testing.T) {
	l := newLake(t, 8<<20)
	real := l.disk.writeFile
	l.disk.writeFile = func(name string, data []byte) error {
		return errors.Join(real(name, data[:len(data)/2]), syscall.EIO)
	}
	data := l.put("layers/a", 3*testBlock)
	for range 2 {
		l.want("layers/a", data, 1, 2*testBlock)
	}
	names, _ := l.files()
	if st := l.Stats(); len(names) != 0 || st.Bytes != 0 || st.Errors == 0 || st.Hits != 0 {
		t.Errorf("%q, %+v", names, st)
	}
}

// TestFormat pins a block's file.
func TestFormat(t *testing.T) {
	id := newBlockID("layers/a", "etag", 3)
	const name = "c04a13021416f501206b827c7c32f43b"
	if back, ok := parseFileName(name); id.fileName() != name || !ok || back != id {
		t.Errorf("name %s", id.fileName())
	}
	for _, other := range []string{"", name[1:], name + "0", strings.ToUpper(name), tempPrefix + name} {
		if _, ok := parseFileName(other); ok {
			t.Errorf("%q is taken for a block", other)
		}
	}
	file := appendChunks(nil, id, append(bytes.Repeat([]byte("x"), chunkBytes), "end"...))
	if want := "aec869b7" + strings.Repeat("78", chunkBytes) + "2699598b" + hex.EncodeToString([]byte("end")); hex.EncodeToString(file) != want {
		t.Errorf("the first chunk begins with %x, the second one is %x", file[:8], file[chunkBytes+chunkOverhead:])
	}
}
