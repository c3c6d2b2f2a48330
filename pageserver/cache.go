package pageserver

import (
	"container/list"
	"sync"
)

// indexGroup is the group number under which a layer's index is cached.
const indexGroup = -1

// cacheKey names a part of a layer.
type cacheKey struct {
	layer uint64
	group int
}

type cacheEntry struct {
	key   cacheKey
	value any
	bytes int64
}

// cache holds parts of layers up to a number of bytes, the least recently used go first. It is safe for concurrent use;
// values are not changed by anyone.
type cache struct {
	mu    sync.Mutex
	limit int64 // bytes
	bytes int64
	lru   *list.List // of *cacheEntry, most recently used first
	items map[cacheKey]*list.Element
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, lru: list.New(), items: map[cacheKey]*list.Element{}}
}

func (c *cache) get(k cacheKey) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[k]
	if !ok {
		return nil, false
	}
	c.lru.MoveToFront(e)
	return e.Value.(*cacheEntry).value, true
}

func (c *cache) put(k cacheKey, value any, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.items[k]; ok {
		return
	}
	c.items[k] = c.lru.PushFront(&cacheEntry{k, value, bytes})
	c.bytes += bytes
	// The newest entry stays even if it alone is over the limit: an index must be usable.
	for c.bytes > c.limit && c.lru.Len() > 1 {
		c.remove(c.lru.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	entry := e.Value.(*cacheEntry)
	c.lru.Remove(e)
	delete(c.items, entry.key)
	c.bytes -= entry.bytes
}

// size is the memory the cached values take.
func (c *cache) size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}
