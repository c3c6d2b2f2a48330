package table

import (
	"bytes"
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Row lineage (Iceberg spec, "Row Lineage"), format version 3. A snapshot takes row ids from next-row-id on: each data manifest of its
// list that has no first_row_id gets one, and as many ids as it has live rows; in it each live data file that has none gets
// its share, in order. A file that is added says null and inherits; once it is written again, as existing, it says what it had. So
// next-row-id moves by more than the rows that came, which the specification means to be so.
//
// Invariant: next-row-id never falls, and no row id below it is given out again.

// upgrade moves the table to a format version; 0 leaves it.
func (c *Commit) upgrade(format int) error {
	switch {
	case format == 0 || format == c.meta.FormatVersion:
		return nil
	case format < c.meta.FormatVersion:
		return fmt.Errorf("format version %d does not go back to %d", c.meta.FormatVersion, format)
	case format > lake.FormatV3:
		return fmt.Errorf("format version %d is not one tarn writes", format)
	}
	c.meta.FormatVersion, c.meta.NextRowID, c.Changed = format, new(int64), true
	return nil
}

// encodeList writes the manifest list.
func encodeList(st stamp, manifests []*manifest) ([]byte, error) {
	files := make([]iceberg.ManifestFile, len(manifests))
	for i, m := range manifests {
		files[i] = m.file
	}
	var parent *int64
	if st.parentID != 0 {
		parent = &st.parentID
	}
	var buf bytes.Buffer
	err := iceberg.WriteManifestList(st.format, &buf, st.snapshotID, parent, &st.sequence, st.nextRowID, files)
	return buf.Bytes(), err
}

// assignRowIDs takes in which row ids the manifest list, just encoded as b, gives to whom, and moves next-row-id.
func (c *Commit) assignRowIDs(snap *snapshot, list string, b []byte) error {
	if c.meta.FormatVersion < lake.FormatV3 {
		return nil
	}
	files, err := parseManifestList(list, b)
	if err != nil {
		return err
	}
	first, next := *c.meta.NextRowID, *c.meta.NextRowID
	for i, f := range files {
		m := c.manifests[i]
		if m.content != iceberg.ManifestContentData || m.file.FirstRowID() != nil {
			continue
		}
		if f.FirstRowID() == nil || *f.FirstRowID() != next {
			return fmt.Errorf("manifest list %s: manifest %s did not get the row ids from %d on", list, m.key, next)
		}
		c.manifests[i] = c.withRowIDs(m, f)
		next += f.AddedRows() + f.ExistingRows()
	}
	added := next - first
	snap.FirstRowID, snap.AddedRows = &first, &added
	c.meta.NextRowID = &next
	return nil
}

// withRowIDs is m as the manifest list has it now, in file, and its entries with the row ids they inherit. m may be the table's, so it stays as
// it is.
func (c *Commit) withRowIDs(m *manifest, file iceberg.ManifestFile) *manifest {
	out := &manifest{file: file, key: m.key, content: m.content, entries: append([]entry(nil), m.entries...)}
	next, reread := *file.FirstRowID(), false
	for i := range out.entries {
		e := &out.entries[i]
		if e.firstRowID != nil {
			continue
		}
		id := next
		next += e.rows
		e.firstRowID = &id
		if e.builder != nil {
			e.builder.FirstRowID(id) // from now on it is written as existing
			e.builder = nil
		} else {
			reread = true // of an older format version: what is in the store inherits the ids
		}
		c.assigned = append(c.assigned, *e)
	}
	if reread {
		out.unload()
	}
	return out
}

// lineage is a data file's, nil if it has no row ids.
func (e *entry) lineage() *lake.Lineage {
	if e.firstRowID == nil {
		return nil
	}
	return &lake.Lineage{FirstRowID: *e.firstRowID, Sequence: e.sequence}
}

// EachAssigned calls yield for each data file that the commit gave row ids.
func (c *Commit) EachAssigned(yield func(key string, l lake.Lineage)) {
	for i := range c.assigned {
		yield(c.assigned[i].key, *c.assigned[i].lineage())
	}
}
