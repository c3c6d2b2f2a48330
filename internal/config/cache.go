package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Cache is where blocks of the store's layers and WAL are kept on the local disk, and how many.
type Cache struct {
	Dir   string // absolute path; inside DataDir unless it is set
	Bytes Size   // limit of the folder; 0 is no cache
}

const (
	// DefaultCacheBytes is the cache's limit where the store is not on this machine.
	DefaultCacheBytes Size = 1 << 30
	// CacheMin is the least that a cache may have: a few blocks would only push each other out.
	CacheMin Size = 64 << 20
)

// CacheOf reads the section cache alone, with what it depends on, for verbs that need neither a source nor a valid rest. It is zero
// where nothing says in which folder a server's data is.
func CacheOf(o Options) (Cache, error) {
	c, err := Only(o, "store", "data_dir", "cache.dir", "cache.bytes")
	if err != nil || c.DataDir == "" && c.Cache.Dir == "" {
		return Cache{}, err
	}
	err = c.checkCache()
	return c.Cache, err
}

// checkCache fills in what depends on the store: a folder needs no copy of its files in another folder.
func (c *Config) checkCache() error {
	if _, ok := c.origins["cache.bytes"]; !ok {
		if c.Cache.Bytes = 0; strings.HasPrefix(c.Store, "s3:") {
			c.Cache.Bytes = DefaultCacheBytes
		}
		c.texts["cache.bytes"] = c.Cache.Bytes.String()
	}
	if b := c.Cache.Bytes; b != 0 && b < CacheMin {
		return c.bad("cache.bytes", fmt.Sprintf("cache.bytes is %s", b), fmt.Sprintf("write at least %s, or 0 for no cache", CacheMin))
	}
	if c.Cache.Dir == "" {
		c.Cache.Dir = filepath.Join(c.DataDir, "cache")
	}
	abs, err := filepath.Abs(c.Cache.Dir)
	if err != nil {
		return c.bad("cache.dir", fmt.Sprintf("cache.dir %q has no absolute path (%v)", c.Cache.Dir, err), "write one that starts with /")
	}
	c.Cache.Dir, c.texts["cache.dir"] = abs, abs
	return nil
}
