package archive

import (
	"context"
	"fmt"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// Begin starts the archive at a base, at first attach or after a gap; history is the text of its timeline's history file,
// empty of the first. What an earlier run stored at or after the base, which may be another history's, is deleted first;
// what lies before stays. When it returns nil the base is durable.
func (a *Archive) Begin(ctx context.Context, b Base, history []byte) error {
	if b.LSN.SegmentStart(b.SegmentSize) != b.LSN || b.SystemID == 0 || b.Timeline == 0 {
		panic(fmt.Sprintf("BUG: archive begun at %+v", b))
	}
	h, err := pg.ParseHistory(b.Timeline, string(history))
	if err != nil {
		return fmt.Errorf("WAL archive: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(ctx, b, h, history, b.LSN); err != nil {
		return fmt.Errorf("WAL archive: %w", err)
	}
	return nil
}

// Switch goes over to a timeline that continues the base's, whose history file's text is given: WAL before the fork is the
// former timeline's, which must have been archived to there, and ends there whatever of it is in the store. ArchivedLSN
// becomes the fork. When it returns nil the switch is durable; after an error the store holds it or does not, and opening
// the archive again tells. Nothing else may use the archive meanwhile.
func (a *Archive) Switch(ctx context.Context, tli pg.TimelineID, history []byte) error {
	h, err := pg.ParseHistory(tli, string(history))
	if err != nil {
		return fmt.Errorf("WAL archive: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	next, fork, ok := h.Next(a.base.Timeline)
	if !ok || next != tli || !h.Continues(a.history) || a.ArchivedLSN() < fork {
		return fmt.Errorf("WAL archive: timeline %d, forked at %s, does not follow timeline %d archived to %s: %w", tli, fork, a.base.Timeline, a.ArchivedLSN(), ErrNotArchived)
	}
	b := a.base
	b.Timeline = tli
	// For people and for Postgres, which finds its way through a copied archive by it; tarn reads what the base holds. Its own
	// put first: a base never names a timeline that cannot be followed so.
	if _, err := a.store.Put(ctx, historyKey(tli), history); err != nil {
		return fmt.Errorf("WAL archive: %w", err)
	}
	if err := a.begin(ctx, b, h, history, fork); err != nil {
		return fmt.Errorf("WAL archive: %w", err)
	}
	return nil
}

// begin makes b the base, of which everything up to an LSN is archived already. One object is the whole step, so that a crash
// leaves the former base or this one.
func (a *Archive) begin(ctx context.Context, b Base, h pg.History, text []byte, archived pg.LSN) error {
	if err := a.clear(ctx, b, archived.SegmentStart(b.SegmentSize)); err != nil {
		return err
	}
	// One process owns the data folder's log and so this archive; put rather than put-if-absent makes a lost answer harmless.
	if _, err := a.store.Put(ctx, baseKey(a.seq+1), baseObject(b, text)); err != nil {
		return err
	}
	a.seq++
	a.base, a.history, a.text, a.tails = b, h, string(text), map[pg.LSN]int{}
	a.archived.Store(uint64(archived))
	a.changed()
	return nil
}

// baseObject is a base with the text of its timeline's history file.
func baseObject(b Base, history []byte) []byte {
	obj := append(make([]byte, objectHeaderSize, objectHeaderSize+len(history)), history...)
	sealObject(obj, baseMagic, b)
	return obj
}

// clear deletes what the store holds of the base's timeline in the segments from an LSN on: of an attempt that came to
// nothing, or of another history with the same numbers.
func (a *Archive) clear(ctx context.Context, b Base, from pg.LSN) error {
	var stale []string
	err := a.store.List(ctx, timelinePrefix(b.Timeline), func(o objstore.ObjectInfo) error {
		if start, _, _, ok := parseKey(o.Key, b.Timeline, b.SegmentSize); ok && start >= from {
			stale = append(stale, o.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range stale {
		if err := a.store.Delete(ctx, k); err != nil {
			return err
		}
	}
	return nil
}
