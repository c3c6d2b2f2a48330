package materialize

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/tarn-db/tarn/internal/objstore"
)

// uploadsMax bounds the puts of one cut that are under way at once.
const uploadsMax = 64

// uploads put the objects of one cut beside each other and beside the work that makes them: a store takes many small
// objects in the time of one.
//
// Invariant: at most bytes of objects wait in memory beside those their makers hold. A larger object is put while its
// maker waits.
type uploads struct {
	store objstore.Store
	ctx   context.Context // ends when one of the puts fails, and after wait
	group *errgroup.Group
	room  *semaphore.Weighted
	bytes int64
}

// newUploads begins a cut's uploads. They end with ctx.
func (e *Engine) newUploads(ctx context.Context) *uploads {
	u := &uploads{store: e.opts.Store, bytes: e.fileBytes / 2}
	u.room = semaphore.NewWeighted(u.bytes)
	u.group, u.ctx = errgroup.WithContext(ctx)
	u.group.SetLimit(uploadsMax)
	return u
}

// put begins to put an object, which data belongs to from now on; wait says whether it is durable.
func (u *uploads) put(ctx context.Context, key string, data []byte) error {
	size := int64(len(data))
	if size > u.bytes/2 {
		_, err := u.store.Put(ctx, key, data)
		return err
	}
	if err := u.room.Acquire(ctx, size); err != nil {
		return err
	}
	u.group.Go(func() error {
		defer u.room.Release(size)
		_, err := u.store.Put(u.ctx, key, data)
		return err
	})
	return nil
}

// wait returns nil when everything that was begun is durable. Nothing is begun after it.
func (u *uploads) wait() error { return u.group.Wait() }

// cause waits for what is under way and tells why a cut failed: an upload that fails ends the others and the work beside
// them, whose errors then say no more than that they were ended.
func (u *uploads) cause(err error) error {
	if failed := u.wait(); failed != nil && errors.Is(err, context.Canceled) && !errors.Is(failed, context.Canceled) {
		return failed
	}
	return err
}
