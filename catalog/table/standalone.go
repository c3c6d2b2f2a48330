package table

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
	"github.com/tarn-db/tarn/materialize/lake"
)

// LiveFile is a live file of a table with its statistics.
type LiveFile struct {
	Key  string
	File iceberg.DataFile
}

// LiveFiles lists the live files as the manifests have them: data files, then position delete files. It reads manifests again
// that Load has let go of.
func (t *Table) LiveFiles(ctx context.Context) (data, deletes []LiveFile, err error) {
	for _, m := range t.manifests {
		entries, err := t.loadedEntries(ctx, m)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range entries {
			f := LiveFile{Key: e.key, File: e.file}
			if m.content == iceberg.ManifestContentDeletes {
				deletes = append(deletes, f)
			} else {
				data = append(data, f)
			}
		}
	}
	return data, deletes, nil
}

// Standalone is a new table with the rows of another one, which nobody knows yet. Its files are its own.
type Standalone struct {
	UUID       string
	Key        func(name string) string // of an object below the table's location
	URL        func(key string) string
	Location   string
	Data       []LiveFile             // copies: File is as in the source, Key is the copy's
	Deletes    []lake.PositionDeletes // about the copies
	Properties map[string]string
	Summary    map[string]string // added to the snapshot's
	Time       time.Time
}

// Standalone encodes the metadata of a new table: t's schema, and one snapshot in which all files are added. It is laid out as
// Iceberg's HadoopTables has it, so that the location alone is enough to find it:
//
//	metadata/<uuid>-m<N>.avro, metadata/snap-<id>-<uuid>.avro
//	metadata/v1.metadata.json
//	metadata/version-hint.text   "1"
//
// Nothing refers to the objects before the last two are put, in this order. t is not changed.
func (t *Table) Standalone(s Standalone) ([]Object, error) {
	nonce, err := uuid.Parse(s.UUID)
	if err != nil {
		return nil, fmt.Errorf("table uuid %q: %w", s.UUID, err)
	}
	meta := newMetadata(s.UUID, s.Location)
	meta.Properties = s.Properties
	ice, err := meta.setSchema(t.schema)
	if err != nil {
		return nil, err
	}
	id := snapshotID(nonce, t.id)
	st := stamp{snapshotID: id, sequence: 1, schema: ice, meta: &meta, format: meta.FormatVersion}
	data, deletes, err := s.entries()
	if err != nil {
		return nil, err
	}
	var objects []Object
	var manifests []*manifest
	for _, c := range []change{data, deletes} {
		plans := pack(nil, c.add, nil)
		for i := range plans {
			key := s.Key(fmt.Sprintf("metadata/%s-m%d.avro", s.UUID, len(manifests)))
			m, b, err := plans[i].encode(st, c.content, 0, key, s.URL(key))
			if err != nil {
				return nil, fmt.Errorf("manifest: %w", err)
			}
			manifests, objects = append(manifests, m), append(objects, Object{Key: key, Data: b})
		}
	}
	list := s.Key(fmt.Sprintf("metadata/snap-%d-%s.avro", id, s.UUID))
	b, err := encodeList(st, manifests)
	if err != nil {
		return nil, fmt.Errorf("manifest list: %w", err)
	}
	objects = append(objects, Object{Key: list, Data: b})
	snap := snapshot{
		ID: id, SequenceNumber: st.sequence, TimestampMS: s.Time.UnixMilli(), ManifestList: s.URL(list), SchemaID: meta.CurrentSchemaID,
		Summary: s.summary(data, deletes),
	}
	if err := snap.seal(); err != nil {
		return nil, err
	}
	meta.LastSequenceNumber, meta.LastUpdatedMS, meta.CurrentSnapshotID = st.sequence, snap.TimestampMS, id
	meta.Refs["main"] = ref{SnapshotID: id, Type: "branch"}
	meta.Snapshots = append(meta.Snapshots, snap)
	meta.SnapshotLog = append(meta.SnapshotLog, logEntry{TimestampMS: snap.TimestampMS, SnapshotID: id})
	if b, err = meta.encode(); err != nil {
		return nil, err
	}
	return append(objects,
		Object{Key: s.Key("metadata/v1.metadata.json"), Data: b},
		Object{Key: s.Key("metadata/version-hint.text"), Data: []byte("1")},
	), nil
}

// entries are the files under their own locations.
func (s *Standalone) entries() (data, deletes change, err error) {
	data, deletes = change{content: iceberg.ManifestContentData}, change{content: iceberg.ManifestContentDeletes}
	for _, f := range s.Data {
		df, err := relocated(f.File, s.URL(f.Key))
		if err != nil {
			return data, deletes, fmt.Errorf("file %s: %w", f.Key, err)
		}
		data.add = append(data.add, entry{key: f.Key, rows: df.Count(), bytes: df.FileSizeBytes(), file: df})
	}
	for _, d := range s.Deletes {
		e, err := newEntry(d.File, iceberg.EntryContentPosDeletes, s.URL(d.Key), *iceberg.UnpartitionedSpec, nil)
		if err != nil {
			return data, deletes, err
		}
		deletes.add = append(deletes.add, e)
	}
	return data, deletes, nil
}

// relocated describes a data file at another location.
func relocated(f iceberg.DataFile, location string) (iceberg.DataFile, error) {
	b, err := iceberg.NewDataFileBuilder(*iceberg.UnpartitionedSpec, iceberg.EntryContentData, location, f.FileFormat(), nil, nil, nil, f.Count(), f.FileSizeBytes())
	if err != nil {
		return nil, err
	}
	b.ColumnSizes(f.ColumnSizes()).ValueCounts(f.ValueCounts()).NullValueCounts(f.NullValueCounts()).NaNValueCounts(f.NaNValueCounts()).
		LowerBoundValues(f.LowerBoundValues()).UpperBoundValues(f.UpperBoundValues())
	if offsets := f.SplitOffsets(); len(offsets) > 0 {
		b.SplitOffsets(offsets)
	}
	return b.Build(), nil
}

func (s *Standalone) summary(data, deletes change) map[string]string {
	var n Totals
	for _, c := range []change{data, deletes} {
		for _, e := range c.add {
			n.add(c.content, e, 1)
		}
	}
	summary := map[string]string{"operation": "append"}
	if n.DeleteFiles > 0 {
		summary["operation"] = "overwrite" // appends have no delete files (Iceberg spec, "Snapshots")
	}
	for key, v := range map[string]int64{
		"added-data-files": n.DataFiles, "added-records": n.Rows, "added-files-size": n.DataBytes + n.DeleteFileBytes,
		"total-data-files": n.DataFiles, "total-records": n.Rows, "total-files-size": n.DataBytes + n.DeleteFileBytes,
		"added-delete-files": n.DeleteFiles, "added-position-delete-files": n.DeleteFiles, "added-position-deletes": n.PositionDeletes,
		"total-delete-files": n.DeleteFiles, "total-position-deletes": n.PositionDeletes, "total-equality-deletes": 0,
	} {
		summary[key] = strconv.FormatInt(v, 10)
	}
	for k, v := range s.Summary {
		summary[k] = v
	}
	return summary
}
