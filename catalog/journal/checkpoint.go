package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tarn-db/tarn/internal/objstore"
	"golang.org/x/sync/errgroup"
)

// WriteSegment stores entries once more as one object. They must be consecutive. The state of the whole is left out: only the newest is
// ever asked for.
func (l *Log) WriteSegment(ctx context.Context, entries []Entry) (SegmentRef, error) {
	if len(entries) == 0 {
		panic("BUG: an empty segment")
	}
	last := entries[len(entries)-1]
	ref := SegmentRef{First: entries[0].Seq, Last: last.Seq, Time: last.Time}
	slim := make([]Entry, len(entries))
	for i, e := range entries {
		e.State, e.TableStates = nil, true
		slim[i] = e
	}
	_, err := l.store.Put(ctx, ref.key(), encodePacked(magicSegment, slim))
	return ref, err
}

// ReadSegments returns the entries of the segments in order. Segments that are gone are passed over: they fell out of
// the history while it was read.
func (l *Log) ReadSegments(ctx context.Context, refs []SegmentRef) ([]Entry, error) {
	parts := make([][]Entry, len(refs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, ref := range refs {
		g.Go(func() error {
			b, _, err := l.store.Get(ctx, ref.key())
			if errors.Is(err, objstore.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			return decodePacked(ref.key(), magicSegment, b, &parts[i])
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []Entry
	for _, p := range parts {
		all = append(all, p...)
	}
	return all, nil
}

// WriteCheckpoint makes cp the one that opening starts from. What its segments name must be durable. That another writer
// has written the same checkpoint is no error: the state after an entry is the same whoever writes it.
func (l *Log) WriteCheckpoint(ctx context.Context, cp *Checkpoint) error {
	_, err := l.store.PutIfAbsent(ctx, checkpointKey(cp.Seq), encodePacked(magicCheckpoint, cp))
	if errors.Is(err, objstore.ErrPrecondition) {
		return nil
	}
	return err
}

// Trim removes what opening and history no longer need: all checkpoints but the newest two, the entries the older of
// them includes, and segments neither names. A reader that had begun with something older sees ErrMoved and begins again.
func (l *Log) Trim(ctx context.Context) error {
	seqs, err := l.checkpoints(ctx)
	if err != nil || len(seqs) < 2 {
		return err
	}
	kept := seqs[len(seqs)-2:]
	needed := map[string]bool{}
	for _, seq := range kept {
		cp, err := l.readCheckpoint(ctx, seq)
		if err != nil {
			return err
		}
		for _, ref := range cp.Segments {
			needed[ref.key()] = true
		}
	}
	var gone []string
	for _, seq := range seqs[:len(seqs)-2] {
		gone = append(gone, checkpointKey(seq))
	}
	entries, err := l.list(ctx, logPrefix)
	if err != nil {
		return err
	}
	for _, seq := range entries {
		if seq <= kept[0] {
			gone = append(gone, entryKey(seq))
		}
	}
	err = l.store.List(ctx, segmentPrefix, func(o objstore.ObjectInfo) error {
		_, last, _ := strings.Cut(strings.TrimPrefix(o.Key, segmentPrefix), "-")
		if n, ok := parseSeq(last); ok && n <= kept[0] && !needed[o.Key] {
			gone = append(gone, o.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Lowest first, so that what is left has no gap but at its beginning.
	for _, key := range gone {
		if err := l.store.Delete(ctx, key); err != nil {
			return fmt.Errorf("remove what a checkpoint made superfluous: %w", err)
		}
	}
	return nil
}
