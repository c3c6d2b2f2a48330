package objstore

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
)

// Overlay is a Store that reads what a base store has and writes to another one: the base is never changed. What was written hides the
// base's object of that key. Conditions of puts and deletes concern only what was written.
type Overlay struct{ base, scratch Store }

// NewOverlay lays scratch over base. Closing the overlay closes neither.
func NewOverlay(base, scratch Store) *Overlay { return &Overlay{base, scratch} }

func (o *Overlay) Get(ctx context.Context, key string) ([]byte, ObjectInfo, error) {
	b, info, err := o.scratch.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return o.base.Get(ctx, key)
	}
	return b, info, err
}

func (o *Overlay) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	b, err := o.scratch.GetRange(ctx, key, off, n)
	if errors.Is(err, ErrNotFound) {
		return o.base.GetRange(ctx, key, off, n)
	}
	return b, err
}

func (o *Overlay) Head(ctx context.Context, key string) (ObjectInfo, error) {
	info, err := o.scratch.Head(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return o.base.Head(ctx, key)
	}
	return info, err
}

func (o *Overlay) Put(ctx context.Context, key string, data []byte) (ObjectInfo, error) {
	return o.scratch.Put(ctx, key, data)
}

func (o *Overlay) PutStream(ctx context.Context, key string, r io.Reader) (ObjectInfo, error) {
	return o.scratch.PutStream(ctx, key, r)
}

func (o *Overlay) PutIfAbsent(ctx context.Context, key string, data []byte) (ObjectInfo, error) {
	return o.scratch.PutIfAbsent(ctx, key, data)
}

func (o *Overlay) PutIfMatch(ctx context.Context, key string, data []byte, etag string) (ObjectInfo, error) {
	return o.scratch.PutIfMatch(ctx, key, data, etag)
}

// List lists both, in key order.
func (o *Overlay) List(ctx context.Context, prefix string, fn func(ObjectInfo) error) error {
	var all []ObjectInfo
	for _, s := range []Store{o.scratch, o.base} {
		if err := s.List(ctx, prefix, func(info ObjectInfo) error { all = append(all, info); return nil }); err != nil {
			return err
		}
	}
	slices.SortStableFunc(all, func(a, b ObjectInfo) int { return strings.Compare(a.Key, b.Key) })
	all = slices.CompactFunc(all, func(a, b ObjectInfo) bool { return a.Key == b.Key })
	for _, info := range all {
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

func (o *Overlay) Delete(ctx context.Context, key string) error { return o.scratch.Delete(ctx, key) }

func (o *Overlay) URL(key string) string { return o.base.URL(key) }

func (o *Overlay) Key(url string) (string, bool) { return o.base.Key(url) }

func (o *Overlay) Close() error { return nil }
