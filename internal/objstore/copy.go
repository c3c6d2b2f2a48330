package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// copier is a Store that can take an object of another one without its bytes passing through this process.
type copier interface {
	// copyFrom writes or replaces to by what from has in src, as Put does. errCannotCopy: not from that store, or not that object.
	copyFrom(ctx context.Context, src Store, from, to string) (ObjectInfo, error)
}

// errCannotCopy: the bytes have to be read and written.
var errCannotCopy = errors.New("the store cannot copy from that one")

// Copy writes or replaces dst's object to by src's object from. streamed says that its bytes passed through this process:
// within one S3 service the service copies, up to 5 GiB, and from directory to directory the kernel, which shares blocks where
// the file system can. The two objects have nothing to do with each other afterwards. Durability is that of Put.
func Copy(ctx context.Context, src Store, from string, dst Store, to string) (info ObjectInfo, streamed bool, err error) {
	if c, ok := dst.(copier); ok {
		if info, err = c.copyFrom(ctx, src, from, to); !errors.Is(err, errCannotCopy) {
			return info, false, err
		}
	}
	head, err := src.Head(ctx, from)
	if err != nil {
		return ObjectInfo{}, false, err
	}
	info, err = dst.PutStream(ctx, to, &objectReader{ctx: ctx, store: src, key: from, size: head.Size})
	return info, true, err
}

// objectReader reads an object from its beginning, readAhead bytes at a time.
type objectReader struct {
	ctx   context.Context
	store Store
	key   string
	size  int64
	at    int64 // next to be read from the store
	have  bytes.Reader
}

// readAhead is what a copy holds of an object, beside what the writer does.
const readAhead = 8 << 20

func (r *objectReader) Read(p []byte) (int, error) {
	if r.have.Len() == 0 {
		if r.at == r.size {
			return 0, io.EOF
		}
		b, err := r.store.GetRange(r.ctx, r.key, r.at, min(readAhead, r.size-r.at))
		if err != nil {
			return 0, err
		}
		if len(b) == 0 {
			return 0, fmt.Errorf("%s: it ends at %d of %d bytes", r.key, r.at, r.size)
		}
		r.at += int64(len(b))
		r.have.Reset(b)
	}
	return r.have.Read(p)
}

// copyFrom has the kernel copy a file.
func (d *Dir) copyFrom(ctx context.Context, src Store, from, to string) (ObjectInfo, error) {
	other, ok := src.(*Dir)
	if !ok {
		return ObjectInfo{}, errCannotCopy
	}
	f, _, err := other.open(ctx, from)
	if err != nil {
		return ObjectInfo{}, err
	}
	defer f.Close()
	return d.PutStream(ctx, to, f)
}

func (f *Faulty) copyFrom(ctx context.Context, src Store, from, to string) (ObjectInfo, error) {
	inner, ok := f.Store.(copier)
	if !ok {
		return ObjectInfo{}, errCannotCopy
	}
	if wrapped, ok := src.(*Faulty); ok {
		src = wrapped.Store
	}
	return f.do(ctx, OpCopy, to, func() (ObjectInfo, error) { return inner.copyFrom(ctx, src, from, to) })
}

func (m *Mem) copyFrom(ctx context.Context, src Store, from, to string) (ObjectInfo, error) {
	other, ok := src.(*Mem)
	if !ok {
		return ObjectInfo{}, errCannotCopy
	}
	o, err := other.find(ctx, from)
	if err != nil {
		return ObjectInfo{}, err
	}
	return m.put(ctx, to, o.data, nil)
}
