package pageserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/layer"
)

// Folders of layers, below the timeline's.
const (
	layersFolder = "layers/"
	deltasFolder = "deltas/"
)

// layerObject is an image layer in the store, or a delta layer.
type layerObject struct {
	Name   string // object key, relative to the timeline's folder
	Size   int64  // bytes
	LSN    pg.LSN
	First  key.Key
	Last   key.Key
	Values uint64

	since pg.LSN // it is part of the timeline at points from here on
	until pg.LSN // and below here; 0: still
	from  pg.LSN // of a delta layer: it leads from here to LSN
	// copied: of a database that was copied by its files, at LSN.
	copied bool
	id     uint64 // of the handle, for the cache
}

// kind is the layer's as the index has it.
func (l *layerObject) kind() layer.Kind {
	if l.from != 0 {
		return layer.Delta
	}
	return layer.Image
}

var layerIDs atomic.Uint64

// layerSet is the layers of a timeline, the newest first. It does not change.
type layerSet []*layerObject

func newLayerSet(layers []*layerObject) *layerSet {
	s := layerSet(slices.Clone(layers))
	slices.SortStableFunc(s, func(a, b *layerObject) int {
		switch {
		case a.LSN > b.LSN:
			return -1
		case a.LSN < b.LSN:
			return 1
		}
		return a.First.Compare(b.First)
	})
	return &s
}

// reader reads layers through a cache of their groups and indexes. It is safe for concurrent use.
type reader struct {
	store  objstore.Store
	prefix string
	cache  *cache
}

// errVanished: a layer was merged into another one and removed while it was being read.
var errVanished = errors.New("layer object is gone")

func (r *reader) read(ctx context.Context, l *layerObject, off, n int64) ([]byte, error) {
	b, err := r.store.GetRange(ctx, r.prefix+l.Name, off, n)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", errVanished, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	if int64(len(b)) != n {
		return nil, &pg.CorruptError{What: fmt.Sprintf("layer %s: %d bytes at %d, want %d", l.Name, len(b), off, n)}
	}
	return b, nil
}

func (r *reader) index(ctx context.Context, l *layerObject) (*layer.Index, error) {
	if x, ok := r.cache.get(cacheKey{l.id, indexGroup}); ok {
		return x.(*layer.Index), nil
	}
	b, err := r.read(ctx, l, l.Size-layer.FooterSize, layer.FooterSize)
	if err != nil {
		return nil, err
	}
	f, err := layer.ParseFooter(b, l.Size)
	if want := l.kind(); err == nil && f.Kind != want {
		err = &pg.CorruptError{What: fmt.Sprintf("it is of kind %d, the index says %d", f.Kind, want)}
	}
	if err == nil && f.LSN != l.LSN {
		err = &pg.CorruptError{What: fmt.Sprintf("it is of LSN %s, the index says %s", f.LSN, l.LSN)}
	}
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.Name, err)
	}
	if b, err = r.read(ctx, l, f.IndexOffset, int64(f.IndexLength)); err != nil {
		return nil, err
	}
	x, err := f.ParseIndex(b)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.Name, err)
	}
	r.cache.put(cacheKey{l.id, indexGroup}, x, x.Bytes)
	return x, nil
}

// group reads group i, from the cache if it is there and into it if keep is set. dst is used for it otherwise.
func (r *reader) group(ctx context.Context, l *layerObject, x *layer.Index, i int, keep bool, dst []byte) (layer.Values, error) {
	ck := cacheKey{l.id, i}
	if v, ok := r.cache.get(ck); ok {
		return v.(layer.Values), nil
	}
	g := &x.Groups[i]
	b, err := r.read(ctx, l, g.Offset, int64(g.Length))
	if err != nil {
		return layer.Values{}, err
	}
	if keep {
		dst = nil
	}
	v, err := g.Decode(b, dst)
	if err != nil {
		return layer.Values{}, fmt.Errorf("layer %s: %w", l.Name, err)
	}
	if keep {
		r.cache.put(ck, v, int64(v.Bytes()))
	}
	return v, nil
}

// get finds the newest value of k in layers that are not below floor, and the layer's LSN. A value that no layer has is not ok.
func (r *reader) get(ctx context.Context, set *layerSet, k key.Key, floor pg.LSN) (value []byte, lsn pg.LSN, ok bool, err error) {
	for _, l := range *set {
		if l.LSN < floor {
			break
		}
		if l.First.Compare(k) > 0 || l.Last.Compare(k) < 0 {
			continue
		}
		if value, ok, err = r.valueIn(ctx, l, k); ok || err != nil {
			return value, l.LSN, ok, err
		}
	}
	return nil, 0, false, nil
}

// valueIn is the layer's value of k.
func (r *reader) valueIn(ctx context.Context, l *layerObject, k key.Key) (value []byte, ok bool, err error) {
	x, err := r.index(ctx, l)
	if err != nil {
		return nil, false, err
	}
	i, has := x.Find(k)
	if !has {
		return nil, false, nil
	}
	v, err := r.group(ctx, l, x, i, true, nil)
	if err != nil {
		return nil, false, err
	}
	value, ok = v.Get(k)
	return value, ok, nil
}

// each calls fn with the newest value of each key from first to last in any layer, in no order. A layer's keys of one
// kind are few enough to be held.
func (r *reader) each(ctx context.Context, set *layerSet, first, last key.Key, fn func(key.Key, []byte, pg.LSN) error) error {
	seen := map[key.Key]bool{}
	for _, l := range *set {
		if l.First.Compare(last) > 0 || l.Last.Compare(first) < 0 {
			continue
		}
		x, err := r.index(ctx, l)
		if err != nil {
			return err
		}
		for i := x.Seek(first); i < len(x.Groups) && x.Groups[i].First.Compare(last) <= 0; i++ {
			v, err := r.group(ctx, l, x, i, false, nil)
			if err != nil {
				return err
			}
			err = v.Each(func(k key.Key, value []byte) error {
				if k.Compare(first) < 0 || k.Compare(last) > 0 || seen[k] {
					return nil
				}
				seen[k] = true
				return fn(k, value, l.LSN)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
