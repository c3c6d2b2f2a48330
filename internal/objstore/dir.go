package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// privateDir is the folder under a directory store's root that holds unfinished writes and locks.
const privateDir = ".tarn"

// lockStripes is the number of lock files: keys share them by hash.
const lockStripes = 64

// staleTemp is the age from which an unfinished write is taken for a dead process's.
const staleTemp = 24 * time.Hour

// Dir is a Store in a directory of a local or network file system. Several processes may use one directory.
//
//	<root>/<key>               an object, mode 0644, folders 0755 (both less the umask): engines of other users read them
//	<root>/.tarn/tmp/<random>  a write under way; renamed or linked to its key when it is whole and fsynced
//	<root>/.tarn/lock/<00-3f>  flock'ed while a key is checked and replaced
//
// An ETag is modification time, size and inode. Invariant: a key's modification time rises with each replacement, so
// that no two versions of it share an ETag.
type Dir struct {
	root    string
	durable sync.Map // folders of the store whose entry is known to be durable; they are never removed
}

// OpenDir opens a directory store, making the folder if it is not there, and clears writes that died long ago.
func OpenDir(root string) (*Dir, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	d := &Dir{root: abs}
	for _, sub := range []string{"tmp", "lock"} {
		if err := d.makeDirs(filepath.Join(abs, privateDir, sub)); err != nil {
			return nil, fmt.Errorf("open store %s: %w", abs, err)
		}
	}
	d.clearStale()
	return d, nil
}

func (d *Dir) clearStale() {
	folder := filepath.Join(d.root, privateDir, "tmp")
	entries, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > staleTemp {
			_ = os.Remove(filepath.Join(folder, e.Name())) // a leftover; it is only space
		}
	}
}

func (d *Dir) path(key string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	return filepath.Join(d.root, filepath.FromSlash(key)), nil
}

// open opens an object's file for reading.
func (d *Dir) open(ctx context.Context, key string) (*os.File, ObjectInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, ObjectInfo{}, err
	}
	p, err := d.path(key)
	if err != nil {
		return nil, ObjectInfo{}, err
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, ObjectInfo{}, fileError(key, err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fs.ErrNotExist // a folder is a prefix of keys, not an object
	}
	if err != nil {
		_ = f.Close()
		return nil, ObjectInfo{}, fileError(key, err)
	}
	return f, infoOf(key, st), nil
}

// fileError names the key; a path through something that is not a folder is simply not there.
func fileError(key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return notFound(key)
	}
	return fmt.Errorf("%s: %w", key, err)
}

func infoOf(key string, st fs.FileInfo) ObjectInfo {
	var inode uint64
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	etag := strconv.FormatInt(st.ModTime().UnixNano(), 16) + "-" + strconv.FormatInt(st.Size(), 16) + "-" + strconv.FormatUint(inode, 16)
	return ObjectInfo{Key: key, Size: st.Size(), ETag: etag, ModTime: st.ModTime()}
}

func (d *Dir) Get(ctx context.Context, key string) ([]byte, ObjectInfo, error) {
	f, info, err := d.open(ctx, key)
	if err != nil {
		return nil, ObjectInfo{}, err
	}
	defer f.Close()
	data := make([]byte, info.Size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, ObjectInfo{}, fmt.Errorf("%s: %w", key, err)
	}
	return data, info, nil
}

func (d *Dir) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	f, info, err := d.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if n, err = clipRange(key, info.Size, off, n); err != nil || n == 0 {
		return nil, err
	}
	data := make([]byte, n)
	if got, err := f.ReadAt(data, off); int64(got) != n {
		return nil, fmt.Errorf("%s: read %d bytes at %d: %w", key, n, off, err)
	}
	return data, nil
}

// clipRange is how many bytes a range read of an object of size bytes gives.
func clipRange(key string, size, off, n int64) (int64, error) {
	if off < 0 {
		return 0, fmt.Errorf("%s: range starts at %d", key, off)
	}
	if off >= size {
		return 0, nil
	}
	if n < 0 || n > size-off {
		n = size - off
	}
	return n, nil
}

func (d *Dir) Head(ctx context.Context, key string) (ObjectInfo, error) {
	if err := ctx.Err(); err != nil {
		return ObjectInfo{}, err
	}
	p, err := d.path(key)
	if err != nil {
		return ObjectInfo{}, err
	}
	st, err := os.Stat(p)
	if err == nil && !st.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return ObjectInfo{}, fileError(key, err)
	}
	return infoOf(key, st), nil
}

func (d *Dir) Put(ctx context.Context, key string, data []byte) (ObjectInfo, error) {
	return d.put(ctx, key, bytes.NewReader(data), func(string, *ObjectInfo) error { return nil })
}

func (d *Dir) PutStream(ctx context.Context, key string, r io.Reader) (ObjectInfo, error) {
	return d.put(ctx, key, r, func(string, *ObjectInfo) error { return nil })
}

func (d *Dir) PutIfAbsent(ctx context.Context, key string, data []byte) (ObjectInfo, error) {
	return d.put(ctx, key, bytes.NewReader(data), func(_ string, old *ObjectInfo) error {
		if old != nil {
			return precondition(key, "the object exists")
		}
		return nil
	})
}

func (d *Dir) PutIfMatch(ctx context.Context, key string, data []byte, etag string) (ObjectInfo, error) {
	return d.put(ctx, key, bytes.NewReader(data), func(_ string, old *ObjectInfo) error {
		switch {
		case old == nil:
			return precondition(key, "the object does not exist")
		case old.ETag != etag:
			return precondition(key, "the object is another version")
		}
		return nil
	})
}

// put makes a whole, fsynced file of r, then, under the key's lock, asks check about what is there and renames it into
// place. old is nil when there is no object.
func (d *Dir) put(ctx context.Context, key string, r io.Reader, check func(key string, old *ObjectInfo) error) (ObjectInfo, error) {
	p, err := d.path(key)
	if err != nil {
		return ObjectInfo{}, err
	}
	temp, err := d.writeTemp(ctx, r)
	if err != nil {
		return ObjectInfo{}, fmt.Errorf("%s: %w", key, err)
	}
	defer os.Remove(temp) // gone already if it was renamed
	if err := d.makeDirs(filepath.Dir(p)); err != nil {
		return ObjectInfo{}, fmt.Errorf("%s: %w", key, err)
	}
	info, err := d.install(ctx, key, temp, p, check)
	if err != nil {
		return ObjectInfo{}, err
	}
	if err := syncDir(filepath.Dir(p)); err != nil {
		return ObjectInfo{}, fmt.Errorf("%s: %w", key, err)
	}
	return info, nil
}

// writeTemp writes and fsyncs a new file under the store's private folder.
func (d *Dir) writeTemp(ctx context.Context, r io.Reader) (name string, err error) {
	name = filepath.Join(d.root, privateDir, "tmp", strconv.Itoa(os.Getpid())+"-"+strconv.FormatUint(rand.Uint64(), 36))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	err = fill(ctx, f, r)
	if err == nil {
		now := time.Now()
		err = os.Chtimes(name, now, now) // the kernel's own stamp is a tick wide
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		_ = os.Remove(name)
		return "", err
	}
	return name, nil
}

// fill writes all of r. The kernel copies from a file, a piece at a time so that ctx can end it.
func fill(ctx context.Context, f *os.File, r io.Reader) error {
	const piece = 64 << 20
	src, ok := r.(*os.File)
	if !ok {
		_, err := io.Copy(f, contextReader{ctx, r})
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.CopyN(f, src, piece); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
	}
}

// contextReader ends a copy when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// install renames temp to p under the key's lock, if check agrees.
func (d *Dir) install(ctx context.Context, key, temp, p string, check func(string, *ObjectInfo) error) (ObjectInfo, error) {
	unlock, err := d.lock(key)
	if err != nil {
		return ObjectInfo{}, fmt.Errorf("%s: %w", key, err)
	}
	defer unlock()
	var old *ObjectInfo
	switch info, err := d.Head(ctx, key); {
	case err == nil:
		old = &info
	case !errors.Is(err, ErrNotFound):
		return ObjectInfo{}, err
	}
	if err := check(key, old); err != nil {
		return ObjectInfo{}, err
	}
	st, err := os.Stat(temp)
	if err == nil && old != nil && !st.ModTime().After(old.ModTime) {
		next := old.ModTime.Add(time.Microsecond)
		err = os.Chtimes(temp, next, next)
	}
	if err == nil {
		err = os.Rename(temp, p)
	}
	if err == nil {
		st, err = os.Stat(p)
	}
	if err != nil {
		return ObjectInfo{}, fmt.Errorf("%s: %w", key, err)
	}
	return infoOf(key, st), nil
}

// lock takes the key's lock file, waiting for other processes and goroutines.
func (d *Dir) lock(key string) (unlock func(), err error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // a hash never fails
	name := filepath.Join(d.root, privateDir, "lock", fmt.Sprintf("%02x", h.Sum32()%lockStripes))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err == nil {
			return func() { _ = f.Close() }, nil // closing gives the lock up
		}
		if !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, err
		}
	}
}

func (d *Dir) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := d.path(key)
	if err != nil {
		return err
	}
	unlock, err := d.lock(key)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	defer unlock()
	if _, err := d.Head(ctx, key); err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", key, err)
	}
	return syncDir(filepath.Dir(p))
}

func (d *Dir) URL(key string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(d.root) + "/" + key}).String()
}

func (d *Dir) Key(location string) (string, bool) {
	p := location
	if strings.Contains(location, ":") {
		u, err := url.Parse(location)
		if err != nil || u.Scheme != "file" || u.Host != "" && u.Host != "localhost" {
			return "", false
		}
		p = u.Path
	}
	key, ok := strings.CutPrefix(p, filepath.ToSlash(d.root)+"/")
	if !ok || checkKey(key) != nil {
		return "", false
	}
	return key, true
}

func (d *Dir) Close() error { return nil }
