package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// Trim gives up the segments that end at or before keep: nobody asks for WAL from before there any more. First a base object says that the
// archive begins later, so that a reader who comes too late is told so (ErrNotArchived); what a crash leaves of the objects is deleted
// by the next call. It returns how many objects were deleted. Nothing that is not archived yet is touched, and uploads go on beside it.
func (a *Archive) Trim(ctx context.Context, keep pg.LSN) (deleted int, err error) {
	if deleted, err = a.trim(ctx, keep); err != nil {
		return deleted, fmt.Errorf("WAL archive: giving up what lies before %s: %w", keep, err)
	}
	return deleted, nil
}

func (a *Archive) trim(ctx context.Context, keep pg.LSN) (int, error) {
	if err := a.moveBase(ctx, keep); err != nil {
		return 0, err
	}
	a.mu.Lock()
	base, line, seq := a.base, a.history.Line(), a.seq
	a.mu.Unlock()
	var gone []string
	for _, tli := range line {
		err := a.store.List(ctx, timelinePrefix(tli), func(o objstore.ObjectInfo) error {
			start, end, _, ok := parseKey(o.Key, tli, base.SegmentSize)
			switch {
			case ok && start >= base.LSN:
				return errTrimmed // keys come in order
			case ok && end <= base.LSN:
				gone = append(gone, o.Key)
			}
			return nil
		})
		if err != nil && !errors.Is(err, errTrimmed) {
			return 0, err
		}
	}
	err := a.store.List(ctx, basePrefix, func(o objstore.ObjectInfo) error {
		if n, ok := parseHex16(strings.TrimPrefix(o.Key, basePrefix)); ok && n < seq {
			gone = append(gone, o.Key)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(deletesMax)
	for _, k := range gone {
		g.Go(func() error { return a.store.Delete(ctx, k) })
	}
	return len(gone), g.Wait()
}

// errTrimmed ends a listing: what follows is kept.
var errTrimmed = errors.New("the rest is kept")

// moveBase lets the archive begin at keep's segment. When it returns nil that is durable.
//
// Invariant: no object at or behind Base().LSN is ever deleted as trimmed, and Base().LSN only rises, until the next Begin.
func (a *Archive) moveBase(ctx context.Context, keep pg.LSN) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.base.SegmentSize == 0 {
		return ErrNoBase
	}
	b := a.base
	if b.LSN = min(keep, a.ArchivedLSN()).SegmentStart(b.SegmentSize); b.LSN <= a.base.LSN {
		return nil
	}
	obj, key := baseObject(b, []byte(a.text)), baseKey(a.seq+1)
	// If absent: should another process have gone over to a new timeline meanwhile, its base stands.
	if _, err := a.store.PutIfAbsent(ctx, key, obj); err != nil {
		there, _, getErr := a.store.Get(ctx, key)
		if getErr != nil || !bytes.Equal(there, obj) { // else it was ours, and the answer was lost
			return err
		}
	}
	a.seq++
	a.base = b
	return nil
}

// trimmed says whether WAL at lsn was given up after this archive was opened, by the process that fills it.
func (a *Archive) trimmed(ctx context.Context, lsn pg.LSN) error {
	b, err := ReadBase(ctx, a.store)
	if err == nil && lsn < b.LSN {
		err = fmt.Errorf("%w: it holds what follows %s by now", ErrNotArchived, b.LSN)
	}
	return err
}
