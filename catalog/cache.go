package catalog

import (
	"context"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/tarn-db/tarn/internal/objstore"
)

// metadataCache keeps metadata.json objects by key, up to a sum of bytes. They are immutable.
type metadataCache struct {
	store objstore.Store
	most  int64 // bytes

	mu    sync.Mutex
	bytes int64
	lru   *simplelru.LRU[string, []byte]
}

// metadataCount bounds the number of cached objects beside their bytes.
const metadataCount = 1 << 16

func newMetadataCache(store objstore.Store, most int64) *metadataCache {
	c := &metadataCache{store: store, most: most}
	lru, err := simplelru.NewLRU(metadataCount, func(_ string, b []byte) { c.bytes -= int64(len(b)) })
	if err != nil {
		panic("BUG: cache size: " + err.Error())
	}
	c.lru = lru
	return c
}

func (c *metadataCache) add(key string, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if int64(len(b)) > c.most || c.lru.Contains(key) {
		return
	}
	c.lru.Add(key, b)
	c.bytes += int64(len(b))
	for c.bytes > c.most {
		c.lru.RemoveOldest()
	}
}

func (c *metadataCache) get(ctx context.Context, key string) ([]byte, error) {
	c.mu.Lock()
	b, ok := c.lru.Get(key)
	c.mu.Unlock()
	if ok {
		return b, nil
	}
	b, _, err := c.store.Get(ctx, key)
	if err == nil {
		c.add(key, b)
	}
	return b, err
}
