package table

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/iceberg-go"
	"github.com/tarn-db/tarn/materialize/lake"
)

// lastPartitionID is Iceberg's number for "no partition field given yet".
const lastPartitionID = 999

// metadata is a table's metadata.json (Iceberg spec, "Table Metadata Fields"), unsorted. Snapshots and
// schemas are kept as the JSON they are written as: a commit adds one and copies the rest.
type metadata struct {
	FormatVersion      int               `json:"format-version"`
	TableUUID          string            `json:"table-uuid"`
	Location           string            `json:"location"`
	LastSequenceNumber int64             `json:"last-sequence-number"`
	LastUpdatedMS      int64             `json:"last-updated-ms"` // milliseconds since 1970
	LastColumnID       int               `json:"last-column-id"`
	CurrentSchemaID    int               `json:"current-schema-id"`
	Schemas            []schemaRecord    `json:"schemas"`
	DefaultSpecID      int               `json:"default-spec-id"`
	PartitionSpecs     []specRecord      `json:"partition-specs"`
	LastPartitionID    int               `json:"last-partition-id"`
	DefaultSortOrderID int               `json:"default-sort-order-id"`
	SortOrders         json.RawMessage   `json:"sort-orders"`
	Properties         map[string]string `json:"properties"`
	CurrentSnapshotID  int64             `json:"current-snapshot-id"` // -1: none
	Refs               map[string]ref    `json:"refs"`
	Snapshots          []snapshot        `json:"snapshots"` // oldest first
	SnapshotLog        []logEntry        `json:"snapshot-log"`
	MetadataLog        json.RawMessage   `json:"metadata-log"`
	NextRowID          *int64            `json:"next-row-id,omitempty"` // nil in format version 2
}

type ref struct {
	SnapshotID int64  `json:"snapshot-id"`
	Type       string `json:"type"`
}

type logEntry struct {
	TimestampMS int64 `json:"timestamp-ms"`
	SnapshotID  int64 `json:"snapshot-id"`
}

// schemaRecord is one schema of a table.
type schemaRecord struct {
	id  int
	raw json.RawMessage
}

func (r schemaRecord) MarshalJSON() ([]byte, error) { return r.raw, nil }

func (r *schemaRecord) UnmarshalJSON(b []byte) error {
	var head struct {
		ID int `json:"schema-id"`
	}
	err := json.Unmarshal(b, &head)
	r.id, r.raw = head.ID, slices.Clone(b)
	return err
}

// snapshot is one snapshot of a table.
type snapshot struct {
	ID             int64             `json:"snapshot-id"`
	ParentID       int64             `json:"parent-snapshot-id,omitempty"` // 0: none; a pointer would keep the parent's slice, and all before it
	SequenceNumber int64             `json:"sequence-number"`
	TimestampMS    int64             `json:"timestamp-ms"`
	ManifestList   string            `json:"manifest-list"`
	Summary        map[string]string `json:"summary"`
	SchemaID       int               `json:"schema-id"`
	FirstRowID     *int64            `json:"first-row-id,omitempty"` // nil in format version 2
	AddedRows      *int64            `json:"added-rows,omitempty"`   // row ids given out, those never used included

	raw json.RawMessage
	// drops are the keys that are needed by this snapshot and older ones but not by the next: they go when it does.
	// nil in a snapshot read from the store.
	drops []string
}

// UnmarshalJSON keeps the text beside the fields.
func (s *snapshot) UnmarshalJSON(b []byte) error {
	type plain snapshot
	var p plain
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*s = snapshot(p)
	s.raw, s.Summary = slices.Clone(b), nil
	return nil
}

func (s *snapshot) seal() error {
	type plain snapshot
	b, err := json.Marshal((*plain)(s))
	s.raw, s.Summary = b, nil
	return err
}

// defaultProperties are set on every table. gc.enabled=false: tarn alone deletes files, so that another engine's expiry
// cannot take files a pinned reader still needs.
func defaultProperties() map[string]string {
	return map[string]string{
		"write.format.default":            "parquet",
		lake.DeleteMode:                   "merge-on-read",
		lake.UpdateMode:                   "merge-on-read",
		lake.MergeMode:                    "merge-on-read",
		"write.parquet.compression-codec": "zstd",
		"gc.enabled":                      "false",
	}
}

func newMetadata(uuid, location string) metadata {
	return metadata{
		FormatVersion:     lake.FormatV2,
		TableUUID:         uuid,
		Location:          location,
		CurrentSchemaID:   -1,
		PartitionSpecs:    []specRecord{newSpecRecord(lake.Spec{})},
		LastPartitionID:   lastPartitionID,
		SortOrders:        json.RawMessage(`[{"order-id":0,"fields":[]}]`),
		Properties:        defaultProperties(),
		CurrentSnapshotID: -1,
		Refs:              map[string]ref{},
		Snapshots:         []snapshot{},
		SnapshotLog:       []logEntry{},
		MetadataLog:       json.RawMessage(`[]`),
	}
}

func parseMetadata(key string, b []byte) (metadata, error) {
	var m metadata
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: %s: %w", ErrCorrupt, key, err)
	}
	if m.FormatVersion < lake.FormatV2 { // never written by tarn
		return m, fmt.Errorf("%w: %s: Iceberg format version %d", ErrCorrupt, key, m.FormatVersion)
	}
	if m.FormatVersion > lake.FormatV3 {
		return m, fmt.Errorf("%s: Iceberg format version %d; this tarn reads up to version %d", key, m.FormatVersion, lake.FormatV3)
	}
	if m.FormatVersion == lake.FormatV3 && (m.NextRowID == nil || *m.NextRowID < 0) {
		return m, fmt.Errorf("%w: %s: format version 3 without a next-row-id", ErrCorrupt, key)
	}
	if m.specOf(m.DefaultSpecID) == nil {
		return m, fmt.Errorf("%w: %s: there is no partition spec %d", ErrCorrupt, key, m.DefaultSpecID)
	}
	if m.CurrentSnapshotID != -1 && (len(m.Snapshots) == 0 || m.Snapshots[len(m.Snapshots)-1].ID != m.CurrentSnapshotID) {
		return m, fmt.Errorf("%w: %s: the current snapshot %d is not the last one", ErrCorrupt, key, m.CurrentSnapshotID)
	}
	return m, nil
}

// encode writes metadata.json. Snapshots are copied as they are, not compacted again by encoding/json.
func (m *metadata) encode() ([]byte, error) {
	b, err := json.Marshal(struct {
		*metadata
		Snapshots *struct{} `json:"snapshots,omitempty"` // in place of the embedded one
	}{metadata: m})
	if err != nil {
		return nil, err
	}
	size := len(b) + len(m.Snapshots) + 20
	for i := range m.Snapshots {
		size += len(m.Snapshots[i].raw)
	}
	b = append(make([]byte, 0, size), b[:len(b)-1]...) // without the closing brace
	b = append(b, `,"snapshots":[`...)
	for i := range m.Snapshots {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, m.Snapshots[i].raw...)
	}
	return append(b, "]}"...), nil
}

// current is the newest snapshot, nil if there is none.
func (m *metadata) current() *snapshot {
	if len(m.Snapshots) == 0 {
		return nil
	}
	return &m.Snapshots[len(m.Snapshots)-1]
}

// schema decodes the current schema.
func (m *metadata) schema(key string) (*iceberg.Schema, error) {
	for _, r := range m.Schemas {
		if r.id == m.CurrentSchemaID {
			s := new(iceberg.Schema)
			if err := json.Unmarshal(r.raw, s); err != nil {
				return nil, fmt.Errorf("%w: %s: schema %d: %w", ErrCorrupt, key, r.id, err)
			}
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: %s: there is no schema %d", ErrCorrupt, key, m.CurrentSchemaID)
}

// clone copies what a commit changes in place.
func (m metadata) clone() metadata {
	m.Schemas = slices.Clone(m.Schemas)
	m.PartitionSpecs = slices.Clone(m.PartitionSpecs)
	m.Properties = maps.Clone(m.Properties)
	m.Refs = maps.Clone(m.Refs)
	m.Snapshots = slices.Clone(m.Snapshots)
	m.SnapshotLog = slices.Clone(m.SnapshotLog)
	return m
}

// forgetSnapshots begins the table's history anew. Sequence numbers and ids go on.
func (m *metadata) forgetSnapshots() {
	m.Snapshots, m.SnapshotLog, m.Refs, m.CurrentSnapshotID = []snapshot{}, []logEntry{}, map[string]ref{}, -1
}

// setSchema makes s current under a new id. Ids are never reused: the current schema always has the highest.
func (m *metadata) setSchema(s lake.Schema) (*iceberg.Schema, error) {
	ice, err := IcebergSchema(m.CurrentSchemaID+1, s)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(ice)
	if err != nil {
		return nil, err
	}
	m.CurrentSchemaID++
	m.Schemas = append(m.Schemas, schemaRecord{id: m.CurrentSchemaID, raw: raw})
	m.LastColumnID = max(m.LastColumnID, s.LastColumnID)
	return ice, nil
}

// expire drops the oldest snapshots: those superseded before olderThan, and as many as there are above most. The newest
// stays. It returns the expired ones and the first that stayed, and forgets schemas that no snapshot needs.
//
// Invariant: expired snapshots are a prefix of the history.
func (m *metadata) expire(olderThanMS int64, most int) (gone []snapshot, next *snapshot) {
	n := 0
	for n < len(m.Snapshots)-1 && (len(m.Snapshots)-n > most || m.Snapshots[n+1].TimestampMS < olderThanMS) {
		n++
	}
	if n == 0 {
		return nil, nil
	}
	gone, m.Snapshots = slices.Clone(m.Snapshots[:n]), m.Snapshots[n:]
	first := m.Snapshots[0].ID
	at := slices.IndexFunc(m.SnapshotLog, func(e logEntry) bool { return e.SnapshotID == first })
	m.SnapshotLog = m.SnapshotLog[max(at, 0):]
	used := map[int]bool{m.CurrentSchemaID: true}
	for _, s := range m.Snapshots {
		used[s.SchemaID] = true
	}
	m.Schemas = slices.DeleteFunc(m.Schemas, func(r schemaRecord) bool { return !used[r.id] })
	return gone, &m.Snapshots[0]
}
