// Package objstore is the one way to object storage: a directory, a bucket of an S3 service, memory, or a faulty wrapper
// of any of them for tests.
package objstore

import (
	"context"
	"io"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
)

var (
	// ErrNotFound: no object has that key.
	ErrNotFound = fault.New(fault.StoreObjectMissing, "object not found")
	// ErrPrecondition: a conditional put lost, or won earlier without our hearing of it. The caller reads back and
	// compares before it believes either.
	ErrPrecondition = fault.New(fault.StoreConflict, "precondition failed")
)

// ObjectInfo describes a stored object.
type ObjectInfo struct {
	Key     string // relative to the store's root, '/' separated
	Size    int64  // bytes
	ETag    string // opaque version, for PutIfMatch; versions of the same bytes may share one
	ModTime time.Time
}

// Store is what tarn asks of object storage. All methods are safe for concurrent use and return errors that wrap the
// sentinels above and name the key.
//
// Durability: when a put returns nil the object is durable (a directory store has fsynced file and folder) and every
// later Get and List sees it. A put that returns an error may or may not have happened. Objects are never modified in
// place: a reader sees a whole old or a whole new object.
type Store interface {
	// Get reads a whole object.
	Get(ctx context.Context, key string) ([]byte, ObjectInfo, error)
	// GetRange reads n bytes from off; fewer at the object's end; n < 0 reads to the end.
	GetRange(ctx context.Context, key string, off, n int64) ([]byte, error)
	// Head describes an object without reading it.
	Head(ctx context.Context, key string) (ObjectInfo, error)
	// Put writes or replaces an object.
	Put(ctx context.Context, key string, data []byte) (ObjectInfo, error)
	// PutStream writes or replaces an object of unknown size.
	PutStream(ctx context.Context, key string, r io.Reader) (ObjectInfo, error)
	// PutIfAbsent writes only if no object has that key, else ErrPrecondition.
	PutIfAbsent(ctx context.Context, key string, data []byte) (ObjectInfo, error)
	// PutIfMatch replaces only if the current ETag is etag, else ErrPrecondition.
	PutIfMatch(ctx context.Context, key string, data []byte, etag string) (ObjectInfo, error)
	// List calls fn for each object under prefix in key order; an error from fn ends it.
	List(ctx context.Context, prefix string, fn func(ObjectInfo) error) error
	// Delete removes an object; deleting what is not there is no error.
	Delete(ctx context.Context, key string) error
	// URL is the location engines use for key, such as file:///dir/key or s3://bucket/prefix/key.
	URL(key string) string
	// Key is the inverse of URL; ok is false for a location outside this store.
	Key(url string) (key string, ok bool)
	Close() error
}
