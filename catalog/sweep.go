package catalog

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/lake"
)

// clockSlack is the coarseness of the times stores give objects.
const clockSlack = 2 * time.Second

// isMetadataObject says that an object has no companion: it is of a table's metadata, or of the lists beside its data. Folders of
// partitions may be named as their values are, so only whole names count.
func isMetadataObject(key string) bool {
	return strings.Contains(key, "/metadata/") || strings.Contains(key, "/_spark_metadata/") || strings.Contains(key, "/_symlink_format_manifest/")
}

func (c *Catalog) keysUnder(ctx context.Context, prefix string) ([]string, error) {
	var keys []string
	err := c.opts.Store.List(ctx, prefix, func(o objstore.ObjectInfo) error {
		keys = append(keys, o.Key)
		return nil
	})
	return keys, err
}

// sweepOrphans removes, once per epoch, what fenced writers left under the tables' roots and in no publication: objects
// of publications that never happened, and garbage whose writer ended before it was due.
//
// It waits for the grace time after Begin, so that every metadata.json that may still be read was either written by this
// process or is a table's newest. Only objects older than this writer's epoch entry are touched, by the store's own
// clock: nothing of a publication that is just being made is. Signposts are all younger, for Begin puts them anew; older ones
// are of versions that passed, or of tables that are to have none any more.
func (c *Catalog) sweepOrphans(ctx context.Context, now time.Time) error {
	c.writeMu.Lock()
	w := c.writer
	if w == nil || w.swept || now.Sub(w.begun) < c.opts.Grace {
		c.writeMu.Unlock()
		return nil
	}
	before := w.epochAt.Add(-clockSlack)
	c.writeMu.Unlock()

	roots := c.roots()
	var root string
	var old []string // objects under root
	flush := func() error {
		defer func() { old = old[:0] }()
		if root == "" || len(old) == 0 {
			return nil
		}
		return c.sweepTable(ctx, root, roots, old)
	}
	err := c.opts.Store.List(ctx, "lake/", func(o objstore.ObjectInfo) error {
		if r := rootOf(o.Key); r != root {
			if err := flush(); err != nil {
				return err
			}
			root = r
		}
		if o.ModTime.Before(before) {
			old = append(old, o.Key)
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err == nil {
		err = c.sweepStates(ctx, before)
	}
	if err == nil {
		c.writeMu.Lock()
		w.swept = true
		c.writeMu.Unlock()
	}
	return err
}

// rootOf is the table root a key lies under, "" if none: lake/<db>/<rel>-<incarnation>.
func rootOf(key string) string {
	parts := strings.SplitN(key, "/", 4)
	if len(parts) < 4 {
		return ""
	}
	return strings.Join(parts[:3], "/")
}

// roots maps the roots of all tables, dropped ones included.
func (c *Catalog) roots() map[string]lake.TableID {
	c.mu.RLock()
	defer c.mu.RUnlock()
	roots := make(map[string]lake.TableID, len(c.state.tables))
	for id := range c.state.tables {
		roots[id.Root()] = id
	}
	return roots
}

// sweepTable removes those of a root's old objects that its table does not refer to. Objects that wait for their own
// time of removal stay.
func (c *Catalog) sweepTable(ctx context.Context, root string, roots map[string]lake.TableID, old []string) error {
	refs := map[string]bool{}
	if id, known := roots[root]; known {
		c.writeMu.Lock()
		if c.writer == nil || c.writer.tables[id] == nil || c.writer.tables[id].Damaged() {
			c.writeMu.Unlock()
			return nil // dropped, no longer ours, or of unknown files
		}
		r := c.writer.tables[id].References()
		c.writeMu.Unlock()
		var err error
		if refs, err = r.Resolve(ctx); err != nil {
			return err
		}
	}
	orphans := without(old, refs)
	if len(orphans) == 0 {
		return nil
	}
	// Asked after the references were noted: what a commit forgets meanwhile is in one or the other.
	waiting, known, err := c.garbage.waiting(ctx)
	if err != nil || !known {
		return err
	}
	orphans = c.branches.without(without(orphans, waiting))
	if len(orphans) > 0 {
		c.opts.Logger.Info("removing what an earlier writer left behind", "table", root, "objects", len(orphans))
	}
	return c.removeOrphans(ctx, orphans)
}

// without are the keys that are not in a set, neither themselves nor what they live and die with.
func without(keys []string, set map[string]bool) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return set[key] || set[companionOf(key)] })
}

// companionOf is the object that key lives and dies with, or key itself.
func companionOf(key string) string {
	for _, suffix := range companionSuffixes {
		if owner, ok := strings.CutSuffix(key, suffix); ok {
			return owner
		}
	}
	return key
}

// sweepStates removes old state objects that the head does not name.
func (c *Catalog) sweepStates(ctx context.Context, before time.Time) error {
	refs := map[string]bool{}
	note := func(b *journal.Blob) {
		if b != nil {
			refs[b.Key] = true
		}
	}
	c.mu.RLock()
	note(c.state.blob)
	for _, t := range c.state.tables {
		note(t.rec.State)
	}
	c.mu.RUnlock()
	var orphans []string
	err := c.opts.Store.List(ctx, journal.StatePrefix, func(o objstore.ObjectInfo) error {
		if !refs[o.Key] && o.ModTime.Before(before) {
			orphans = append(orphans, o.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.removeOrphans(ctx, orphans)
}

func (c *Catalog) removeOrphans(ctx context.Context, keys []string) error {
	n, err := c.removeKeys(ctx, keys)
	if err == nil {
		c.upkeep.removed(0, n)
	}
	return err
}

// waiting holds every key that waits for its time, those too that only the store can tell: files of snapshots committed
// before this process began look like nobody's once the newest metadata has forgotten them, and the one before may still
// be read. known is false if some are not remembered: then none may be taken for an orphan.
func (g *garbage) waiting(ctx context.Context) (keys map[string]bool, known bool, err error) {
	g.mu.Lock()
	batches := slices.Clone(g.batches)
	known = !g.lost
	g.mu.Unlock()
	keys = map[string]bool{}
	for _, b := range batches {
		for _, key := range b.keys.list() {
			keys[key] = true
		}
		for _, later := range b.later {
			more, err := later.get(ctx)
			if err != nil {
				return nil, known, err
			}
			for _, key := range more {
				keys[key] = true
			}
		}
	}
	return keys, known, nil
}
