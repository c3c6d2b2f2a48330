package server

import (
	"github.com/tarn-db/tarn/ingest/archive"
	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/objstore/blockcache"
	"github.com/tarn-db/tarn/pageserver"
)

// CachedKey says which objects of the store are cached.
func CachedKey(key string) bool { return pageserver.Immutable(key) || archive.Immutable(key) }

// openCache lays the cache of layers and WAL over the store. A folder that cannot be used costs time and no service.
func (s *Server) openCache() (closeCache func()) {
	s.pageStore = s.store
	if s.cfg.Cache.Bytes == 0 {
		return func() {}
	}
	c, err := blockcache.Open(s.store, blockcache.Options{
		Dir: s.cfg.Cache.Dir, Bytes: int64(s.cfg.Cache.Bytes), Logger: s.log,
		Immutable: CachedKey,
	})
	if err != nil {
		s.log.Warn("layers and WAL are not cached", "error", err)
		return func() {}
	}
	s.cache, s.pageStore = c, c
	return func() {
		if err := c.Close(); err != nil {
			s.log.Warn("the cache's folder cannot be given up", "error", err)
		}
	}
}

// cacheStatus is zero where nothing is cached.
func (s *Server) cacheStatus() admin.Cache {
	if s.cache == nil {
		return admin.Cache{}
	}
	n := s.cache.Stats()
	return admin.Cache{
		Hits: n.Hits, Misses: n.Misses, Evictions: n.Evictions, Damaged: n.Damaged, Errors: n.Errors, Bytes: n.Bytes, LimitBytes: n.Limit,
	}
}
