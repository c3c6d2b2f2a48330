package objstore

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Mem is a Store in memory. Copies of what is put are kept, and copies are handed out.
type Mem struct {
	mu      sync.Mutex
	objects map[string]memObject
	version uint64
}

type memObject struct {
	data []byte
	etag string
	time time.Time
}

// NewMem returns an empty store.
func NewMem() *Mem { return &Mem{objects: map[string]memObject{}} }

// Clone returns a store with the same objects and ETags, as a crash at this moment would leave it.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Mem{objects: maps.Clone(m.objects), version: m.version}
}

func (o memObject) info(key string) ObjectInfo {
	return ObjectInfo{Key: key, Size: int64(len(o.data)), ETag: o.etag, ModTime: o.time}
}

func (m *Mem) find(ctx context.Context, key string) (memObject, error) {
	if err := ctx.Err(); err != nil {
		return memObject{}, err
	}
	if err := checkKey(key); err != nil {
		return memObject{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return memObject{}, notFound(key)
	}
	return o, nil
}

func (m *Mem) Get(ctx context.Context, key string) ([]byte, ObjectInfo, error) {
	o, err := m.find(ctx, key)
	if err != nil {
		return nil, ObjectInfo{}, err
	}
	return bytes.Clone(o.data), o.info(key), nil
}

func (m *Mem) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	o, err := m.find(ctx, key)
	if err != nil {
		return nil, err
	}
	if n, err = clipRange(key, int64(len(o.data)), off, n); err != nil || n == 0 {
		return nil, err
	}
	return bytes.Clone(o.data[off : off+n]), nil
}

func (m *Mem) Head(ctx context.Context, key string) (ObjectInfo, error) {
	o, err := m.find(ctx, key)
	if err != nil {
		return ObjectInfo{}, err
	}
	return o.info(key), nil
}

// put stores data if check agrees about the object that is there.
func (m *Mem) put(ctx context.Context, key string, data []byte, check func(old memObject, exists bool) error) (ObjectInfo, error) {
	if err := ctx.Err(); err != nil {
		return ObjectInfo{}, err
	}
	if err := checkKey(key); err != nil {
		return ObjectInfo{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, exists := m.objects[key]
	if check != nil {
		if err := check(old, exists); err != nil {
			return ObjectInfo{}, err
		}
	}
	m.version++
	o := memObject{data: bytes.Clone(data), etag: strconv.FormatUint(m.version, 16), time: time.Now()}
	m.objects[key] = o
	return o.info(key), nil
}

func (m *Mem) Put(ctx context.Context, key string, data []byte) (ObjectInfo, error) {
	return m.put(ctx, key, data, nil)
}

func (m *Mem) PutStream(ctx context.Context, key string, r io.Reader) (ObjectInfo, error) {
	data, err := io.ReadAll(contextReader{ctx, r})
	if err != nil {
		return ObjectInfo{}, err
	}
	return m.put(ctx, key, data, nil)
}

func (m *Mem) PutIfAbsent(ctx context.Context, key string, data []byte) (ObjectInfo, error) {
	return m.put(ctx, key, data, func(_ memObject, exists bool) error {
		if exists {
			return precondition(key, "the object exists")
		}
		return nil
	})
}

func (m *Mem) PutIfMatch(ctx context.Context, key string, data []byte, etag string) (ObjectInfo, error) {
	return m.put(ctx, key, data, func(old memObject, exists bool) error {
		switch {
		case !exists:
			return precondition(key, "the object does not exist")
		case old.etag != etag:
			return precondition(key, "the object is another version")
		}
		return nil
	})
}

func (m *Mem) List(ctx context.Context, prefix string, fn func(ObjectInfo) error) error {
	m.mu.Lock()
	var found []ObjectInfo
	for key, o := range m.objects {
		if strings.HasPrefix(key, prefix) {
			found = append(found, o.info(key))
		}
	}
	m.mu.Unlock()
	slices.SortFunc(found, func(a, b ObjectInfo) int { return strings.Compare(a.Key, b.Key) })
	for _, info := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mem) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	return nil
}

func (m *Mem) URL(key string) string { return "mem:///" + key }

func (m *Mem) Key(url string) (string, bool) {
	key, ok := strings.CutPrefix(url, "mem:///")
	return key, ok && checkKey(key) == nil
}

func (m *Mem) Close() error { return nil }
