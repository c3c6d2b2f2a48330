// Package lake is what the materializer and the catalog say to each other: schemas, files and publications. It is pure
// data; neither Parquet nor Iceberg libraries are needed to speak it.
package lake

import (
	"context"
	"slices"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// Kind is an Iceberg type's name.
type Kind uint8

// The kinds tarn writes.
const (
	Bool        Kind = iota + 1
	Int              // 32-bit
	Long             // 64-bit
	Float            // 32-bit
	Double           // 64-bit
	Decimal          // Precision <= 38, Scale
	Date             // days since 1970-01-01
	Time             // microseconds since midnight
	Timestamp        // microseconds since 1970-01-01 without zone
	TimestampTZ      // microseconds since 1970-01-01 UTC
	String           // UTF-8
	UUID             // 16 bytes
	Binary           // bytes
	List             // Elem
	Struct           // Fields
	Map              // Key, which is never null, and Elem
)

// Type is an Iceberg type. Values are comparable with Equal.
type Type struct {
	Kind      Kind    `json:"kind"`
	Precision int     `json:"precision,omitempty"` // Decimal: digits
	Scale     int     `json:"scale,omitempty"`     // Decimal: digits after the point
	Key       *Field  `json:"key,omitempty"`       // Map: its key, named "key"
	Elem      *Field  `json:"elem,omitempty"`      // List: its element, named "element"; Map: its value, named "value"
	Fields    []Field `json:"fields,omitempty"`    // Struct: its members
}

// Equal compares types, field ids of nested members included.
func (t Type) Equal(u Type) bool {
	return t.Kind == u.Kind && t.Precision == u.Precision && t.Scale == u.Scale && slices.EqualFunc(t.Members(), u.Members(), Field.Equal)
}

// Members are the fields directly inside a type: of a map its key and its value.
func (t Type) Members() []Field {
	switch {
	case t.Key != nil && t.Elem != nil:
		return []Field{*t.Key, *t.Elem}
	case t.Elem != nil:
		return []Field{*t.Elem}
	}
	return t.Fields
}

// Field is a column or a nested member. All fields but the keys of maps are optional (nullable): a later NOT NULL cannot be
// promised for rows already written.
type Field struct {
	ID   int    `json:"id"` // Iceberg field id, unique in the schema, never reused within a table
	Name string `json:"name"`
	Type Type   `json:"type"`
	Doc  string `json:"doc,omitempty"`
	// Num is pg_attribute.attnum of a composite type's attribute, by which it keeps its id; 0 of all other fields. Iceberg
	// does not know it.
	Num int16 `json:"num,omitempty"`
}

// Equal compares fields as Iceberg sees them.
func (f Field) Equal(g Field) bool {
	return f.ID == g.ID && f.Name == g.Name && f.Doc == g.Doc && f.Type.Equal(g.Type)
}

// Schema is a table's columns in Postgres's order.
type Schema struct {
	Fields       []Field `json:"fields"`
	LastColumnID int     `json:"last_column_id"` // highest field id ever given in this table, nested ones included
}

// Equal compares the fields.
func (s Schema) Equal(o Schema) bool {
	return Type{Kind: Struct, Fields: s.Fields}.Equal(Type{Kind: Struct, Fields: o.Fields})
}

// ColumnStats are one leaf column's statistics in one file, as Iceberg's manifest wants them.
type ColumnStats struct {
	FieldID      int
	Bytes        int64 // compressed size
	Values       int64 // nulls included
	Nulls        int64
	NaNs         int64  // Float and Double only
	Lower, Upper []byte // Iceberg single-value serialization; nil if unknown. Strings may be truncated (upper rounded up)
}

// File is a Parquet object in the store, durable when its Publication's Durable has returned nil.
type File struct {
	Key          string // object key; engines see Store.URL(Key)
	Rows         int64
	Bytes        int64
	Columns      []ColumnStats
	SplitOffsets []int64  // row group starts
	Lineage      *Lineage // set by the catalog; nil in format version 2, and until a publication has given row ids
	Partition    Partition
}

// PositionDeletes is a file of (file_path, pos) sorted by both (Iceberg spec, "Position Delete Files").
// Column ids 2147483546 file_path, 2147483545 pos. Columns holds their statistics.
type PositionDeletes struct {
	File
}

// Lineage is what the rows of a data file are known by in format version 3 (Iceberg spec, "Row Lineage"): a row without a
// _row_id of its own has FirstRowID plus its position, and one without a _last_updated_sequence_number has Sequence.
type Lineage struct {
	FirstRowID int64
	Sequence   int64 // data sequence number
}

// Vector is a deletion vector (Iceberg spec, "Deletion Vectors"): the deleted positions of one data file, a blob of a Puffin
// object that many of them share. It has all positions deleted in that file, those of former delete files included.
type Vector struct {
	Data      string    // key of the data file
	Key       string    // of the Puffin object
	Offset    int64     // of the blob in the object, bytes
	Size      int64     // of the blob, bytes
	Positions int64     // deleted
	FileBytes int64     // of the whole object
	Partition Partition // of the data file
}

// VectorsSuffix ends the key of a Puffin object.
const VectorsSuffix = ".puffin"

// The format versions tarn writes. Version 2 has position delete files and no deletion vectors, version 3 the reverse, and
// rows that keep their ids.
const (
	FormatV2 = 2
	FormatV3 = 3
)

// Table properties that tell engines how deletes, updates and merges are written: merge-on-read or copy-on-write.
const (
	DeleteMode = "write.delete.mode"
	UpdateMode = "write.update.mode"
	MergeMode  = "write.merge.mode"
)

// ParquetProperty is "true" of a table whose live data files, all of them, are its rows to readers of bare Parquet: there are no deletes,
// and one schema of names and types that such readers know.
const ParquetProperty = "tarn.parquet"

// TableID is what makes a lake table the same table: OIDs and the LSN its creation was first seen at.
type TableID struct {
	DB          pg.OID // pg_database.oid
	Rel         pg.OID // pg_class.oid
	Incarnation pg.LSN
}

// History is the id of the table of a table's changes. LSNs of cuts are ends of records, multiples of 8, so it is no other table's.
func (id TableID) History() TableID {
	id.Incarnation |= 1
	return id
}

// IsHistory says whether the table is one of changes.
func (id TableID) IsHistory() bool { return id.Incarnation&1 == 1 }

// TableName is where users find a table: database = warehouse, schema = namespace.
type TableName struct {
	Database, Namespace, Name string
}

func (n TableName) String() string { return n.Database + "." + n.Namespace + "." + n.Name }

// TableChange is what one publication does to one table.
//
// Order of effects: Drop ends all. Else the name and schema are set, the files in Remove* (or, with ReplaceAll, every
// live file) leave, then Add* arrive. A change with no file effect makes no snapshot unless Create is set. A data file has
// one deletion vector at most: one that arrives replaces the former, and one of a data file that leaves goes with it.
type TableChange struct {
	ID     TableID
	Name   TableName
	UUID   string // Iceberg table-uuid; constant for an ID
	Create bool   // first publication of this ID
	Drop   bool
	Schema Schema
	Format int // Iceberg format version from now on; 0: as it is, 2 for a new table. It never falls
	// Layout is that of files from now on, AddData under its spec; nil: as it is, unpartitioned for a new table. Where a column that
	// a spec so far is about leaves the schema, or has another type, ReplaceAll is set and the table's history ends: readers could
	// make nothing of it.
	Layout *Layout

	ReplaceAll    bool     // every live data and delete file leaves
	RemoveData    []string // keys of live data files that leave
	RemoveDeletes []string // keys of live delete files that leave
	AddData       []File
	AddDeletes    []PositionDeletes
	AddVectors    []Vector
	RowsDeleted   int64             // rows that were live before and are no more
	SameRows      bool              // files are written again: the live rows after the change are the live rows before
	Properties    map[string]string // Iceberg table properties to set

	State []byte // the materializer's own, given back by Load

	// Assigned is told, before Publish returns nil, of each data file that the publication gave row ids.
	Assigned func(key string, l Lineage)
}

// Publication moves every changed table of the cluster to one LSN in one atomic step. Its LSN is not below the head's, unless its
// Timeline is newer: then the source's history was taken back to where that one forked off.
type Publication struct {
	LSN        pg.LSN
	Timeline   pg.TimelineID
	SystemID   uint64
	CommitTime time.Time // of the last transaction at or below LSN; zero if unknown
	Tables     []TableChange
	State      []byte // the materializer's own, given back by Load
	// Durable waits until every file that Tables name, and the WAL below LSN, is durable, or fails. Nil: they are.
	Durable func() error
}

// TableHead is a table as last published.
type TableHead struct {
	ID              TableID
	Name            TableName
	UUID            string
	Schema          Schema
	LSN             pg.LSN   // of the publication that last changed it
	Data            []File   // live data files; Columns and SplitOffsets may be absent
	Format          int      // Iceberg format version
	Specs           []Spec   // all partition specs that readers are told of
	Layout          Layout   // of the newest files
	LastPartitionID int      // highest id of a partition field ever given in this table; PartitionIDMin-1: none was
	Deletes         []string // keys of live position delete files
	Vectors         []Vector // live deletion vectors
	State           []byte
	// Damaged says why the table's files or state could not be read; what is told of them is then not complete. Only a
	// change with ReplaceAll moves such a table.
	Damaged error
}

// Head is the newest publication.
type Head struct {
	LSN      pg.LSN // zero when nothing was published yet
	Timeline pg.TimelineID
	SystemID uint64
	State    []byte
	Tables   []TableHead
}

// ErrFenced: another writer began a newer epoch; this one must stop.
var ErrFenced = fault.New(fault.StoreTaken, "fenced: a newer writer owns this lake")

// Publisher is the catalog as the materializer sees it. One goroutine uses it.
type Publisher interface {
	// Begin fences every older writer and returns the head. It is called once before Publish.
	Begin(ctx context.Context) (Head, error)
	// Publish makes p the head, once p.Durable has returned nil and not before. When it returns nil, p is durable and every reader that asks sees it; on an error the
	// head is what it was before, or unknown: only ErrFenced and a new Begin decide.
	Publish(ctx context.Context, p Publication) error
}
