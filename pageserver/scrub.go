package pageserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/scrub"
)

// Scrub checks the objects of the store's timelines against their index: each that is named is there in its length, states and the
// indexes of layers can be read; with deep all pages, by their checksums. A process may write meanwhile.
func Scrub(ctx context.Context, store objstore.Store, deep bool, rep *scrub.Report) error {
	o := Options{Store: store}
	if err := o.check(); err != nil {
		return err
	}
	began := time.Now()
	there := map[string]objstore.ObjectInfo{} // by name
	err := store.List(ctx, "timelines/", func(info objstore.ObjectInfo) error {
		rep.Saw(info)
		there[info.Key] = info
		return nil
	})
	if err != nil {
		return err
	}
	s := scrubber{
		authority: authority{store: store, object: o.prefix() + indexName}, prefix: o.prefix(), there: there, rep: rep,
		reader: &reader{store: store, prefix: o.prefix(), cache: newCache(0)}, deep: deep,
	}
	switch err := s.authority.load(ctx); {
	case errors.Is(err, ErrNoTimeline) && len(there) == 0:
		return nil
	case errors.Is(err, ErrNoTimeline):
		rep.Add(scrub.Lost, s.authority.object, "there are objects of pages and no index of them")
		return nil
	case errors.Is(err, pg.ErrCorrupt):
		rep.Add(scrub.Damaged, s.authority.object, err.Error())
		return nil
	case err != nil:
		return err
	}
	if err := s.named(ctx); err != nil {
		return err
	}
	names := s.authority.named()
	for key, info := range there {
		if name := key[min(len(s.prefix), len(key)):]; key != s.authority.object && (key[:len(key)-len(name)] != s.prefix || !names[name]) {
			rep.Unnamed(info, began)
		}
	}
	return nil
}

// scrubber checks one timeline.
type scrubber struct {
	authority authority
	prefix    string
	there     map[string]objstore.ObjectInfo
	reader    *reader
	deep      bool
	rep       *scrub.Report
	buf       []byte
}

// named checks what the index names.
func (s *scrubber) named(ctx context.Context) error {
	for _, p := range append(s.authority.points, s.authority.index.point) {
		if err := s.object(ctx, p.State, 0, func() error { return s.state(ctx, p) }); err != nil {
			return err
		}
	}
	for _, l := range slices.Concat(s.authority.layers, s.authority.retired, s.authority.deltas) {
		s.rep.Reading()
		if err := s.object(ctx, l.Name, l.Size, func() error { return s.layer(ctx, l) }); err != nil {
			return err
		}
	}
	return nil
}

// object checks that one is there, size bytes long unless that is 0, and then what it holds. An error of that which is not the object's
// ends the scrub.
func (s *scrubber) object(ctx context.Context, name string, size int64, check func() error) error {
	key := s.prefix + name
	info, ok := s.there[key]
	if !ok { // it may have been written since
		var err error
		if info, err = s.authority.store.Head(ctx, key); err != nil && !errors.Is(err, objstore.ErrNotFound) {
			return err
		} else if err != nil {
			return s.lost(ctx, name)
		}
	}
	if size != 0 && info.Size != size {
		s.rep.Add(scrub.Damaged, key, fmt.Sprintf("it has %d bytes, the index says %d", info.Size, size))
		return nil
	}
	err := check()
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return s.lost(ctx, name)
	case errors.Is(err, pg.ErrCorrupt), errors.Is(err, ErrVersion):
		s.rep.Add(scrub.Damaged, key, err.Error())
		return nil
	}
	return err
}

// lost notes that an object is not there, unless the index has let go of it meanwhile.
func (s *scrubber) lost(ctx context.Context, name string) error {
	now := authority{store: s.authority.store, object: s.authority.object}
	if err := now.load(ctx); err != nil {
		return err
	}
	if now.named()[name] {
		s.rep.Add(scrub.Lost, s.prefix+name, "the timeline's index names it and it is not there")
	}
	return nil
}

func (s *scrubber) state(ctx context.Context, p point) error {
	_, err := readState(ctx, s.authority.store, s.prefix, p)
	return err
}

// layer reads a layer's index, and its pages if they are to be.
func (s *scrubber) layer(ctx context.Context, l *layerObject) error {
	x, err := s.reader.index(ctx, l)
	if err != nil || !s.deep {
		return err
	}
	for i := range x.Groups {
		if n := x.Groups[i].RawLength; cap(s.buf) < n {
			s.buf = make([]byte, n)
		}
		if _, err := s.reader.group(ctx, l, x, i, false, s.buf); err != nil {
			return err
		}
	}
	return nil
}
