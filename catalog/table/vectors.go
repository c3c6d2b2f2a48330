package table

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/tarn-db/tarn/materialize/lake"
)

// newVector describes a deletion vector for a manifest.
func (c *Commit) newVector(v lake.Vector) (entry, error) {
	t := c.table
	spec, values, err := c.meta.partition(v.Partition, c.ice)
	if err != nil {
		return entry{}, fmt.Errorf("deletion vector of %s: %w", v.Data, err)
	}
	b, err := iceberg.NewDataFileBuilder(spec, iceberg.EntryContentPosDeletes, t.store.URL(v.Key), iceberg.PuffinFile, values, nil, nil, v.Positions, v.FileBytes)
	if err != nil {
		return entry{}, fmt.Errorf("deletion vector of %s: %w", v.Data, err)
	}
	b.ReferencedDataFile(t.store.URL(v.Data)).ContentOffset(v.Offset).ContentSizeInBytes(v.Size)
	return entry{key: v.Key, rows: v.Positions, bytes: v.Size, vector: &v, file: b.Build(), partition: v.Partition}, nil
}

// readVector fills in the vector of an entry that was read from a manifest.
func (e *entry) readVector(objKey string, key func(string) (string, bool)) error {
	path, offset, size := e.file.ReferencedDataFile(), e.file.ContentOffset(), e.file.ContentSizeInBytes()
	if path == nil || offset == nil || size == nil || *offset < 0 || *size < 0 {
		return fmt.Errorf("%w: manifest %s: the deletion vector in %s lacks its data file or its place", ErrCorrupt, objKey, e.key)
	}
	data, ok := key(*path)
	if !ok {
		return fmt.Errorf("%w: manifest %s names %s, which is not in this store", ErrCorrupt, objKey, *path)
	}
	e.bytes = *size
	e.vector = &lake.Vector{Data: data, Key: e.key, Offset: *offset, Size: *size, Positions: e.rows, FileBytes: e.file.FileSizeBytes()}
	return nil
}

// Vectors lists the live deletion vectors.
func (t *Table) Vectors() []lake.Vector {
	var out []lake.Vector
	for _, m := range t.manifests {
		for _, e := range m.entries {
			if e.vector != nil {
				out = append(out, *e.vector)
			}
		}
	}
	return out
}

// changeVectors adds a change's deletion vectors, and removes those they replace and those of data files that leave.
func (c *Commit) changeVectors(ch *lake.TableChange, data, deletes *change) error {
	t := c.table
	for key := range data.remove {
		if id := vectorID(key); t.index[id] != nil {
			deletes.remove[id] = true
		}
	}
	fresh := map[string]bool{}
	for _, f := range ch.AddData {
		fresh[f.Key] = true
	}
	for _, v := range ch.AddVectors {
		id := vectorID(v.Data)
		if fresh[id] || data.remove[v.Data] || t.index[v.Data] == nil && !fresh[v.Data] {
			return fmt.Errorf("a deletion vector of %s is added, which has one already or is not live", v.Data)
		}
		fresh[id] = true
		if t.index[id] != nil {
			deletes.remove[id] = true
		}
		e, err := c.newVector(v)
		if err != nil {
			return err
		}
		deletes.add = append(deletes.add, e)
	}
	return nil
}

// checkDeletes refuses what a format version does not have: readers of version 3 expect vectors, of version 2 delete files.
func (c *Commit) checkDeletes(deletes change) error {
	v3 := c.meta.FormatVersion == lake.FormatV3
	for _, e := range deletes.add {
		if (e.vector != nil) != v3 {
			return fmt.Errorf("delete file %s is not of the table's format version %d", e.key, c.meta.FormatVersion)
		}
	}
	if c.table.meta.FormatVersion == c.meta.FormatVersion {
		return nil
	}
	for id, m := range c.table.index {
		if m.content == iceberg.ManifestContentDeletes && !strings.HasSuffix(id, vectorID("")) && !deletes.remove[id] {
			return fmt.Errorf("position delete file %s stays in a table of format version 3", id)
		}
	}
	return nil
}

func (t *Table) countVector(e *entry, n int) {
	if e.vector == nil {
		return
	}
	if t.vectors[e.key] += n; t.vectors[e.key] == 0 {
		delete(t.vectors, e.key)
	}
}

// removedKeys are the objects that nothing live is in any more. A Puffin object stays as long as one of its vectors does.
func (c *Commit) removedKeys() []string {
	var keys []string
	vectors := map[string]int{}
	for _, e := range c.removed {
		if e.vector == nil {
			keys = append(keys, e.key)
			continue
		}
		if vectors[e.key]++; vectors[e.key] == c.table.vectors[e.key] {
			keys = append(keys, e.key)
		}
	}
	return keys
}

// withoutShared takes out the Puffin objects that other vectors in the manifests now still need, and names each only once.
func (t *Table) withoutShared(ctx context.Context, keys []string, now []iceberg.ManifestFile) ([]string, error) {
	seen := map[string]bool{}
	any := false
	for _, k := range keys {
		any = any || strings.HasSuffix(k, lake.VectorsSuffix)
	}
	if any {
		for _, f := range now {
			if f.ManifestContent() != iceberg.ManifestContentDeletes {
				continue
			}
			m, err := t.loadManifest(ctx, f)
			if err != nil {
				return nil, err
			}
			for _, e := range m.entries {
				seen[e.key] = true
			}
		}
	}
	out := keys[:0]
	for _, k := range keys {
		if !seen[k] {
			out = append(out, k)
		}
		seen[k] = true
	}
	return out, nil
}
