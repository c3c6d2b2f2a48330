package blockcache

import (
	"context"
	"errors"

	"github.com/tarn-db/tarn/internal/objstore"
)

// errPass: the object is not what it was thought to be, or the cache is closed. The store itself is to be asked.
var errPass = errors.New("not through the cache")

// object is an object's description, asked for once.
func (c *Store) object(ctx context.Context, key string) (objstore.ObjectInfo, error) {
	if info, ok := c.objects.Get(key); ok {
		return info, nil
	}
	v, err := c.once(ctx, "object "+key, func(ctx context.Context) (any, error) {
		before := c.changesSoFar()
		info, err := c.Store.Head(ctx, key)
		if err == nil {
			c.mu.Lock()
			if c.changes == before {
				c.objects.Add(key, info)
			}
			c.mu.Unlock()
		}
		return info, err
	})
	if errors.Is(err, errPass) {
		return c.Store.Head(ctx, key)
	}
	if err != nil {
		return objstore.ObjectInfo{}, err
	}
	return v.(objstore.ObjectInfo), nil
}

func (c *Store) changesSoFar() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes
}

// once runs fn for all who ask for the same at the same time. It goes on without those who stop waiting, and ends with Close.
func (c *Store) once(ctx context.Context, what string, fn func(context.Context) (any, error)) (any, error) {
	ch := c.flights.DoChan(what, func() (any, error) {
		if !c.enter() {
			return nil, errPass
		}
		defer c.leave()
		flight, cancel := c.untilClose(context.WithoutCancel(ctx))
		defer cancel()
		v, err := fn(flight)
		if err != nil && c.running.Err() != nil {
			err = errPass
		}
		return v, err
	})
	select {
	case r := <-ch:
		return r.Val, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// untilClose gives a context that ends with Close as well.
func (c *Store) untilClose(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.running, cancel)
	return ctx, func() { stop(); cancel() }
}

// blockSize is the length of an object's block.
func (c *Store) blockSize(o objstore.ObjectInfo, block int64) int64 {
	return min(c.blockBytes, o.Size-block*c.blockBytes)
}

// read gives n bytes at off, which the object has.
func (c *Store) read(ctx context.Context, o objstore.ObjectInfo, off, n int64) ([]byte, error) {
	if n == 0 {
		return nil, ctx.Err()
	}
	if !c.enter() {
		return nil, errPass
	}
	defer c.leave()
	first, last := off/c.blockBytes, (off+n-1)/c.blockBytes
	if last-first >= wholeBlocks && !c.hasAll(o, first, last) {
		return c.readThrough(ctx, o, off, n)
	}
	out := make([]byte, n)
	rest := out
	for block := first; block <= last; block++ {
		at := max(0, off-block*c.blockBytes)
		part := rest[:min(int64(len(rest)), c.blockSize(o, block)-at)]
		if err := c.readBlock(ctx, o, block, int(at), part); err != nil {
			return nil, err
		}
		rest = rest[len(part):]
	}
	return out, nil
}

func (c *Store) hasAll(o objstore.ObjectInfo, first, last int64) bool {
	for block := first; block <= last; block++ {
		if !c.disk.has(newBlockID(o.Key, o.ETag, block)) {
			return false
		}
	}
	return true
}

// readBlock fills dst with what lies at off of a block.
func (c *Store) readBlock(ctx context.Context, o objstore.ObjectInfo, block int64, off int, dst []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	id := newBlockID(o.Key, o.ETag, block)
	if c.disk.read(id, int(c.blockSize(o, block)), off, dst) {
		c.disk.hits.Add(1)
		return nil
	}
	v, err := c.once(ctx, string(id[:]), func(ctx context.Context) (any, error) {
		c.disk.misses.Add(1)
		data, err := c.fetch(ctx, o, block*c.blockBytes, c.blockSize(o, block))
		if err == nil {
			c.keep(o, id, data)
		}
		return data, err
	})
	if err != nil {
		return err
	}
	copy(dst, v.([]byte)[off:])
	return nil
}

// readThrough reads a long range in one request and keeps the blocks that are whole in it.
func (c *Store) readThrough(ctx context.Context, o objstore.ObjectInfo, off, n int64) ([]byte, error) {
	request, cancel := c.untilClose(ctx)
	defer cancel()
	data, err := c.fetch(request, o, off, n)
	if err != nil {
		if c.running.Err() != nil {
			err = errPass
		}
		return nil, err
	}
	for block := (off + c.blockBytes - 1) / c.blockBytes; ; block++ {
		from := block*c.blockBytes - off
		size := c.blockSize(o, block)
		if size <= 0 || from+size > n {
			return data, nil
		}
		c.disk.misses.Add(1)
		c.keep(o, newBlockID(o.Key, o.ETag, block), data[from:from+size])
	}
}

// keep writes a block, unless the object was replaced or deleted since it was described: then it may be another one's.
func (c *Store) keep(o objstore.ObjectInfo, id blockID, data []byte) {
	if now, ok := c.objects.Peek(o.Key); ok && now.ETag == o.ETag {
		c.disk.write(id, data)
	}
}

// fetch reads from the store. An object that is gone, or shorter than it was, is forgotten.
func (c *Store) fetch(ctx context.Context, o objstore.ObjectInfo, off, n int64) ([]byte, error) {
	data, err := c.Store.GetRange(ctx, o.Key, off, n)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		c.forget(o.Key)
	case err == nil && int64(len(data)) != n:
		c.forget(o.Key)
		return nil, errPass
	}
	return data, err
}
