package catalog

import (
	"context"
	"slices"
	"time"

	"github.com/tarn-db/tarn/materialize/lake"
	"golang.org/x/sync/errgroup"
)

// companionSuffixes are those of objects that live and die with the object named before them: TID sets.
var companionSuffixes = [...]string{".tids"}

// startMaintenance starts the one background goroutine, once.
func (c *Catalog) startMaintenance() {
	if c.opts.MaintainEvery < 0 {
		return
	}
	c.background.start.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		c.background.cancel = cancel
		c.background.done.Add(1)
		go func() {
			defer c.background.done.Done()
			c.maintain(ctx)
		}()
	})
}

func (c *Catalog) maintain(ctx context.Context) {
	tick := time.NewTicker(c.opts.MaintainEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.background.wake:
		}
		if err := c.Maintain(ctx); err != nil && ctx.Err() == nil {
			c.opts.Logger.Warn("catalog maintenance failed; it will be tried again", "error", err)
		}
	}
}

// wakeMaintenance asks for a round when a checkpoint is due. The caller holds writeMu.
func (c *Catalog) wakeMaintenance() {
	if len(c.writer.entries) < c.opts.CheckpointEvery {
		return
	}
	select {
	case c.background.wake <- struct{}{}:
	default:
	}
}

// Maintain does one round of what publishing leaves behind: a checkpoint if one is due, removal of files nobody can
// need any more, of dropped tables, of branches that are no more, and once per process of what crashed writers left. Nothing
// is removed while the lake of a branch is being made. It does nothing on a node that does not write. It never blocks a publication for longer than copying lists in memory.
func (c *Catalog) Maintain(ctx context.Context) (err error) {
	c.maintainMu.Lock()
	defer c.maintainMu.Unlock()
	began := time.Now()
	defer func() { c.upkeep.round(began, err) }()
	now := c.opts.Now()
	c.mu.Lock()
	c.state.trim(now.Add(-c.opts.Grace), true)
	c.mu.Unlock()
	steps := []func(context.Context, time.Time) error{c.checkpoint, c.removeGarbage, c.removeDropped, c.removeReleased, c.sweepOrphans}
	if c.branches.making > 0 {
		steps = steps[:1]
	}
	for _, step := range steps {
		if err := step(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

// checkpoint makes opening cheap again when enough entries have come since the last one.
func (c *Catalog) checkpoint(ctx context.Context, now time.Time) error {
	c.writeMu.Lock()
	w := c.writer
	if w == nil || len(w.entries) < c.opts.CheckpointEvery {
		c.writeMu.Unlock()
		return nil
	}
	entries := slices.Clone(w.entries)
	refs := slices.Clone(w.segments)
	c.mu.RLock()
	cp := c.state.checkpoint()
	c.mu.RUnlock()
	c.writeMu.Unlock()

	ref, err := c.log.WriteSegment(ctx, entries)
	if err != nil {
		return err
	}
	// A segment is history until the entry that superseded its last one is the grace time old.
	cutoff := now.Add(-c.opts.Grace)
	refs = append(refs, ref)
	for len(refs) > 1 && refs[0].Time.Before(cutoff) && refs[1].Time.Before(cutoff) {
		refs = refs[1:]
	}
	cp.Segments = refs
	if err := c.log.WriteCheckpoint(ctx, cp); err != nil {
		return err
	}
	c.writeMu.Lock()
	w.entries = slices.Clone(w.entries[len(entries):])
	w.segments = refs
	c.writeMu.Unlock()
	return c.log.Trim(ctx)
}

// removeGarbage removes what superseded metadata alone needed. What fails is tried again in the next round.
func (c *Catalog) removeGarbage(ctx context.Context, now time.Time) error {
	for {
		b, ok := c.garbage.due(now.Add(-c.opts.Grace))
		if !ok {
			return nil
		}
		keys := b.keys.list()
		for _, later := range b.later {
			more, err := later.get(ctx)
			if err != nil {
				return err
			}
			keys = append(keys, more...)
		}
		n, err := c.removeKeys(ctx, keys)
		if err != nil {
			return err
		}
		c.upkeep.removed(n, 0)
		c.garbage.done()
	}
}

// removeKeys removes objects but those that a branch's lake needs, and says how many there were.
func (c *Catalog) removeKeys(ctx context.Context, keys []string) (int, error) {
	keys = c.branches.without(keys)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, c.opts.Workers/2))
	for _, key := range keys {
		g.Go(func() error { return c.opts.Store.Delete(ctx, key) })
		if isMetadataObject(key) {
			continue
		}
		for _, suffix := range companionSuffixes {
			g.Go(func() error { return c.opts.Store.Delete(ctx, key+suffix) })
		}
	}
	return len(keys), g.Wait()
}

// removeDropped removes everything under the roots of tables dropped for longer than the grace time.
func (c *Catalog) removeDropped(ctx context.Context, now time.Time) error {
	c.writeMu.Lock()
	writing := c.writer != nil
	c.writeMu.Unlock()
	if !writing {
		return nil
	}
	var due []lake.TableID
	c.mu.RLock()
	for id, t := range c.state.tables {
		if t.rec.Dropped && t.rec.DroppedAt.Before(now.Add(-c.opts.Grace)) {
			due = append(due, id)
		}
	}
	c.mu.RUnlock()
	for _, id := range due {
		keys, err := c.keysUnder(ctx, id.Root()+"/")
		if err != nil {
			return err
		}
		n, err := c.removeKeys(ctx, keys)
		if err != nil {
			return err
		}
		c.upkeep.removed(n, 0)
		c.mu.Lock()
		c.state.forget(id)
		c.mu.Unlock()
	}
	return nil
}
