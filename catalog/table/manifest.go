package table

import (
	"bytes"
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Seal limits: a manifest with this many entries or bytes is not rewritten for new entries any more.
const (
	sealEntries = 200
	sealBytes   = 128 << 10
)

// Column ids of position delete files (Iceberg spec, "Reserved Field IDs").
const (
	deletePathID = 2147483546
)

// entry is a live file, or deletion vector, in a manifest.
type entry struct {
	key        string
	rows       int64
	bytes      int64            // of a deletion vector: its blob's
	sequence   int64            // data sequence number
	snapshotID int64            // that added it
	file       iceberg.DataFile // with statistics; nil if only the manifest object has them

	partition  lake.Partition
	vector     *lake.Vector             // of a deletion vector, else nil
	firstRowID *int64                   // of a data file that has row ids, else nil
	builder    *iceberg.DataFileBuilder // of file, as long as it lacks the row ids that it is about to get
}

// id is what tells live entries apart: of deletion vectors many may lie in one object, and each data file has one at most.
func (e *entry) id() string {
	if e.vector != nil {
		return vectorID(e.vector.Data)
	}
	return e.key
}

func vectorID(dataKey string) string { return dataKey + "#vector" }

// manifest is a manifest object and its live entries.
type manifest struct {
	file    iceberg.ManifestFile
	key     string
	content iceberg.ManifestContent
	entries []entry
}

func (m *manifest) sealed() bool {
	return len(m.entries) >= sealEntries || m.file.Length() >= sealBytes
}

// loaded reports whether the entries can be written again as they are.
func (m *manifest) loaded() bool {
	return len(m.entries) == 0 || m.entries[0].file != nil
}

// unload forgets statistics: sealed manifests are read again in the rare case that one of their files leaves.
func (m *manifest) unload() {
	for i := range m.entries {
		m.entries[i].file = nil
	}
}

// parseManifest reads the live entries of a manifest object. key maps locations to keys.
// The partitions of files are read where the spec is known.
func parseManifest(file iceberg.ManifestFile, objKey string, b []byte, key func(string) (string, bool), spec *specRecord) (m *manifest, err error) {
	defer recoverCorrupt(objKey, &err)
	list, err := iceberg.ReadManifest(file, bytes.NewReader(b), true)
	if err != nil {
		return nil, fmt.Errorf("%w: manifest %s: %w", ErrCorrupt, objKey, err)
	}
	m = &manifest{file: file, key: objKey, content: file.ManifestContent(), entries: make([]entry, len(list))}
	for i, e := range list {
		df := e.DataFile()
		k, ok := key(df.FilePath())
		if !ok {
			return nil, fmt.Errorf("%w: manifest %s names %s, which is not in this store", ErrCorrupt, objKey, df.FilePath())
		}
		m.entries[i] = entry{
			key: k, rows: df.Count(), bytes: df.FileSizeBytes(), sequence: e.SequenceNum(), snapshotID: e.SnapshotID(), file: df, firstRowID: df.FirstRowID(),
		}
		if spec != nil {
			if m.entries[i].partition, err = spec.partitionOf(df); err != nil {
				return nil, fmt.Errorf("%w: manifest %s: %s: %w", ErrCorrupt, objKey, df.FilePath(), err)
			}
		}
		if df.FileFormat() == iceberg.PuffinFile {
			if err := m.entries[i].readVector(objKey, key); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// deletedIn returns the keys of the files that snapshot id removed, as the manifest records them.
func deletedIn(id int64, file iceberg.ManifestFile, objKey string, b []byte, key func(string) (string, bool)) (keys []string, err error) {
	defer recoverCorrupt(objKey, &err)
	list, err := iceberg.ReadManifest(file, bytes.NewReader(b), false)
	if err != nil {
		return nil, fmt.Errorf("%w: manifest %s: %w", ErrCorrupt, objKey, err)
	}
	for _, e := range list {
		if e.Status() == iceberg.EntryStatusDELETED && e.SnapshotID() == id {
			if k, ok := key(e.DataFile().FilePath()); ok {
				keys = append(keys, k)
			}
		}
	}
	return keys, nil
}

// parseManifestList reads a manifest list object.
func parseManifestList(objKey string, b []byte) (files []iceberg.ManifestFile, err error) {
	defer recoverCorrupt(objKey, &err)
	files, err = iceberg.ReadManifestList(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: manifest list %s: %w", ErrCorrupt, objKey, err)
	}
	return files, nil
}

// recoverCorrupt turns a panic of the Avro reader over damaged bytes into an error.
func recoverCorrupt(key string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %s: %v", ErrCorrupt, key, r)
	}
}

// plan is what one manifest to be written holds.
type plan struct {
	existing, added, deleted []entry
}

func (p *plan) entries() int { return len(p.existing) + len(p.added) + len(p.deleted) }

// pack spreads entries over manifests of at most sealEntries. Survivors come first: the last manifest, the one that is
// rewritten next time, holds the newest.
func pack(existing, added, deleted []entry) []plan {
	var plans []plan
	room := func() *plan {
		if len(plans) == 0 || plans[len(plans)-1].entries() >= sealEntries {
			plans = append(plans, plan{})
		}
		return &plans[len(plans)-1]
	}
	for _, e := range deleted {
		p := room()
		p.deleted = append(p.deleted, e)
	}
	for _, e := range existing {
		p := room()
		p.existing = append(p.existing, e)
	}
	for _, e := range added {
		p := room()
		p.added = append(p.added, e)
	}
	return plans
}

// stamp is what a new snapshot gives everything it writes.
type stamp struct {
	snapshotID int64
	parentID   int64 // 0: none
	sequence   int64
	schema     *iceberg.Schema
	meta       *metadata // the partition specs
	format     int       // of the table
	nextRowID  int64
}

// encode writes p as a manifest object of a partition spec that will lie at location.
func (p *plan) encode(st stamp, content iceberg.ManifestContent, specID int, key, location string) (*manifest, []byte, error) {
	var buf bytes.Buffer
	record := st.meta.specOf(specID)
	if record == nil {
		return nil, nil, fmt.Errorf("there is no partition spec %d", specID)
	}
	spec, err := record.iceberg()
	if err != nil {
		return nil, nil, err
	}
	w, err := iceberg.NewManifestWriter(st.format, &buf, spec, st.schema, st.snapshotID, iceberg.WithManifestWriterContent(content))
	if err != nil {
		return nil, nil, err
	}
	for _, e := range p.deleted {
		if err := w.Delete(e.iceberg(iceberg.EntryStatusDELETED)); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range p.existing {
		if err := w.Existing(e.iceberg(iceberg.EntryStatusEXISTING)); err != nil {
			return nil, nil, err
		}
	}
	live := append([]entry(nil), p.existing...)
	for _, e := range p.added {
		// Its sequence number is inherited from the manifest list.
		if err := w.Add(iceberg.NewManifestEntry(iceberg.EntryStatusADDED, &st.snapshotID, nil, nil, e.file)); err != nil {
			return nil, nil, err
		}
		e.sequence, e.snapshotID = st.sequence, st.snapshotID
		if st.format < lake.FormatV3 {
			e.builder = nil
		}
		live = append(live, e)
	}
	if err := w.Close(); err != nil {
		return nil, nil, err
	}
	file, err := w.ToManifestFile(location, int64(buf.Len()))
	if err != nil {
		return nil, nil, err
	}
	m := &manifest{file: settled(file, st), key: key, content: content, entries: live}
	return m, buf.Bytes(), nil
}

// settled is file with the sequence numbers that the manifest list gives it, so that later lists can name it too.
func settled(f iceberg.ManifestFile, st stamp) iceberg.ManifestFile {
	low := f.MinSequenceNum()
	if low < 0 {
		low = st.sequence
	}
	return iceberg.NewManifestFile(st.format, f.FilePath(), f.Length(), f.PartitionSpecID(), st.snapshotID).
		SequenceNum(st.sequence, low).Content(f.ManifestContent()).
		AddedFiles(f.AddedDataFiles()).ExistingFiles(f.ExistingDataFiles()).DeletedFiles(f.DeletedDataFiles()).
		AddedRows(f.AddedRows()).ExistingRows(f.ExistingRows()).DeletedRows(f.DeletedRows()).
		Partitions(f.Partitions()).Build()
}

func (e *entry) iceberg(status iceberg.ManifestEntryStatus) iceberg.ManifestEntry {
	return iceberg.NewManifestEntry(status, &e.snapshotID, &e.sequence, &e.sequence, e.file)
}

// newEntry describes a file for a manifest.
func (c *Commit) newEntry(f lake.File, content iceberg.ManifestEntryContent, location string) (entry, error) {
	spec, values, err := c.meta.partition(f.Partition, c.ice)
	if err != nil {
		return entry{}, fmt.Errorf("file %s: %w", f.Key, err)
	}
	return newEntry(f, content, location, spec, values)
}

func newEntry(f lake.File, content iceberg.ManifestEntryContent, location string, spec iceberg.PartitionSpec, values map[int]any) (entry, error) {
	b, err := iceberg.NewDataFileBuilder(spec, content, location, iceberg.ParquetFile, values, nil, nil, f.Rows, f.Bytes)
	if err != nil {
		return entry{}, fmt.Errorf("file %s: %w", f.Key, err)
	}
	sizes, counts, nulls, nans := map[int]int64{}, map[int]int64{}, map[int]int64{}, map[int]int64{}
	lower, upper := map[int][]byte{}, map[int][]byte{}
	for _, c := range f.Columns {
		sizes[c.FieldID], counts[c.FieldID], nulls[c.FieldID] = c.Bytes, c.Values, c.Nulls
		if c.NaNs > 0 {
			nans[c.FieldID] = c.NaNs
		}
		if c.Lower != nil {
			lower[c.FieldID] = c.Lower
		}
		if c.Upper != nil {
			upper[c.FieldID] = c.Upper
		}
	}
	if len(f.Columns) > 0 {
		b.ColumnSizes(sizes).ValueCounts(counts).NullValueCounts(nulls).NaNValueCounts(nans).LowerBoundValues(lower).UpperBoundValues(upper)
	}
	if len(f.SplitOffsets) > 0 {
		b.SplitOffsets(f.SplitOffsets)
	}
	if low, ok := lower[deletePathID]; ok && content == iceberg.EntryContentPosDeletes && bytes.Equal(low, upper[deletePathID]) {
		b.ReferencedDataFile(string(low))
	}
	return entry{key: f.Key, rows: f.Rows, bytes: f.Bytes, partition: f.Partition, file: b.Build(), builder: b}, nil
}
