// Package table keeps one Iceberg table in the object store: metadata.json, manifest lists and manifests (format versions 2
// and 3).
// It commits at a cost that does not grow with the table's history: new entries go to one tail manifest for data and
// one for deletes, rewritten by each commit until full; old snapshots leave in the same commit.
//
// A commit has two halves. Prepare writes every object of it under names of its own, which nothing refers to yet. Once
// the caller's log names the new metadata.json, Adopt makes it the table's state in memory. A commit that is not adopted
// has happened to nobody.
package table

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/lake"
	"golang.org/x/sync/errgroup"
)

// ErrCorrupt is wrapped by every error about a metadata object whose bytes cannot be what tarn wrote.
var ErrCorrupt = journal.ErrCorrupt

// Table is the newest state of a table. It is used by one goroutine at a time.
//
// Invariant: index names exactly the live entries of manifests by their ids, totals are their sums, and vectors counts those that
// are deletion vectors by object.
// Invariant: a table of format version 3 has no position delete files, one of version 2 no deletion vectors.
type Table struct {
	store     objstore.Store
	id        lake.TableID
	name      journal.Metadata // of the newest metadata.json; Version 0: none yet
	meta      metadata
	schema    lake.Schema
	ice       *iceberg.Schema
	manifests []*manifest // those with live entries, and those written by the current snapshot
	index     map[string]*manifest
	vectors   map[string]int
	totals    Totals
	jsonBytes int // of the newest metadata.json
	// damaged: what the newest metadata.json names cannot be read. Only a change that replaces every file moves the table.
	damaged bool
}

// Totals are sums over a table's live files.
type Totals struct {
	DataFiles, DeleteFiles     int64
	Rows, PositionDeletes      int64 // rows of data files, positions in delete files
	DataBytes, DeleteFileBytes int64
}

// LiveRows is how many rows a reader sees, provided that no position is deleted twice.
func (t Totals) LiveRows() int64 { return max(t.Rows-t.PositionDeletes, 0) }

func (t *Totals) add(content iceberg.ManifestContent, e entry, sign int64) {
	if content == iceberg.ManifestContentDeletes {
		t.DeleteFiles, t.PositionDeletes, t.DeleteFileBytes = t.DeleteFiles+sign, t.PositionDeletes+sign*e.rows, t.DeleteFileBytes+sign*e.bytes
		return
	}
	t.DataFiles, t.Rows, t.DataBytes = t.DataFiles+sign, t.Rows+sign*e.rows, t.DataBytes+sign*e.bytes
}

// New is a table that has nothing in the store yet.
func New(store objstore.Store, id lake.TableID, tableUUID string) (*Table, error) {
	if _, err := uuid.Parse(tableUUID); err != nil {
		return nil, fmt.Errorf("table uuid %q: %w", tableUUID, err)
	}
	return &Table{store: store, id: id, meta: newMetadata(tableUUID, store.URL(id.Root())), index: map[string]*manifest{}, vectors: map[string]int{}}, nil
}

// Load reads a table as of one metadata.json: the metadata, the manifest list, then all manifests at once.
func Load(ctx context.Context, store objstore.Store, id lake.TableID, name journal.Metadata) (*Table, error) {
	key := name.Key(id)
	b, _, err := store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	t := &Table{store: store, id: id, name: name, index: map[string]*manifest{}, vectors: map[string]int{}, jsonBytes: len(b)}
	if t.meta, err = parseMetadata(key, b); err != nil {
		return nil, err
	}
	if t.ice, err = t.meta.schema(key); err != nil {
		return nil, err
	}
	if t.schema, err = LakeSchema(t.ice, t.meta.LastColumnID); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, key, err)
	}
	if s := t.meta.current(); s != nil {
		if t.manifests, err = t.loadManifests(ctx, s); err != nil {
			return nil, err
		}
	}
	for _, m := range t.manifests {
		for _, e := range m.entries {
			if t.index[e.id()] != nil {
				return nil, fmt.Errorf("%w: %s: file %s is live twice", ErrCorrupt, key, e.id())
			}
			t.index[e.id()] = m
			if e.vector != nil {
				t.vectors[e.key]++
			}
			t.totals.add(m.content, e, 1)
		}
	}
	return t, nil
}

// Salvage is a table of which Load failed because objects are gone or damaged: as much as its metadata.json still tells. It
// stays as it is for readers until a change replaces all of it; its older snapshots go with that.
func Salvage(ctx context.Context, store objstore.Store, id lake.TableID, name journal.Metadata, tableUUID string) (*Table, error) {
	t, err := New(store, id, tableUUID)
	if err != nil {
		return nil, err
	}
	t.name, t.damaged = name, true
	key := name.Key(id)
	b, _, err := store.Get(ctx, key)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return t, nil
	case err != nil:
		return nil, err
	}
	meta, err := parseMetadata(key, b)
	if err != nil || meta.TableUUID != tableUUID {
		return t, nil
	}
	if ice, err := meta.schema(key); err == nil {
		if schema, err := LakeSchema(ice, meta.LastColumnID); err == nil {
			t.meta, t.ice, t.schema = meta, ice, schema
		}
	}
	return t, nil
}

func (t *Table) loadManifests(ctx context.Context, s *snapshot) ([]*manifest, error) {
	files, err := t.readList(ctx, s)
	if err != nil {
		return nil, err
	}
	manifests := make([]*manifest, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, f := range files {
		g.Go(func() error {
			m, err := t.loadManifest(ctx, f)
			if err == nil && m.sealed() {
				m.unload()
			}
			manifests[i] = m
			return err
		})
	}
	return manifests, g.Wait()
}

func (t *Table) readList(ctx context.Context, s *snapshot) ([]iceberg.ManifestFile, error) {
	key, err := t.key(s.ManifestList)
	if err != nil {
		return nil, err
	}
	b, _, err := t.store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	return parseManifestList(key, b)
}

func (t *Table) loadManifest(ctx context.Context, f iceberg.ManifestFile) (*manifest, error) {
	key, err := t.key(f.FilePath())
	if err != nil {
		return nil, err
	}
	b, _, err := t.store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	spec := t.meta.specOf(int(f.PartitionSpecID()))
	if spec == nil && t.meta.PartitionSpecs != nil {
		return nil, fmt.Errorf("%w: manifest %s is of partition spec %d, which there is not", ErrCorrupt, key, f.PartitionSpecID())
	}
	return parseManifest(f, key, b, t.store.Key, spec)
}

// key is the object at a location of this store.
func (t *Table) key(location string) (string, error) {
	k, ok := t.store.Key(location)
	if !ok {
		return "", fmt.Errorf("%w: table %s refers to %s, which is not in this store", ErrCorrupt, t.id.Root(), location)
	}
	return k, nil
}

// Damaged says that the table was salvaged and not replaced since.
func (t *Table) Damaged() bool { return t.damaged }

// ID is the table's identity.
func (t *Table) ID() lake.TableID { return t.id }

// Name names the newest metadata.json.
func (t *Table) Name() journal.Metadata { return t.name }

// UUID is the Iceberg table-uuid.
func (t *Table) UUID() string { return t.meta.TableUUID }

// Format is the Iceberg format version.
func (t *Table) Format() int { return t.meta.FormatVersion }

// Schema is the current schema.
func (t *Table) Schema() lake.Schema { return t.schema }

// Property is a table property, empty if it is not set.
func (t *Table) Property(name string) string { return t.meta.Properties[name] }

// Totals are the sums over live files.
func (t *Table) Totals() Totals { return t.totals }

// Data lists the live data files, in the order of their manifests. Statistics are left out.
func (t *Table) Data() []lake.File {
	var files []lake.File
	for _, m := range t.manifests {
		if m.content == iceberg.ManifestContentData {
			for _, e := range m.entries {
				files = append(files, lake.File{Key: e.key, Rows: e.rows, Bytes: e.bytes, Lineage: e.lineage(), Partition: e.partition})
			}
		}
	}
	return files
}

// Deletes lists the keys of live position delete files.
func (t *Table) Deletes() []string {
	var keys []string
	for _, m := range t.manifests {
		if m.content == iceberg.ManifestContentDeletes {
			for _, e := range m.entries {
				if e.vector == nil {
					keys = append(keys, e.key)
				}
			}
		}
	}
	return keys
}

// References are the keys a table's newest metadata.json names.
type References struct {
	reader *Table
	keys   map[string]bool
	unread []snapshot // whose own keys only the store can tell
}

// References notes every key that the newest metadata.json names, through all snapshots it lists. Resolve completes it.
func (t *Table) References() *References {
	r := &References{reader: &Table{store: t.store, id: t.id}, keys: map[string]bool{t.name.Key(t.id): true}}
	for _, m := range t.manifests {
		r.keys[m.key] = true
		for _, e := range m.entries {
			r.keys[e.key] = true
		}
	}
	for i, s := range t.meta.Snapshots {
		if list, ok := t.store.Key(s.ManifestList); ok {
			r.keys[list] = true
		}
		for _, k := range s.drops {
			r.keys[k] = true
		}
		if s.drops == nil && i < len(t.meta.Snapshots)-1 {
			r.unread = append(r.unread, s)
		}
	}
	return r
}

// Keys are those that are known without reading the store: all, if one snapshot is listed.
func (r *References) Keys() map[string]bool { return r.keys }

// Resolve reads the snapshots committed before this process began, and returns all keys. The table may go on meanwhile.
func (r *References) Resolve(ctx context.Context) (map[string]bool, error) {
	for i := range r.unread {
		err := r.reader.addReferences(ctx, &r.unread[i], r.keys)
		if err != nil && !errors.Is(err, objstore.ErrNotFound) {
			return nil, err
		}
	}
	return r.keys, nil
}

// addReferences adds what a snapshot needs as read from the store.
func (t *Table) addReferences(ctx context.Context, s *snapshot, keys map[string]bool) error {
	files, err := t.readList(ctx, s)
	if err != nil {
		return err
	}
	for _, f := range files {
		key, err := t.key(f.FilePath())
		if err != nil {
			return err
		}
		if keys[key] {
			continue
		}
		m, err := t.loadManifest(ctx, f)
		if err != nil {
			return err
		}
		keys[key] = true
		for _, e := range m.entries {
			keys[e.key] = true
		}
	}
	return nil
}

// dropsOf works out from the store which keys snapshot s needs and the next one does not. What
// is gone already is passed over.
func (t *Table) dropsOf(ctx context.Context, s, next *snapshot) ([]string, error) {
	list, err := t.key(s.ManifestList)
	if err != nil {
		return nil, err
	}
	keys := []string{list}
	old, err := t.readList(ctx, s)
	if errors.Is(err, objstore.ErrNotFound) {
		return keys, nil
	}
	if err != nil {
		return nil, err
	}
	now, err := t.readList(ctx, next)
	if err != nil {
		return nil, err
	}
	for _, f := range old {
		if !slices.ContainsFunc(now, func(g iceberg.ManifestFile) bool { return g.FilePath() == f.FilePath() }) {
			key, err := t.key(f.FilePath())
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
	}
	for _, f := range now {
		if f.SnapshotID() != next.ID || f.DeletedDataFiles() == 0 {
			continue
		}
		key, err := t.key(f.FilePath())
		if err != nil {
			return nil, err
		}
		b, _, err := t.store.Get(ctx, key)
		if err != nil {
			return nil, err
		}
		gone, err := deletedIn(next.ID, f, key, b, t.store.Key)
		if err != nil {
			return nil, err
		}
		keys = append(keys, gone...)
	}
	return t.withoutShared(ctx, keys, now)
}
