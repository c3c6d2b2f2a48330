package table

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
)

// writer rewrites the manifests of one commit.
type writer struct {
	commit  *Commit
	nonce   uuid.UUID
	stamp   stamp
	written int // manifests so far
	kept    int
	// replaced manifests were read again and written into others.
	replaced int
	entries  int
	data     tally
	deletes  tally
}

// tally counts one content's changes.
type tally struct {
	added, removed           int64 // files
	addedRows, removedRows   int64
	addedBytes, removedBytes int64

	addedVectors, removedVectors int64 // of added and removed
}

// rewrite makes the manifests of one content: those that lose a file and, if a file comes, the one that is not sealed
// are written anew; the others stay as they are.
func (w *writer) rewrite(ctx context.Context, ch change) error {
	bySpec := map[int][]entry{}
	for _, m := range w.commit.table.manifests {
		if m.content == ch.content {
			bySpec[m.specID()] = nil
		}
	}
	for _, e := range ch.add {
		bySpec[e.partition.SpecID] = append(bySpec[e.partition.SpecID], e)
	}
	for _, id := range slices.Sorted(maps.Keys(bySpec)) {
		if err := w.rewriteSpec(ctx, id, change{content: ch.content, add: bySpec[id], remove: ch.remove}); err != nil {
			return err
		}
	}
	return nil
}

// rewriteSpec is rewrite of one partition spec: a manifest has the files of one.
func (w *writer) rewriteSpec(ctx context.Context, specID int, ch change) error {
	c := w.commit
	var existing, deleted []entry
	for _, m := range c.table.manifests {
		if m.content != ch.content || m.specID() != specID || len(m.entries) == 0 {
			continue
		}
		if !m.loses(ch.remove) && (len(ch.add) == 0 || m.sealed()) {
			c.manifests = append(c.manifests, m)
			w.kept++
			continue
		}
		w.replaced++
		entries, err := c.table.loadedEntries(ctx, m)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if ch.remove[e.id()] {
				deleted = append(deleted, e)
			} else {
				existing = append(existing, e)
			}
		}
	}
	w.count(ch, deleted)
	if c.renewed {
		deleted = nil // their spec is gone
	}
	plans := pack(existing, ch.add, deleted)
	for i := range plans {
		key := fmt.Sprintf("%s/metadata/%s-m%d.avro", c.table.id.Root(), w.nonce, w.written)
		m, b, err := plans[i].encode(w.stamp, ch.content, specID, key, c.table.store.URL(key))
		if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		w.written++
		w.entries += plans[i].entries()
		c.manifests = append(c.manifests, m)
		c.Objects = append(c.Objects, Object{Key: key, Data: b})
	}
	return nil
}

// count keeps totals and tallies.
func (w *writer) count(ch change, deleted []entry) {
	c, n := w.commit, &w.data
	if ch.content == iceberg.ManifestContentDeletes {
		n = &w.deletes
	}
	for _, e := range ch.add {
		n.added, n.addedRows, n.addedBytes = n.added+1, n.addedRows+e.rows, n.addedBytes+e.bytes
		if e.vector != nil {
			n.addedVectors++
		}
		c.totals.add(ch.content, e, 1)
	}
	for _, e := range deleted {
		n.removed, n.removedRows, n.removedBytes = n.removed+1, n.removedRows+e.rows, n.removedBytes+e.bytes
		if e.vector != nil {
			n.removedVectors++
		}
		c.totals.add(ch.content, e, -1)
	}
	c.removed = append(c.removed, deleted...)
}

func (m *manifest) specID() int { return int(m.file.PartitionSpecID()) }

func (m *manifest) loses(remove map[string]bool) bool {
	if len(remove) == 0 {
		return false
	}
	for _, e := range m.entries {
		if remove[e.id()] {
			return true
		}
	}
	return false
}

// loadedEntries are m's live entries with their statistics.
func (t *Table) loadedEntries(ctx context.Context, m *manifest) ([]entry, error) {
	if m.loaded() {
		return m.entries, nil
	}
	full, err := t.loadManifest(ctx, m.file)
	if err != nil {
		return nil, err
	}
	return full.entries, nil
}
