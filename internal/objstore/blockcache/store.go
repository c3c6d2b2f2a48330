// Package blockcache keeps blocks of a store's immutable objects in a folder of the local disk, which is bounded in bytes. A block
// that is there is read from there, after its checksum was verified; one that is not is read from the store, once however many ask
// for it. The folder may vanish, fill up, or go bad at any time: then reads go to the store.
package blockcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/tarn-db/tarn/internal/objstore"
)

const (
	// DefaultBlockBytes is the size of a block; docs/rfcs/2026-11-26-block-cache.md has the measurements.
	DefaultBlockBytes = 256 << 10
	// wholeBlocks is from how many blocks on a read that misses one of them is one request to the store.
	wholeBlocks = 4
	// objectsMax bounds how many objects' sizes and ETags are remembered.
	objectsMax = 1 << 16
)

// Options are those of a cache.
type Options struct {
	Dir        string                // folder, made if it is not there; one process at a time
	Bytes      int64                 // limit of the files in it, as file systems allocate them
	BlockBytes int                   // 0 is DefaultBlockBytes
	Immutable  func(key string) bool // which objects are cached
	ReadOnly   bool                  // use what another process has cached there, if anything, and change nothing; Bytes says nothing then
	Logger     *slog.Logger
}

// Stats are counts since Open, and what is held.
type Stats struct {
	Hits      int64 // blocks read from the folder
	Misses    int64 // blocks read from the store
	Evictions int64 // blocks removed to make room
	Damaged   int64 // blocks whose checksum was wrong
	Errors    int64 // of the disk
	Bytes     int64 // in the folder
	Limit     int64 // bytes
}

// Store is a Store whose immutable objects are read through a cache. What is written goes to the store alone. objstore.Copy to it reads
// and writes: copy within the store below.
//
// An object's size and ETag are asked for once; they are part of its blocks' identity, so that blocks of an object that was replaced
// while this process did not run are not found. Invariant: while it runs, nobody else replaces an immutable object; replacing
// or deleting one through this store drops what is cached of it.
type Store struct {
	objstore.Store
	immutable  func(string) bool
	blockBytes int64
	disk       *disk
	flights    singleflight.Group
	objects    *lru.Cache[string, objstore.ObjectInfo]

	running context.Context // ends with Close
	stop    context.CancelFunc

	mu      sync.Mutex
	changes uint64 // immutable objects written or deleted so far
	closed  bool
	wg      sync.WaitGroup // reads and flights; Add under mu
}

// Open lays a cache over a store. Closing it does not close the store. An error says that the folder cannot be used; ErrInUse that
// another process does.
func Open(s objstore.Store, o Options) (*Store, error) {
	if o.BlockBytes == 0 {
		o.BlockBytes = DefaultBlockBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	objects, err := lru.New[string, objstore.ObjectInfo](objectsMax)
	if err != nil {
		return nil, err
	}
	d, err := openDisk(o)
	if err != nil {
		return nil, fmt.Errorf("cache %s: %w", o.Dir, err)
	}
	c := &Store{Store: s, immutable: o.Immutable, blockBytes: int64(o.BlockBytes), disk: d, objects: objects}
	c.running, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// Stats may be called at any time.
func (c *Store) Stats() Stats {
	d := c.disk
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	return Stats{
		Hits: d.hits.Load(), Misses: d.misses.Load(), Evictions: d.evictions.Load(), Damaged: d.damaged.Load(), Errors: d.errors.Load(),
		Bytes: held, Limit: d.limit,
	}
}

// Close ends requests for blocks that are under way and gives the folder up. Reads after it go to the store.
func (c *Store) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	c.stop() // what was asked for is asked for again, past the cache
	c.wg.Wait()
	if was {
		return nil
	}
	return c.disk.close()
}

// enter holds Close back until leave; false once it was called.
func (c *Store) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.wg.Add(1)
	}
	return !c.closed
}

func (c *Store) leave() { c.wg.Done() }

// Get reads a whole object.
func (c *Store) Get(ctx context.Context, key string) ([]byte, objstore.ObjectInfo, error) {
	if !c.immutable(key) {
		return c.Store.Get(ctx, key)
	}
	info, err := c.object(ctx, key)
	if err != nil {
		return nil, objstore.ObjectInfo{}, err
	}
	data, err := c.read(ctx, info, 0, info.Size)
	if errors.Is(err, errPass) {
		return c.Store.Get(ctx, key)
	}
	return data, info, err
}

// GetRange reads n bytes from off.
func (c *Store) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if !c.immutable(key) || off < 0 {
		return c.Store.GetRange(ctx, key, off, n)
	}
	info, err := c.object(ctx, key)
	if err != nil {
		return nil, err
	}
	has := max(0, info.Size-off)
	if n >= 0 {
		has = min(n, has)
	}
	data, err := c.read(ctx, info, off, has)
	if errors.Is(err, errPass) {
		return c.Store.GetRange(ctx, key, off, n)
	}
	return data, err
}

// Put writes or replaces an object.
func (c *Store) Put(ctx context.Context, key string, data []byte) (objstore.ObjectInfo, error) {
	defer c.replace(key)()
	return c.Store.Put(ctx, key, data)
}

// PutStream writes or replaces an object of unknown size.
func (c *Store) PutStream(ctx context.Context, key string, r io.Reader) (objstore.ObjectInfo, error) {
	defer c.replace(key)()
	return c.Store.PutStream(ctx, key, r)
}

// PutIfAbsent writes only if no object has that key.
func (c *Store) PutIfAbsent(ctx context.Context, key string, data []byte) (objstore.ObjectInfo, error) {
	defer c.replace(key)()
	return c.Store.PutIfAbsent(ctx, key, data)
}

// PutIfMatch replaces only if the current ETag is etag.
func (c *Store) PutIfMatch(ctx context.Context, key string, data []byte, etag string) (objstore.ObjectInfo, error) {
	defer c.replace(key)()
	return c.Store.PutIfMatch(ctx, key, data, etag)
}

// Delete removes an object and what is cached of it.
func (c *Store) Delete(ctx context.Context, key string) error {
	defer c.replace(key)()
	return c.Store.Delete(ctx, key)
}

// replace forgets an immutable object before it is written or deleted, and again after: a write that failed may have happened.
// Blocks of an object that nobody has asked for in this process are not known by name; they are the first that room is made of.
func (c *Store) replace(key string) (after func()) {
	if !c.immutable(key) {
		return func() {}
	}
	c.forget(key)
	return func() { c.forget(key) }
}

func (c *Store) forget(key string) {
	c.mu.Lock()
	c.changes++
	info, ok := c.objects.Peek(key)
	c.objects.Remove(key)
	c.mu.Unlock()
	if !ok {
		return
	}
	for b := int64(0); b*c.blockBytes < info.Size; b++ {
		c.disk.drop(newBlockID(key, info.ETag, b))
	}
}
