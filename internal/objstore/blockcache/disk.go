package blockcache

import (
	"cmp"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/tarn-db/tarn/internal/fault"
)

const (
	folderPrefix = "tarn-blocks-"
	folderName   = folderPrefix + "1" // the format's version
	tempPrefix   = "tmp-"

	// allocationBytes is what file systems round a file's size up to.
	allocationBytes = 4 << 10
	// warnPause is the time between two warnings in the log: a disk that fails does so at every read.
	warnPause = time.Minute
)

// disk is the folder of block files, bounded in bytes; the least recently used go first. No fault of the disk is an error to
// anyone: what cannot be read is not there, what cannot be written is left out.
//
// Invariant: held is never below the bytes of the files there, those being written included, and never above limit.
type disk struct {
	dir      string // of the files
	limit    int64  // bytes
	log      *slog.Logger
	readOnly bool     // another process may own the folder: files are found by name, and nothing is written or removed
	lock     *os.File // flock'ed: one process counts what is there; nil if readOnly

	mu       sync.Mutex
	files    *simplelru.LRU[blockID, int64] // bytes as allocated
	held     int64
	warnedAt time.Time

	temps                              atomic.Uint64
	evictions, damaged, errors, misses atomic.Int64
	hits                               atomic.Int64

	writeFile func(name string, data []byte) error // os.WriteFile, but for tests
}

// ErrInUse: another process has the folder.
var ErrInUse = fault.New(fault.DataDirInUse, "the cache's folder is in use by another process")

// openDisk takes over what another run has left, the last written as the last used. Which of the files are whole shows when
// they are read.
func openDisk(o Options) (*disk, error) {
	d := &disk{
		dir: filepath.Join(o.Dir, folderName), limit: o.Bytes, log: o.Logger, readOnly: o.ReadOnly,
		writeFile: func(name string, data []byte) error { return os.WriteFile(name, data, 0o600) },
	}
	var err error
	if d.files, err = simplelru.NewLRU[blockID, int64](math.MaxInt, nil); err != nil {
		return nil, err
	}
	if d.readOnly {
		return d, nil
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	if d.lock, err = os.OpenFile(filepath.Join(o.Dir, folderPrefix+"lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err == nil {
		err = errors.Join(removeOtherVersions(o.Dir), d.takeOver())
	}
	if err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

// removeOtherVersions frees what a tarn of another format has left: nobody would ever count it.
func removeOtherVersions(dir string) (err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), folderPrefix) && e.Name() != folderName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

func (d *disk) takeOver() error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	type found struct {
		id   blockID
		size int64
		at   time.Time
	}
	var all []found
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(d.dir, e.Name())); err != nil {
				return err
			}
			continue
		}
		id, ok := parseFileName(e.Name())
		info, err := e.Info()
		if !ok || err != nil || !info.Mode().IsRegular() {
			continue
		}
		all = append(all, found{id, allocated(info.Size()), info.ModTime()})
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Or(a.at.Compare(b.at), slices.Compare(a.id[:], b.id[:])) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range all {
		d.files.Add(f.id, f.size)
		d.held += f.size
	}
	for d.held > d.limit && d.evictOldest() {
	}
	return nil
}

// close gives the folder up. Nothing is written back: files are whole as they are.
func (d *disk) close() error {
	if d.readOnly {
		return nil
	}
	return d.lock.Close()
}

func allocated(size int64) int64 { return (size + allocationBytes - 1) &^ (allocationBytes - 1) }

func (d *disk) path(id blockID) string { return filepath.Join(d.dir, id.fileName()) }

func (d *disk) has(id blockID) bool {
	if d.readOnly {
		_, err := os.Stat(d.path(id))
		return err == nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.files.Contains(id)
}

// used makes a block the last one to go; false if it is not there.
func (d *disk) used(id blockID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.files.Get(id)
	return ok || d.readOnly
}

// read fills dst with what lies at off of a block of size bytes. If it returns false, dst may hold anything.
func (d *disk) read(id blockID, size, off int, dst []byte) bool {
	if !d.used(id) {
		return false
	}
	f, err := os.Open(d.path(id))
	if err == nil {
		err = readChunks(f, id, size, off, dst)
		_ = f.Close() // it was only read
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, errDamaged):
		d.damaged.Add(1)
		d.warn("a block of the cache is damaged; it is read from the store again", err)
	case !errors.Is(err, fs.ErrNotExist): // who removes the cache under us takes nothing but time
		d.failed(err)
	}
	d.drop(id)
	return false
}

// write keeps a block if there is room, or room can be made.
func (d *disk) write(id blockID, data []byte) {
	size := allocated(fileBytes(len(data)))
	if !d.reserve(id, size) {
		return
	}
	buf := appendChunks(make([]byte, 0, size), id, data)
	temp := filepath.Join(d.dir, tempPrefix+strconv.FormatUint(d.temps.Add(1), 36))
	err := d.writeFile(temp, buf)
	if errors.Is(err, fs.ErrNotExist) && os.MkdirAll(d.dir, 0o700) == nil { // the folder was removed under us
		err = d.writeFile(temp, buf)
	}
	if err == nil {
		err = os.Rename(temp, d.path(id))
	}
	if err != nil {
		d.failed(err)
		if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.failed(err)
			return // it stays counted
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || d.files.Contains(id) { // or another one wrote the same block, and its file was replaced
		d.held -= size
		return
	}
	d.files.Add(id, size)
}

// reserve makes room for a file and counts it; false if the block is there or no room can be made.
func (d *disk) reserve(id blockID, size int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.readOnly || d.files.Contains(id) || size > d.limit {
		return false
	}
	for d.held+size > d.limit {
		if !d.evictOldest() {
			return false // all the rest is being written
		}
	}
	d.held += size
	return true
}

// evictOldest removes the file that was not used for the longest time; false if there is none. Under mu: what is removed after
// it was counted off would be above the limit for a while.
func (d *disk) evictOldest() bool {
	id, size, ok := d.files.RemoveOldest()
	if ok {
		d.evictions.Add(1)
		d.unlink(id, size)
	}
	return ok
}

// unlink removes a file, which is counted on if it stays.
func (d *disk) unlink(id blockID, size int64) {
	err := os.Remove(d.path(id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		d.errors.Add(1)
		return
	}
	d.held -= size
}

// drop removes a block, if it is there.
func (d *disk) drop(id blockID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if size, ok := d.files.Peek(id); ok {
		d.files.Remove(id)
		d.unlink(id, size)
	}
}

func (d *disk) failed(err error) {
	d.errors.Add(1)
	d.warn("the cache's disk fails; reads go to the store", err)
}

// warn logs now and then; the counts tell the rest.
func (d *disk) warn(what string, err error) {
	d.mu.Lock()
	due := time.Since(d.warnedAt) > warnPause
	if due {
		d.warnedAt = time.Now()
	}
	d.mu.Unlock()
	if due {
		d.log.Warn(what, "folder", d.dir, "error", err)
	}
}
